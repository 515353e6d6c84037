//! The Kafka source: one consumer of a group, owned by one worker. A worker finishes its batch before it polls again,
//! so a rebalance finds nothing in flight but what a slow sink holds up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::Offset;

use super::begin::{Asking, committed};
use super::group::{Context, Progress, commit, contains, membership};
use super::{BatchLimits, SourceError};
use crate::batch::{Batch, Origin};
use crate::kafka::{Membership, Offsets, Properties, Transaction, TransactionError, offset_list};
use crate::metrics::PipelineMetrics;
use crate::shutdown::Shutdown;

/// A Kafka source as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaSourceConfig {
    /// The topics.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// How the group shares out the partitions.
    pub protocol: Protocol,
    /// Whether a worker that comes back within the session's time gets its partitions back without a rebalance: its
    /// client id is its `group.instance.id` then.
    pub static_members: bool,
    /// All librdkafka properties: `[kafka]` with the source's own on top.
    pub properties: Properties,
}

/// How a group shares out its partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The members do it among themselves; every broker knows it.
    #[default]
    Classic,
    /// The broker does it (KIP-848): brokers from 4.0 on.
    Consumer,
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

/// Where messages are carried on, these on top. Findings resemble each other, so that a fetch of librdkafka's own size, a megabyte
/// of each partition, becomes many times as much in memory once it is decompressed (BENCHMARKS.md has what that came to); and
/// while one batch is delivered it is enough when the next is there.
const CARRIED_DEFAULTS: [(&str, &str); 3] =
    [("queued.max.messages.kbytes", "4096"), ("fetch.message.max.bytes", "131072"), ("fetch.max.bytes", "1000000")];

/// How often offsets are committed while batches flow; a stop and a revocation commit at once.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// How often the lag is told while the source is paused; otherwise librdkafka's statistics tell it as often.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// How long one poll may block before the wish to stop is looked at.
const POLL_MAX: Duration = Duration::from_millis(100);

/// How long a batch may take before the source is paused and polled. A pause costs up to a second: so long librdkafka takes to
/// fetch again after it, so a batch that is delivered soon goes without.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a pipeline that carries waits for a first message before it looks after its sink.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// How long leaving the group may take. A consumer's drop has been seen to hang (rust-rdkafka#509).
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// A transaction that is older gets no more pieces. Kafka Streams commits at this interval (`commit.interval.ms` with
/// exactly_once_v2).
const OPEN_MAX: Duration = Duration::from_millis(100);

/// A consumer and how far its messages have been delivered.
pub struct KafkaSource {
    consumer: BaseConsumer<Context>,
    limits: BatchLimits,
    /// Whether keys and headers are kept, because the messages are carried on.
    carried: bool,
    topics: Vec<Arc<str>>,
    named: String,
    committed: Instant,
    /// Messages that arrived while the source was paused.
    held: Batch,
    /// When the batch in hand was given out.
    given: Instant,
    /// When the lag was last told while the source was paused.
    lag_told: Instant,
    /// Partitions that were taken away while the batch in hand was delivered: its offsets are their new owners' now.
    taken: Vec<(String, i32)>,
}

