//! The workers of the demo's pipeline: the loop, the source and the sinks that `trailhound run` has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::kafka::{Cluster, DEAD_LETTERS, FINDINGS, RECORDS, SHADOW};
use super::run::DemoError;
use crate::counts::Counts;
use crate::detect::DetectLimits;
use crate::metrics::Metrics;
use crate::pipeline::{self, Job, Pipeline, PipelineError};
use crate::rules::RuleSet;
use crate::shutdown::Shutdown;
use crate::sink::{Delivery, KafkaSink, KafkaSinkConfig, Sink};
use crate::source::{BatchLimits, KafkaSource, KafkaSourceConfig, Protocol, Source};

pub(super) const GROUP: &str = "trailhound-demo";

/// How long deliveries may take after the stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Workers that run. Dropped, they stop.
pub(super) struct Workers {
    pipeline: Pipeline,
    workers: Vec<Worker>,
}

/// A thread that owns its consumer, its producers and its rule instances.
struct Worker {
    /// Entries that it has received and dealt with.
    received: Arc<AtomicU64>,
    thread: JoinHandle<Result<Counts, PipelineError>>,
}

impl Workers {
    /// No workers yet.
    pub(super) fn new(rules: &Arc<ArcSwap<RuleSet>>, metrics: &Metrics) -> Workers {
        let pipeline = Pipeline {
            job: Job::Detect { rules: Arc::clone(rules), limits: DetectLimits::default() },
            metrics: metrics.pipeline("demo"),
            shutdown: Arc::new(Shutdown::new(DRAIN_MAX)),
        };
        Workers { pipeline, workers: Vec::new() }
    }

    /// Starts one more, which joins the group.
    pub(super) fn add(&mut self, cluster: &Cluster) -> Result<(), DemoError> {
        let client_id = format!("{GROUP}-{}", self.workers.len() + 1);
        let config = KafkaSourceConfig {
            topics: vec![RECORDS.to_owned()],
            group: GROUP.to_owned(),
            // The only one that the mock broker gets right: with the other a follower that syncs after its leader
            // must join anew, which takes the session's timeout.
            protocol: Protocol::Consumer,
            static_members: false,
            properties: cluster.consumer_properties(),
        };
        let source = KafkaSource::new(&config, BatchLimits::default(), false, &client_id, None, None)?;
        let sink = |topic: &str| {
            let config = KafkaSinkConfig { topic: topic.to_owned(), properties: cluster.properties() };
            KafkaSink::new(config, &client_id).map(|sink| Sink::Kafka(Box::new(sink)))
        };
        let mut delivery = Delivery::new(sink(FINDINGS)?, sink(SHADOW)?, sink(DEAD_LETTERS)?);
        let mut source = Source::Kafka(Box::new(source));
        let received = Arc::new(AtomicU64::new(0));
        let (pipeline, so_far) = (self.pipeline.clone(), Arc::clone(&received));
        let work = move || {
            let result = pipeline::run(&pipeline, &mut source, &mut delivery, |_, counts| {
                so_far.store(counts.received, Ordering::Relaxed);
            });
            source.close();
            result
        };
        let thread = std::thread::Builder::new().name(client_id).spawn(work).map_err(DemoError::Thread)?;
        self.workers.push(Worker { received, thread });
        Ok(())
    }

    /// Entries that worker `number`, from 0, has received and dealt with.
    pub(super) fn received_by(&self, number: usize) -> u64 {
        self.workers.get(number).map(|worker| worker.received.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Entries that all of them have received and dealt with.
    pub(super) fn received(&self) -> u64 {
        (0..self.workers.len()).map(|number| self.received_by(number)).sum()
    }

    /// Whether one has ended before it was told to.
    pub(super) fn failed(&self) -> bool {
        self.workers.iter().any(|worker| worker.thread.is_finished())
    }

    /// Stops after the batches in hand, and gives the counters of all workers.
    pub(super) fn stop(mut self) -> Result<Counts, DemoError> {
        self.pipeline.shutdown.request();
        let mut counts = Counts::default();
        for worker in std::mem::take(&mut self.workers) {
            counts.add(&worker.thread.join().map_err(|_| DemoError::Panicked)??);
        }
        Ok(counts)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.pipeline.shutdown.request();
        for worker in std::mem::take(&mut self.workers) {
            let _ = worker.thread.join();
        }
    }
}
