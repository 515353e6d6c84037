//! `trailhound run`: all pipelines of a configuration, until a signal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::signal::unix::{SignalKind, signal};

use super::validate::{check_kafka, engine, load_rules, unusable};
use super::{Failure, print};
use crate::admin::{self, Health};
use crate::config::{self, Config, PipelineConfig, SinkConfig, SourceConfig};
use crate::counts::{Counts, total};
use crate::kafka::Transaction;
use crate::metrics::Metrics;
use crate::overview::{Does, WorkerState};
use crate::pipeline::{self, Job, Pipeline, PipelineError};
use crate::shutdown::Shutdown;
use crate::sink::{
    ArchiveSink, Delivery, FileSink, KafkaSink, OpenSearchSink, Sink, SinkError, SplunkSink, StdoutSink, SyslogSink,
    TransactionSink, WebhookSink,
};
use crate::source::{Endpoint, EndpointError, FirehoseSource, KafkaSource, KafkaSourceConfig, Source, SourceError};
use crate::swap::{Keeper, Wake};

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = config::load(file).map_err(Failure::usage)?;
    let (metrics, wake) = (Metrics::default(), Wake::default());
    let (shutdown, health) = (Arc::new(Shutdown::new(config.drain_max)), Health::default());
    for (name, pipeline) in &config.pipelines {
        let does = if pipeline.detect { Does::Detect } else { Does::Carry };
        metrics.overview().add(name, does, pipeline.workers);
    }
    serve(&config, &metrics, &health, &shutdown, &wake)?;
    let mut keeper = prepare(&config, &metrics, &shutdown)?;
    if let Some(keeper) = &mut keeper {
        wait_for_rules(&config, keeper, &shutdown, &wake);
    }
    let rules = keeper.as_ref().map(Keeper::rules);
    let mut workers = Vec::new();
    for (name, pipeline) in &config.pipelines {
        let job = match &rules {
            Some(rules) if pipeline.detect => Job::Detect { rules: Arc::clone(rules), limits: config.limits.clone() },
            _ => Job::Carry(pipeline.route.clone()),
        };
        let shared = Pipeline { job, metrics: metrics.pipeline(name), shutdown: Arc::clone(&shutdown) };
        let inlet = inlet(name, pipeline, &metrics, &shutdown)?;
        for number in 0..pipeline.workers {
            let worker = start((name, number), &config.instance, pipeline, &inlet, shared.clone(), &health)?;
            workers.push((name.clone(), worker));
        }
    }
    let (stop, woken) = (Arc::clone(&shutdown), wake.clone());
    let keep = keeper
        .map(|keeper| std::thread::Builder::new().name("rules".to_owned()).spawn(move || keeper.keep(&woken, &stop)));
    let keep = keep.transpose().map_err(Failure::new)?;
    health.running();
    let live = rules.map(|rules| rules.load_full());
    tracing::info!(
        pipelines = config.pipelines.len(),
        workers = workers.len(),
        modules = live.as_ref().map(|live| live.modules.len()),
        rules = live.as_ref().map(|live| live.rules_len()),
        generation = live.as_ref().map(|live| live.generation),
        "running"
    );
    let finished = finish(workers);
    // Its last words to the fleet.
    shutdown.request();
    let _ = keep.map(JoinHandle::join);
    finished
}

/// Checks the clusters, and loads the rules where some pipeline detects.
fn prepare(config: &Config, metrics: &Metrics, shutdown: &Shutdown) -> Result<Option<Keeper>, Failure> {
    let engine = config.detects().then(|| engine(config)).transpose()?;
    let load = |engine| load_rules(engine, config, false, metrics, &|| shutdown.requested());
    // A mistake in the folder is said without asking the brokers.
    let early = engine.as_ref().filter(|_| config.rules.topic.is_none()).map(load).transpose()?;
    let mistakes = check_kafka(config, true);
    if !mistakes.is_empty() {
        return Err(unusable(&mistakes));
    }
    match early {
        Some(keeper) => Ok(Some(keeper)),
        None => engine.as_ref().map(load).transpose(),
    }
}

