//! A Kafka transaction: findings, dead letters and offsets of a batch become visible together, or not at all.
//!
//! What makes it exact: the group's word on who owns a partition is taken right after a transaction begins and goes to
//! the broker with the offsets, which refuses it when partitions have moved since. An abort is followed by the same
//! batch again, without what was taken away meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ThreadedProducer};

use super::Properties;
use super::message::{is_refusal, record};
use super::offsets::{self, Membership, Offsets};
use super::producer::{Context, Identity, TIMEOUT_MS, identity, producer};
use crate::sink::Outgoing;

/// One turn of waiting, in which the caller keeps the source alive. False when it will not wait any longer.
pub type Turn<'a> = &'a mut dyn FnMut() -> bool;

/// A batch that was not done in a transaction's time twice in a row gets twice the time, up to this.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// How long a call into librdkafka may block before the source is kept alive. What is not done then goes on.
pub(super) const STEP: Duration = Duration::from_millis(300);

/// From when on it is told that acknowledgements are waited for.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// How long to wait at a time for acknowledgements.
const LOOK: Duration = Duration::from_millis(20);

/// Why a transaction did not commit.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// It was aborted: nothing of it counts, and the batch is to be done again.
    #[error("transaction aborted: {why}")]
    Again {
        /// What went wrong.
        why: String,
        /// Whether it is known better now which of its messages are refused, so that the batch gets further next time.
        learned: bool,
    },
    /// It is over, and whether it was committed shows only in the group's offsets.
    #[error("transaction in doubt: {0}")]
    InDoubt(String),
    /// Another producer has taken the transactional id.
    #[error(
        "fenced: another producer has taken the transactional id `{id}`: a second process runs with the same \
         `instance`\nhint: give each process an `instance` of its own, such as its pod's name, or leave it out"
    )]
    Fenced {
        /// The transactional id.
        id: String,
    },
    /// The producer cannot be made, or the brokers will not have it.
    #[error(
        "transactions of `{id}`: {error}\nhint: delivery = \"exactly-once\" needs brokers from 2.5 on, the right to \
         write with this transactional id, and a transaction.timeout.ms that the brokers allow"
    )]
    Client {
        /// The transactional id.
        id: String,
        /// librdkafka's words.
        #[source]
        error: KafkaError,
    },
    /// The stop's deadline passed first.
    #[error("stopped before a transaction of `{id}` was committed; its records will be read again")]
    Stopped {
        /// The transactional id.
        id: String,
    },
}

/// A worker's transactions. Its sinks and its source share it; all are used on the worker's own thread.
pub struct Transaction {
    id: String,
    properties: Properties,
    state: Mutex<State>,
}

struct State {
    producer: Arc<ThreadedProducer<Context>>,
    /// Whether the id is taken: open transactions of predecessors are over, and they are fenced.
    ready: bool,
    open: Option<Open>,
    /// `transaction.timeout.ms` of this producer.
    timeout: Duration,
    /// Whether the transaction before was not done in time.
    late: bool,
    /// Messages handed to the producer since the transaction began.
    sent: usize,
    /// Messages of this batch that were refused together with others: each is sent alone.
    suspects: HashSet<Identity>,
    /// Messages of this batch that were refused alone, and why.
    refused: HashMap<Identity, String>,
    /// How many suspects and refused ones there were when the batch was aborted last.
    known: usize,
}

struct Open {
    since: Instant,
    member: Option<Membership>,
    /// A message of it was refused: it will be aborted, and only tells which other suspects are refused.
    spoiled: bool,
    /// The commit was asked for: its outcome may be unknown.
    committing: bool,
}

impl Transaction {
    /// Transactions with the id `id`, which must be unique among all producers of the cluster; it is the client's id
    /// too. Connects in the background.
    pub fn new(properties: &Properties, id: &str) -> Result<Transaction, TransactionError> {
        let timeout_ms = properties.get("transaction.timeout.ms").unwrap_or(TIMEOUT_MS);
        let timeout = Duration::from_millis(timeout_ms.parse().unwrap_or_default());
        let state = State {
            producer: producer(properties, id, timeout)
                .map(Arc::new)
                .map_err(|error| TransactionError::Client { id: id.to_owned(), error })?,
            ready: false,
            open: None,
            timeout,
            late: false,
            sent: 0,
            suspects: HashSet::new(),
            refused: HashMap::new(),
            known: 0,
        };
        Ok(Transaction { id: id.to_owned(), properties: properties.clone(), state: Mutex::new(state) })
    }

