//! `trailhound validate`: everything that can be wrong, before it matters.

use std::path::Path;

use super::{Failure, print};
use crate::config::{self, Config, SinkConfig, SourceConfig};
use crate::kafka::{self, KafkaError, Properties, Topic};
use crate::metrics::Metrics;
use crate::rules::{Cache, Engine};
use crate::sink::{OpenSearchSink, SplunkSink, SyslogSink, WebhookSink};
use crate::source::FirehoseConfig;
use crate::swap::{self, Keeper, StartError};

pub(super) fn validate(file: &Path, connect: bool) -> Result<(), Failure> {
    let mut config = config::load(file).map_err(Failure::usage)?;
    check_certificates(&config)?;
    if connect {
        let mistakes = check_kafka(&config, false);
        if !mistakes.is_empty() {
            return Err(unusable(&mistakes));
        }
    }
    let answers = check_targets(&config, connect)?;
    let rules = if config.detects() { prove(&mut config, connect)? } else { String::new() };
    let names: Vec<&str> = config.pipelines.keys().map(String::as_str).collect();
    let answer = if connect { "; brokers and topics answer" } else { "" };
    print(format_args!("{}: valid: pipelines {}{rules}{answer}{answers}", file.display(), names.join(", ")))
}

/// Makes the clients of all targets beyond Kafka, and with `connect` asks each. Gives what they said.
fn check_targets(config: &Config, connect: bool) -> Result<String, Failure> {
    let (mut said, mut wrong) = (String::new(), Vec::new());
    for (name, pipeline) in &config.pipelines {
        let answer =
            match &pipeline.sink {
                SinkConfig::Splunk(config) => {
                    SplunkSink::new(config.clone()).map(|sink| (config.http.url.clone(), connect.then(|| sink.check())))
                }
                SinkConfig::OpenSearch(config) => OpenSearchSink::new(config.clone())
                    .map(|sink| (config.http.url.clone(), connect.then(|| sink.check()))),
                SinkConfig::Syslog(config) => SyslogSink::new((**config).clone())
                    .map(|sink| (config.address.clone(), connect.then(|| sink.check()))),
                // What asks a webhook is a request, and whoever gets it takes it for a finding.
                SinkConfig::Webhook(config) => {
                    WebhookSink::new((**config).clone()).map(|_| (config.http.url.clone(), None))
                }
                _ => continue,
            };
        match answer {
            Err(error) => wrong.push(format!("pipelines.{name}.sink: {error}")),
            Ok((_, None)) => {}
            Ok((url, Some(Ok(answer)))) => said.push_str(&format!("; {url} answers {answer}")),
            Ok((url, Some(Err(answer)))) => {
                let hint = "check the address, the login and the certificates; a running forwarder would wait";
                wrong.push(format!("pipelines.{name}.sink: {url}: {answer}\nhint: {hint}"));
            }
        }
    }
    if wrong.is_empty() { Ok(said) } else { Err(Failure::new(wrong.join("\n\n"))) }
}

/// Reads the certificates that endpoints are to use.
fn check_certificates(config: &Config) -> Result<(), Failure> {
    for (name, pipeline) in &config.pipelines {
        if let SourceConfig::Firehose(FirehoseConfig { tls: Some(certificate), .. }) = &pipeline.source {
            let failed = |error| Failure::usage(format!("pipelines.{name}.source.firehose.tls: {error}"));
            certificate.check().map_err(failed)?;
        }
    }
    Ok(())
}

/// Loads and proves the modules, and says how many there are.
fn prove(config: &mut Config, connect: bool) -> Result<String, Failure> {
    let engine = engine(config)?;
    if !connect {
        // The modules of the topic are proved with --connect.
        config.rules.status_topic = None;
    }
    let topic = if connect { None } else { config.rules.topic.take() };
    let mut keeper = open_rules(&engine, config, topic.is_some(), &Metrics::default())?;
    keeper.follow(config, &|| false).map_err(no_rules)?;
    // A running fleet bears with these; whoever asks wants to know.
    let refused: Vec<String> = keeper.refused().map(ToString::to_string).collect();
    if !refused.is_empty() {
        return Err(Failure::usage(refused.join("\n\n")));
    }
    let rules = keeper.rules().load_full();
    let later = topic.map(|topic| format!("; those of the topic {topic} are proved with --connect"));
    Ok(format!(
        "; {} modules with {} rules{}",
        rules.modules.len(),
        rules.rules_len(),
        later.as_deref().unwrap_or_default()
    ))
}