/// Nothing is received before there is something to detect with.
fn wait_for_rules(config: &Config, keeper: &mut Keeper, shutdown: &Shutdown, wake: &Wake) {
    let rules = keeper.rules();
    if rules.load().modules.is_empty() {
        tracing::warn!(
            topic = config.rules.topic,
            "waiting for the first module: publish one with `trailhound rule publish`"
        );
    }
    while rules.load().modules.is_empty() && !shutdown.requested() {
        keeper.turn(wake);
    }
}

/// Waits for all workers and prints the balance.
fn finish(workers: Vec<(String, JoinHandle<Result<Counts, PipelineError>>)>) -> Result<(), Failure> {
    let mut balance: BTreeMap<String, Counts> = BTreeMap::new();
    let mut failures = Vec::new();
    for (name, worker) in workers {
        let counts = balance.entry(name.clone()).or_default();
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

/// Starts a worker: a thread that owns its consumer, its producers and its rule instances.
fn start(
    (name, number): (&str, usize),
    instance: &str,
    config: &PipelineConfig,
    inlet: &Inlet<'_>,
    mut pipeline: Pipeline,
    health: &Health,
) -> Result<JoinHandle<Result<Counts, PipelineError>>, Failure> {
    // Unique among the members of the group and the producers of the cluster, here and on other machines.
    let id = format!("{instance}-{name}-{number}");
    let transaction = match &config.sink {
        SinkConfig::Kafka(sink, _) if config.exactly_once => {
            Some(Arc::new(Transaction::new(&sink.properties, &id).map_err(Failure::new)?))
        }
        _ => None,
    };
    let sink = |config: &SinkConfig| sink(config, &id, transaction.as_ref()).map_err(Failure::new);
    let mut delivery = Delivery {
        findings: sink(&config.sink)?,
        shadow: sink(&config.shadow)?,
        dead_letters: sink(&config.dead_letters)?,
    };
    let metrics = &pipeline.metrics;
    pipeline.metrics = if config.detect { metrics.worker(number) } else { metrics.carrier(number) };
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

/// Starts the thread of all that is asynchronous: signals and the admin page.
fn serve(
    config: &Config,
    metrics: &Metrics,
    health: &Health,
    shutdown: &Arc<Shutdown>,
    wake: &Wake,
) -> Result<(), Failure> {
    let listener = match config.admin {
        Some(address) => {
            let listener = admin::bind(address).map_err(|error| {
                let hint = "another program has the port: set another, or listen = \"off\"";
                Failure::new(format!("admin.listen: {address}: {error}\nhint: {hint}"))
            })?;
            let address = listener.local_addr().map_err(Failure::new)?;
            tracing::info!(%address, "admin page: /metrics /healthz /readyz /status");
            Some(listener)
        }
        None => None,
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(Failure::new)?;
    let (metrics, health, shutdown, wake) = (metrics.clone(), health.clone(), Arc::clone(shutdown), wake.clone());
    let instance = config.instance.clone();
    let (mut terminate, mut interrupt, mut hangup) = {
        let _guard = runtime.enter();
        let listen = |kind| signal(kind).map_err(Failure::new);
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?)
    };
    let serve = move || {
        let page = health.clone();
        runtime.block_on(async move {
            if let Some(listener) = listener {
                tokio::spawn(admin::serve(listener, instance, metrics, page));
            }
            let mut signals = 0;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => {
                        wake.ask();
                        continue;
                    }
                }
                signals += 1;
                if signals > 1 {
                    tracing::warn!("second signal: stopping at once; what is not acknowledged will be read again");
                    std::process::exit(i32::from(super::FAILURE));
                }
                tracing::info!("stopping after the batches in hand");
                health.stopping();
                shutdown.request();
            }
        });
    };
    std::thread::Builder::new().name("admin".to_owned()).spawn(serve).map(drop).map_err(Failure::new)
}
