//! The Kafka source: one consumer of a group, owned by one worker. A worker finishes its batch before it polls again,
//! so a rebalance finds nothing in flight but what a slow sink holds up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::Offset;
use trailhound_fetch::{Message, Queue};

use super::begin::{Asking, committed};
use super::consumer::{self, KafkaSourceConfig};
use super::group::{Context, Progress, commit, contains, membership};
use super::{BatchLimits, SourceError};
use crate::batch::{Batch, Origin};
use crate::kafka::{Membership, Offsets, Transaction, TransactionError, offset_list};
use crate::metrics::PipelineMetrics;
use crate::shutdown::Shutdown;

/// How often offsets are committed while batches flow; a stop and a revocation commit at once.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// How often the lag is told while the source is paused; otherwise librdkafka's statistics tell it as often.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// How long one wait for messages may take before a rebalance or the wish to stop is looked at.
const WAIT_MAX: Duration = Duration::from_millis(25);

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
    queue: Queue<Context>,
    consumer: Arc<BaseConsumer<Context>>,
    limits: BatchLimits,
    /// Whether keys and headers are kept, because the messages are carried on.
    carried: bool,
    topics: Vec<Arc<str>>,
    named: String,
    committed: Instant,
    /// When partitions of which nothing was heard were last forwarded.
    forwarded: Instant,
    /// When the batch in hand was given out.
    given: Instant,
    /// When the lag was last told while the source was paused.
    lag_told: Instant,
    /// Partitions that were taken away while the batch in hand was delivered: its offsets are their new owners' now.
    taken: Vec<(String, i32)>,
    /// What went wrong meanwhile, so that the source cannot go on.
    failed: Option<SourceError>,
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
        let context = Context::new(Asking::new(&config.properties), metrics, transaction);
        let consumer = consumer::create(config, carried, client_id, context).map_err(failed)?;
        let topics: Vec<&str> = config.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(failed)?;
        let consumer = Arc::new(consumer);
        Ok(KafkaSource {
            queue: Queue::new(Arc::clone(&consumer)),
            consumer,
            limits,
            carried,
            topics: topics.into_iter().map(Arc::from).collect(),
            named,
            committed: Instant::now(),
            forwarded: Instant::now(),
            given: Instant::now(),
            lag_told: Instant::now(),
            taken: Vec::new(),
            failed: None,
        })
    }

    /// See [`super::Source::next_batch`].
    pub(super) fn next_batch(&mut self, batch: &mut Batch, shutdown: &Shutdown) -> Result<bool, SourceError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        self.resume();
        self.taken.clear();
        let idle_ends = Instant::now() + IDLE_MAX;
        let mut ends: Option<Instant> = None;
        let piece = self.piece(batch);
        while piece.has_room(batch) {
            if shutdown.requested() {
                self.given = Instant::now();
                return Ok(!batch.is_empty());
            }
            if self.carried && batch.is_empty() && Instant::now() >= idle_ends {
                break;
            }
            self.serve()?;
            if !self.taken.is_empty() {
                self.drop_taken(batch);
            }
            if self.receive(batch, &piece, Duration::ZERO)? {
                continue;
            }
            // What is there is taken without a look at the clock.
            let now = Instant::now();
            ends = if batch.is_empty() { None } else { Some(ends.unwrap_or(now + self.limits.wait)) };
            let left = ends.map_or(WAIT_MAX, |ends| ends.saturating_duration_since(now).min(WAIT_MAX));
            if left.is_zero() {
                break;
            }
            self.receive(batch, &piece, left)?;
            if batch.is_empty() {
                // Again, in case that it failed before.
                self.resume();
                self.commit_when_due(shutdown)?;
            }
        }
        self.given = Instant::now();
        Ok(true)
    }

    /// See [`super::Source::more`].
    pub(super) fn more(&mut self, batch: &mut Batch, shutdown: &Shutdown) -> Result<bool, SourceError> {
        // Where nothing has to be committed a next batch is as good.
        let open = self.transaction().and_then(|transaction| transaction.age());
        if open.is_none_or(|age| age >= OPEN_MAX) || self.consumer.context().progress().paused {
            return Ok(false);
        }
        let (seen, piece) = (batch.len(), self.piece(batch));
        while piece.has_room(batch) && !shutdown.requested() {
            self.serve()?;
            // The batch is done again, without what was taken away.
            if !self.taken.is_empty() || !self.receive(batch, &piece, Duration::ZERO)? {
                break;
            }
        }
        self.given = Instant::now();
        Ok(batch.len() > seen)
    }

    /// Takes messages that are there, or waits for one. False when there is none.
    fn receive(&mut self, batch: &mut Batch, piece: &BatchLimits, wait: Duration) -> Result<bool, SourceError> {
        if !self.queue.take(piece.messages_max.saturating_sub(batch.len()), wait) {
            return Ok(false);
        }
        let hears = !self.consumer.context().progress().unheard.is_empty();
        while piece.has_room(batch)
            && let Some(message) = self.queue.pop()
        {
            match message {
                Ok(message) => {
                    if hears {
                        self.consumer.context().hear(message.topic(), message.partition());
                    }
                    push(&self.topics, self.carried, batch, message);
                }
                Err(error) => tolerate(&self.named, error)?,
            }
        }
        Ok(true)
    }

    /// Hears what librdkafka has to tell: rebalances, commits, errors, statistics. What was taken out of its queue of partitions that
    /// go is dropped, since their new owner reads it again; and partitions that have arrived are begun. In this order, and
    /// before more is taken: one that goes may come back at once.
    fn serve(&mut self) -> Result<(), SourceError> {
        let polled = self.consumer.poll(Duration::ZERO);
        let context = self.consumer.context();
        let mut progress = context.progress();
        let revoked = std::mem::take(&mut progress.revoked);
        let arrived = progress.arrived.is_some();
        if !progress.unheard.is_empty() && self.forwarded.elapsed() >= WAIT_MAX {
            self.forwarded = Instant::now();
            progress.unheard.iter().for_each(|(topic, partition)| self.queue.forward(topic, *partition));
        }
        drop(progress);
        if !revoked.is_empty() {
            self.queue.retain(|topic, partition| !contains(&revoked, topic, partition));
            self.taken.extend(revoked);
        }
        if arrived {
            context.begin(&self.queue);
        }
        match polled {
            Some(Ok(message)) => {
                let (topic, partition, offset) = (message.topic().to_owned(), message.partition(), message.offset());
                Err(SourceError::Astray { topic, partition, offset })
            }
            Some(Err(error)) => tolerate(&self.named, error),
            None => Ok(()),
        }
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
            return Err(TransactionError::Again { why: "partitions were taken away".to_owned(), learned: false }.into());
        }
        let of_batch: Offsets =
            batch.ends().map(|origin| ((Arc::clone(&origin.source), origin.partition), origin.offset + 1)).collect();
        let mut offsets = self.consumer.context().progress().delivered.clone();
        offsets.extend(of_batch.clone());
        // From here on partitions may be taken away: who gets them waits for this transaction's end.
        match transaction.commit(&offsets, &mut || self.turn(shutdown)) {
            Err(TransactionError::InDoubt(why)) if !self.are_committed(&of_batch, &transaction, shutdown)? => {
                return Err(TransactionError::Again { why, learned: false }.into());
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
        Err(TransactionError::Again { why: "stopped before its outcome was known".to_owned(), learned: false }.into())
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

    /// A poll within `max.poll.interval.ms` keeps the membership. Messages that were on their way are fetched again later: a pause makes
    /// librdkafka forget what was not taken.
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
        if let Err(error) = self.serve() {
            self.failed.get_or_insert(error);
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
            Ok(()) | Err(TransactionError::Again { .. }) => true,
            // What is under way ends without this worker.
            Err(_) => false,
        };
        while usable && !self.commit_last(&mut in_time) && in_time() {
            let _ = self.consumer.poll(WAIT_MAX);
        }
        let (done, closed) = std::sync::mpsc::channel();
        let KafkaSource { queue, consumer, named, .. } = self;
        drop(queue);
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
        !matches!(committed, Err(TransactionError::Again { .. }))
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
                        Err(TransactionError::Again { why, .. } | TransactionError::InDoubt(why)) => {
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
}

/// Errors that polls return while brokers come and go pass by themselves; only a fatal one ends the source.
fn tolerate(topics: &str, error: KafkaError) -> Result<(), SourceError> {
    match error {
        KafkaError::MessageConsumptionFatal(_) => Err(SourceError::Kafka { topics: topics.to_owned(), error }),
        KafkaError::MessageConsumption(
            RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed,
        ) => {
            tracing::error!(topics, "the user may not read: {error}");
            Ok(())
        }
        error => {
            tracing::warn!(topics, "poll: {error}");
            Ok(())
        }
    }
}

fn push(topics: &[Arc<str>], carried: bool, batch: &mut Batch, message: Message<'_>) {
    let topic = message.topic();
    let source = topics.iter().find(|known| ***known == *topic).cloned().unwrap_or_else(|| Arc::from(topic));
    let (partition, offset, appended_ms) = (message.partition(), message.offset(), message.appended_ms());
    if carried {
        let headers = message.headers().map(|(name, value)| (name, value.unwrap_or_default()));
        batch.push_envelope(message.key().unwrap_or_default(), headers);
    }
    batch.push_kept(Origin { source, partition, offset, appended_ms }, message);
}
