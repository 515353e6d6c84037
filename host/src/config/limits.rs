//! The limits of reading, of rules and of findings.

use std::time::Duration;

use super::section::{Findings, Section};
use crate::detect::DetectLimits;

/// Reads `[limits]`: those of detection, and how long a stop may take.
pub(super) fn read_limits(mut section: Section<'_>, findings: &mut Findings) -> (DetectLimits, Duration) {
    const MIB: u64 = 1 << 20;
    let mut limits = DetectLimits::default();
    let mut drain_ms_max = 20_000u64;
    section.number("drain_ms_max", &mut drain_ms_max, [0, 3_600_000], findings);

    let (read, mut part) = (&mut limits.read, section.section("read", findings));
    part.number("message_bytes_max", &mut read.message_bytes_max, [1_024, 1_024 * MIB], findings);
    part.number("decompressed_bytes_max", &mut read.decompressed_bytes_max, [1_024, 1 << 40], findings);
    part.number("ratio_max", &mut read.ratio_max, [2, 10_000], findings);
    part.number("nesting_max", &mut read.nesting_max, [1, 64], findings);
    part.number("records_max", &mut read.records_max, [1, 100_000_000], findings);
    part.number("record_bytes_max", &mut read.record_bytes_max, [1_024, 256 * MIB], findings);
    part.number("json_depth_max", &mut read.json_depth_max, [8, 128], findings);
    part.finish(findings);

    let (rules, mut part) = (&mut limits.rules, section.section("rules", findings));
    part.number("module_bytes_max", &mut rules.module_bytes_max, [1_024, 256 * MIB], findings);
    part.number("modules_max", &mut rules.modules_max, [1, 100_000], findings);
    part.number("rules_max", &mut rules.rules_max, [1, 100_000], findings);
    part.number("examples_max", &mut rules.examples_max, [2, 1_000_000], findings);
    part.number("fields_max", &mut rules.fields_max, [0, 10_000], findings);
    part.number("memory_bytes_max", &mut rules.memory_bytes_max, [64 << 10, 4_096 * MIB], findings);
    part.number("call_ms_max", &mut rules.call_ms_max, [1, 60_000], findings);
    part.number("call_events_max", &mut rules.call_events_max, [1, 100_000], findings);
    part.number("call_text_bytes_max", &mut rules.call_text_bytes_max, [1_024, 256 * MIB], findings);
    part.number("answer_bytes_max", &mut rules.answer_bytes_max, [1_024, 256 * MIB], findings);
    part.number("event_findings_max", &mut rules.event_findings_max, [1, 100_000], findings);
    part.number("labels_max", &mut rules.labels_max, [0, 1_000], findings);
    part.number("label_key_bytes_max", &mut rules.label_key_bytes_max, [8, 1_024], findings);
    part.number("label_bytes_max", &mut rules.label_bytes_max, [16, MIB], findings);
    part.number("retries_failed_max", &mut rules.retries_failed_max, [0, 1_000], findings);
    part.number("failures_in_row_max", &mut rules.failures_in_row_max, [1, 1_000_000], findings);
    part.number("quarantine_ms_min", &mut rules.quarantine_ms_min, [1, 3_600_000], findings);
    part.number("quarantine_ms_max", &mut rules.quarantine_ms_max, [1, 86_400_000], findings);
    part.number("prove_ms_max", &mut rules.prove_ms_max, [1, 3_600_000], findings);
    part.finish(findings);

    let (found, mut part) = (&mut limits.findings, section.section("findings", findings));
    part.number("evidence_bytes_max", &mut found.evidence_bytes_max, [0, 64 * MIB], findings);
    part.number("field_bytes_max", &mut found.field_bytes_max, [64, MIB], findings);
    part.number("resources_max", &mut found.resources_max, [0, 10_000], findings);
    part.finish(findings);
    section.finish(findings);
    (limits, Duration::from_millis(drain_ms_max))
}
