//! From the text of `pipeline.toml` to a [`Config`]: every key, its default and its bounds stand here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mistake::{Mistake, Mistakes};
use super::section::{Findings, Section};
use super::{Config, PipelineConfig, RulesConfig, SinkConfig};
use crate::detect::DetectLimits;
use crate::kafka::{Create, Properties};
use crate::sink::KafkaSinkConfig;
use crate::source::{BatchLimits, KafkaSourceConfig, Protocol};

/// Size of a configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Pipelines in a file.
const PIPELINES_MAX: usize = 64;

/// Where the admin page listens unless told otherwise: on loopback, since it has no login.
const ADMIN_LISTEN: &str = "127.0.0.1:9464";

/// Reads a configuration file.
pub fn load(path: &Path) -> Result<Config, Mistakes> {
    let file = path.display().to_string();
    let unreadable = |what: String| Mistakes {
        file: file.clone(),
        mistakes: vec![Mistake {
            line: 0,
            key: String::new(),
            what,
            hint: "name the file with --config FILE".to_owned(),
        }],
    };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(format!("{size} bytes, over the limit of {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    parse(&text, &file, path.parent().unwrap_or(Path::new("")))
}

/// Reads a configuration's text. `folder` is where relative paths start, `file` its name in errors.
pub fn parse(text: &str, file: &str, folder: &Path) -> Result<Config, Mistakes> {
    let mut findings = Findings::new(text);
    let (table, errors) = toml::de::DeTable::parse_recoverable(text);
    for error in errors {
        findings.wrong(error.span().as_ref(), "", error.message().replace('\n', ", "), "");
    }
    // What follows a broken line may be read wrongly, so only the syntax is reported then.
    if findings.mistakes.is_empty() {
        let config = read(Section::root(&table), folder, &mut findings);
        if findings.mistakes.is_empty() {
            return Ok(config);
        }
    }
    findings.mistakes.sort_by_key(|mistake| mistake.line);
    Err(Mistakes { file: file.to_owned(), mistakes: findings.mistakes })
}

/// Every key with its default, as the README's table has them. A pipeline is called `NAME`.
pub fn reference() -> Vec<(String, String)> {
    let text = "[rules]\ncreate = {}\n[pipelines.NAME]\nsource.kafka = {create = {}}\nsink.kafka = {create = {}}\nshadow.kafka = {create = \
                {}}\ndead_letters = {kafka = \
                {create = {}}, file = {}}";
    let mut findings = Findings::new(text);
    let (table, _) = toml::de::DeTable::parse_recoverable(text);
    read(Section::root(&table), Path::new(""), &mut findings);
    findings.asked
}

fn read(mut root: Section<'_>, folder: &Path, findings: &mut Findings) -> Config {
    let mut kafka = root.section("kafka", findings);
    let kafka = properties(&mut kafka, findings);
    let rules = read_rules(root.section("rules", findings), &kafka, folder, findings);
    let (limits, drain_max) = read_limits(root.section("limits", findings), findings);
    let admin = read_admin(root.section("admin", findings), findings);
    let instance = read_instance(&mut root, findings);
    let mut pipelines = BTreeMap::new();
    let mut tables = root.section("pipelines", findings);
    let span = tables.span().cloned();
    for (name, section) in tables.sections(findings) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            let hint = "1 to 64 of a-z A-Z 0-9 _ - are allowed";
            findings.wrong(section.span(), &format!("pipelines.{name}"), "is no name for a pipeline", hint);
        }
        if let Some(pipeline) = read_pipeline(section, &kafka, instance.is_some(), folder, findings) {
            pipelines.insert(name, pipeline);
        }
    }
    if pipelines.len() > PIPELINES_MAX {
        let what = format!("{} pipelines, over the limit of {PIPELINES_MAX}", pipelines.len());
        findings.wrong(span.as_ref(), "pipelines", what, "run a second process");
    }
    if pipelines.is_empty() && findings.mistakes.is_empty() {
        findings.wrong(span.as_ref(), "pipelines", "no pipeline", "add [pipelines.detect] with a source and a sink");
    }
    root.finish(findings);
    let instance = instance.unwrap_or_else(unique_instance);
    Config { instance, rules, limits, drain_max, admin, pipelines }
}

