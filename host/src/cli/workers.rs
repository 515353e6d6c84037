//! The workers of `trailhound run`: made, started, and waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;

use super::{Failure, print};
use crate::admin::Health;
use crate::config::{Config, PipelineConfig, SinkConfig, SourceConfig};
use crate::counts::{Counts, total};
use crate::kafka::Transaction;
use crate::metrics::Metrics;
use crate::overview::WorkerState;
use crate::pipeline::{self, Job, Pipeline, PipelineError};
use crate::rules::RuleSet;
use crate::shutdown::Shutdown;
use crate::sink::{
    ArchiveSink, Delivery, FileSink, KafkaSink, OpenSearchSink, Sink, SinkError, SplunkSink, StdoutSink, SyslogSink,
    TransactionSink, WebhookSink,
};
use crate::source::{Endpoint, EndpointError, FirehoseSource, KafkaSource, KafkaSourceConfig, Source, SourceError};

/// All workers of a configuration.
pub(super) struct Workers<'a> {
    config: &'a Config,
    metrics: &'a Metrics,
    health: &'a Health,
    shutdown: &'a Arc<Shutdown>,
    waiting: Vec<Worker<'a>>,
    /// Those that were started, with the names of their pipelines.
    running: Vec<(&'a str, JoinHandle<Result<Counts, PipelineError>>)>,
}

/// A worker that has not started.
struct Worker<'a> {
    pipeline: &'a str,
    number: usize,
    config: &'a PipelineConfig,
    /// Unique among the members of the group and the producers of the cluster, here and on other machines.
    id: String,
    delivery: Delivery,
    transaction: Option<Arc<Transaction>>,
}

impl<'a> Workers<'a> {
    /// Makes what every worker delivers with, so that what is wrong with it is said before anything is read.
    pub(super) fn new(
        config: &'a Config,
        metrics: &'a Metrics,
        health: &'a Health,
        shutdown: &'a Arc<Shutdown>,
    ) -> Result<Workers<'a>, Failure> {
        let mut waiting = Vec::new();
        for (name, pipeline) in &config.pipelines {
            for number in 0..pipeline.workers {
                waiting.push(Worker::new(name, number, &config.instance, pipeline)?);
            }
        }
        Ok(Workers { config, metrics, health, shutdown, waiting, running: Vec::new() })
    }

    /// Starts the workers that detect with these rules; without rules those that carry.
    pub(super) fn start(&mut self, rules: Option<&Arc<ArcSwap<RuleSet>>>) -> Result<(), Failure> {
        let starts = |worker: &mut Worker<'_>| worker.config.detect == rules.is_some();
        let mut inlets: BTreeMap<&str, Inlet<'_>> = BTreeMap::new();
        let starting: Vec<Worker<'a>> = self.waiting.extract_if(.., starts).collect();
        // An address that cannot be had is said before anything is read.
        for Worker { pipeline, config, .. } in &starting {
            if !inlets.contains_key(pipeline) {
                inlets.insert(pipeline, inlet(pipeline, config, self.metrics, self.shutdown)?);
            }
        }
        for worker in starting {
            let (name, config) = (worker.pipeline, worker.config);
            let Some(inlet) = inlets.get(name) else { continue };
            let job = match rules {
                Some(rules) => Job::Detect { rules: Arc::clone(rules), limits: self.config.limits.clone() },
                None => Job::Carry(config.route.clone()),
            };
            let metrics = self.metrics.pipeline(name);
            let metrics = if config.detect { metrics.worker(worker.number) } else { metrics.carrier(worker.number) };
            let shared = Pipeline { job, metrics, shutdown: Arc::clone(self.shutdown) };
            self.running.push((name, worker.start(inlet, shared, self.health)?));
        }
        Ok(())
    }

    /// How many were started.
    pub(super) fn running_len(&self) -> usize {
        self.running.len()
    }

    /// Waits for all that were started, and prints the balance.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let mut balance: BTreeMap<&str, Counts> = BTreeMap::new();
        let mut failures = Vec::new();
        if self.running.is_empty() {
            return Ok(());
        }
        for (name, worker) in self.running {
            let counts = balance.entry(name).or_default();
            match worker.join() {
                Ok(Ok(worked)) => counts.add(&worked),
                Ok(Err(error)) => failures.push(format!("pipelines.{name}: {error}")),
                Err(_) => failures.push(format!("pipelines.{name}: a worker panicked; this is a fault of trailhound")),
            }
        }
        for (name, counts) in &balance {
            tracing::info!(
                pipeline = name,
                received = counts.received,
                evaluated = counts.evaluated,
                forwarded = counts.forwarded,
                skipped = total(&counts.skipped),
                dead_lettered = total(&counts.dead_lettered),
                failed = total(&counts.failed),
                findings = total(&counts.findings),
                "stopped"
            );
        }
        print(serde_json::json!({ "pipelines": balance }))?;
        failures.sort();
        failures.dedup();
        if failures.is_empty() { Ok(()) } else { Err(Failure::new(failures.join("\n"))) }
    }
}

