//! One pipeline: its source, its sinks, and what goes together.

use std::path::Path;
use std::time::Duration;

use super::carry::{read_filter, read_redact};
use super::section::{Findings, Section};
use super::sink::{Base, Role, read_sink};
use super::source::read_source;
use super::{PipelineConfig, SinkConfig, SourceConfig};
use crate::carry::Route;
use crate::kafka::Properties;
use crate::source::BatchLimits;

/// Reads `[pipelines.NAME]`.
pub(super) fn read_pipeline(
    mut section: Section<'_>,
    kafka: &Properties,
    has_instance: bool,
    folder: &Path,
    findings: &mut Findings,
) -> Option<PipelineConfig> {
    let mut workers = 1usize;
    section.number("workers", &mut workers, [1, 256], findings);
    let exactly_once = read_delivery(&mut section, findings);
    let source = read_source(section.section("source", findings), Base { kafka, folder }, has_instance, findings);
    // Where something else stands there, which has been complained about, the rest is read as the commoner kind.
    let detect = section.flag("detect", false, findings).unwrap_or(true);
    let base = Base { kafka, folder };
    let role = if detect { Role::Findings } else { Role::Carried };
    let sink = read_sink(section.section("sink", findings), base, role, findings);
    for (part, what) in [("filter", "leaves nothing out of detection"), ("redact", "takes nothing out of detection")] {
        if detect && section.has(part) {
            let hint = "give it to the pipeline that carries findings on, or leave `detect` out";
            findings.wrong(section.span_of(part).as_ref(), &section.key(part), what, hint);
        }
    }
    let filter = read_filter(section.section("filter", findings), findings);
    let redact = read_redact(section.section("redact", findings), findings);
    let shadow = section.section("shadow", findings);
    let has_shadow = shadow.is_present();
    if has_shadow && !detect {
        let hint = "leave it out, or say detect = true";
        findings.wrong(shadow.span(), &section.key("shadow"), "is for what rules find, and this runs none", hint);
    }
    let shadow = read_sink(shadow, base, Role::Shadow, findings);
    let shadow = if has_shadow { shadow } else { Some(SinkConfig::Discard) };
    let dead_letters = read_sink(section.section("dead_letters", findings), base, Role::DeadLetters, findings);
    let batch = read_batch(section.section("batch", findings), exactly_once, sink.as_ref(), findings);
    for (part, hint) in [
        ("source", "source = { kafka = { topics = [\"cloudtrail\"], group = \"trailhound\" } }"),
        ("sink", "sink = { kafka = { topic = \"findings\" } }"),
        ("dead_letters", "what nobody takes must go somewhere: dead_letters = { kafka = { topic = \"…\" } }"),
    ] {
        if section.is_present() && !section.has(part) {
            findings.wrong(section.span(), &section.key(part), "is missing", hint);
        }
    }
    let parts = (&source, &sink, &shadow, &dead_letters);
    if let (true, (Some(source), Some(sink), Some(shadow), Some(dead_letters))) = (exactly_once, parts) {
        let span = section.span_of("delivery");
        let sinks = [("sink", sink), ("shadow", shadow), ("dead_letters", dead_letters)];
        for (what, hint) in not_exactly_once(source, &sinks) {
            findings.wrong(span.as_ref(), &section.key("delivery"), what, hint);
        }
    }
    if let (false, Some(source), Some(sink)) = (detect, &source, &sink) {
        refuse_circle(&section, source, sink, findings);
    }
    if let Some(SourceConfig::Firehose(_)) = &source {
        refuse_undurable(&section, detect, sink.as_ref(), findings);
    }
    section.finish(findings);
    Some(PipelineConfig {
        workers,
        exactly_once,
        detect,
        route: Route { filter: filter?, redact: redact? },
        source: source?,
        sink: sink?,
        shadow: shadow?,
        dead_letters: dead_letters?,
        batch,
    })
}

/// What Firehose delivered is only safe in Kafka: nobody sends it again once it was answered.
fn refuse_undurable(section: &Section<'_>, detect: bool, sink: Option<&SinkConfig>, findings: &mut Findings) {
    if detect {
        let hint = "leave `detect` out, and let a second pipeline read the topic with detect = true";
        findings.wrong(section.span_of("detect").as_ref(), &section.key("detect"), "does not go with firehose", hint);
    }
    if !matches!(sink, None | Some(SinkConfig::Kafka(..))) {
        let hint = "sink = { kafka = { topic = \"cloudtrail\" } }";
        let what = "what Firehose delivers goes to a topic";
        findings.wrong(section.span_of("sink").as_ref(), &section.key("sink"), what, hint);
    }
}

