//! Where findings, what is carried, and dead letters go. The keys of a target stand in a file of their own.

use std::path::{Path, PathBuf};

use super::SinkConfig;
use super::archive::read_archive;
use super::kafka::read_kafka;
use super::opensearch::read_opensearch;
use super::section::{Findings, Section};
use super::splunk::read_splunk;
use super::syslog::read_syslog;
use super::webhook::read_webhook;
use crate::kafka::Properties;
use crate::sink::KafkaSinkConfig;

/// What a sink starts from.
#[derive(Clone, Copy)]
pub(super) struct Base<'a> {
    /// The properties of `[kafka]`.
    pub(super) kafka: &'a Properties,
    /// Where relative paths start.
    pub(super) folder: &'a Path,
}

/// What a sink is for, which decides what it may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Findings of a pipeline that detects. They go through a topic, so that a target that is down stops no detection.
    Findings,
    /// Findings of modules in shadow.
    Shadow,
    /// Messages as they came.
    Carried,
    /// Dead letters.
    DeadLetters,
}

/// Every target. One is named in a sink.
const TARGETS: [&str; 9] =
    ["kafka", "stdout", "splunk", "opensearch", "elasticsearch", "syslog", "webhook", "archive", "file"];

impl Role {
    fn takes(self, target: &str) -> bool {
        match self {
            Role::Findings | Role::Shadow => matches!(target, "kafka" | "stdout"),
            Role::Carried => target != "file",
            Role::DeadLetters => matches!(target, "kafka" | "file"),
        }
    }
}

/// Reads a sink: exactly one of the targets that its role takes.
pub(super) fn read_sink(
    mut section: Section<'_>,
    base: Base<'_>,
    role: Role,
    findings: &mut Findings,
) -> Option<SinkConfig> {
    let targets: Vec<&'static str> = TARGETS.into_iter().filter(|target| role.takes(target)).collect();
    let elsewhere =
        TARGETS.into_iter().find(|target| !role.takes(target) && Role::Carried.takes(target) && section.has(target));
    let named = targets.iter().filter(|target| section.has(target)).count();
    if let (Some(target), Role::Findings | Role::Shadow) = (elsewhere, role) {
        let hint = "findings go to a topic first: sink = { kafka = { topic = \"findings\" } }, and a second pipeline, \
                    without `detect`, carries them from there";
        findings.wrong(section.span_of(target).as_ref(), &section.key(target), "takes no findings from rules", hint);
    } else if section.is_present() && named != 1 {
        let (what, hint) = name_one(&targets);
        findings.wrong(section.span(), &section.key("kafka"), what, hint);
    }
    let mut sink = None;
    for target in TARGETS {
        // What its role does not take was complained about, or is an unknown key.
        if !role.takes(target) && elsewhere != Some(target) {
            continue;
        }
        let part = section.section(target, findings);
        let is_it = part.is_present();
        let read = read_target(target, part, base, findings);
        if is_it && role.takes(target) {
            sink = read;
        }
    }
    section.finish(findings);
    sink
}

/// What is said where none or several of `targets` are named.
fn name_one(targets: &[&str]) -> (String, String) {
    match targets {
        [one, other] => (
            format!("name either `{one}` or `{other}`"),
            format!("{{ {one} = {{ topic = \"…\" }} }} or {{ {other} = {{ … }} }}"),
        ),
        _ => (format!("name one of `{}`", targets.join("`, `")), "{ kafka = { topic = \"…\" } }".to_owned()),
    }
}

fn read_target(target: &str, mut part: Section<'_>, base: Base<'_>, findings: &mut Findings) -> Option<SinkConfig> {
    match target {
        "splunk" => read_splunk(part, base, findings).map(SinkConfig::Splunk),
        "opensearch" | "elasticsearch" => read_opensearch(part, base, findings).map(SinkConfig::OpenSearch),
        "stdout" => {
            part.finish(findings);
            Some(SinkConfig::Stdout)
        }
        "file" => {
            let path = part.required("path", "path = \"dead-letters.ndjson\"", findings).map(PathBuf::from);
            part.finish(findings);
            path.map(|path| SinkConfig::File(base.folder.join(path)))
        }
        "syslog" => read_syslog(part, base, findings).map(Box::new).map(SinkConfig::Syslog),
        "webhook" => read_webhook(part, base, findings).map(Box::new).map(SinkConfig::Webhook),
        "archive" => read_archive(part, base, findings).map(SinkConfig::Archive),
        _ => {
            let topic = part.required("topic", "topic = \"findings\"", findings);
            let (properties, create) = read_kafka(part, base.kafka, findings);
            Some(SinkConfig::Kafka(KafkaSinkConfig { topic: topic?, properties }, create))
        }
    }
}
