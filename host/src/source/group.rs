//! What a consumer's callbacks do: rebalances, statistics, librdkafka's log; and the offsets that they share with the
//! worker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::kafka::{Events, Membership, Offsets, Transaction, offset_list};
use crate::metrics::PipelineMetrics;

/// How long a rebalance waits for offsets to be committed in a transaction. What is not committed then is read again,
/// and as it led to nothing, nothing is repeated.
const REVOKE_MAX: Duration = Duration::from_secs(5);

/// What the rebalance callback shares with the worker. Both run on the worker's thread, within `poll`; the lock only
/// satisfies the compiler.
#[derive(Default)]
pub(super) struct Progress {
    /// The next offset of each partition: one past the last message that was received and delivered.
    pub(super) delivered: Offsets,
    /// Partitions that were taken away since this was last looked at.
    pub(super) revoked: Vec<(String, i32)>,
    /// Whether the source fetches nothing for now. librdkafka keeps a partition's pause while somebody else owns it, so
    /// the rebalance callbacks see to it that partitions leave unpaused and arrive as this says: one that came back
    /// with a pause of old would never be read again.
    pub(super) paused: bool,
    /// Whether something was delivered since offsets were last committed.
    pub(super) dirty: bool,
}

/// The callbacks of a consumer.
pub(super) struct Context {
    events: Events,
    progress: Mutex<Progress>,
    metrics: Option<PipelineMetrics>,
    /// Where all offsets go through transactions: a plain commit could overtake one, and rewind it.
    pub(super) transaction: Option<Arc<Transaction>>,
}

impl Context {
    pub(super) fn new(metrics: Option<PipelineMetrics>, transaction: Option<Arc<Transaction>>) -> Context {
        Context { events: Events::default(), progress: Mutex::default(), metrics, transaction }
    }

    /// Commits what was delivered of partitions that are about to go.
    fn commit_revoked(&self, consumer: &BaseConsumer<Self>, offsets: &Offsets) {
        let Some(transaction) = &self.transaction else {
            commit(consumer, offsets, CommitMode::Sync);
            return;
        };
        let deadline = Instant::now() + REVOKE_MAX;
        if let Err(error) =
            transaction.commit_offsets(offsets, || membership(consumer), &mut || Instant::now() < deadline)
        {
            tracing::debug!("offsets of revoked partitions not committed: {error}");
        }
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        crate::kafka::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.note(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(metrics) = &self.metrics else { return };
        for topic in statistics.topics.values() {
            // Partition -1 is librdkafka's own; a lag of -1 is not known yet.
            for partition in topic.partitions.values().filter(|p| p.partition >= 0 && p.consumer_lag >= 0) {
                metrics.lag(&topic.topic, partition.partition, partition.consumer_lag);
            }
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                tracing::info!(partitions = partitions.count(), "partitions assigned");
            }
            Rebalance::Revoke(partitions) => {
                let lost = consumer.assignment_lost();
                tracing::info!(partitions = partitions.count(), lost, "partitions revoked");
                let taken: Vec<(String, i32)> =
                    partitions.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
                // The next owner starts at what is committed here, so whatever was delivered is committed first. A
                // lost partition has an owner already: a commit would be refused.
                let delivered = |key: &(Arc<str>, i32)| contains(&taken, &key.0, key.1);
                let mut offsets = self.progress().delivered.clone();
                offsets.retain(|key, _| delivered(key));
                if !lost {
                    self.commit_revoked(consumer, &offsets);
                }
                if self.progress().paused
                    && let Err(error) = consumer.resume(partitions)
                {
                    tracing::error!("partitions stay paused: {error}");
                }
                let mut progress = self.progress();
                progress.delivered.retain(|(topic, partition), _| !contains(&taken, topic, *partition));
                if let Some(metrics) = &self.metrics {
                    taken.iter().for_each(|(topic, partition)| metrics.no_lag(topic, *partition));
                }
                progress.revoked.extend(taken);
            }
            Rebalance::Error(error) => tracing::warn!("rebalance: {error}"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance
            && self.progress().paused
            && let Err(error) = consumer.pause(partitions)
        {
            tracing::warn!("cannot pause the source: {error}");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        match result {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => {
                tracing::debug!("offsets not committed yet: {error}");
                self.progress().dirty = true;
            }
        }
    }
}

pub(super) fn contains(partitions: &[(String, i32)], topic: &str, partition: i32) -> bool {
    partitions.iter().any(|(t, p)| *p == partition && t == topic)
}

/// The group's word on this consumer. A consumer that has lost its place has forgotten who it was, and brokers take the
/// offsets of a transaction from nobody in particular without asking; so there is no word then.
pub(super) fn membership(consumer: &BaseConsumer<Context>) -> Option<Membership> {
    let member = consumer.group_metadata();
    member.filter(|_| !consumer.assignment_lost())
}

/// False when the commit was refused: a later one carries the same offsets, and until then a restart repeats.
pub(super) fn commit(consumer: &BaseConsumer<Context>, offsets: &Offsets, mode: CommitMode) -> bool {
    if offsets.is_empty() {
        return true;
    }
    match consumer.commit(&offset_list(offsets), mode) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!("offsets not committed yet: {error}");
            false
        }
    }
}
