//! What every part that talks to Kafka has: properties of its client, and the wish to create topics.

use std::collections::BTreeMap;
use std::ops::Range;

use super::section::{Findings, Section};
use crate::kafka::{Create, Properties};

/// What every Kafka part has: its own properties on top of `[kafka]`, and the wish to create its topics.
pub(super) fn read_kafka(
    mut part: Section<'_>,
    kafka: &Properties,
    findings: &mut Findings,
) -> (Properties, Option<Create>) {
    let mut own = part.section("properties", findings);
    let all = kafka.with(&properties(&mut own, findings));
    if part.is_present() {
        need_servers(&all, part.span(), findings);
    }
    let mut wish = part.section("create", findings);
    let create = wish.is_present().then(|| {
        let mut create = Create { partitions: 6, replication: 3 };
        wish.number("partitions", &mut create.partitions, [1, 100_000], findings);
        wish.number("replication", &mut create.replication, [1, 100], findings);
        create
    });
    wish.finish(findings);
    part.finish(findings);
    (all, create)
}

/// Complains about a client, named at `span`, that would not know its cluster.
pub(super) fn need_servers(properties: &Properties, span: Option<&Range<usize>>, findings: &mut Findings) {
    if properties.get("bootstrap.servers").is_none() {
        let hint = "[kafka]\n        \"bootstrap.servers\" = \"127.0.0.1:9092\"";
        findings.wrong(span, "kafka.\"bootstrap.servers\"", "is missing", hint);
    }
}

/// Properties of a client; librdkafka's own words on what it does not take.
pub(super) fn properties(section: &mut Section<'_>, findings: &mut Findings) -> Properties {
    let mut properties = Properties::default();
    let mut spans = BTreeMap::new();
    for (key, (value, span)) in section.properties(findings) {
        properties.set(&key, &value);
        spans.insert(key, span);
    }
    for (key, what) in properties.mistakes() {
        let hint = if what.contains("no such") { "librdkafka's CONFIGURATION.md lists them all" } else { "" };
        findings.wrong(spans.get(&key), &section.key(&format!("\"{key}\"")), what, hint);
    }
    properties
}
