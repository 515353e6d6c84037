//! Where rule modules come from.

use std::collections::BTreeMap;
use std::path::Path;

use super::RulesConfig;
use super::kafka::{need_servers, properties};
use super::section::{Findings, Section};
use crate::kafka::{Create, Properties};
use crate::rules::CacheConfig;

/// Compiled modules that are kept, in bytes. One takes a few hundred thousand.
const CACHE_BYTES_MAX: u64 = 256 << 20;

/// Where modules come from: a folder, a topic, or both; the folder `rules` where nothing is said.
pub(super) fn read_rules(
    mut section: Section<'_>,
    kafka: &Properties,
    folder: &Path,
    findings: &mut Findings,
) -> RulesConfig {
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
    let cache = section.optional("cache", findings);
    let mut bytes_max = CACHE_BYTES_MAX;
    section.number("cache_bytes_max", &mut bytes_max, [1 << 20, 1 << 40], findings);
    section.finish(findings);
    let cache = cache.map(|directory| CacheConfig { directory: folder.join(directory), bytes_max });
    let directory = directory.map(|directory| folder.join(directory));
    RulesConfig { directory, topic, status_topic, properties, create, settings, cache }
}
