//! What tests do with a broker: topics, messages in, messages out, and where a group stands.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::BROKERS;
use crate::wait::{self, PATIENCE};

/// A message to produce.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// The partition; None leaves it to the producer.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; None is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Outgoing {
    /// A message that is nothing but a value.
    pub fn value(value: impl Into<Vec<u8>>) -> Outgoing {
        Outgoing { value: Some(value.into()), ..Outgoing::default() }
    }
}

/// A message that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// When it was appended or made, in milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; None is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Received {
    /// A header's text; None when there is none of that name.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// A way to talk to a cluster, whether it is up or not.
#[derive(Debug, Clone)]
pub struct Client {
    bootstrap: String,
    /// How many replicas a topic gets.
    replication: i32,
}

impl Client {
    /// A client of the brokers at `host:port,…`, whose topics get so many replicas.
    pub fn new(bootstrap: String, replication: i32) -> Client {
        Client { bootstrap, replication }
    }

    /// The brokers' addresses.
    pub(super) fn brokers(&self) -> impl Iterator<Item = &str> {
        self.bootstrap.split(',')
    }

    /// A client's configuration that recovers fast when the broker comes back.
    pub(super) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
        config.set("retry.backoff.ms", "20").set("topic.metadata.refresh.fast.interval.ms", "20");
        config.set("fetch.queue.backoff.ms", "1").set("fetch.wait.max.ms", "20");
        // Expected while a broker is down; a failed test says what it has missed.
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        config
    }

    /// Creates the topics of a pipeline, as `Config::new` names them.
    pub fn create_topics(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        for part in ["cloudtrail", "findings", "dead"] {
            self.create_topic(&format!("{name}.{part}"), partitions, settings);
        }
    }

    /// Creates a topic with settings such as `("compression.type", "zstd")`.
    pub fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(self.replication));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        self.create(name, partitions, &topic);
    }

    /// Creates a topic with a partition for each of these brokers of a [`super::Cluster`], which leads it.
    pub fn create_topic_led_by(&self, name: &str, leaders: &[usize]) {
        let node = |broker: usize| i32::try_from(broker % BROKERS).unwrap_or_default() + 1;
        let replicas: Vec<Vec<i32>> =
            leaders.iter().map(|leader| (*leader..leader + BROKERS).map(node).collect()).collect();
        let replicas: Vec<&[i32]> = replicas.iter().map(Vec::as_slice).collect();
        let partitions = i32::try_from(leaders.len()).unwrap_or_default();
        self.create(name, partitions, &NewTopic::new(name, partitions, TopicReplication::Variable(&replicas)));
    }

    fn create(&self, name: &str, partitions: i32, topic: &NewTopic<'_>) {
        let results = self.admin(async |admin, options| admin.create_topics([topic], options).await);
        assert!(results.iter().all(Result::is_ok), "create topic {name}: {results:?}");
        // The answer comes before the broker's own metadata has it.
        wait::until_true(PATIENCE, "a new topic to show", || self.partitions(name) == partitions);
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) {
        let results = self.admin(async |admin, options| admin.delete_topics(&[name], options).await);
        assert!(results.iter().all(Result::is_ok), "delete topic {name}: {results:?}");
    }

    /// Gives a topic these settings and no others: what is left out returns to the broker's default.
    pub fn configure_topic(&self, name: &str, settings: &[(&str, &str)]) {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (key, value) in settings {
            change = change.set(key, value);
        }
        let results = self.admin(async |admin, options| admin.alter_configs([&change], options).await);
        assert!(results.iter().all(Result::is_ok), "configure topic {name}: {results:?}");
    }

    /// Deletes all messages of a topic's first partition before `offset`, as retention does.
    pub fn delete_records(&self, topic: &str, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, 0, Offset::Offset(offset)).expect("a partition");
        self.admin(async |admin, options| admin.delete_records(&before, options).await);
    }

    /// How many partitions a topic has; 0 when it does not exist.
    pub fn partitions(&self, topic: &str) -> i32 {
        let consumer: BaseConsumer = self.config().create().expect("a consumer");
        partitions(&consumer, topic)
    }

    /// Produces all messages and returns when all are acknowledged; see [`Producer::send_all`].
    pub fn produce(&self, topic: &str, messages: &[Outgoing], settings: &[(&str, &str)]) {
        self.producer(topic, settings).send_all(messages);
    }

    /// A producer for one topic, with settings such as `("compression.type", "lz4")`. It is not idempotent: while a
    /// broker goes away it may append a message twice, as what stands before Trailhound may, too.
    pub fn producer(&self, topic: &str, settings: &[(&str, &str)]) -> Producer {
        let mut config = self.config();
        config.set("acks", "all").set("linger.ms", "2").set("message.timeout.ms", "60000");
        config.set("message.max.bytes", "10000000");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let producer = config.create_with_context(Acknowledged::default()).expect("a producer");
        Producer { producer, topic: topic.to_owned() }
    }

    /// Reads a topic from its beginning to its end at the time of the call, committed messages only.
    pub fn read_all(&self, topic: &str) -> Vec<Received> {
        let mut config = self.config();
        config.set("group.id", "harness.read-all").set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions(&consumer, topic) {
            assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
        }
        assert!(assignment.count() > 0, "topic {topic} does not exist");
        consumer.assign(&assignment).expect("an assignment");
        read_to_end(&consumer, assignment.count(), topic)
    }

    /// The end offset of every partition, in order: the offset that the next message gets.
    pub fn end_offsets(&self, topic: &str) -> Vec<i64> {
        let consumer: BaseConsumer = self.config().create().expect("a consumer");
        // A leader that has just gone is asked in vain until another is known.
        let watermark = |partition| {
            wait::until(PATIENCE, "the end of a partition", || {
                consumer.fetch_watermarks(topic, partition, PATIENCE).ok()
            })
        };
        (0..partitions(&consumer, topic)).map(|partition| watermark(partition).1).collect()
    }

    /// The offset that a group has committed in every partition, in order; None where it has committed none.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<i64>> {
        let mut config = self.config();
        let consumer: BaseConsumer = config.set("group.id", group).create().expect("a consumer");
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(topic, 0, partitions(&consumer, topic) - 1);
        // A broker that has just started refuses until it has loaded the group's state.
        let committed = wait::until(PATIENCE, "the group's coordinator to answer", || {
            consumer.committed_offsets(wanted.clone(), PATIENCE).ok()
        });
        committed.elements().iter().map(|element| element.offset().to_raw().filter(|raw| *raw >= 0)).collect()
    }

    /// Commits these offsets, one a partition, for a group without members.
    pub fn commit(&self, group: &str, topic: &str, offsets: &[i64]) {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(offsets) {
            list.add_partition_offset(topic, partition, Offset::Offset(*offset)).expect("a partition");
        }
        wait::until(PATIENCE, "offsets to be committed", || consumer.commit(&list, CommitMode::Sync).ok());
    }

    /// Waits until a group has committed the end of every partition.
    #[track_caller]
    pub fn until_committed(&self, group: &str, topic: &str) {
        wait::until_true(PATIENCE, &format!("{group} to commit the end of {topic}"), || {
            let ends = self.end_offsets(topic).into_iter();
            ends.zip(self.committed(group, topic)).all(|(end, committed)| committed.unwrap_or(0) == end)
        });
    }

    /// Runs one request of the admin client to its end.
    fn admin<T>(
        &self,
        request: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> Result<T, KafkaError>,
    ) -> T {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("an admin client");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(request(&admin, &options)).expect("an answer of the broker")
    }
}

