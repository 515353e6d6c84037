//! The demo's Kafka: librdkafka's mock cluster in this process, a producer for the records, and a reader of what comes
//! out. The pipeline in between uses the real source and sinks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use super::traffic::Message;
use crate::kafka::{Events, Properties};

pub(super) const RECORDS: &str = "cloudtrail";
pub(super) const FINDINGS: &str = "findings";
pub(super) const SHADOW: &str = "findings.shadow";
pub(super) const DEAD_LETTERS: &str = "cloudtrail.dead-letters";
pub(super) const RULES: &str = "rules";
pub(super) const STATUS: &str = "rules.status";

/// Partitions of the topic of records. The others have one, so that the demo shows their messages in order.
pub(super) const PARTITIONS: i32 = 3;

/// One broker in this process, on a loopback port. It must outlive all its clients.
pub(super) struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
}

impl Cluster {
    pub(super) fn start() -> Result<Cluster, KafkaError> {
        let mock = MockCluster::new(1)?;
        mock.create_topic(RECORDS, PARTITIONS, 1)?;
        // The mock cluster compacts nothing; the demo writes a handful of messages to the two that would need it.
        for topic in [FINDINGS, SHADOW, DEAD_LETTERS, RULES, STATUS] {
            mock.create_topic(topic, 1, 1)?;
        }
        Ok(Cluster { mock })
    }

    pub(super) fn address(&self) -> String {
        self.mock.bootstrap_servers()
    }

    /// What every client needs.
    pub(super) fn properties(&self) -> Properties {
        let mut properties = Properties::default();
        properties.set("bootstrap.servers", &self.address());
        properties
    }

    /// What a consumer needs on top, here and not on a real cluster. The mock broker answers a fetch that finds nothing
    /// only when its wait is over, whatever arrives meanwhile, so the wait is short.
    pub(super) fn consumer_properties(&self) -> Properties {
        let mut properties = self.properties();
        properties.set("fetch.wait.max.ms", "10");
        properties
    }
}

/// Sends the records.
pub(super) struct Feed {
    producer: BaseProducer<FeedContext>,
    sent: usize,
}

/// The partition and offset of message `number`, from 0: the partitions take turns.
pub(super) fn place_of(number: usize) -> (i32, i64) {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    let partitions = i64::from(PARTITIONS);
    (i32::try_from(number % partitions).unwrap_or_default(), number / partitions)
}

/// Counts what the broker has acknowledged, and what it has not taken.
#[derive(Default)]
struct FeedContext {
    events: Events,
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for FeedContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        crate::kafka::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.note(&error, reason);
    }
}

impl ProducerContext for FeedContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.acknowledged } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Feed {
    pub(super) fn new(cluster: &Cluster) -> Result<Feed, KafkaError> {
        // Compressed, because the mock cluster's limit counts what it stores.
        let defaults = [("linger.ms", "2"), ("compression.type", "zstd"), ("enable.idempotence", "true")];
        let config = cluster.properties().client(&defaults, &[("client.id", "trailhound-demo-feed")]);
        Ok(Feed { producer: config.create_with_context(FeedContext::default())?, sent: 0 })
    }

    /// Sends the next message to the partition that [`place_of`] says.
    pub(super) fn send(&mut self, message: &Message) -> Result<(), KafkaError> {
        let (partition, _) = place_of(self.sent);
        let mut record: BaseRecord<'_, (), [u8]> = BaseRecord::to(RECORDS).partition(partition);
        if let Some(payload) = &message.payload {
            record = record.payload(payload);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => {
                    record = unsent;
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error),
            }
        }
        self.sent += 1;
        Ok(())
    }

    /// Serves acknowledgements. Messages that were not taken: none, or the demo is at fault.
    pub(super) fn poll(&self) -> u64 {
        self.producer.poll(Duration::ZERO);
        self.producer.context().failed.load(Ordering::Relaxed)
    }
}

/// Reads findings and dead letters as a SIEM would.
pub(super) struct Watch {
    consumer: BaseConsumer<Events>,
}

/// What came out of the pipeline.
pub(super) enum Seen {
    /// A finding: its OCSF document, and how long it took from the append of its record to its own, in milliseconds.
    Finding { document: Value, latency_ms: Option<i64> },
    /// A finding of a module in shadow: its OCSF document.
    Shadow { document: Value },
    /// A dead letter: its headers.
    DeadLetter { reason: String, detail: String, topic: String, partition: String, offset: String, entry: String },
}

impl Watch {
    pub(super) fn new(cluster: &Cluster) -> Result<Watch, KafkaError> {
        let defaults = [("group.id", "trailhound-demo-watch"), ("enable.auto.commit", "false")];
        let config = cluster.consumer_properties().client(&defaults, &[("client.id", "trailhound-demo-watch")]);
        let consumer: BaseConsumer<Events> = config.create_with_context(Events::default())?;
        let mut partitions = TopicPartitionList::new();
        for topic in [FINDINGS, SHADOW, DEAD_LETTERS] {
            partitions.add_partition_offset(topic, 0, Offset::Beginning)?;
        }
        consumer.assign(&partitions)?;
        Ok(Watch { consumer })
    }

    /// Waits up to `wait` for the next one.
    pub(super) fn next(&self, wait: Duration) -> Result<Option<Seen>, KafkaError> {
        match self.consumer.poll(wait) {
            None => Ok(None),
            Some(message) => message.map(|message| Some(seen(&message))),
        }
    }
}

fn seen(message: &BorrowedMessage<'_>) -> Seen {
    let document = || -> Value { serde_json::from_slice(message.payload().unwrap_or_default()).unwrap_or_default() };
    if message.topic() == SHADOW {
        return Seen::Shadow { document: document() };
    }
    if message.topic() == FINDINGS {
        let document = document();
        let appended = document.pointer("/unmapped/trailhound/appended_time").and_then(Value::as_i64);
        let found = message.timestamp().to_millis();
        return Seen::Finding { latency_ms: found.zip(appended).map(|(found, appended)| found - appended), document };
    }
    let header = |key: &str| {
        let header = message.headers().and_then(|headers| headers.iter().find(|header| header.key == key));
        let value = header.and_then(|header| header.value).unwrap_or_default();
        String::from_utf8_lossy(value).into_owned()
    };
    Seen::DeadLetter {
        reason: header("trailhound.reason"),
        detail: header("trailhound.detail"),
        topic: header("trailhound.topic"),
        partition: header("trailhound.partition"),
        offset: header("trailhound.offset"),
        entry: header("trailhound.entry"),
    }
}