impl KafkaSource {
    /// Joins the group. `client_id` must be unique within the group's members. With a `transaction` offsets move in it
    /// alone. Keys and headers are kept where the messages are `carried` on.
    pub fn new(
        config: &KafkaSourceConfig,
        limits: BatchLimits,
        carried: bool,
        client_id: &str,
        metrics: Option<PipelineMetrics>,
        transaction: Option<Arc<Transaction>>,
    ) -> Result<KafkaSource, SourceError> {
        let named = config.topics.join(", ");
        let failed = |error| SourceError::Kafka { topics: named.clone(), error };
        let mut fixed = vec![
            ("group.id", config.group.as_str()),
            ("client.id", client_id),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "false"),
        ];
        if config.protocol == Protocol::Consumer {
            fixed.push(("group.protocol", "consumer"));
        }
        if config.static_members {
            fixed.push(("group.instance.id", client_id));
        }
        if transaction.is_some() {
            // Offsets of a transaction that is under way are waited for.
            fixed.push(("isolation.level", "read_committed"));
        }
        let context = Context::new(Asking::new(&config.properties), metrics, transaction);
        let mut defaults = DEFAULTS.to_vec();
        defaults.extend(CARRIED_DEFAULTS.iter().filter(|_| carried));
        let client = config.properties.client(&defaults, &fixed);
        let consumer: BaseConsumer<Context> = client.create_with_context(context).map_err(failed)?;
        let topics: Vec<&str> = config.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(failed)?;
        Ok(KafkaSource {
            consumer,
            limits,
            carried,
            topics: topics.into_iter().map(Arc::from).collect(),
            named,
            committed: Instant::now(),
            given: Instant::now(),
            lag_told: Instant::now(),
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
        let idle_ends = Instant::now() + IDLE_MAX;
        // What is there is taken without a look at the clock, which would be several a message.
        let mut dry = false;
        let piece = self.piece(batch);
        while piece.has_room(batch) {
            if shutdown.requested() {
                self.given = Instant::now();
                return Ok(!batch.is_empty());
            }
            if self.carried && batch.is_empty() && Instant::now() >= idle_ends {
                break;
            }
            let timeout = match ends {
                _ if !dry => Duration::ZERO,
                None => POLL_MAX,
                Some(ends) => ends.saturating_duration_since(Instant::now()),
            };
            let polled = self.consumer.poll(timeout);
            dry = polled.is_none();
            settle(&self.consumer, batch);
            let received = match polled {
                Some(Ok(message)) => {
                    push(&self.topics, self.carried, batch, &message);
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
                // Again, in case that it failed before.
                self.resume();
                self.commit_when_due(shutdown)?;
                // A transaction that takes long keeps the source alive, which may bring messages.
                self.taken.clear();
                std::mem::swap(batch, &mut self.held);
                ends = (!batch.is_empty()).then(|| Instant::now() + self.limits.wait);
            }
        }
        self.given = Instant::now();
        Ok(true)
    }

    /// See [`super::Source::more`].
    pub(super) fn more(&mut self, batch: &mut Batch, shutdown: &Shutdown) -> Result<bool, SourceError> {
        // Where nothing has to be committed a next batch is as good.
        let open = self.transaction().and_then(|transaction| transaction.age());
        if open.is_none_or(|age| age >= OPEN_MAX) {
            return Ok(false);
        }
        // What is held came later than what is in the batch, and sooner than what a poll would bring.
        let paused = self.consumer.context().progress().paused;
        if paused || !self.held.is_empty() {
            return Ok(false);
        }
        let (seen, piece) = (batch.len(), self.piece(batch));
        while self.taken.is_empty() && piece.has_room(batch) && !shutdown.requested() {
            let polled = self.consumer.poll(Duration::ZERO);
            // The batch is done again, without these.
            self.taken.extend(settle(&self.consumer, &mut self.held));
            match polled {
                Some(Ok(message)) if self.taken.is_empty() => push(&self.topics, self.carried, batch, &message),
                Some(Ok(message)) => push(&self.topics, self.carried, &mut self.held, &message),
                Some(Err(error)) => self.tolerate(error)?,
                None => break,
            }
        }
        self.given = Instant::now();
        Ok(batch.len() > seen)
    }

    /// How far a batch may be filled before it is looked at.
    fn piece(&self, batch: &Batch) -> BatchLimits {
        match self.consumer.context().transaction {
            None => self.limits.clone(),
            Some(_) => self.limits.piece(batch),
        }
    }

    /// See [`super::Source::commit`].
    pub(super) fn commit(&mut self, batch: &Batch, shutdown: &Shutdown) -> Result<(), SourceError> {
        let Some(transaction) = self.transaction().filter(|transaction| transaction.age().is_some()) else {
            self.note_delivered(batch);
            return self.commit_when_due(shutdown);
        };
        if !self.taken.is_empty() {
            transaction.abort(&mut || self.turn(shutdown))?;
            return Err(TransactionError::Again("partitions were taken away".to_owned()).into());
        }
        let of_batch: Offsets =
            batch.ends().map(|origin| ((Arc::clone(&origin.source), origin.partition), origin.offset + 1)).collect();
        let mut offsets = self.consumer.context().progress().delivered.clone();
        offsets.extend(of_batch.clone());
        // From here on partitions may be taken away: who gets them waits for this transaction's end.
        match transaction.commit(&offsets, &mut || self.turn(shutdown)) {
            Err(TransactionError::InDoubt(why)) if !self.are_committed(&of_batch, &transaction, shutdown)? => {
                return Err(TransactionError::Again(why).into());
            }
            Ok(()) | Err(TransactionError::InDoubt(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.note_delivered(batch);
        self.consumer.context().progress().dirty = false;
        self.committed = Instant::now();
        Ok(())
    }

    /// After a commit whose outcome is unknown: all of its offsets stand in the group, or none does.
    fn are_committed(
        &mut self,
        offsets: &Offsets,
        transaction: &Transaction,
        shutdown: &Shutdown,
    ) -> Result<bool, SourceError> {
        // Taking the id anew ends what may still be under way.
        transaction.init(&mut || self.turn(shutdown))?;
        while self.turn(shutdown) {
            if self.consumer.assignment_lost() {
                continue;
            }
            let mut ours = offsets.clone();
            ours.retain(|(topic, partition), _| !contains(&self.taken, topic, *partition));
            if let Ok(committed) = committed(&self.consumer, &offset_list(&ours)) {
                return Ok(committed.elements().iter().all(|found| {
                    let key = (Arc::from(found.topic()), found.partition());
                    matches!((found.offset(), ours.get(&key)), (Offset::Offset(at), Some(next)) if at >= *next)
                }));
            }
        }
        Err(TransactionError::Again("stopped before its outcome was known".to_owned()).into())
    }

    fn note_delivered(&mut self, batch: &Batch) {
        let mut progress = self.consumer.context().progress();
        let Progress { delivered, dirty, .. } = &mut *progress;
        for origin in batch.ends() {
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
    }

    /// See [`super::Source::drop_taken`].
    pub(super) fn drop_taken(&mut self, batch: &mut Batch) {
        let taken = std::mem::take(&mut self.taken);
        batch.retain(|origin| !contains(&taken, &origin.source, origin.partition));
    }

    /// See [`super::Source::membership`].
    pub(super) fn membership(&self) -> Option<Membership> {
        membership(&self.consumer)
    }

    fn transaction(&self) -> Option<Arc<Transaction>> {
        self.consumer.context().transaction.clone()
    }

    /// One turn of waiting for a transaction.
    fn turn(&mut self, shutdown: &Shutdown) -> bool {
        self.poll_paused();
        !shutdown.expired()
    }

    /// See [`super::Source::keep_alive`].
    pub(super) fn keep_alive(&mut self) {
        let paused = self.consumer.context().progress().paused;
        if paused || self.given.elapsed() >= PATIENCE {
            self.poll_paused();
        }
    }

    /// A poll within `max.poll.interval.ms` keeps the membership; the partitions are paused, so it brings no messages but
    /// those that were on their way.
    fn poll_paused(&mut self) {
        let paused = self.consumer.context().progress().paused;
        if !paused {
            match self.consumer.assignment().and_then(|assigned| self.consumer.pause(&assigned)) {
                Ok(()) => self.consumer.context().progress().paused = true,
                Err(error) => tracing::warn!("cannot pause the source: {error}"),
            }
        }
        if self.lag_told.elapsed() >= LAG_EVERY {
            self.lag_told = Instant::now();
            self.consumer.context().tell_lag_of_paused(&self.consumer);
        }
        let polled = self.consumer.poll(Duration::ZERO);
        self.taken.extend(settle(&self.consumer, &mut self.held));
        match polled {
            Some(Ok(message)) => push(&self.topics, self.carried, &mut self.held, &message),
            Some(Err(error)) => tracing::warn!("while the sink is waited for: {error}"),
            None => {}
        }
    }

    /// See [`super::Source::close`].
    pub(super) fn close(self) {
        // While the group rebalances (another member has just left) a commit is refused until this member has joined
        // again, which polling does. What a poll brings is not delivered and stays for the next owner.
        let deadline = Instant::now() + CLOSE_MAX;
        let mut in_time = || Instant::now() < deadline;
        self.consumer.context().end(&self.consumer);
        let usable = match self.transaction().map_or(Ok(()), |transaction| transaction.abort(&mut in_time)) {
            Ok(()) | Err(TransactionError::Again(_)) => true,
            // What is under way ends without this worker.
            Err(_) => false,
        };
        while usable && !self.commit_last(&mut in_time) && in_time() {
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

    /// Commits all that was delivered. False when it is to be tried again.
    fn commit_last(&self, in_time: &mut dyn FnMut() -> bool) -> bool {
        let offsets = self.consumer.context().progress().delivered.clone();
        let Some(transaction) = self.transaction() else { return commit(&self.consumer, &offsets, CommitMode::Sync) };
        if !self.consumer.context().progress().dirty {
            return true;
        }
        let committed = transaction.commit_offsets(&offsets, || self.membership(), in_time);
        !matches!(committed, Err(TransactionError::Again(_)))
    }

    fn commit_when_due(&mut self, shutdown: &Shutdown) -> Result<(), SourceError> {
        if self.committed.elapsed() < COMMIT_EVERY {
            return Ok(());
        }
        self.committed = Instant::now();
        let mut progress = self.consumer.context().progress();
        if std::mem::take(&mut progress.dirty) {
            let offsets = progress.delivered.clone();
            drop(progress);
            let committed = match self.transaction() {
                None => commit(&self.consumer, &offsets, CommitMode::Async),
                Some(transaction) => {
                    let member = membership(&self.consumer);
                    match transaction.commit_offsets(&offsets, || member, &mut || self.turn(shutdown)) {
                        Ok(()) => true,
                        // They led to nothing, so that it is no matter whether they are read again.
                        Err(TransactionError::Again(why) | TransactionError::InDoubt(why)) => {
                            tracing::debug!("offsets not committed yet: {why}");
                            false
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            };
            if !committed {
                self.consumer.context().progress().dirty = true;
            }
        }
        Ok(())
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

/// Drops the messages of partitions that were taken away: their new owner reads them again. And begins to read those that
/// have arrived. It must be called after a poll and before what the poll has brought is kept: one poll may take a partition
/// away, bring it back, and bring a message of it that nobody else will read. Gives the partitions that were taken away.
fn settle(consumer: &BaseConsumer<Context>, batch: &mut Batch) -> Vec<(String, i32)> {
    let mut progress = consumer.context().progress();
    let revoked = std::mem::take(&mut progress.revoked);
    let arrived = progress.arrived.is_some();
    drop(progress);
    if !revoked.is_empty() {
        batch.retain(|origin| !contains(&revoked, &origin.source, origin.partition));
    }
    if arrived {
        consumer.context().begin(consumer);
    }
    revoked
}

fn push(topics: &[Arc<str>], carried: bool, batch: &mut Batch, message: &BorrowedMessage<'_>) {
    let topic = message.topic();
    let source = topics.iter().find(|known| ***known == *topic).cloned().unwrap_or_else(|| Arc::from(topic));
    let appended_ms = message.timestamp().to_millis().filter(|ms| *ms >= 0);
    let origin = Origin { source, partition: message.partition(), offset: message.offset(), appended_ms };
    if !carried {
        return batch.push(origin, message.payload());
    }
    let headers = message.headers().map(|headers| headers.iter()).into_iter().flatten();
    let headers = headers.map(|header| (header.key, header.value.unwrap_or_default()));
    batch.push_carried(origin, message.key().unwrap_or_default(), headers, message.payload());
}
