//! From the text of `pipeline.toml` to a [`Config`]. The parts of it stand in files of their own, each key with its default
//! and its bounds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::Config;
use super::firehose::refuse_shared_listen;
use super::kafka::properties;
use super::limits::read_limits;
use super::mistake::{Mistake, Mistakes};
use super::pipeline::read_pipeline;
use super::rules::read_rules;
use super::section::{Findings, Section};

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
    let text = "[rules]\ncreate = {}\n[pipelines.NAME]\nsource = {kafka = {create = {}}, firehose = {tls = {}}}\nsink.kafka = {create = {}}\nshadow.kafka = {create = \
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
    refuse_shared_listen(&pipelines, admin, findings);
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
