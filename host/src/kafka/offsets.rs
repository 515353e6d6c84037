//! Offsets as librdkafka takes them, and their way into a transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;
use rdkafka::producer::{Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::producer::Context;
use super::transaction::{STEP, Turn};

/// Offsets by topic and partition: the next that is to be read.
pub type Offsets = HashMap<(Arc<str>, i32), i64>;

/// The group's word on the membership of a consumer: generation, member, instance.
pub type Membership = ConsumerGroupMetadata;

/// How long the group's coordinator may take for offsets. The call cannot be taken up again: the transaction is aborted.
const OFFSETS_MAX: Duration = Duration::from_secs(5);

/// How much longer the call may take to say so.
const GRACE: Duration = Duration::from_secs(1);

/// Sends offsets to the open transaction of `producer`. None when there is no answer: librdkafka does not keep to the
/// call's time while it looks for the group's coordinator, and may wait for ever (librdkafka#5456). So the call is made
/// on a thread of its own, which then stays with this producer, and the caller needs another one.
pub(super) fn send(
    producer: &Arc<ThreadedProducer<Context>>,
    offsets: &Offsets,
    member: Membership,
    turn: Turn<'_>,
) -> Option<Result<(), KafkaError>> {
    let (answer, answered) = channel();
    let (started, list, sender) = (Instant::now(), offset_list(offsets), Arc::clone(producer));
    let call = move || {
        // Nobody hears the answer of a call that was given up.
        let _ = answer.send(sender.send_offsets_to_transaction(&list, &member, OFFSETS_MAX));
    };
    std::thread::Builder::new().name("offsets".to_owned()).spawn(call).ok()?;
    loop {
        if let Ok(result) = answered.recv_timeout(STEP) {
            return Some(result);
        }
        if started.elapsed() > OFFSETS_MAX + GRACE || !turn() {
            return None;
        }
    }
}

/// Offsets as librdkafka takes them.
pub(crate) fn offset_list(offsets: &Offsets) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in offsets {
        if let Err(error) = list.add_partition_offset(topic, *partition, Offset::Offset(*offset)) {
            tracing::warn!(topic = &**topic, partition, offset, "offset not committed: {error}");
        }
    }
    list
}