/// A pipeline that carries what it has written itself would never end.
fn refuse_circle(section: &Section<'_>, source: &SourceConfig, sink: &SinkConfig, findings: &mut Findings) {
    let (SourceConfig::Kafka(source, _), SinkConfig::Kafka(sink, _)) = (source, sink) else { return };
    let servers = "bootstrap.servers";
    if source.topics.contains(&sink.topic) && source.properties.get(servers) == sink.properties.get(servers) {
        let hint = "carry it to another topic, or to another cluster";
        findings.wrong(section.span_of("sink").as_ref(), &section.key("sink"), "is a topic that it reads", hint);
    }
}

/// Whether deliveries are transactions.
fn read_delivery(section: &mut Section<'_>, findings: &mut Findings) -> bool {
    section.one_of("delivery", ["at-least-once", "exactly-once"], findings) == "exactly-once"
}

/// Why the parts of a pipeline cannot share a transaction, with hints.
fn not_exactly_once(source: &SourceConfig, sinks: &[(&str, &SinkConfig)]) -> Vec<(String, &'static str)> {
    let SourceConfig::Kafka(source, _) = source else {
        let hint = "leave `delivery` out: a request that is sent again makes the same records with the same keys";
        return vec![("\"exactly-once\" needs Kafka for `source`".to_owned(), hint)];
    };
    let mut wrong = Vec::new();
    let mut producers = Vec::new();
    for (name, sink) in sinks {
        match sink {
            SinkConfig::Discard => {}
            SinkConfig::Kafka(config, _) => {
                if config.properties.get("bootstrap.servers") != source.properties.get("bootstrap.servers") {
                    let hint = "a transaction is one cluster's: the same bootstrap.servers for source and sinks";
                    wrong.push((format!("\"exactly-once\" does not reach to another cluster, as `{name}` is"), hint));
                }
                producers.push(&config.properties);
            }
            SinkConfig::Splunk(_)
            | SinkConfig::OpenSearch(_)
            | SinkConfig::Syslog(_)
            | SinkConfig::Webhook(_)
            | SinkConfig::Archive(_) => {
                let hint = "leave `delivery` out: a finding that comes again has the same id";
                wrong.push((format!("\"exactly-once\" needs Kafka for `{name}`"), hint));
            }
            SinkConfig::Stdout | SinkConfig::File(_) => {
                let hint = "a transaction is Kafka's: send it to a topic, or leave `delivery` out";
                wrong.push((format!("\"exactly-once\" needs Kafka for `{name}`"), hint));
            }
        }
    }
    if wrong.is_empty() && producers.iter().any(|properties| Some(properties) != producers.first()) {
        let hint = "one producer serves all: give all the same, or put them into [kafka]";
        wrong.push(("\"exactly-once\" does not go with different properties of the sinks".to_owned(), hint));
    }
    if !source.properties.among(&["isolation.level"]).is_empty() {
        let hint = "only its default waits for transactions that are under way";
        wrong.push(("\"exactly-once\" does not go with the property isolation.level of the source".to_owned(), hint));
    }
    wrong
}

/// The cost of a transaction is one of a batch, so batches are larger with it.
const BATCH_EXACTLY_ONCE: (usize, usize) = (20_000, 32 << 20);

/// What a target beyond Kafka pays for each request (a write to its disk, an acknowledgement) is worth more than a moment's delay.
const WAIT_BEYOND_KAFKA: Duration = Duration::from_millis(200);

fn read_batch(
    mut section: Section<'_>,
    exactly_once: bool,
    sink: Option<&SinkConfig>,
    findings: &mut Findings,
) -> BatchLimits {
    let mut batch = BatchLimits::default();
    if exactly_once {
        (batch.messages_max, batch.bytes_max) = BATCH_EXACTLY_ONCE;
    }
    match sink {
        Some(
            SinkConfig::Splunk(_)
            | SinkConfig::OpenSearch(_)
            | SinkConfig::Syslog(_)
            | SinkConfig::Webhook(_)
            | SinkConfig::Archive(_),
        ) => batch.wait = WAIT_BEYOND_KAFKA,
        Some(SinkConfig::Kafka(..) | SinkConfig::Stdout | SinkConfig::File(_) | SinkConfig::Discard) | None => {}
    }
    let mut wait_ms = u64::try_from(batch.wait.as_millis()).unwrap_or_default();
    section.number("messages_max", &mut batch.messages_max, [1, 1_000_000], findings);
    section.number("bytes_max", &mut batch.bytes_max, [1, 1 << 30], findings);
    section.number("wait_ms", &mut wait_ms, [0, 10_000], findings);
    section.finish(findings);
    batch.wait = Duration::from_millis(wait_ms);
    batch
}
