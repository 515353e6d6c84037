//! Where a pipeline's messages come from.

use super::SourceConfig;
use super::firehose::read_firehose;
use super::kafka::read_kafka;
use super::section::{Findings, Section};
use super::sink::Base;
use crate::source::{KafkaSourceConfig, Protocol};

/// Reads `source`.
pub(super) fn read_source(
    mut section: Section<'_>,
    base: Base<'_>,
    has_instance: bool,
    findings: &mut Findings,
) -> Option<SourceConfig> {
    let (from_kafka, from_firehose) = (section.section("kafka", findings), section.section("firehose", findings));
    let is_firehose = from_firehose.is_present();
    if section.is_present() && section.has("kafka") == section.has("firehose") {
        let hint = "{ kafka = { topics = [\"cloudtrail\"], group = \"trailhound\" } } or { firehose = { … } }";
        findings.wrong(section.span(), &section.key("kafka"), "name either `kafka` or `firehose`", hint);
    }
    section.finish(findings);
    let kafka = read_kafka_source(from_kafka, base, has_instance, findings);
    let firehose = read_firehose(from_firehose, base.folder, findings);
    if is_firehose { firehose.map(SourceConfig::Firehose) } else { kafka }
}

fn read_kafka_source(
    mut part: Section<'_>,
    base: Base<'_>,
    has_instance: bool,
    findings: &mut Findings,
) -> Option<SourceConfig> {
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
    let (properties, create) = read_kafka(part, base.kafka, findings);
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
