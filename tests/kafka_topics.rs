//! Topics that are read and written beside the pipelines, on the real broker: whole, to their end, and in one piece.

use std::time::Duration;

use harness::kafka::{Kafka, Outgoing};
use harness::wait::{PATIENCE, until_true};
use trailhound::kafka::{self, Create, Properties, Topic, TopicMessage, TopicReader, TopicWriter, WriteError};

fn properties(kafka: &Kafka) -> Properties {
    let mut properties = Properties::default();
    properties.set("bootstrap.servers", &kafka.bootstrap());
    properties
}

fn reader(kafka: &Kafka, topic: &str) -> TopicReader {
    TopicReader::new(&properties(kafka), topic, "test-reader").unwrap_or_else(|error| panic!("{error}"))
}

fn writer(kafka: &Kafka, topic: &str) -> TopicWriter {
    TopicWriter::new(&properties(kafka), topic, "test-writer").unwrap_or_else(|error| panic!("{error}"))
}

/// The high bytes of a linear congruence.
fn incompressible(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// Reads until the reader says that it has caught up.
#[track_caller]
fn read_up(reader: &mut TopicReader) -> Vec<TopicMessage> {
    let mut all = Vec::new();
    until_true(PATIENCE, "the end of the topic", || {
        while let Some(message) = reader.poll(Duration::from_millis(50)) {
            all.push(message);
        }
        reader.caught_up()
    });
    assert_eq!(reader.left(), 0);
    all
}

#[test]
fn a_topic_is_read_from_its_beginning_to_its_end_and_then_on() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.client().create_topic("whole", 3, &[]);
    let mut empty = reader(kafka, "whole");
    assert!(empty.caught_up(), "nothing is there to be read");
    assert_eq!(empty.position(), 0);

    let mut writer = writer(kafka, "whole");
    let mut written = Vec::new();
    for number in 0..20 {
        let (key, value) = (format!("key-{number}"), format!("value-{number}"));
        let headers: [(&str, &[u8]); 2] = [("number", b"1"), ("binary", &[0, 255])];
        let place = writer.send(key.as_bytes(), Some(value.as_bytes()), &headers, PATIENCE).expect("written");
        written.push((place, key.into_bytes(), value.into_bytes()));
    }
    let mut reader = reader(kafka, "whole");
    assert_eq!(reader.left(), 20);
    // Two readers read the same: they share nothing.
    for reader in [&mut reader, &mut empty] {
        let mut read = Vec::new();
        until_true(PATIENCE, "all messages", || {
            read.extend(reader.poll(Duration::from_millis(50)));
            read.len() == 20
        });
        assert!(reader.caught_up());
        assert_eq!(reader.position(), 20);
        for ((partition, offset), key, value) in &written {
            let place = |message: &&TopicMessage| (message.partition, message.offset) == (*partition, *offset);
            let message = read.iter().find(place).expect("the message at its place");
            assert_eq!((&message.key, &message.value), (&Some(key.clone()), &Some(value.clone())));
            let headers = [("number".to_owned(), b"1".to_vec()), ("binary".to_owned(), vec![0, 255])];
            assert_eq!(message.headers, headers);
            assert_eq!(
                (message.header("number"), message.header("binary"), message.header("none")),
                (Some("1"), None, None)
            );
            assert!(message.timestamp_ms.is_some_and(|ms| ms > 0));
        }
    }
    let (partition, offset) = writer.send(b"key-7", None, &[], PATIENCE).expect("written");
    let before = &written[7].0;
    assert!(partition == before.0 && offset > before.1, "one key, one partition");
    let mut last = None;
    until_true(PATIENCE, "the tombstone", || {
        last = reader.poll(Duration::from_millis(50));
        last.is_some()
    });
    let last = last.expect("the tombstone");
    assert_eq!((last.key, last.value, last.headers), (Some(b"key-7".to_vec()), None, Vec::new()));
    assert_eq!(reader.position(), 21);
}

