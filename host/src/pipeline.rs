//! The loop: read a batch, detect, deliver, and only then let offsets move.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::batch::Batch;
use crate::counts::Counts;
use crate::detect::{DetectLimits, Detector};
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
    while source.next_batch(&mut batch, &pipeline.shutdown)? {
        let rules = pipeline.rules.load();
        let mut refused = Counts::default();
        let mut counts = detector.detect(&rules, &batch, now_ms(), &mut |output| {
            let wait = Wait { source: &mut *source, shutdown: &pipeline.shutdown };
            delivery.deliver(output, &mut refused, wait)?;
            let acknowledged_ms = now_ms();
            let appended = output.findings.iter().filter_map(|found| found.origin.appended_ms);
            appended.for_each(|ms| pipeline.metrics.append_to_finding(acknowledged_ms - ms));
            Ok::<(), SinkError>(())
        })?;
        source.commit(&batch);
        counts.add(&refused);
        pipeline.metrics.batch(batch.len(), batch.bytes_len(), &counts);
        total.add(&counts);
        after_batch(source, &total);
    }
    Ok(total)
}

/// The time in milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
