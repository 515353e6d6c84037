//! `trailhound validate`: everything that can be wrong, before it matters.

use std::path::Path;

use super::{Failure, print, refused};
use crate::config::{self, Config};
use crate::kafka::{self, KafkaError, Topic};
use crate::rules::{Engine, RuleSet};

pub(super) fn validate(file: &Path, connect: bool) -> Result<(), Failure> {
    let config = config::load(file).map_err(Failure::usage)?;
    let engine = Engine::new().map_err(Failure::new)?;
    let rules = load_rules(&engine, &config)?;
    if connect {
        let mistakes = check_kafka(&config, false);
        if !mistakes.is_empty() {
            return Err(unusable(&mistakes));
        }
    }
    let names: Vec<&str> = config.pipelines.keys().map(String::as_str).collect();
    print(format_args!(
        "{}: valid: pipelines {}; {} modules with {} rules{}",
        file.display(),
        names.join(", "),
        rules.modules.len(),
        rules.rules_len(),
        if connect { "; brokers and topics answer" } else { "" }
    ))
}

/// Loads and proves the modules of a configuration. A pipeline without a rule would detect nothing and say nothing.
pub(super) fn load_rules(engine: &Engine, config: &Config) -> Result<RuleSet, Failure> {
    let directory = config.rules.directory.as_path();
    let settings = |module: &str| config.rules.settings_of(module);
    let set = RuleSet::load(engine, &[directory], &settings, &config.limits.rules).map_err(|all| refused(&all))?;
    if set.modules.is_empty() {
        return Err(Failure::usage(format!(
            "rules.directory: {} holds no module (*.wasm)\nhint: build one with `trailhound rule build DIR`",
            directory.display()
        )));
    }
    if let Some(unknown) = config.rules.settings.keys().find(|name| set.modules.iter().all(|m| m.module.name != **name)) {
        return Err(Failure::usage(format!(
            "rules.settings.{unknown}: there is no module `{unknown}` in {}\nhint: a module goes by its file's name \
             without .wasm",
            directory.display()
        )));
    }
    Ok(set)
}

/// Checks the clusters and topics of all pipelines; creates missing topics when `may_create`.
pub(super) fn check_kafka(config: &Config, may_create: bool) -> Vec<KafkaError> {
    let mut mistakes = Vec::new();
    for (name, pipeline) in &config.pipelines {
        let mut reachable: Vec<&crate::kafka::Properties> = Vec::new();
        for (key, properties, topics, create) in pipeline.kafka_parts(name) {
            let topics: Vec<Topic<'_>> =
                topics.iter().map(|topic| Topic { key: &key, name: topic, create, config: &[] }).collect();
            let found = kafka::check(properties, &topics, may_create);
            let unreachable = found.iter().any(|error| matches!(error, KafkaError::Unreachable { .. }));
            mistakes.extend(found);
            // The other parts of a pipeline mostly name the same cluster: once said is enough.
            if unreachable && !reachable.contains(&properties) {
                break;
            }
            reachable.push(properties);
        }
    }
    mistakes
}

/// All that is wrong with the clusters, in one report.
pub(super) fn unusable(mistakes: &[KafkaError]) -> Failure {
    let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    Failure::new(texts.join("\n\n"))
}