/// Produces to one topic.
pub struct Producer {
    producer: BaseProducer<Acknowledged>,
    topic: String,
}

impl Producer {
    /// Produces all messages, in order within a partition, and returns when all are acknowledged. A broker that is
    /// away for less than a minute is waited for.
    pub fn send_all(&self, messages: &[Outgoing]) {
        let acknowledged = self.producer.context();
        let before = acknowledged.count.load(Ordering::SeqCst);
        for message in messages {
            send(&self.producer, &self.topic, message);
            self.producer.poll(Duration::ZERO);
        }
        self.producer.flush(PATIENCE).expect("everything acknowledged in time");
        let failed = acknowledged.failed.lock().expect("no poison");
        assert!(failed.is_empty(), "produce to {}: {failed:?}", self.topic);
        let count = acknowledged.count.load(Ordering::SeqCst) - before;
        assert_eq!(count, messages.len() as u64, "acknowledged messages of {}", self.topic);
    }

    /// Hands over one message, and waits while the queue is full.
    pub fn send(&self, message: &Outgoing) {
        send(&self.producer, &self.topic, message);
    }

    /// Serves acknowledgements until this moment; it is how a producer that sends at a rate waits.
    pub fn serve_until(&self, moment: Instant) {
        loop {
            self.producer.poll(moment.saturating_duration_since(Instant::now()));
            if Instant::now() >= moment {
                return;
            }
        }
    }

