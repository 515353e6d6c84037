//! A transaction that holds a group's offsets, as one does whose owner is frozen before it commits.

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::Client;
use crate::wait::PATIENCE;

/// An open transaction with offsets in it. Until it ends, brokers say of them that they are not stable.
pub struct Held(BaseProducer);

impl Client {
    /// Sends the offsets of all partitions of `topic` in a transaction of nobody in the group.
    pub fn hold_offsets(&self, group: &str, topic: &str, offsets: &[i64]) -> Held {
        let mut config = self.config();
        let producer: BaseProducer =
            config.set("transactional.id", format!("{group}.held")).create().expect("a producer");
        let consumer: BaseConsumer = self.config().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(offsets) {
            list.add_partition_offset(topic, partition, Offset::Offset(*offset)).expect("a partition");
        }
        producer.init_transactions(PATIENCE).expect("a transactional id");
        producer.begin_transaction().expect("a transaction");
        let nobody = consumer.group_metadata().expect("a group");
        producer.send_offsets_to_transaction(&list, &nobody, PATIENCE).expect("offsets in the transaction");
        Held(producer)
    }
}

impl Held {
    /// Ends the transaction.
    pub fn commit(self) {
        self.0.commit_transaction(PATIENCE).expect("a commit");
    }
}
