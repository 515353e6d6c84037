//! Configuration: `pipeline.toml` becomes valid pipelines, or every mistake at once. Reading it has no side effects.

mod archive;
mod carry;
mod expand;
mod firehose;
mod http;
mod kafka;
mod limits;
mod mistake;
mod opensearch;
mod pipeline;
mod read;
mod rules;
mod section;
mod sink;
mod source;
mod splunk;
mod syslog;
mod webhook;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use mistake::{Mistake, Mistakes};
pub use read::{load, parse, reference};

use crate::carry::Route;
use crate::detect::DetectLimits;
use crate::kafka::{Create, Properties};
use crate::rules::CacheConfig;
use crate::sink::{ArchiveConfig, KafkaSinkConfig, OpenSearchConfig, SplunkConfig, SyslogConfig, WebhookConfig};
use crate::source::{BatchLimits, FirehoseConfig, KafkaSourceConfig};

/// A whole `pipeline.toml`, valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// This process among all of its fleet: a part of the ids of its clients, and its key on the status topic; unique.
    pub instance: String,
    /// Where rule modules come from.
    pub rules: RulesConfig,
    /// Limits of reading, rules and findings.
    pub limits: DetectLimits,
    /// How long deliveries in progress may take once a stop is asked for.
    pub drain_max: Duration,
    /// Where `/metrics`, `/healthz` and `/readyz` listen; None for nowhere.
    pub admin: Option<SocketAddr>,
    /// The pipelines, by name.
    pub pipelines: BTreeMap<String, PipelineConfig>,
}

/// Where rule modules come from, and their settings.
#[derive(Clone, Debug, Default)]
pub struct RulesConfig {
    /// A folder of `*.wasm` that is watched. A relative path starts at the folder of `pipeline.toml`.
    pub directory: Option<PathBuf>,
    /// The compacted topic that modules are published on.
    pub topic: Option<String>,
    /// The compacted topic that every instance reports its state on.
    pub status_topic: Option<String>,
    /// Properties of the clients of both topics.
    pub properties: Properties,
    /// Whether and how both topics are created when they are missing.
    pub create: Option<Create>,
    /// A JSON object for each module that has settings, by the module's name.
    pub settings: BTreeMap<String, String>,
    /// Where compiled modules are kept for the next start; None for nowhere.
    pub cache: Option<CacheConfig>,
}

impl Config {
    /// Whether some pipeline detects, so that rules are needed.
    pub fn detects(&self) -> bool {
        self.pipelines.values().any(|pipeline| pipeline.detect)
    }
}

/// A source, a sink, and whether rules run between them.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// Threads, each with a source, a sink and rule instances of its own.
    pub workers: usize,
    /// Whether what is delivered, dead letters and offsets of a batch go into one Kafka transaction.
    pub exactly_once: bool,
    /// Whether rules run over the messages. They are carried as they are otherwise.
    pub detect: bool,
    /// What is left out where messages are carried.
    pub route: Route,
    /// Where messages come from.
    pub source: SourceConfig,
    /// Where findings go, or what is carried.
    pub sink: SinkConfig,
    /// Where findings of modules in shadow go. Nowhere for a pipeline that carries.
    pub shadow: SinkConfig,
    /// Where dead letters go.
    pub dead_letters: SinkConfig,
    /// When a batch ends.
    pub batch: BatchLimits,
}

/// A source as configured.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// Kafka topics, and whether and how they are created when they are missing.
    Kafka(KafkaSourceConfig, Option<Create>),
    /// An endpoint that Amazon Data Firehose delivers to.
    Firehose(FirehoseConfig),
}

/// A sink as configured.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkConfig {
    /// A Kafka topic, and whether and how it is created.
    Kafka(KafkaSinkConfig, Option<Create>),
    /// Splunk's HTTP Event Collector.
    Splunk(SplunkConfig),
    /// OpenSearch or Elasticsearch.
    OpenSearch(OpenSearchConfig),
    /// Standard output.
    Stdout,
    /// A file of dead letters.
    File(PathBuf),
    /// A syslog receiver.
    Syslog(Box<SyslogConfig>),
    /// A webhook.
    Webhook(Box<WebhookConfig>),
    /// Rotated files.
    Archive(ArchiveConfig),
    /// Nowhere: counting is enough.
    Discard,
}

impl SourceConfig {
    /// The topics that are read; None where it is no Kafka.
    pub fn kafka(&self) -> Option<&KafkaSourceConfig> {
        match self {
            SourceConfig::Kafka(source, _) => Some(source),
            SourceConfig::Firehose(_) => None,
        }
    }
}

impl PipelineConfig {
    /// The properties of every Kafka client of this pipeline with the key that it goes by, and its topics.
    pub fn kafka_parts<'a>(&'a self, name: &str) -> Vec<(String, &'a Properties, Vec<&'a str>, Option<Create>)> {
        let key = |part: &str| format!("pipelines.{name}.{part}");
        let mut parts = Vec::new();
        match &self.source {
            SourceConfig::Kafka(source, create) => {
                let topics = source.topics.iter().map(String::as_str).collect();
                parts.push((key("source.kafka"), &source.properties, topics, *create));
            }
            SourceConfig::Firehose(_) => {}
        }
        for (part, sink) in
            [("sink.kafka", &self.sink), ("shadow.kafka", &self.shadow), ("dead_letters.kafka", &self.dead_letters)]
        {
            if let SinkConfig::Kafka(config, create) = sink {
                parts.push((key(part), &config.properties, vec![config.topic.as_str()], *create));
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests;
