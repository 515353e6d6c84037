//! What a consumer's callbacks do: rebalances, statistics, librdkafka's log; and the offsets that they share with the
//! worker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use crate::kafka::{Events, Membership, Offsets, Transaction, offset_list};
use crate::metrics::PipelineMetrics;

/// How long a rebalance waits for offsets to be committed in a transaction. What is not committed then is read again,
/// and as it led to nothing, nothing is repeated.
const REVOKE_MAX: Duration = Duration::from_secs(5);

/// How long to wait at a time for the group's offsets.
const ASK_MAX: Duration = Duration::from_secs(1);

/// What the rebalance callback shares with the worker. Both run on the worker's thread, within `poll`; the lock only
/// satisfies the compiler.
#[derive(Default)]
pub(super) struct Progress {
    /// The next offset of each partition: one past the last message that was received and delivered.
    pub(super) delivered: Offsets,
    /// Partitions that the group has given, as long as it is not known where to begin.
    pub(super) arrived: Option<TopicPartitionList>,
    /// Whether the consumer is about to leave: what arrives now is not read.
    leaving: bool,
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

    /// Partitions have arrived. They are read once the group's offsets are known ([`Context::begin`]): librdkafka would
    /// ask for them by itself, but when another rebalance overtakes its question it takes "not known, a transaction is
    /// open" for "none", and begins at the beginning (seen in 2.12.1).
    fn arrive(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        tracing::info!(partitions = partitions.count(), "partitions assigned");
        let mut progress = self.progress();
        progress.arrived = Some(partitions.clone());
        if progress.leaving {
            drop(progress);
            self.accept(consumer);
        }
    }

    /// Begins to read partitions that have arrived, as soon as it is known where. To be called after each poll until then.
    pub(super) fn begin(&self, consumer: &BaseConsumer<Self>) {
        let Some(arrived) = self.progress().arrived.take() else { return };
        match committed(consumer, &arrived) {
            Ok(placed) => self.assign(consumer, &placed),
            Err(error) => {
                tracing::debug!("where to begin is not known yet: {error}");
                self.progress().arrived = Some(arrived);
            }
        }
    }

    /// Nothing will be read any more. librdkafka goes on only when all that arrived was taken.
    pub(super) fn end(&self, consumer: &BaseConsumer<Self>) {
        self.progress().leaving = true;
        self.accept(consumer);
    }

    /// Takes what has arrived, without asking where to begin.
    fn accept(&self, consumer: &BaseConsumer<Self>) {
        let arrived = self.progress().arrived.take();
        if let Some(arrived) = arrived {
            self.assign(consumer, &arrived);
        }
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
            _ => consumer.assign(partitions),
        };
        let paused = self.progress().paused;
        let pause = || if paused { consumer.pause(partitions) } else { Ok(()) };
        if let Err(error) = result.and_then(|()| pause()) {
            tracing::warn!("partitions assigned: {error}");
        }
    }

    /// Partitions are taken away.
    fn leave(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        self.accept(consumer);
        let lost = consumer.assignment_lost();
        tracing::info!(partitions = partitions.count(), lost, "partitions revoked");
        let taken: Vec<(String, i32)> =
            partitions.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        // The next owner starts at what is committed here, so whatever was delivered is committed first. A lost partition
        // has an owner already: a commit would be refused.
        let mut offsets = self.progress().delivered.clone();
        offsets.retain(|key, _| contains(&taken, &key.0, key.1));
        if !lost {
            self.commit_revoked(consumer, &offsets);
        }
        if self.progress().paused
            && let Err(error) = consumer.resume(partitions)
        {
            tracing::error!("partitions stay paused: {error}");
        }
        unassign(consumer, partitions);
        let mut progress = self.progress();
        progress.delivered.retain(|(topic, partition), _| !contains(&taken, topic, *partition));
        if let Some(metrics) = &self.metrics {
            taken.iter().for_each(|(topic, partition)| metrics.no_lag(topic, *partition));
        }
        progress.revoked.extend(taken);
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
    /// As the trait does it by itself, but for what [`Context::arrive`] says.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.arrive(consumer, partitions),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.leave(consumer, partitions),
            code => {
                tracing::warn!("rebalance: {}", RDKafkaErrorCode::from(code));
                unassign(consumer, partitions);
            }
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

fn unassign(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) {
    let result = match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        _ => consumer.unassign(),
    };
    if let Err(error) = result {
        tracing::warn!("partitions given back: {error}");
    }
}

/// Where the group stands in these partitions, `Invalid` where it never was. An error when one of them is not known yet.
pub(super) fn committed(
    consumer: &BaseConsumer<Context>,
    partitions: &TopicPartitionList,
) -> KafkaResult<TopicPartitionList> {
    let committed = consumer.committed_offsets(partitions.clone(), ASK_MAX)?;
    committed.elements().iter().try_for_each(|found| found.error())?;
    Ok(committed)
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
