//! The loop: read a batch, detect or carry, deliver, and only then let offsets move.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, Guard};

use crate::batch::Batch;
use crate::carry::{Route, carry};
use crate::counts::Counts;
use crate::detect::{DetectLimits, Detector};
use crate::kafka::TransactionError;
use crate::metrics::PipelineMetrics;
use crate::rules::RuleSet;
use crate::shutdown::Shutdown;
use crate::sink::{Delivery, SinkError, Wait};
use crate::source::{Source, SourceError};

/// What every worker of a pipeline shares. The rules are the only mutable state among them.
#[derive(Clone)]
pub struct Pipeline {
    /// What is done with messages between source and sink.
    pub job: Job,
    /// Where counters go.
    pub metrics: PipelineMetrics,
    /// The wish to stop.
    pub shutdown: Arc<Shutdown>,
}

/// What is done with messages between source and sink.
#[derive(Clone)]
pub enum Job {
    /// Rules run over them, and what they find is delivered.
    Detect {
        /// The live rule set.
        rules: Arc<ArcSwap<RuleSet>>,
        /// Limits of reading, of rules and of findings.
        limits: DetectLimits,
    },
    /// They are delivered as they are, without what is left out.
    Carry(Route),
}

/// The job as one worker does it.
enum Work<'a> {
    Detect(&'a ArcSwap<RuleSet>, Box<Detector>),
    Carry(&'a Route),
}

/// One batch's turn: it meets exactly one rule set and one time, however often it is done again.
enum Turn<'a> {
    Detect { rules: Guard<Arc<RuleSet>>, detector: &'a mut Detector, now_ms: i64 },
    Carry(&'a Route),
}

impl Work<'_> {
    /// `piece_bytes`: the size of a piece of output.
    fn of(job: &Job, piece_bytes: usize) -> Work<'_> {
        match job {
            Job::Detect { rules, limits } => {
                let limits = DetectLimits { output_bytes_max: piece_bytes, ..limits.clone() };
                Work::Detect(rules, Box::new(Detector::new(limits)))
            }
            Job::Carry(route) => Work::Carry(route),
        }
    }

    fn turn(&mut self) -> Turn<'_> {
        match self {
            Work::Detect(rules, detector) => Turn::Detect { rules: rules.load(), detector, now_ms: now_ms() },
            Work::Carry(route) => Turn::Carry(route),
        }
    }
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

/// Transactions in a row that were aborted after which the target counts as down. A rebalance aborts one.
const ABORTED_IN_ROW_MAX: u32 = 3;

/// The attempts at one batch whose transactions were aborted.
struct Aborted {
    in_row: u32,
    pause: Duration,
}

impl Aborted {
    const NONE: Aborted = Aborted { in_row: 0, pause: AGAIN_AFTER.0 };

    /// Notes one more, and gives the pause before the next. A batch with messages that are refused takes an attempt or
    /// two for each: a target that tells of one more is neither down nor to be waited for longer each time.
    fn note(&mut self, error: &TransactionError) -> Duration {
        if matches!(error, TransactionError::Again { learned: true, .. }) {
            *self = Aborted::NONE;
        }
        let pause = self.pause;
        *self = Aborted { in_row: self.in_row + 1, pause: (pause * 2).min(AGAIN_AFTER.1) };
        pause
    }
}

