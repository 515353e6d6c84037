//! Reads a whole topic without a group: from the beginning of every partition to its end, and then on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::check::{ANSWER_MAX, KafkaError, Topic, look_up, reach};
use super::context::Events;
use super::properties::Properties;

/// A message of a topic, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMessage {
    /// Its partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// When it was made or appended, in milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; None is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers in order; one without a value has an empty one.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl TopicMessage {
    /// The value of a header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// A consumer of all partitions that its topic had when it was made. It commits nothing, and joins no group, so every
/// reader reads everything; partitions that are added later are not read.
pub struct TopicReader {
    consumer: BaseConsumer<Events>,
    topic: String,
    partitions: BTreeMap<i32, Reached>,
}

/// How far a partition has been read.
struct Reached {
    /// The offset after the last message that was read.
    next: i64,
    /// The partition's end when the reader was made.
    end: i64,
    /// Whether all before `end` has been read. Offsets alone do not tell: compaction and transactions leave offsets
    /// without a message, at the end too.
    ended: bool,
}

/// The same defaults as the Kafka source's: a small prefetch queue with a short back-off.
const DEFAULTS: [(&str, &str); 4] = [
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.queue.backoff.ms", "1"),
    ("fetch.wait.max.ms", "50"),
    ("reconnect.backoff.max.ms", "2000"),
];

impl TopicReader {
    /// A reader of `topic` from its beginning. It fails when no broker answers, when the topic cannot be looked up, or
    /// when a partition does not tell its end.
    pub fn new(properties: &Properties, topic: &str, client_id: &str) -> Result<TopicReader, KafkaError> {
        let fixed = [
            ("client.id", client_id),
            // librdkafka demands one even where partitions are assigned by hand; it is never joined.
            ("group.id", client_id),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "earliest"),
            ("allow.auto.create.topics", "false"),
        ];
        let key = "kafka";
        let failed = |cause: ClientError| KafkaError::Client { key: key.to_owned(), cause: cause.to_string() };
        let consumer: BaseConsumer<Events> =
            properties.client(&DEFAULTS, &fixed).create_with_context(Events::default()).map_err(failed)?;
        reach(&consumer, key, properties)?;
        let found = look_up(&consumer, &Topic { key, name: topic, create: None, config: &[] })?;
        let mut partitions = BTreeMap::new();
        let mut assignment = TopicPartitionList::new();
        for partition in found {
            let (start, end) =
                consumer.fetch_watermarks(topic, partition, ANSWER_MAX).map_err(|error| KafkaError::Topic {
                    key: key.to_owned(),
                    topic: topic.to_owned(),
                    cause: format!("does not tell the end of partition {partition}: {error}"),
                    hint: "check that the partition has a leader, and that the user may READ the topic".to_owned(),
                })?;
            partitions.insert(partition, Reached { next: start, end, ended: start >= end });
            assignment.add_partition_offset(topic, partition, Offset::Beginning).map_err(failed)?;
        }
        consumer.assign(&assignment).map_err(failed)?;
        Ok(TopicReader { consumer, topic: topic.to_owned(), partitions })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Waits up to `wait` for the next message. None when there is none by then, and early when the end of a partition
    /// is reached, so that [`TopicReader::caught_up`] can be looked at. Errors are logged: they pass by themselves, or
    /// whoever grants rights must act.
    pub fn poll(&mut self, wait: Duration) -> Option<TopicMessage> {
        let deadline = Instant::now() + wait;
        loop {
            match self.consumer.poll(deadline.saturating_duration_since(Instant::now()))? {
                Ok(message) => {
                    let message = owned(&message);
                    if let Some(reached) = self.partitions.get_mut(&message.partition) {
                        reached.next = message.offset + 1;
                        reached.ended |= reached.next >= reached.end;
                    }
                    return Some(message);
                }
                Err(ClientError::PartitionEOF(partition)) => {
                    let reached = self.partitions.get_mut(&partition)?;
                    if !reached.ended {
                        reached.ended = true;
                        reached.next = reached.next.max(reached.end);
                        return None;
                    }
                }
                // Only members of the group need this right.
                Err(ClientError::MessageConsumption(RDKafkaErrorCode::GroupAuthorizationFailed)) => {}
                Err(error @ ClientError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed)) => {
                    tracing::error!(topic = self.topic, "the user may not read: {error}");
                }
                Err(error) => tracing::warn!(topic = self.topic, "poll: {error}"),
            }
            if Instant::now() >= deadline {
                return None;
            }
        }
    }

    /// Whether every partition has been read to the end that it had when this reader was made.
    pub fn caught_up(&self) -> bool {
        self.partitions.values().all(|reached| reached.ended)
    }

    /// Whether a message was there when this reader was made. Others come in between while partitions with an earlier
    /// end are read on.
    pub fn was_there(&self, message: &TopicMessage) -> bool {
        self.partitions.get(&message.partition).is_some_and(|reached| message.offset < reached.end)
    }

    /// The next offset of every partition, summed up: as many messages as the topic has ever had up to here, which
    /// compaction does not change. Of a reader that has caught up, at least the sum of all ends at its start.
    pub fn position(&self) -> u64 {
        self.partitions.values().map(|reached| u64::try_from(reached.next).unwrap_or_default()).sum()
    }

    /// How many offsets lie between here and the ends at the start: at most so many messages are left until
    /// [`TopicReader::caught_up`].
    pub fn left(&self) -> u64 {
        let left = |reached: &Reached| match reached.ended {
            true => 0,
            false => u64::try_from(reached.end - reached.next).unwrap_or_default(),
        };
        self.partitions.values().map(left).sum()
    }
}

fn owned(message: &BorrowedMessage<'_>) -> TopicMessage {
    let header = |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.unwrap_or_default().to_vec());
    TopicMessage {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().filter(|ms| *ms >= 0),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map(|headers| headers.iter().map(header).collect()).unwrap_or_default(),
    }
}