/// What compiles the modules of a configuration, with its cache.
pub(super) fn engine(config: &Config) -> Result<Engine, Failure> {
    let cache = config.rules.cache.as_ref().map(Cache::open).transpose();
    let cache = cache.map_err(|error| Failure::usage(format!("rules.cache: {error}\nhint: {}", error.hint())))?;
    Engine::with_cache(cache).map_err(Failure::new)
}

/// Why rules cannot be kept, for a person.
pub(super) fn no_rules(error: StartError) -> Failure {
    match error {
        StartError::Refused(_) | StartError::Folder(_) => Failure::usage(error),
        StartError::Kafka(_) | StartError::Stopped => Failure::new(error),
    }
}

/// Proves the modules of the folder. A pipeline without a rule would detect nothing and say nothing; with a rules topic
/// (`more`, or in the configuration) they may come later.
pub(super) fn open_rules(engine: &Engine, config: &Config, more: bool, metrics: &Metrics) -> Result<Keeper, Failure> {
    let keeper = Keeper::open(engine, config, metrics).map_err(no_rules)?;
    if more || config.rules.topic.is_some() {
        return Ok(keeper);
    }
    let set = keeper.rules().load_full();
    let directory = config.rules.directory.as_deref().unwrap_or(Path::new("rules")).display();
    if set.modules.is_empty() {
        return Err(Failure::usage(format!(
            "rules.directory: {directory} holds no module (*.wasm)\nhint: build one with `trailhound rule build DIR`"
        )));
    }
    if let Some(unknown) = config.rules.settings.keys().find(|name| set.modules.iter().all(|m| m.module.name != **name))
    {
        return Err(Failure::usage(format!(
            "rules.settings.{unknown}: there is no module `{unknown}` in {directory}\nhint: a module goes by its file's \
             name without .wasm"
        )));
    }
    Ok(keeper)
}

/// The topics that rules come from and that the fleet reports on.
fn rules_topics(config: &Config) -> impl Iterator<Item = Topic<'_>> {
    let rules = &config.rules;
    let named = [
        ("rules.topic", &rules.topic, &swap::RULES_TOPIC[..]),
        ("rules.status_topic", &rules.status_topic, &swap::STATUS_TOPIC[..]),
    ];
    let named = named.into_iter().filter(|_| config.detects());
    named.filter_map(|(key, name, config)| Some(Topic { key, name: name.as_deref()?, create: rules.create, config }))
}

/// Checks the clusters and topics of all pipelines; creates missing topics when `may_create`.
pub(super) fn check_kafka(config: &Config, may_create: bool) -> Vec<KafkaError> {
    let parts: Vec<_> = config.pipelines.iter().flat_map(|(name, pipeline)| pipeline.kafka_parts(name)).collect();
    let rules = rules_topics(config).map(|topic| (&config.rules.properties, topic));
    let of_parts = parts.iter().flat_map(|(key, properties, topics, create)| {
        topics.iter().map(move |name| (*properties, Topic { key, name, create: *create, config: &[] }))
    });
    // What one client can tell is asked of one: each takes a tenth of a second to come and go.
    let mut clients: Vec<(&Properties, Vec<Topic<'_>>)> = Vec::new();
    for (properties, topic) in rules.chain(of_parts) {
        match clients.iter_mut().find(|(known, _)| *known == properties) {
            Some((_, topics)) => topics.push(topic),
            None => clients.push((properties, vec![topic])),
        }
    }
    let (mut mistakes, mut away) = (Vec::new(), Vec::new());
    for (properties, topics) in &clients {
        // That a cluster is away is said once.
        let servers = properties.get("bootstrap.servers");
        if !away.contains(&servers) {
            let found = kafka::check(properties, topics, may_create);
            away.extend(found.iter().any(|error| matches!(error, KafkaError::Unreachable { .. })).then_some(servers));
            mistakes.extend(found);
        }
    }
    mistakes
}

/// All that is wrong with the clusters, in one report.
pub(super) fn unusable(mistakes: &[KafkaError]) -> Failure {
    let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    Failure::new(texts.join("\n\n"))
}
