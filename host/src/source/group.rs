//! What a consumer's callbacks do: rebalances, statistics, librdkafka's log; and the offsets that they share with the
//! worker.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use trailhound_fetch::Queue;

use super::begin::{self, Asking, Places};
use crate::kafka::{Events, Membership, Offsets, Transaction, offset_list};
use crate::metrics::PipelineMetrics;

/// How long a rebalance waits for offsets to be committed in a transaction. What is not committed then is read again,
/// and as it led to nothing, nothing is repeated.
const REVOKE_MAX: Duration = Duration::from_secs(5);

/// How long the end of a paused partition is waited for, which a broker that is well gives at once: nobody looks at the target
/// meanwhile.
const LAG_WAIT: Duration = Duration::from_millis(200);

/// What the rebalance callback shares with the worker. Both run on the worker's thread, within `poll`; the lock only
/// satisfies the compiler.
#[derive(Default)]
pub(super) struct Progress {
    /// The next offset of each partition: one past the last message that was received and delivered.
    pub(super) delivered: Offsets,
    /// Where each partition was begun to be read.
    begun: Offsets,
    /// Those of which no message has come since they were last assigned: their messages may not be on their way to the worker yet
    /// ([`Queue::forward`]).
    pub(super) unheard: BTreeSet<(String, i32)>,
    /// Partitions that the group has given, as long as it is not known where to begin.
    pub(super) arrived: Option<Arrived>,
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

/// See [`Progress::arrived`].
pub(super) struct Arrived {
    partitions: TopicPartitionList,
    /// Those that came with them and are read already, with the offsets where they began; None as long as librdkafka
    /// still waits to be told what is taken.
    begun: Option<TopicPartitionList>,
    /// When to ask again where to begin, and how long to wait for an answer then.
    ask_at: Instant,
    wait: Duration,
}

/// The callbacks of a consumer.
pub(super) struct Context {
    events: Events,
    progress: Mutex<Progress>,
    asking: Asking,
    metrics: Option<PipelineMetrics>,
    /// Where all offsets go through transactions: a plain commit could overtake one, and rewind it.
    pub(super) transaction: Option<Arc<Transaction>>,
}

impl Context {
    pub(super) fn new(
        asking: Asking,
        metrics: Option<PipelineMetrics>,
        transaction: Option<Arc<Transaction>>,
    ) -> Context {
        Context { events: Events::default(), progress: Mutex::default(), asking, metrics, transaction }
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

    /// Partitions have arrived. They are read once it is known where to begin ([`Context::begin`]).
    fn arrive(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        tracing::info!(partitions = partitions.count(), "partitions assigned");
        let mut progress = self.progress();
        let mut all = partitions.clone();
        // Some may still be unknown of those that came before, where a group gives them one by one.
        let earlier = progress.arrived.take().map(|earlier| earlier.partitions).unwrap_or_default();
        earlier.elements().iter().for_each(|found| begin::add(&mut all, found, Offset::Invalid));
        progress.arrived =
            Some(Arrived { partitions: all, begun: None, ask_at: Instant::now(), wait: self.asking.wait(None) });
        if progress.leaving {
            drop(progress);
            self.accept(consumer, |_, _| true);
        }
    }

    /// Begins to read partitions that have arrived, as soon as it is known where. To be called after each poll until then:
    /// some may be known later than others.
    pub(super) fn begin(&self, queue: &Queue<Self>) {
        let consumer = queue.consumer();
        let due = |arrived: &mut Arrived| arrived.ask_at <= Instant::now();
        let Some(Arrived { partitions, begun, wait, .. }) = self.progress().arrived.take_if(due) else { return };
        let asked = Instant::now();
        let Places { known, unknown } = begin::places(consumer, &partitions, self.asking, wait);
        known.elements().iter().for_each(|found| queue.forward(found.topic(), found.partition()));
        let begun = match known.count() > 0 || unknown.count() == 0 {
            true => Some(self.assign(consumer, &known, begun)),
            false => begun,
        };
        if unknown.count() > 0 {
            // Asking keeps this thread from what is known: that is given as much time.
            let ask_at = Instant::now() + asked.elapsed();
            let wait = self.asking.wait(Some(wait));
            self.progress().arrived = Some(Arrived { partitions: unknown, begun, ask_at, wait });
        }
    }

    /// Something of this partition has come.
    pub(super) fn hear(&self, topic: &str, partition: i32) {
        self.progress().unheard.retain(|(of, number)| (of.as_str(), *number) != (topic, partition));
    }

    /// Nothing will be read any more. librdkafka goes on only when all that arrived was taken.
    pub(super) fn end(&self, consumer: &BaseConsumer<Self>) {
        self.progress().leaving = true;
        self.accept(consumer, |_, _| true);
    }

    /// Takes those of the partitions that have arrived which will go at once, and which nobody will read. They get some
    /// offset, so that librdkafka does not ask anybody for one (see [`begin`]).
    fn accept(&self, consumer: &BaseConsumer<Self>, goes: impl Fn(&str, i32) -> bool) {
        let Some(arrived) = self.progress().arrived.take() else { return };
        let (mut going, mut staying) = (TopicPartitionList::new(), TopicPartitionList::new());
        for found in arrived.partitions.elements() {
            if goes(found.topic(), found.partition()) {
                begin::add(&mut going, &found, Offset::Offset(0));
            } else {
                begin::add(&mut staying, &found, Offset::Invalid);
            }
        }
        let begun = Some(self.assign(consumer, &going, arrived.begun));
        if staying.count() > 0 {
            self.progress().arrived = Some(Arrived { partitions: staying, begun, ..arrived });
        }
    }

    /// Tells librdkafka to read these partitions too, beside those that have begun. Gives all of them.
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
        begun: Option<TopicPartitionList>,
    ) -> TopicPartitionList {
        let mut all = begun.map(|begun| begin::moved_on(consumer, &begun)).unwrap_or_default();
        partitions.elements().iter().for_each(|found| begin::add(&mut all, found, found.offset()));
        let begun = partitions.elements().into_iter().filter_map(|found| {
            let at = found.offset().to_raw().filter(|at| *at >= 0)?;
            Some(((Arc::from(found.topic()), found.partition()), at))
        });
        let mut progress = self.progress();
        progress.begun.extend(begun);
        // It stops to read those that had begun, too, and reads them again.
        progress.unheard.extend(all.elements().iter().map(|found| (found.topic().to_owned(), found.partition())));
        drop(progress);
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
            _ => consumer.assign(&all),
        };
        let paused = self.progress().paused;
        let pause = || if paused { consumer.pause(partitions) } else { Ok(()) };
        if let Err(error) = result.and_then(|()| pause()) {
            tracing::warn!("partitions assigned: {error}");
        }
        all
    }

