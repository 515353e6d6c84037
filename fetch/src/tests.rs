//! A queue before librdkafka's mock of a cluster.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::DefaultConsumerContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster with a topic `t` of two partitions, of whose messages the first holds the numbers up to `count`.
fn cluster(count: usize) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("t", 2, 1).expect("a topic");
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().expect("a producer");
    for number in 0..count {
        let payload = number.to_string();
        producer.send(BaseRecord::<(), str>::to("t").partition(0).payload(&payload)).expect("room");
    }
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header { key: "none", value: None::<&str> });
    producer.send(BaseRecord::to("t").partition(1).key("k").payload("v").headers(headers)).expect("room");
    producer.send(BaseRecord::<str, str>::to("t").partition(1)).expect("room");
    producer.flush(PATIENCE).expect("all is written");
    cluster
}

fn consumer(cluster: &MockCluster<'static, DefaultProducerContext>) -> Arc<BaseConsumer<DefaultConsumerContext>> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
    client.set("enable.auto.commit", "false").set("fetch.wait.max.ms", "10");
    Arc::new(client.create().expect("a consumer"))
}

fn assign(queue: &Queue<DefaultConsumerContext>, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", partition, Offset::Offset(offset)).expect("an offset");
    queue.forward("t", partition);
    queue.consumer().assign(&list).expect("an assignment");
}

/// The payloads of the next `count` messages, in batches of `max`, with their offsets. What is assigned is forwarded again until something comes.
fn read(queue: &mut Queue<DefaultConsumerContext>, count: usize, max: usize) -> Vec<(i64, Option<String>)> {
    let (mut read, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while read.len() < count && Instant::now() < deadline {
        assert!(queue.consumer().poll(Duration::ZERO).is_none(), "no message comes by the consumer's own queue");
        if read.is_empty() {
            queue.forward("t", 0);
            queue.forward("t", 1);
        }
        queue.take(max, Duration::from_millis(10));
        while let Some(message) = queue.pop() {
            let message = message.expect("a message");
            let payload = message.payload().map(|payload| String::from_utf8_lossy(payload).into_owned());
            read.push((message.offset(), payload));
        }
    }
    read
}

/// Takes up to `max` messages of an assigned partition, of which some must come.
fn take(queue: &mut Queue<DefaultConsumerContext>, partition: i32, max: usize) {
    let deadline = Instant::now() + PATIENCE;
    while !queue.take(max, Duration::from_millis(10)) {
        assert!(Instant::now() < deadline, "nothing comes");
        queue.forward("t", partition);
    }
}

fn numbers(range: std::ops::Range<i64>) -> Vec<(i64, Option<String>)> {
    range.map(|number| (number, Some(number.to_string()))).collect()
}

#[test]
fn messages_come_in_order_however_many_are_taken() {
    let cluster = cluster(500);
    let mut queue = Queue::new(consumer(&cluster));
    assert!(!queue.take(TAKEN_MAX, Duration::ZERO));
    assign(&queue, 0, 0);
    assert_eq!(read(&mut queue, 500, usize::MAX), numbers(0..500));
    for max in [1, 7, TAKEN_MAX] {
        assign(&queue, 0, 100);
        assert_eq!(read(&mut queue, 400, max), numbers(100..500), "{max} at a call");
    }
}

#[test]
fn a_message_has_all_that_it_was_sent_with() {
    let cluster = cluster(0);
    let mut queue = Queue::new(consumer(&cluster));
    assign(&queue, 1, 0);
    take(&mut queue, 1, 1);
    let message = queue.pop().expect("one").expect("a message");
    assert_eq!((message.topic(), message.partition(), message.offset()), ("t", 1, 0));
    assert_eq!((message.key(), message.payload()), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert!(message.appended_ms().is_some());
    assert_eq!(message.headers().collect::<Vec<_>>(), [("a", Some(&b"1"[..])), ("none", None)]);
    drop(message);
    take(&mut queue, 1, 1);
    let tombstone = queue.pop().expect("one").expect("a message");
    assert_eq!((tombstone.offset(), tombstone.key(), tombstone.payload()), (1, None, None));
    assert_eq!(tombstone.headers().count(), 0);
}

#[test]
fn a_partition_that_is_read_again_at_once_loses_nothing() {
    let cluster = cluster(300);
    let mut queue = Queue::new(consumer(&cluster));
    for round in 0..20 {
        let from = round * 10;
        assign(&queue, 0, from);
        assert_eq!(read(&mut queue, 300 - from as usize, TAKEN_MAX), numbers(from..300), "round {round}");
    }
}

#[test]
fn what_was_taken_of_a_partition_that_goes_is_dropped() {
    let cluster = cluster(10);
    let mut queue = Queue::new(consumer(&cluster));
    assign(&queue, 0, 0);
    take(&mut queue, 0, 4);
    queue.retain(|topic, partition| (topic, partition) != ("t", 1));
    assert!(queue.take(4, Duration::ZERO), "another partition went");
    queue.retain(|topic, partition| (topic, partition) != ("t", 0));
    assert!(queue.pop().is_none());
}

#[test]
fn a_queue_goes_before_its_consumer_with_messages_in_it() {
    let cluster = cluster(300);
    let consumer = consumer(&cluster);
    let mut queue = Queue::new(Arc::clone(&consumer));
    assign(&queue, 0, 0);
    assert_eq!(read(&mut queue, 1, 1), numbers(0..1));
    drop(queue);
    assert!(consumer.poll(Duration::ZERO).is_none());
}

#[test]
fn kept_messages_outlive_their_queue_and_keep_their_client() {
    let cluster = cluster(300);
    let (mut kept, mut read, mut clients) = (Kept::default(), Vec::new(), Vec::new());
    for partition in [0, 1] {
        let mut queue = Queue::new(consumer(&cluster));
        clients.push(Arc::downgrade(&queue.consumer));
        assign(&queue, partition, 0);
        take(&mut queue, partition, 2);
        while let Some(message) = queue.pop() {
            let message = message.expect("a message");
            let payload = message.payload().map(<[u8]>::to_vec);
            read.push((kept.keep(message), payload));
        }
    }
    assert!(clients.iter().all(|client| client.strong_count() == 1), "only by what is kept");
    assert!(read.len() >= 2, "some of each");
    for (number, payload) in &read {
        assert_eq!(kept.payload(*number), payload.as_deref(), "message {number}");
    }
    assert_eq!(kept.payload(read.len()), None);
    kept.clear();
    assert_eq!(kept.payload(0), None);
    assert!(clients.iter().all(|client| client.strong_count() == 0), "given back");
}