    /// Takes the id: whatever was open under it is over, and who had it is fenced.
    pub fn init(&self, turn: Turn<'_>) -> Result<(), TransactionError> {
        self.make_ready(&mut self.state(), turn)
    }

    /// Begins a transaction unless one is open. True when it did: then [`Transaction::enter`] is to follow at once.
    pub fn begin(&self, turn: Turn<'_>) -> Result<bool, TransactionError> {
        let mut state = self.state();
        if state.open.is_some() {
            return Ok(false);
        }
        self.make_ready(&mut state, turn)?;
        self.begin_in(&mut state)?;
        Ok(true)
    }

    /// Notes the membership under which the batch was read. Without one, partitions are being lost: the transaction
    /// is aborted.
    pub fn enter(&self, member: Option<Membership>, turn: Turn<'_>) -> Result<(), TransactionError> {
        let mut state = self.state();
        if member.is_none() {
            return Err(self.again(&mut state, "the place in the group is lost".to_owned(), turn));
        }
        if let Some(open) = &mut state.open {
            open.member = member;
        }
        Ok(())
    }

    /// How long one has been open; None where none is.
    pub fn age(&self) -> Option<Duration> {
        self.state().open.as_ref().map(|open| open.since.elapsed())
    }

    /// Sends messages within the open transaction and waits for none but those that must be sent alone. Returns the
    /// places of those that are refused for good, and why.
    pub fn produce(
        &self,
        topic: &str,
        messages: &[Outgoing<'_>],
        turn: Turn<'_>,
    ) -> Result<Vec<(usize, String)>, TransactionError> {
        let mut state = self.state();
        let mut refused = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let known = !state.suspects.is_empty() || !state.refused.is_empty();
            let identity = known.then(|| identity(topic, message.key, message.payload));
            if let Some(cause) = identity.and_then(|identity| state.refused.get(&identity)) {
                refused.push((index, cause.clone()));
                continue;
            }
            match identity.filter(|identity| state.suspects.contains(identity)) {
                Some(identity) => self.send_alone(&mut state, topic, message, identity, turn)?,
                None if state.open.as_ref().is_some_and(|open| open.spoiled) => {}
                None => {
                    if let Some(cause) = self.send(&mut state, topic, message, turn)? {
                        refused.push((index, cause));
                    }
                }
            }
        }
        Ok(refused)
    }