impl PipelineError {
    /// Why a transaction was aborted whose batch is to be done again.
    fn aborted(&self) -> Option<&TransactionError> {
        let (PipelineError::Source(SourceError::Transaction(error))
        | PipelineError::Sink(SinkError::Transaction(error))) = self
        else {
            return None;
        };
        matches!(error, TransactionError::Again { .. }).then_some(error)
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
    let mut work = Work::of(&pipeline.job, delivery.piece_bytes());
    let mut batch = Batch::default();
    let mut total = Counts::default();
    delivery.start(pipeline.wait(source))?;
    while source.next_batch(&mut batch, &pipeline.shutdown)? {
        if batch.is_empty() {
            delivery.idle();
            continue;
        }
        let (mut turn, mut aborted) = (work.turn(), Aborted::NONE);
        let counts = loop {
            let error = match attempt(pipeline, &mut turn, &mut batch, source, delivery) {
                Ok(counts) => break counts,
                Err(error) => error,
            };
            let Some(cause) = error.aborted() else { return Err(error) };
            tracing::warn!("{cause}; the batch is done again");
            let pause = aborted.note(cause);
            if aborted.in_row >= ABORTED_IN_ROW_MAX {
                pipeline.metrics.target_down(delivery.findings.name(), &cause.to_string());
            }
            if !pipeline.wait(source).pause(pause) {
                return Err(error);
            }
            source.drop_taken(&mut batch);
        };
        if aborted.in_row > 0 {
            pipeline.metrics.target_up();
        }
        pipeline.metrics.batch(batch.len(), batch.bytes_len(), &counts);
        total.add(&counts);
        after_batch(source, &total);
    }
    Ok(total)
}

/// Detects or carries, delivers, and lets the offsets move; what the source has more for a batch is detected with it. After a transaction that was aborted the same batch, rules and
/// time make the same output again; what the attempt has counted is forgotten.
fn attempt(
    pipeline: &Pipeline,
    turn: &mut Turn<'_>,
    batch: &mut Batch,
    source: &mut Source,
    delivery: &mut Delivery,
) -> Result<Counts, PipelineError> {
    let (rules, detector, now_ms) = match turn {
        Turn::Detect { rules, detector, now_ms } => (rules, detector, now_ms),
        Turn::Carry(route) => {
            let counts = carry(route, batch, delivery, &mut pipeline.wait(source))?;
            source.commit(batch, &pipeline.shutdown)?;
            pipeline.metrics.in_hand(None);
            return Ok(counts);
        }
    };
    let (mut refused, mut appended) = (Counts::default(), Vec::new());
    let (mut counts, mut seen) = (Counts::default(), 0);
    loop {
        let detected = detector.detect(rules, batch.since(seen), *now_ms, &mut |output| {
            if output.is_empty() {
                // Modules are slow: nobody else must take over the partitions meanwhile.
                source.keep_alive();
                return Ok(());
            }
            appended.extend(output.findings.iter().filter_map(|found| found.origin.appended_ms));
            delivery.deliver(output, &mut refused, pipeline.wait(source))
        })?;
        // Nearly every batch is one piece, whose counters are taken as they are.
        if seen == 0 {
            counts = detected
        } else {
            counts.add(&detected)
        }
        seen = batch.len();
        if !source.more(batch, &pipeline.shutdown)? {
            break;
        }
    }
    delivery.settle(&mut refused, pipeline.wait(source))?;
    source.commit(batch, &pipeline.shutdown)?;
    let acknowledged_ms = self::now_ms();
    appended.into_iter().for_each(|ms| pipeline.metrics.append_to_finding(acknowledged_ms - ms));
    counts.add(&refused);
    Ok(counts)
}

impl Pipeline {
    fn wait<'a>(&'a self, source: &'a mut Source) -> Wait<'a> {
        Wait { source, shutdown: &self.shutdown, metrics: &self.metrics }
    }
}

/// The time in milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{ABORTED_IN_ROW_MAX, AGAIN_AFTER, Aborted};
    use crate::kafka::TransactionError;

    #[test]
    fn a_target_that_only_refuses_messages_is_neither_down_nor_waited_for_longer_each_time() {
        let [refused, again] = [true, false].map(|learned| TransactionError::Again { why: String::new(), learned });
        let mut aborted = Aborted::NONE;
        for _ in 0..100 {
            // Each message that is refused costs an abort of its own and often one more.
            assert_eq!(aborted.note(&refused), AGAIN_AFTER.0);
            assert_eq!(aborted.note(&again), AGAIN_AFTER.0 * 2);
            assert!(aborted.in_row < ABORTED_IN_ROW_MAX);
        }
        let longest = (0..100).map(|_| aborted.note(&again)).max();
        assert!(longest == Some(AGAIN_AFTER.1) && aborted.in_row >= ABORTED_IN_ROW_MAX, "what tells nothing counts");
    }
}