    /// Partitions are taken away.
    fn leave(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let lost = consumer.assignment_lost();
        tracing::info!(partitions = partitions.count(), lost, "partitions revoked");
        let taken: Vec<(String, i32)> =
            partitions.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        self.accept(consumer, |topic, partition| contains(&taken, topic, partition));
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
        progress.begun.retain(|(topic, partition), _| !contains(&taken, topic, *partition));
        progress.unheard.retain(|(topic, partition)| !contains(&taken, topic, *partition));
        if let Some(metrics) = &self.metrics {
            taken.iter().for_each(|(topic, partition)| metrics.no_lag(topic, *partition));
        }
        progress.revoked.extend(taken);
    }

    /// Tells how many messages wait in a partition whose end this is. librdkafka knows that only of what a group has committed, and
    /// a target that was never up has let nothing be committed.
    fn tell_lag(&self, progress: &Progress, topic: &str, partition: i32, end: i64) {
        let key = (Arc::from(topic), partition);
        if let (Some(metrics), Some(at)) =
            (&self.metrics, progress.delivered.get(&key).or_else(|| progress.begun.get(&key)))
        {
            metrics.lag(topic, partition, end.saturating_sub(*at).max(0));
        }
    }

    /// The same of all partitions that are read, while they are paused: librdkafka learns of an end only by fetching.
    pub(super) fn tell_lag_of_paused(&self, consumer: &BaseConsumer<Self>) {
        let partitions: Vec<_> = self.progress().begun.keys().cloned().collect();
        for (topic, partition) in partitions {
            // One that does not answer will not be the only one.
            let Ok((_, end)) = consumer.fetch_watermarks(&topic, partition, LAG_WAIT) else { return };
            self.tell_lag(&self.progress(), &topic, partition, end);
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
        let progress = self.progress();
        // What it knows of a paused partition is old.
        if progress.paused {
            return;
        }
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                // Before what belongs to transactions under way, where they are not read. Below zero it is not known yet.
                let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
                if end >= 0 {
                    self.tell_lag(&progress, &topic.topic, partition.partition, end);
                }
            }
        }
    }
}

impl ConsumerContext for Context {
    /// As the trait does it by itself, but for what [`begin`] says.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.arrive(consumer, partitions),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.leave(consumer, partitions),
            code => {
                tracing::warn!("rebalance: {}", RDKafkaErrorCode::from(code));
                self.progress().arrived = None;
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
