//! Reading a topic on from where the last reading ended: committed messages, each once.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{partitions, received};
use super::{Client, Received};
use crate::wait::{self, PATIENCE};

/// A reader of a topic.
pub struct Tail {
    client: Client,
    topic: String,
    consumer: BaseConsumer,
    /// The next offset of each partition.
    next: Vec<i64>,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tail({} at {:?})", self.topic, self.next)
    }
}

impl Tail {
    /// A reader that begins at the topic's beginning.
    pub fn new(client: &Client, topic: &str) -> Tail {
        let mut config = client.config();
        config.set("group.id", "harness.tail").set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "error");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let next = vec![0; usize::try_from(partitions(&consumer, topic)).unwrap_or_default()];
        assert!(!next.is_empty(), "topic {topic} does not exist");
        Tail { client: client.clone(), topic: topic.to_owned(), consumer, next }
    }

    /// From the beginning again: the topic was deleted and created anew.
    pub fn rewind(&mut self) {
        *self = Tail::new(&self.client, &self.topic);
    }

    /// Reads to the end of every partition.
    #[track_caller]
    pub fn catch_up(&mut self, mut visit: impl FnMut(Received)) {
        let mut assignment = TopicPartitionList::new();
        for (partition, next) in (0..).zip(&self.next) {
            let offset = Offset::Offset(*next);
            assignment.add_partition_offset(&self.topic, partition, offset).expect("a partition");
        }
        self.consumer.assign(&assignment).expect("an assignment");
        let mut ended = vec![false; self.next.len()];
        let mut end = Instant::now() + PATIENCE;
        while ended.contains(&false) {
            assert!(Instant::now() < end, "{} not read to its end in time: {:?}", self.topic, self.next);
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let index = usize::try_from(message.partition()).unwrap_or_default();
                    self.next[index] = message.offset() + 1;
                    visit(received(&message));
                    end = Instant::now() + PATIENCE;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ended[usize::try_from(partition).unwrap_or_default()] = true;
                }
                // Connections that break are made again by the client; the deadline ends what does not heal.
                Some(Err(_)) | None => {}
            }
        }
        self.consumer.unassign().expect("no assignment");
    }

    /// Waits until no transaction is open: what comes after an open one is not read. One whose owner was killed is
    /// given up by the brokers after its time-out.
    pub fn until_settled(&self) {
        let mut config = self.client.config();
        let uncommitted: BaseConsumer = config.set("isolation.level", "read_uncommitted").create().expect("a consumer");
        wait::until_true(PATIENCE * 2, &format!("transactions on {} to end", self.topic), || {
            let end = |consumer: &BaseConsumer, partition| {
                consumer.fetch_watermarks(&self.topic, partition, PATIENCE).ok().map(|(_, end)| end)
            };
            let mut partitions = (0..).zip(&self.next).map(|(partition, _)| partition);
            partitions.all(|partition| {
                let end_of_all = end(&uncommitted, partition);
                end_of_all.is_some() && end_of_all == end(&self.consumer, partition)
            })
        });
    }
}