/// None where it is left out.
fn read_instance(root: &mut Section<'_>, findings: &mut Findings) -> Option<String> {
    let instance = root.text("instance", Some(""), findings).filter(|_| root.has("instance"))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if instance.is_empty() || instance.len() > 128 || !instance.bytes().all(plain) {
        let hint = "1 to 128 of a-z A-Z 0-9 . _ - are allowed, such as the name of a StatefulSet's pod: ${POD_NAME}";
        findings.wrong(root.span_of("instance").as_ref(), "instance", "is no name for a process", hint);
    }
    Some(instance)
}

/// A name that no other process has, and that no later one will have.
fn unique_instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

/// Where modules come from: a folder, a topic, or both; the folder `rules` where nothing is said.
fn read_rules(mut section: Section<'_>, kafka: &Properties, folder: &Path, findings: &mut Findings) -> RulesConfig {
    let topic = section.optional("topic", findings);
    let default = if topic.is_some() { None } else { Some("rules") };
    let directory = match section.has("directory") || default.is_some() {
        true => section.text("directory", default, findings),
        false => None,
    };
    let status_topic = section.optional("status_topic", findings);
    let mut own = section.section("properties", findings);
    let properties = kafka.with(&properties(&mut own, findings));
    let mut wish = section.section("create", findings);
    let create = wish.is_present().then(|| {
        let mut create = Create { partitions: 1, replication: 3 };
        wish.number("replication", &mut create.replication, [1, 100], findings);
        create
    });
    wish.finish(findings);
    for key in ["topic", "status_topic"] {
        if section.has(key) {
            need_servers(&properties, section.span_of(key).as_ref(), findings);
        }
    }
    let mut settings = BTreeMap::new();
    let mut modules = section.section("settings", findings);
    for (module, mut table) in modules.sections(findings) {
        settings.insert(module, serde_json::Value::Object(table.json(findings)).to_string());
    }
    section.finish(findings);
    let directory = directory.map(|directory| folder.join(directory));
    RulesConfig { directory, topic, status_topic, properties, create, settings }
}