    /// Commits the open transaction with `offsets`.
    pub fn commit(&self, offsets: &Offsets, turn: Turn<'_>) -> Result<(), TransactionError> {
        let mut state = self.state();
        let State { producer, open, .. } = &mut *state;
        let Some(open) = open else { return Ok(()) };
        let Some(member) = open.member.take().filter(|_| !open.spoiled) else {
            return Err(self.again(&mut state, "a message was refused".to_owned(), turn));
        };
        match offsets::send(producer, offsets, member, turn) {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(self.failed(&mut state, error, turn)),
            None => return Err(self.renew(&mut state, "the offsets have no answer")),
        }
        self.acknowledged(&mut state, turn)?;
        loop {
            let State { producer, open, .. } = &mut *state;
            if let Some(open) = open {
                open.committing = true;
            }
            match producer.commit_transaction(STEP) {
                Ok(()) => break,
                Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                    if let Some(open) = open {
                        open.committing = false;
                    }
                    return Err(self.again(&mut state, error.to_string(), turn));
                }
                Err(KafkaError::Transaction(error)) if error.is_fatal() || !error.is_retriable() => {
                    return Err(self.broken(&mut state, &error.to_string()));
                }
                Err(error) => tracing::debug!(id = self.id, "not committed yet: {error}"),
            }
            if !turn() {
                return Err(self.stopped());
            }
        }
        state.close();
        state.late = false;
        state.suspects.clear();
        state.refused.clear();
        state.known = 0;
        Ok(())
    }

    /// Commits offsets alone, in a transaction of their own. One that is open already is left as it is, and they are
    /// refused.
    pub fn commit_offsets(
        &self,
        offsets: &Offsets,
        member: impl FnOnce() -> Option<Membership>,
        turn: Turn<'_>,
    ) -> Result<(), TransactionError> {
        if offsets.is_empty() {
            return Ok(());
        }
        // A rebalance may come while a batch's transaction waits: this thread holds the lock then.
        if self.state.try_lock().map_or(true, |state| state.open.is_some()) {
            return Err(TransactionError::Again { why: "another is open".to_owned(), learned: false });
        }
        self.begin(turn)?;
        self.enter(member(), turn)?;
        self.commit(offsets, turn)
    }

    /// Aborts what is open.
    pub fn abort(&self, turn: Turn<'_>) -> Result<(), TransactionError> {
        self.abort_in(&mut self.state(), turn)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_ready(&self, state: &mut State, turn: Turn<'_>) -> Result<(), TransactionError> {
        let mut told = false;
        while !state.ready {
            match state.producer.init_transactions(STEP) {
                Ok(()) => state.ready = true,
                Err(error) => {
                    if state.producer.client().fatal_error().is_some() || !is_retriable(&error) {
                        return Err(TransactionError::Client { id: self.id.clone(), error });
                    }
                    if !std::mem::replace(&mut told, true) {
                        tracing::info!(id = self.id, "transactions are not ready yet: {error}");
                    }
                    if !turn() {
                        return Err(self.stopped());
                    }
                }
            }
        }
        Ok(())
    }

    fn begin_in(&self, state: &mut State) -> Result<(), TransactionError> {
        if let Err(error) = state.producer.begin_transaction() {
            return Err(self.broken(state, &error.to_string()));
        }
        state.open = Some(Open { since: Instant::now(), member: None, spoiled: false, committing: false });
        Ok(())
    }

    /// Hands a message to the producer. Gives a cause when the client itself will never take it.
    fn send(
        &self,
        state: &mut State,
        topic: &str,
        message: &Outgoing<'_>,
        turn: Turn<'_>,
    ) -> Result<Option<String>, TransactionError> {
        let started = Instant::now();
        loop {
            match state.producer.send(record(topic, message, ())).map_err(|(error, _)| error) {
                Ok(()) => {
                    state.sent += 1;
                    return Ok(None);
                }
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => {
                    let reports = state.producer.context().reports();
                    drop(state.producer.context().news.wait_timeout(reports, LOOK));
                    if started.elapsed() > STEP && !turn() {
                        return Err(self.stopped());
                    }
                }
                Err(KafkaError::MessageProduction(code)) if is_refusal(code) => return Ok(Some(code.to_string())),
                Err(error) => return Err(self.failed(state, error, turn)),
            }
        }
    }

    /// Sends a suspect in a request of its own: only what is refused alone is refused. The transaction of a refused
    /// message cannot be saved; it goes on as one that will be aborted, so that one more attempt knows of all others.
    fn send_alone(
        &self,
        state: &mut State,
        topic: &str,
        message: &Outgoing<'_>,
        identity: Identity,
        turn: Turn<'_>,
    ) -> Result<(), TransactionError> {
        self.acknowledged(state, turn)?;
        if let Some(cause) = self.send(state, topic, message, turn)? {
            state.refused.insert(identity, cause);
        } else {
            match self.reported(state, turn)? {
                None => return Ok(()),
                Some(code) if is_refusal(code) => state.refused.insert(identity, code.to_string()),
                Some(code) => return Err(self.again(state, not_taken(code), turn)),
            };
        }
        self.abort_in(state, turn)?;
        self.begin_in(state)?;
        if let Some(open) = &mut state.open {
            open.spoiled = true;
        }
        Ok(())
    }

    /// Waits until all that was sent is acknowledged. A message that was not taken aborts.
    fn acknowledged(&self, state: &mut State, turn: Turn<'_>) -> Result<(), TransactionError> {
        match self.reported(state, turn)? {
            None => Ok(()),
            Some(code) => Err(self.again(state, not_taken(code), turn)),
        }
    }

    /// Waits until all that was sent is acknowledged, or a message was not taken.
    fn reported(&self, state: &State, turn: Turn<'_>) -> Result<Option<RDKafkaErrorCode>, TransactionError> {
        let (started, context) = (Instant::now(), state.producer.context());
        let mut told = false;
        loop {
            let reports = context.reports();
            if let Some((_, code)) = reports.failed.first() {
                return Ok(Some(*code));
            }
            if reports.done >= state.sent {
                drop(reports);
                state.settle();
                return Ok(None);
            }
            let waiting = state.sent - reports.done;
            drop(context.news.wait_timeout(reports, LOOK));
            if started.elapsed() > TELL_AFTER && !std::mem::replace(&mut told, true) {
                tracing::warn!(id = self.id, waiting, "messages of a transaction are not acknowledged yet");
            }
            if started.elapsed() > STEP && !turn() {
                return Err(self.stopped());
            }
        }
    }

    /// After an error that is not retried: an abort, or a new producer.
    fn failed(&self, state: &mut State, error: KafkaError, turn: Turn<'_>) -> TransactionError {
        if state.producer.client().fatal_error().is_some() {
            return self.broken(state, &error.to_string());
        }
        self.again(state, error.to_string(), turn)
    }

    /// Aborts, and says that the batch is to be done again.
    fn again(&self, state: &mut State, why: String, turn: Turn<'_>) -> TransactionError {
        match self.abort_in(state, turn) {
            Ok(()) => {
                let known = state.suspects.len() + state.refused.len();
                TransactionError::Again { why, learned: known > std::mem::replace(&mut state.known, known) }
            }
            Err(error) => error,
        }
    }

    fn abort_in(&self, state: &mut State, turn: Turn<'_>) -> Result<(), TransactionError> {
        let Some(open) = &state.open else { return Ok(()) };
        if open.committing {
            // Its commit is under way and cannot be taken back.
            return Err(self.stopped());
        }
        loop {
            match state.producer.abort_transaction(STEP) {
                Ok(()) => break,
                Err(error) => {
                    if let Some((_, reason)) = state.producer.client().fatal_error() {
                        return Err(self.broken(state, &reason));
                    }
                    tracing::debug!(id = self.id, "not aborted yet: {error}");
                }
            }
            if !turn() {
                return Err(self.stopped());
            }
        }
        state.close();
        Ok(())
    }

    /// After an error that this producer does not survive. A transaction that was open for longer than its time was
    /// ended by its coordinator, which looks the same as another producer with the id; the clock tells them apart.
    fn broken(&self, state: &mut State, why: &str) -> TransactionError {
        let code = state.producer.client().fatal_error().map(|(code, _)| code);
        let late = state.open.as_ref().is_some_and(|open| open.since.elapsed() >= state.timeout);
        if code == Some(RDKafkaErrorCode::Fenced) && !late {
            return TransactionError::Fenced { id: self.id.clone() };
        }
        if late && state.late {
            state.timeout = (state.timeout * 2).min(TIMEOUT_MAX.max(state.timeout));
        }
        state.late = late;
        let why = if late { format!("not done within transaction.timeout.ms: {why}") } else { why.to_owned() };
        self.renew(state, &why)
    }

    /// Makes the producer anew. Once that has taken the id, what the one before has left open is over.
    fn renew(&self, state: &mut State, why: &str) -> TransactionError {
        tracing::warn!(id = self.id, timeout_ms = state.timeout.as_millis() as u64, "producer made anew: {why}");
        let in_doubt = state.open.as_ref().is_some_and(|open| open.committing);
        match producer(&self.properties, &self.id, state.timeout) {
            Ok(producer) => state.producer = Arc::new(producer),
            Err(error) => return TransactionError::Client { id: self.id.clone(), error },
        }
        state.ready = false;
        state.close();
        let why = why.to_owned();
        if in_doubt { TransactionError::InDoubt(why) } else { TransactionError::Again { why, learned: false } }
    }

    fn stopped(&self) -> TransactionError {
        TransactionError::Stopped { id: self.id.clone() }
    }
}

impl State {
    /// Forgets the transaction. Who was refused together with others is a suspect from now on.
    fn close(&mut self) {
        self.open = None;
        self.sent = 0;
        let reports = std::mem::take(&mut *self.producer.context().reports());
        self.suspects.extend(reports.failed.into_iter().filter_map(|(identity, _)| identity));
    }

    /// All reports are in; librdkafka counts their messages a moment longer, and a commit would then wait in steps of
    /// a tenth of a second.
    fn settle(&self) {
        const MOMENT: Duration = Duration::from_micros(50);
        let end = Instant::now() + LOOK;
        while self.producer.in_flight_count() > 0 && Instant::now() < end {
            std::thread::sleep(MOMENT);
        }
    }
}

fn not_taken(code: RDKafkaErrorCode) -> String {
    format!("a message was not taken: {code}")
}

fn is_retriable(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable(),
        _ => true,
    }
}
