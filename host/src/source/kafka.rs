//! The Kafka source: one consumer of a group, owned by one worker. A worker finishes its batch before it polls again,
//! so a rebalance finds nothing in flight but what a slow sink holds up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{BatchLimits, SourceError};
use crate::batch::{Batch, Origin};
use crate::kafka::{Events, Properties};
use crate::metrics::PipelineMetrics;
use crate::shutdown::Shutdown;

/// A Kafka source as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaSourceConfig {
    /// The topics.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// All librdkafka properties: `[kafka]` with the source's own on top.
    pub properties: Properties,
}

/// Defaults that differ from librdkafka's. A small prefetch queue with a short back-off: with the default back-off of
/// one second a consumer that is slower than its fetcher stands idle most of the time, and with the default queue it
/// takes gigabytes. `earliest`, because a pipeline that starts must not skip what waits for it.
const DEFAULTS: [(&str, &str); 6] = [
    ("auto.offset.reset", "earliest"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.queue.backoff.ms", "1"),
    ("fetch.wait.max.ms", "50"),
    ("statistics.interval.ms", "5000"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// How often offsets are committed while batches flow; a stop and a revocation commit at once.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// How long one poll may block before the wish to stop is looked at.
const POLL_MAX: Duration = Duration::from_millis(100);

/// How long leaving the group may take. A consumer's drop has been seen to hang (rust-rdkafka#509).
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// A consumer and how far its messages have been delivered.
pub struct KafkaSource {
    consumer: BaseConsumer<Context>,
    limits: BatchLimits,
    topics: HashMap<String, Arc<str>>,
    named: String,
    committed: Instant,
    /// Messages that arrived while the source was paused.
    held: Batch,
    /// Partitions that were taken away while the batch in hand was delivered: its offsets are their new owners' now.
    taken: Vec<(String, i32)>,
}

/// Offsets by topic and partition.
type Offsets = HashMap<(Arc<str>, i32), i64>;

/// What the rebalance callback shares with the worker. Both run on the worker's thread, within `poll`; the lock only
/// satisfies the compiler.
#[derive(Default)]
struct Progress {
    /// The next offset of each partition: one past the last message that was received and delivered.
    delivered: Offsets,
    /// Partitions that were taken away since this was last looked at.
    revoked: Vec<(String, i32)>,
    /// Whether the source fetches nothing for now. librdkafka keeps a partition's pause while somebody else owns it, so
    /// the rebalance callbacks see to it that partitions leave unpaused and arrive as this says: one that came back
    /// with a pause of old would never be read again.
    paused: bool,
    dirty: bool,
}

struct Context {
    events: Events,
    progress: Mutex<Progress>,
    metrics: Option<PipelineMetrics>,
}

impl Context {
    fn progress(&self) -> MutexGuard<'_, Progress> {
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
                let offsets = list(self.progress().delivered.iter().filter(|(key, _)| delivered(key)));
                if !lost {
                    commit(consumer, &offsets, CommitMode::Sync);
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

impl KafkaSource {
    /// Joins the group. `client_id` must be unique within the group's members.
    pub fn new(
        config: &KafkaSourceConfig,
        limits: BatchLimits,
        client_id: &str,
        metrics: Option<PipelineMetrics>,
    ) -> Result<KafkaSource, SourceError> {
        let named = config.topics.join(", ");
        let failed = |error| SourceError::Kafka { topics: named.clone(), error };
        let fixed = [
            ("group.id", config.group.as_str()),
            ("client.id", client_id),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "false"),
        ];
        let context = Context { events: Events::default(), progress: Mutex::default(), metrics };
        let consumer: BaseConsumer<Context> =
            config.properties.client(&DEFAULTS, &fixed).create_with_context(context).map_err(failed)?;
        let topics: Vec<&str> = config.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(failed)?;
        Ok(KafkaSource {
            consumer,
            limits,
            topics: config.topics.iter().map(|topic| (topic.clone(), Arc::from(topic.as_str()))).collect(),
            named,
            committed: Instant::now(),
            held: Batch::default(),
            taken: Vec::new(),
        })
    }

    /// See [`super::Source::next_batch`].
    pub(super) fn next_batch(&mut self, batch: &mut Batch, shutdown: &Shutdown) -> Result<bool, SourceError> {
        self.resume();
        self.taken.clear();
        std::mem::swap(batch, &mut self.held);
        self.held.clear();
        let mut ends = (!batch.is_empty()).then(|| Instant::now() + self.limits.wait);
        while batch.len() < self.limits.messages_max && batch.bytes_len() < self.limits.bytes_max {
            if shutdown.requested() {
                return Ok(!batch.is_empty());
            }
            let timeout = match ends {
                None => POLL_MAX,
                Some(ends) => ends.saturating_duration_since(Instant::now()),
            };
            let polled = self.consumer.poll(timeout);
            drop_revoked(self.consumer.context(), batch);
            let received = match polled {
                Some(Ok(message)) => {
                    push(&self.topics, batch, &message);
                    true
                }
                Some(Err(error)) => {
                    self.tolerate(error)?;
                    false
                }
                None => false,
            };
            if received && ends.is_none() {
                ends = Some(Instant::now() + self.limits.wait);
            }
            if !received && ends.is_some_and(|ends| Instant::now() >= ends) && !batch.is_empty() {
                break;
            }
            if batch.is_empty() {
                ends = None;
                // Again, in case that it failed before.
                self.resume();
                self.commit_when_due();
            }
        }
        Ok(true)
    }

    /// See [`super::Source::commit`].
    pub(super) fn commit(&mut self, batch: &Batch) {
        let mut progress = self.consumer.context().progress();
        let Progress { delivered, dirty, .. } = &mut *progress;
        for origin in batch.origins() {
            if self.taken.is_empty() || !contains(&self.taken, &origin.source, origin.partition) {
                match delivered.get_mut(&(Arc::clone(&origin.source), origin.partition)) {
                    Some(next) => *next = origin.offset + 1,
                    None => {
                        delivered.insert((Arc::clone(&origin.source), origin.partition), origin.offset + 1);
                    }
                }
                *dirty = true;
            }
        }
        drop(progress);
        self.commit_when_due();
    }

    /// See [`super::Source::keep_alive`]. A poll within `max.poll.interval.ms` keeps the membership; the partitions are
    /// paused, so it brings no messages but those that were on their way.
    pub(super) fn keep_alive(&mut self) {
        let paused = self.consumer.context().progress().paused;
        if !paused {
            match self.consumer.assignment().and_then(|assigned| self.consumer.pause(&assigned)) {
                Ok(()) => self.consumer.context().progress().paused = true,
                Err(error) => tracing::warn!("cannot pause the source: {error}"),
            }
        }
        let polled = self.consumer.poll(Duration::ZERO);
        self.taken.extend(drop_revoked(self.consumer.context(), &mut self.held));
        match polled {
            Some(Ok(message)) => push(&self.topics, &mut self.held, &message),
            Some(Err(error)) => tracing::warn!("while the sink is waited for: {error}"),
            None => {}
        }
    }

    /// See [`super::Source::close`].
    pub(super) fn close(self) {
        // While the group rebalances (another member has just left) a commit is refused until this member has joined
        // again, which polling does. What a poll brings is not delivered and stays for the next owner.
        let deadline = Instant::now() + CLOSE_MAX;
        let offsets = || list(self.consumer.context().progress().delivered.iter());
        while !commit(&self.consumer, &offsets(), CommitMode::Sync) && Instant::now() < deadline {
            let _ = self.consumer.poll(POLL_MAX);
        }
        let (done, closed) = std::sync::mpsc::channel();
        let KafkaSource { consumer, named, .. } = self;
        let closing = std::thread::Builder::new().name("consumer-close".to_owned()).spawn(move || {
            drop(consumer);
            let _ = done.send(());
        });
        if closing.is_ok() && closed.recv_timeout(CLOSE_MAX).is_err() {
            tracing::warn!(topics = named, "the consumer did not close in time; its offsets are committed");
        }
    }

    fn resume(&self) {
        let paused = self.consumer.context().progress().paused;
        if paused {
            match self.consumer.assignment().and_then(|assigned| self.consumer.resume(&assigned)) {
                Ok(()) => self.consumer.context().progress().paused = false,
                Err(error) => tracing::warn!("cannot resume the source: {error}"),
            }
        }
    }

    fn commit_when_due(&mut self) {
        if self.committed.elapsed() < COMMIT_EVERY {
            return;
        }
        self.committed = Instant::now();
        let mut progress = self.consumer.context().progress();
        if std::mem::take(&mut progress.dirty) {
            let offsets = list(progress.delivered.iter());
            drop(progress);
            if !commit(&self.consumer, &offsets, CommitMode::Async) {
                self.consumer.context().progress().dirty = true;
            }
        }
    }

    /// Errors that polls return while brokers come and go pass by themselves; only a fatal one ends the source.
    fn tolerate(&self, error: KafkaError) -> Result<(), SourceError> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => Err(SourceError::Kafka { topics: self.named.clone(), error }),
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed,
            ) => {
                tracing::error!(topics = self.named, "the user may not read: {error}");
                Ok(())
            }
            error => {
                tracing::warn!(topics = self.named, "poll: {error}");
                Ok(())
            }
        }
    }
}

/// Drops the messages of partitions that were taken away: their new owner reads them again. It must be called after
/// a poll and before what the poll has brought is kept: one poll may take a partition away, bring it back, and bring a
/// message of it that nobody else will read. Gives the partitions.
fn drop_revoked(context: &Context, batch: &mut Batch) -> Vec<(String, i32)> {
    let revoked = std::mem::take(&mut context.progress().revoked);
    if !revoked.is_empty() {
        batch.retain(|origin| !contains(&revoked, &origin.source, origin.partition));
    }
    revoked
}

fn push(topics: &HashMap<String, Arc<str>>, batch: &mut Batch, message: &BorrowedMessage<'_>) {
    let source = topics.get(message.topic()).cloned().unwrap_or_else(|| Arc::from(message.topic()));
    let appended_ms = message.timestamp().to_millis().filter(|ms| *ms >= 0);
    let origin = Origin { source, partition: message.partition(), offset: message.offset(), appended_ms };
    batch.push(origin, message.payload());
}

fn contains(partitions: &[(String, i32)], topic: &str, partition: i32) -> bool {
    partitions.iter().any(|(t, p)| *p == partition && t == topic)
}

fn list<'a>(offsets: impl Iterator<Item = (&'a (Arc<str>, i32), &'a i64)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in offsets {
        if let Err(error) = list.add_partition_offset(topic, *partition, Offset::Offset(*offset)) {
            tracing::warn!(topic = &**topic, partition, offset, "offset not committed: {error}");
        }
    }
    list
}

/// False when the commit was refused: a later one carries the same offsets, and until then a restart repeats.
fn commit(consumer: &BaseConsumer<Context>, offsets: &TopicPartitionList, mode: CommitMode) -> bool {
    if offsets.count() == 0 {
        return true;
    }
    match consumer.commit(offsets, mode) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!("offsets not committed yet: {error}");
            false
        }
    }
}