    /// Waits until all that was handed over is acknowledged, for as long as the messages themselves may take.
    pub fn finish(&self) {
        self.producer.flush(Duration::from_secs(600)).expect("everything acknowledged in time");
        let failed = self.producer.context().failed.lock().expect("no poison");
        assert!(failed.is_empty(), "produce to {}: {} failed, such as {:?}", self.topic, failed.len(), failed.first());
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Producer({})", self.topic)
    }
}

/// Counts what the broker has acknowledged, and keeps what it has refused.
#[derive(Debug, Default)]
struct Acknowledged {
    count: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        match result {
            Ok(_) => {
                self.count.fetch_add(1, Ordering::SeqCst);
            }
            Err((error, _)) => self.failed.lock().expect("no poison").push(error.to_string()),
        }
    }
}

/// Hands one message to the producer, and waits while its queue is full.
fn send(producer: &BaseProducer<Acknowledged>, topic: &str, message: &Outgoing) {
    let mut record = BaseRecord::<[u8], [u8]>::to(topic);
    record.partition = message.partition;
    record.key = message.key.as_deref();
    record.payload = message.value.as_deref();
    if !message.headers.is_empty() {
        let headers = message
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        record = record.headers(headers);
    }
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                producer.poll(Duration::from_millis(10));
                record = again;
            }
            Err((error, _)) => panic!("produce to {topic}: {error}"),
        }
    }
}

/// How many partitions a topic has; 0 when it does not exist.
pub(super) fn partitions(consumer: &BaseConsumer, topic: &str) -> i32 {
    let metadata = wait::until(PATIENCE, "a topic's metadata", || consumer.fetch_metadata(Some(topic), PATIENCE).ok());
    let found = metadata.topics().iter().find(|known| known.name() == topic && known.error().is_none());
    found.map_or(0, |known| i32::try_from(known.partitions().len()).unwrap_or(i32::MAX))
}

/// Polls until every partition has told its end.
fn read_to_end(consumer: &BaseConsumer, partitions: usize, topic: &str) -> Vec<Received> {
    let mut ended = BTreeMap::new();
    let mut all = Vec::new();
    let end = Instant::now() + PATIENCE;
    while ended.len() < partitions {
        assert!(Instant::now() < end, "{topic} not read to its end in time: {ended:?} of {partitions}");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => all.push(received(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition, all.len());
            }
            // Connections that break are made again by the client; the deadline ends what does not heal.
            Some(Err(_)) | None => {}
        }
    }
    all
}

/// A copy of a message.
pub(super) fn received(message: &rdkafka::message::BorrowedMessage<'_>) -> Received {
    let headers = message.headers().map(|headers| {
        let copy = |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.unwrap_or_default().to_vec());
        headers.iter().map(copy).collect()
    });
    Received {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}