fn read_limits(mut section: Section<'_>, findings: &mut Findings) -> (DetectLimits, Duration) {
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

fn read_admin(mut section: Section<'_>, findings: &mut Findings) -> Option<SocketAddr> {
    let key = section.key("listen");
    let listen = section.text("listen", Some(ADMIN_LISTEN), findings)?;
    let span = section.span_of("listen");
    section.finish(findings);
    if listen == "off" {
        return None;
    }
    let address = listen.parse();
    if address.is_err() {
        findings.wrong(span.as_ref(), &key, "must be ADDRESS:PORT, or \"off\"", format!("for example {ADMIN_LISTEN}"));
    }
    address.ok()
}

fn read_pipeline(
    mut section: Section<'_>,
    kafka: &Properties,
    has_instance: bool,
    folder: &Path,
    findings: &mut Findings,
) -> Option<PipelineConfig> {
    let mut workers = 1usize;
    section.number("workers", &mut workers, [1, 256], findings);
    let exactly_once = read_delivery(&mut section, findings);
    let source = read_source(section.section("source", findings), kafka, has_instance, findings);
    let detect = section.flag("detect", false, findings);
    if section.is_present() && detect == Some(false) {
        let hint = "detect = true runs the rules between source and sink";
        findings.wrong(section.span(), &section.key("detect"), "must be true: this version only detects", hint);
    }
    let sink = read_sink(section.section("sink", findings), kafka, folder, false, findings);
    let shadow = section.section("shadow", findings);
    let has_shadow = shadow.is_present();
    let shadow = read_sink(shadow, kafka, folder, false, findings);
    let shadow = if has_shadow { shadow } else { Some(SinkConfig::Discard) };
    let dead_letters = read_sink(section.section("dead_letters", findings), kafka, folder, true, findings);
    let batch = read_batch(section.section("batch", findings), exactly_once, findings);
    for (part, hint) in [
        ("source", "source = { kafka = { topics = [\"cloudtrail\"], group = \"trailhound\" } }"),
        ("sink", "sink = { kafka = { topic = \"findings\" } }"),
        ("dead_letters", "what cannot be read must go somewhere: dead_letters = { kafka = { topic = \"…\" } }"),
    ] {
        if section.is_present() && !section.has(part) {
            findings.wrong(section.span(), &section.key(part), "is missing", hint);
        }
    }
    let parts = (&source, &sink, &shadow, &dead_letters);
    if let (true, (Some((source, _)), Some(sink), Some(shadow), Some(dead_letters))) = (exactly_once, parts) {
        let span = section.span_of("delivery");
        let sinks = [("sink", sink), ("shadow", shadow), ("dead_letters", dead_letters)];
        for (what, hint) in not_exactly_once(source, &sinks) {
            findings.wrong(span.as_ref(), &section.key("delivery"), what, hint);
        }
    }
    section.finish(findings);
    let (source, source_create) = source?;
    Some(PipelineConfig {
        workers,
        exactly_once,
        source,
        source_create,
        sink: sink?,
        shadow: shadow?,
        dead_letters: dead_letters?,
        batch,
    })
}

/// Whether deliveries are transactions.
fn read_delivery(section: &mut Section<'_>, findings: &mut Findings) -> bool {
    section.one_of("delivery", ["at-least-once", "exactly-once"], findings) == "exactly-once"
}

/// Why the parts of a pipeline cannot share a transaction, with hints.
fn not_exactly_once(source: &KafkaSourceConfig, sinks: &[(&str, &SinkConfig)]) -> Vec<(String, &'static str)> {
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

fn read_batch(mut section: Section<'_>, exactly_once: bool, findings: &mut Findings) -> BatchLimits {
    let mut batch = BatchLimits::default();
    if exactly_once {
        (batch.messages_max, batch.bytes_max) = BATCH_EXACTLY_ONCE;
    }
    let mut wait_ms = u64::try_from(batch.wait.as_millis()).unwrap_or_default();
    section.number("messages_max", &mut batch.messages_max, [1, 1_000_000], findings);
    section.number("bytes_max", &mut batch.bytes_max, [1, 1 << 30], findings);
    section.number("wait_ms", &mut wait_ms, [0, 10_000], findings);
    section.finish(findings);
    batch.wait = Duration::from_millis(wait_ms);
    batch
}

fn read_source(
    mut section: Section<'_>,
    kafka: &Properties,
    has_instance: bool,
    findings: &mut Findings,
) -> Option<(KafkaSourceConfig, Option<Create>)> {
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
    Some((KafkaSourceConfig { topics: topics?, group: group?, protocol, static_members, properties }, create))
}

/// Properties with which librdkafka makes no consumer of the newer group protocol.
const OF_CLASSIC: [&str; 4] =
    ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy", "group.protocol.type"];

/// A sink. Findings go to Kafka or standard output, dead letters to Kafka or a file.
fn read_sink(
    mut section: Section<'_>,
    kafka: &Properties,
    folder: &Path,
    dead_letters: bool,
    findings: &mut Findings,
) -> Option<SinkConfig> {
    let to_kafka = section.section("kafka", findings);
    let other = if dead_letters { "file" } else { "stdout" };
    let mut to_other = section.section(other, findings);
    if section.is_present() && section.has("kafka") == section.has(other) {
        let hint = format!("{{ kafka = {{ topic = \"…\" }} }} or {{ {other} = {{ … }} }}");
        findings.wrong(section.span(), &section.key("kafka"), format!("name either `kafka` or `{other}`"), hint);
    }
    section.finish(findings);
    let file = match dead_letters && to_other.is_present() {
        true => to_other.required("path", "path = \"dead-letters.ndjson\"", findings).map(PathBuf::from),
        false => None,
    };
    let is_other = to_other.is_present();
    to_other.finish(findings);
    let mut part = to_kafka;
    let topic = part.required("topic", "topic = \"findings\"", findings);
    let (properties, create) = read_kafka(part, kafka, findings);
    if is_other {
        return if dead_letters {
            file.map(|file| SinkConfig::File(folder.join(file)))
        } else {
            Some(SinkConfig::Stdout)
        };
    }
    Some(SinkConfig::Kafka(KafkaSinkConfig { topic: topic?, properties }, create))
}

/// What every Kafka part has: its own properties on top of `[kafka]`, and the wish to create its topics.
fn read_kafka(mut part: Section<'_>, kafka: &Properties, findings: &mut Findings) -> (Properties, Option<Create>) {
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
fn need_servers(properties: &Properties, span: Option<&Range<usize>>, findings: &mut Findings) {
    if properties.get("bootstrap.servers").is_none() {
        let hint = "[kafka]\n        \"bootstrap.servers\" = \"127.0.0.1:9092\"";
        findings.wrong(span, "kafka.\"bootstrap.servers\"", "is missing", hint);
    }
}

fn properties(section: &mut Section<'_>, findings: &mut Findings) -> Properties {
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
