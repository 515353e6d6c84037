//! Where a pipeline's messages come from.

use super::SourceConfig;
use super::kafka::read_kafka;
use super::section::{Findings, Section};
use crate::kafka::Properties;
use crate::source::{KafkaSourceConfig, Protocol};

/// Reads `source`.
pub(super) fn read_source(
    mut section: Section<'_>,
    kafka: &Properties,
    has_instance: bool,
    findings: &mut Findings,
) -> Option<SourceConfig> {
    let mut part = section.section("kafka", findings);
    if section.is_present() && !section.has("kafka") {
        let hint = "source = { kafka = { topics = [\"cloudtrail\"], group = \"trailhound\" } }";
        findings.wrong(section.span(), &section.key("kafka"), "is missing", hint);
    }
    section.finish(findings);
    let topics = part.texts("topics", findings);
    if part.is_present() && topics.as_ref().is_some_and(Vec::is_empty) {
        findings.wrong(part.span(), &part.key("topics"), "must name at least one topic", "topics = [\"cloudtrail\"]");
    }
    let group = part.required("group", "workers of one group share the partitions: group = \"trailhound\"", findings);
    let protocol = match part.one_of("protocol", ["classic", "consumer"], findings) {
        "consumer" => Protocol::Consumer,
        _ => Protocol::Classic,
    };
    let static_members = part.flag("static_members", false, findings);
    if static_members == Some(true) && !has_instance {
        let hint = "instance = \"…\" at the top of the file: a name that this process has again after a restart";
        findings.wrong(part.span_of("static_members").as_ref(), &part.key("static_members"), "needs `instance`", hint);
    }
    let (key, span) = (part.key("protocol"), part.span_of("protocol"));
    let (properties, create) = read_kafka(part, kafka, findings);
    if protocol == Protocol::Consumer {
        for name in properties.among(&OF_CLASSIC) {
            let what = format!("\"consumer\" does not go with the property {name}");
            findings.wrong(span.as_ref(), &key, what, "leave it out: with this protocol the brokers' settings decide");
        }
    }
    let static_members = static_members?;
    let source = KafkaSourceConfig { topics: topics?, group: group?, protocol, static_members, properties };
    Some(SourceConfig::Kafka(source, create))
}

/// Properties with which librdkafka makes no consumer of the newer group protocol.
const OF_CLASSIC: [&str; 4] =
    ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy", "group.protocol.type"];
