//! The loop: read a batch, detect, deliver, and only then let offsets move.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::batch::Batch;
use crate::counts::Counts;
use crate::detect::{DetectLimits, Detector};
use crate::kafka::TransactionError;
use crate::metrics::PipelineMetrics;
use crate::rules::RuleSet;
use crate::shutdown::Shutdown;
use crate::sink::{Delivery, SinkError, Wait};
use crate::source::{Source, SourceError};

/// What every worker of a pipeline shares. `rules` is the only mutable state among them.
#[derive(Clone)]
pub struct Pipeline {
    /// The live rule set.
    pub rules: Arc<ArcSwap<RuleSet>>,
    /// Limits of reading, of rules and of findings.
    pub limits: DetectLimits,
    /// Where counters go.
    pub metrics: PipelineMetrics,
    /// The wish to stop.
    pub shutdown: Arc<Shutdown>,
}

/// Why a worker ended before its source did. What it had not delivered is not committed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The source cannot go on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A sink cannot go on.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

/// The pause before a batch is done again: doubled each time, up to the second.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(5));

impl PipelineError {
    /// Whether a transaction was aborted, so that its batch is to be done again.
    fn again(&self) -> bool {
        let (PipelineError::Source(SourceError::Transaction(error))
        | PipelineError::Sink(SinkError::Transaction(error))) = self
        else {
            return false;
        };
        matches!(error, TransactionError::Again(_))
    }
}

/// Runs one worker until the source ends or a stop is asked for. The caller owns source, delivery and shutdown.
/// `after_batch` sees the counters so far after each batch: for progress.
pub fn run(
    pipeline: &Pipeline,
    source: &mut Source,
    delivery: &mut Delivery,
    mut after_batch: impl FnMut(&Source, &Counts),
) -> Result<Counts, PipelineError> {
    let mut detector = Detector::new(pipeline.limits.clone());
    let mut batch = Batch::default();
    let mut total = Counts::default();
    delivery.start(Wait { source: &mut *source, shutdown: &pipeline.shutdown })?;
    while source.next_batch(&mut batch, &pipeline.shutdown)? {
        let rules = pipeline.rules.load();
        let (now_ms, mut pause) = (now_ms(), AGAIN_AFTER.0);
        let counts = loop {
            match attempt(pipeline, &rules, &mut detector, &batch, now_ms, source, delivery) {
                Err(error) if error.again() => {
                    tracing::warn!("{error}; the batch is done again");
                    if !(Wait { source: &mut *source, shutdown: &pipeline.shutdown }).pause(pause) {
                        return Err(error);
                    }
                    pause = (pause * 2).min(AGAIN_AFTER.1);
                    source.drop_taken(&mut batch);
                }
                done => break done?,
            }
        };
        pipeline.metrics.batch(batch.len(), batch.bytes_len(), &counts);
        total.add(&counts);
        after_batch(source, &total);
    }
    Ok(total)
}

/// Detects, delivers, and lets the offsets move. After a transaction that was aborted the same batch, rules and time
/// make the same output again; what the attempt has counted is forgotten.
fn attempt(
    pipeline: &Pipeline,
    rules: &RuleSet,
    detector: &mut Detector,
    batch: &Batch,
    now_ms: i64,
    source: &mut Source,
    delivery: &mut Delivery,
) -> Result<Counts, PipelineError> {
    let (mut refused, mut appended) = (Counts::default(), Vec::new());
    let mut counts = detector.detect(rules, batch, now_ms, &mut |output| {
        if output.is_empty() {
            // Modules are slow: nobody else must take over the partitions meanwhile.
            source.keep_alive();
            return Ok(());
        }
        let wait = Wait { source: &mut *source, shutdown: &pipeline.shutdown };
        delivery.deliver(output, &mut refused, wait)?;
        appended.extend(output.findings.iter().filter_map(|found| found.origin.appended_ms));
        Ok::<(), SinkError>(())
    })?;
    source.commit(batch, &pipeline.shutdown)?;
    let acknowledged_ms = self::now_ms();
    appended.into_iter().for_each(|ms| pipeline.metrics.append_to_finding(acknowledged_ms - ms));
    counts.add(&refused);
    Ok(counts)
}

/// The time in milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
