//! Sends single messages to a topic and knows what became of each: for topics that are written rarely, and for replays.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::check::KafkaError;
use super::properties::Properties;
use super::reports::{Reports, idempotent};

/// Why a message was not, or perhaps not, written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The topic takes no message of this size.
    #[error("the topic `{topic}` takes no message of {bytes} bytes\nhint: raise its max.message.bytes")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Size of key and value.
        bytes: usize,
    },
    /// Nobody has acknowledged it in time. It may still arrive.
    #[error("the topic `{topic}` has not acknowledged a message within {waited:?}; it may still arrive")]
    Unacknowledged {
        /// The topic.
        topic: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// All else.
    #[error("the topic `{topic}`: {error}")]
    Failed {
        /// The topic.
        topic: String,
        /// librdkafka's words.
        #[source]
        error: ClientError,
    },
}

/// An idempotent producer for one topic.
pub struct TopicWriter {
    producer: BaseProducer<Reports>,
    properties: Properties,
    topic: String,
    client_id: String,
    /// The ticket of the next message.
    next: usize,
    /// Messages that nobody has acknowledged yet: their tickets and sizes.
    pending: BTreeMap<usize, usize>,
    failed: Vec<(usize, WriteError)>,
}

/// The partitioner of the Java clients: whoever writes a key of a compacted topic with other tools must meet the same
/// partition, or both messages stay.
const DEFAULTS: [(&str, &str); 1] = [("partitioner", "murmur2_random")];

/// How long one poll for acknowledgements may take.
const POLL: Duration = Duration::from_millis(20);

/// Failures that nobody has asked for are kept up to this count; then the oldest go.
const FAILED_MAX: usize = 100_000;

impl TopicWriter {
    /// A writer to `topic`. It connects in the background.
    pub fn new(properties: &Properties, topic: &str, client_id: &str) -> Result<TopicWriter, KafkaError> {
        let producer = idempotent(properties, &DEFAULTS, client_id)
            .map_err(|error| KafkaError::Client { key: "kafka".to_owned(), cause: error.to_string() })?;
        Ok(TopicWriter {
            producer,
            properties: properties.clone(),
            topic: topic.to_owned(),
            client_id: client_id.to_owned(),
            next: 0,
            pending: BTreeMap::new(),
            failed: Vec::new(),
        })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Sends a message and waits up to `wait` until all in-sync replicas have it. Gives its partition and offset. An
    /// empty key is none; no value is a tombstone. What was queued before is waited for first, since a broker refuses
    /// messages that travel together because of one of them.
    pub fn send(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
        wait: Duration,
    ) -> Result<(i32, i64), WriteError> {
        let deadline = Instant::now() + wait;
        while !self.pending.is_empty() && Instant::now() < deadline {
            self.collect(POLL, None);
        }
        let ticket = self.queue(key, value, headers)?;
        loop {
            match self.collect(POLL, Some(ticket)) {
                Some(written) => return written,
                None if Instant::now() >= deadline => {
                    // Whatever becomes of it is not a failure to be reported again.
                    self.pending.remove(&ticket);
                    return Err(WriteError::Unacknowledged { topic: self.topic.clone(), waited: wait });
                }
                None => {}
            }
        }
    }

    /// Queues a message without waiting and gives its ticket, a number that grows. See [`TopicWriter::flush`] and
    /// [`TopicWriter::failures`] for what becomes of it.
    pub fn queue(&mut self, key: &[u8], value: Option<&[u8]>, headers: &[(&str, &[u8])]) -> Result<usize, WriteError> {
        self.collect(Duration::ZERO, None);
        let failed = |error| WriteError::Failed { topic: self.topic.clone(), error };
        if self.producer.client().fatal_error().is_some() {
            // An idempotent producer that has lost its place takes no more messages.
            self.producer = idempotent(&self.properties, &DEFAULTS, &self.client_id).map_err(failed)?;
            let error = ClientError::MessageProduction(RDKafkaErrorCode::Fatal);
            for (ticket, _) in std::mem::take(&mut self.pending) {
                self.failed.push((ticket, failed(error.clone())));
            }
        }
        let ticket = self.next;
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.topic, ticket);
        if !key.is_empty() {
            record = record.key(key);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        if !headers.is_empty() {
            let add = |all: OwnedHeaders, (key, value): &(&str, &[u8])| all.insert(Header { key, value: Some(*value) });
            record = record.headers(headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), add));
        }
        let bytes = key.len() + value.unwrap_or_default().len();
        self.producer.send(record).map_err(|(error, _)| write_error(&self.topic, bytes, error))?;
        self.next += 1;
        self.pending.insert(ticket, bytes);
        Ok(ticket)
    }

    /// Waits up to `wait` for everything that is queued. Gives the tickets of all that failed since this or
    /// [`TopicWriter::failures`] was last called, with those that nobody has acknowledged by then.
    pub fn flush(&mut self, wait: Duration) -> Vec<(usize, WriteError)> {
        let deadline = Instant::now() + wait;
        while !self.pending.is_empty() && Instant::now() < deadline {
            self.collect(POLL, None);
        }
        let mut failed = std::mem::take(&mut self.failed);
        let late = std::mem::take(&mut self.pending).into_keys();
        failed.extend(
            late.map(|ticket| (ticket, WriteError::Unacknowledged { topic: self.topic.clone(), waited: wait })),
        );
        failed
    }

    /// The tickets of all that is known to have failed since this or [`TopicWriter::flush`] was last called. It does
    /// not wait.
    pub fn failures(&mut self) -> Vec<(usize, WriteError)> {
        self.collect(Duration::ZERO, None);
        std::mem::take(&mut self.failed)
    }

    /// Takes acknowledgements in. Gives the one of `wanted` if it is among them; failures of all others are kept.
    fn collect(&mut self, timeout: Duration, wanted: Option<usize>) -> Option<Result<(i32, i64), WriteError>> {
        self.producer.poll(timeout);
        let mut found = None;
        for (ticket, report) in self.producer.context().take() {
            // A ticket that was given up has been reported.
            let Some(bytes) = self.pending.remove(&ticket) else { continue };
            let report = report.map_err(|(error, _)| write_error(&self.topic, bytes, error));
            match report {
                report if wanted == Some(ticket) => found = Some(report),
                Ok(_) => {}
                Err(error) => {
                    if self.failed.len() >= FAILED_MAX {
                        self.failed.remove(0);
                    }
                    self.failed.push((ticket, error));
                }
            }
        }
        found
    }
}

fn write_error(topic: &str, bytes: usize, error: ClientError) -> WriteError {
    let topic = topic.to_owned();
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidMessageSize,
        ) => WriteError::TooLarge { topic, bytes },
        _ => WriteError::Failed { topic, error },
    }
}