impl<'a> Worker<'a> {
    fn new(
        pipeline: &'a str,
        number: usize,
        instance: &str,
        config: &'a PipelineConfig,
    ) -> Result<Worker<'a>, Failure> {
        let id = format!("{instance}-{pipeline}-{number}");
        let transaction = match &config.sink {
            SinkConfig::Kafka(sink, _) if config.exactly_once => {
                Some(Arc::new(Transaction::new(&sink.properties, &id).map_err(Failure::new)?))
            }
            _ => None,
        };
        let sink = |config: &SinkConfig| sink(config, &id, transaction.as_ref()).map_err(Failure::new);
        let delivery = Delivery::new(sink(&config.sink)?, sink(&config.shadow)?, sink(&config.dead_letters)?);
        Ok(Worker { pipeline, number, config, id, delivery, transaction })
    }

    /// Starts it: a thread that owns its consumer, its producers and its rule instances.
    fn start(
        self,
        inlet: &Inlet<'_>,
        pipeline: Pipeline,
        health: &Health,
    ) -> Result<JoinHandle<Result<Counts, PipelineError>>, Failure> {
        let Worker { pipeline: name, number, config, id, mut delivery, transaction } = self;
        let mut source = source(config, inlet, &id, &pipeline, transaction).map_err(Failure::new)?;
        let (health, label) = (health.clone(), name.to_owned());
        let work = move || {
            pipeline.metrics.state(WorkerState::Running);
            let result = pipeline::run(&pipeline, &mut source, &mut delivery, |_, _| {});
            if let Err(error) = &result {
                tracing::error!(pipeline = label, "worker failed: {error}");
                health.failed();
                pipeline.shutdown.request();
            }
            // Findings that were delivered are committed even when what came after them failed.
            source.close();
            pipeline.metrics.state(WorkerState::Ended);
            result
        };
        std::thread::Builder::new().name(format!("{name}-{number}")).spawn(work).map_err(Failure::new)
    }
}

/// What the workers of a pipeline read from.
enum Inlet<'a> {
    /// Topics: each worker has a consumer of its own.
    Kafka(&'a KafkaSourceConfig),
    /// An endpoint that they share.
    Firehose(Arc<Endpoint>),
}

/// Starts what the workers of a pipeline share of its source.
fn inlet<'a>(
    name: &str,
    config: &'a PipelineConfig,
    metrics: &Metrics,
    shutdown: &Arc<Shutdown>,
) -> Result<Inlet<'a>, Failure> {
    match &config.source {
        SourceConfig::Kafka(kafka, _) => Ok(Inlet::Kafka(kafka)),
        SourceConfig::Firehose(firehose) => {
            let failed = |error: EndpointError| Failure::new(format!("pipelines.{name}.source.firehose: {error}"));
            let metrics = metrics.firehoses().pipeline(name);
            let endpoint = Endpoint::start(name, firehose, metrics, Arc::clone(shutdown)).map_err(failed)?;
            Ok(Inlet::Firehose(Arc::new(endpoint)))
        }
    }
}

fn source(
    config: &PipelineConfig,
    inlet: &Inlet<'_>,
    client_id: &str,
    pipeline: &Pipeline,
    transaction: Option<Arc<Transaction>>,
) -> Result<Source, SourceError> {
    let (limits, metrics) = (config.batch.clone(), Some(pipeline.metrics.clone()));
    match inlet {
        Inlet::Kafka(source) => {
            let source = KafkaSource::new(source, limits, !config.detect, client_id, metrics, transaction)?;
            Ok(Source::Kafka(Box::new(source)))
        }
        Inlet::Firehose(endpoint) => Ok(Source::Firehose(Box::new(FirehoseSource::new(Arc::clone(endpoint), limits)))),
    }
}

fn sink(config: &SinkConfig, client_id: &str, transaction: Option<&Arc<Transaction>>) -> Result<Sink, SinkError> {
    Ok(match (config, transaction) {
        (SinkConfig::Kafka(config, _), Some(transaction)) => {
            Sink::Transaction(TransactionSink::new(&config.topic, transaction))
        }
        (SinkConfig::Kafka(config, _), None) => Sink::Kafka(Box::new(KafkaSink::new(config.clone(), client_id)?)),
        (SinkConfig::Splunk(config), _) => Sink::Splunk(Box::new(SplunkSink::new(config.clone())?)),
        (SinkConfig::OpenSearch(config), _) => Sink::OpenSearch(Box::new(OpenSearchSink::new(config.clone())?)),
        (SinkConfig::Stdout, _) => Sink::Stdout(StdoutSink::default()),
        (SinkConfig::File(path), _) => Sink::File(FileSink::open(path)?),
        (SinkConfig::Syslog(config), _) => Sink::Syslog(Box::new(SyslogSink::new((**config).clone())?)),
        (SinkConfig::Webhook(config), _) => Sink::Webhook(Box::new(WebhookSink::new((**config).clone())?)),
        (SinkConfig::Archive(config), _) => Sink::Archive(ArchiveSink::open(config.clone())?),
        (SinkConfig::Discard, _) => Sink::Discard,
    })
}
