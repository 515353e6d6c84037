//! The harness's own promises: what it says of the broker is so, on the real one.

use harness::kafka::{Kafka, Outgoing};

/// Messages of every form, one partition chosen, one left to the producer.
fn some_messages(count: usize) -> Vec<Outgoing> {
    (0..count)
        .map(|number| Outgoing {
            partition: number.is_multiple_of(2).then_some(1),
            key: Some(format!("key-{number}").into_bytes()),
            value: (!number.is_multiple_of(10)).then(|| format!("value-{number}").into_bytes()),
            headers: vec![("number".to_owned(), number.to_string().into_bytes())],
        })
        .collect()
}

#[test]
fn messages_come_back_as_they_were_produced_also_after_kill_9() {
    let Some(mut kafka) = Kafka::start() else { return };
    let client = kafka.client();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        client.create_topic(codec, 4, &[("compression.type", "producer")]);
    }
    let produced = some_messages(1_000);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        client.produce(codec, &produced, &[("compression.type", codec)]);
    }
    kafka.kill9();
    kafka.restart();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let mut read = client.read_all(codec);
        assert_eq!(i64::try_from(read.len()).unwrap(), client.end_offsets(codec).iter().sum::<i64>());
        read.sort_by_key(|message| message.header("number").unwrap().parse::<usize>().unwrap());
        let pairs = read.iter().zip(&produced);
        assert_eq!(pairs.len(), produced.len());
        for (got, sent) in pairs {
            assert_eq!((&got.key, &got.value, &got.headers), (&sent.key, &sent.value, &sent.headers));
            assert!(sent.partition.is_none_or(|partition| partition == got.partition));
            assert!(got.timestamp_ms.is_some());
        }
    }
    assert_eq!(client.committed("nobody", "none"), [None; 4]);
    kafka.stop();
    kafka.restart();
    assert_eq!(client.read_all("none").len(), 1_000);
}

#[test]
fn topics_are_created_configured_and_deleted() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topic("small", 2, &[("max.message.bytes", "100")]);
    assert_eq!(client.partitions("small"), 2);
    client.configure_topic("small", &[("max.message.bytes", "100000")]);
    client.produce("small", &[Outgoing::value([b'x'; 5_000])], &[]);
    assert_eq!(client.end_offsets("small").iter().sum::<i64>(), 1);
    client.delete_topic("small");
    assert_eq!(client.partitions("small"), 0);
}