#[test]
fn compaction_leaves_holes_that_a_reader_passes() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    // Its cleaner runs as soon as a segment is full, and takes tombstones out at once.
    let config = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.0"),
        ("segment.ms", "100"),
        ("delete.retention.ms", "0"),
    ];
    let create = Some(Create { partitions: 1, replication: 1 });
    let topic = Topic { key: "test", name: "compacted", create, config: &config };
    let mistakes = kafka::check(&properties(kafka), &[topic], true);
    assert!(mistakes.is_empty(), "{mistakes:?}");

    let mut writer = writer(kafka, "compacted");
    for round in 0..10 {
        for key in ["a", "b", "c"] {
            let value = format!("{key}{round}");
            writer.send(key.as_bytes(), Some(value.as_bytes()), &[], PATIENCE).expect("written");
        }
    }
    for key in ["a", "b"] {
        writer.send(key.as_bytes(), None, &[], PATIENCE).expect("written");
    }
    // A segment that is old is closed by the next message only, so some come after it. That the cleaner runs at all
    // shows that the topic was created with its configuration.
    let mut sent = 32;
    until_true(PATIENCE, "the cleaner", || {
        writer.send(b"z", None, &[], PATIENCE).expect("written");
        sent += 1;
        let values: Vec<_> = client.read_all("compacted").into_iter().filter_map(|message| message.value).collect();
        values == [b"c9"]
    });
    let mut reader = reader(kafka, "compacted");
    let read = read_up(&mut reader);
    let values: Vec<&[u8]> = read.iter().filter_map(|message| message.value.as_deref()).collect();
    assert_eq!(values, [b"c9"]);
    assert_eq!(reader.position(), sent, "as many as were ever sent");
}

#[test]
fn an_end_without_messages_is_reached() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topic("emptied", 1, &[]);
    client.produce("emptied", &vec![Outgoing::value("gone"); 40], &[]);
    client.delete_records("emptied", 40);
    let mut reader = reader(kafka, "emptied");
    assert_eq!(read_up(&mut reader), []);
    assert_eq!(reader.position(), 40);
}

#[test]
fn messages_are_as_large_as_the_topic_takes() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topic("roomy", 1, &[("max.message.bytes", "13000000")]);
    client.create_topic("narrow", 1, &[]);
    let large = incompressible(12 << 20);
    let mut roomy = writer(kafka, "roomy");
    assert_eq!(roomy.send(b"large", Some(&large), &[], PATIENCE).expect("written"), (0, 0));
    let read = read_up(&mut reader(kafka, "roomy"));
    assert!(read.len() == 1 && read[0].value.as_deref() == Some(&large[..]), "it comes back as it was");

    let mut narrow = writer(kafka, "narrow");
    let refused = narrow.send(b"large", Some(&large), &[], PATIENCE);
    assert!(matches!(refused, Err(WriteError::TooLarge { bytes, .. }) if bytes == (12 << 20) + 5), "{refused:?}");
    assert_eq!(narrow.send(b"small", Some(b"small"), &[], PATIENCE).expect("the writer goes on"), (0, 0));
}

#[test]
fn queued_messages_fail_or_arrive_and_are_told_apart() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.client().create_topic("queued", 4, &[("max.message.bytes", "10000")]);
    let mut writer = writer(kafka, "queued");
    for number in 0..500u32 {
        writer.queue(b"", Some(&number.to_be_bytes()), &[]).expect("room in the queue");
    }
    assert!(writer.flush(PATIENCE).is_empty());
    let ticket = writer.queue(b"", Some(&incompressible(50_000)), &[]).expect("room in the queue");
    let failed = writer.flush(PATIENCE);
    assert!(matches!(&failed[..], [(t, WriteError::TooLarge { .. })] if *t == ticket), "{failed:?}");
    assert!(writer.failures().is_empty(), "said once");
    assert_eq!(read_up(&mut reader(kafka, "queued")).len(), 500);
}

#[test]
fn what_cannot_be_read_or_written_says_so() {
    let Some(kafka) = Kafka::shared() else { return };
    let error = TopicReader::new(&properties(kafka), "not-there", "test").err().expect("no such topic").to_string();
    assert!(error.contains("`not-there` does not exist"), "{error}");
    let mut writer = writer(kafka, "not-there");
    let wait = Duration::from_millis(300);
    let error = writer.send(b"", Some(b"x"), &[], wait).expect_err("no such topic").to_string();
    assert!(error.contains("not-there"), "{error}");
    assert_eq!(kafka.client().partitions("not-there"), 0, "looking does not make it");
}
