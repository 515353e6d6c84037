//! Where to begin a partition: where the group stands, or at an end of the partition when the group has never read it.
//!
//! librdkafka finds that out by itself when it is given no offset. Then it may begin at the beginning though the group
//! stands elsewhere, or go back there after it has read on (both seen in 2.12.1):
//! - When a rebalance overtakes its question for the group's offsets, it takes "not known, a transaction is open" for
//!   "none" (`rd_kafka_assignment_apply_offsets`).
//! - When a pause, a resume or a rebalance overtakes its question where a partition begins, it asks again half a second
//!   later, and goes where that answer says, whatever it has read meanwhile (`rd_kafka_toppar_handle_Offset`).
//!
//! So it is always given an offset in numbers.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use super::group::Context;
use crate::kafka::Properties;

/// How long to wait at a time for answers: at first, and at most once they have failed to come.
const WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How a consumer asks where to begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    /// Where to begin what the group has never read.
    reset: Reset,
    /// How long to wait at a time for answers at most: whoever asks does not poll, and without a poll a member loses its
    /// place after `max.poll.interval.ms`.
    wait_max: Duration,
}

impl Asking {
    /// As the properties say.
    pub(super) fn new(properties: &Properties) -> Asking {
        let poll_ms = properties.get("max.poll.interval.ms").and_then(|ms| ms.parse().ok()).unwrap_or(300_000);
        Asking { reset: Reset::of(properties), wait_max: WAIT_MAX.min(Duration::from_millis(poll_ms) / 4) }
    }

    /// How long to wait at first, or after it was in vain for so long.
    pub(super) fn wait(&self, before: Option<Duration>) -> Duration {
        before.map_or(WAIT, |before| before * 2).min(self.wait_max)
    }
}

/// librdkafka's `auto.offset.reset`: where to begin what the group has never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reset {
    Earliest,
    Latest,
    /// Nowhere: librdkafka reports it.
    Error,
}

impl Reset {
    /// As the properties say, by any of librdkafka's names.
    fn of(properties: &Properties) -> Reset {
        match properties.get("auto.offset.reset") {
            Some("latest" | "largest" | "end") => Reset::Latest,
            Some("error") => Reset::Error,
            _ => Reset::Earliest,
        }
    }
}

/// Partitions, by whether it is known where to begin.
pub(super) struct Places {
    /// With an offset.
    pub(super) known: TopicPartitionList,
    /// Without one. Those that were not asked for yet come first.
    pub(super) unknown: TopicPartitionList,
}

/// Asks where to begin these partitions. What takes too long stays unknown.
pub(super) fn places(
    consumer: &BaseConsumer<Context>,
    partitions: &TopicPartitionList,
    asking: Asking,
    wait: Duration,
) -> Places {
    let mut places = Places { known: TopicPartitionList::new(), unknown: TopicPartitionList::new() };
    if partitions.count() == 0 {
        return places;
    }
    let committed = match consumer.committed_offsets(partitions.clone(), wait) {
        Ok(committed) => committed,
        Err(error) => {
            tracing::debug!("where the group stands is not known yet: {error}");
            places.unknown = partitions.clone();
            return places;
        }
    };
    let deadline = Instant::now() + wait;
    let mut failed = TopicPartitionList::new();
    for found in committed.elements() {
        let left = deadline.saturating_duration_since(Instant::now());
        match (found.error().map(|()| found.offset()), asking.reset) {
            (Ok(offset @ Offset::Offset(_)), _) => add(&mut places.known, &found, offset),
            (Ok(_), Reset::Error) => add(&mut places.known, &found, Offset::Invalid),
            (Ok(_), _) if left.is_zero() => add(&mut places.unknown, &found, Offset::Invalid),
            (Ok(_), _) => match consumer.fetch_watermarks(found.topic(), found.partition(), left) {
                Ok((low, _)) if asking.reset == Reset::Earliest => add(&mut places.known, &found, Offset::Offset(low)),
                Ok((_, high)) => add(&mut places.known, &found, Offset::Offset(high)),
                Err(error) => {
                    let (topic, partition) = (found.topic(), found.partition());
                    tracing::debug!(topic, partition, "where it begins is not known yet: {error}");
                    add(&mut failed, &found, Offset::Invalid);
                }
            },
            (Err(error), _) => {
                let (topic, partition) = (found.topic(), found.partition());
                tracing::debug!(topic, partition, "where the group stands is not known yet: {error}");
                add(&mut failed, &found, Offset::Invalid);
            }
        }
    }
    failed.elements().iter().for_each(|found| add(&mut places.unknown, found, Offset::Invalid));
    places
}

/// Where the group stands in these partitions, `Invalid` where it never was. An error when one of them is not known yet.
pub(super) fn committed(
    consumer: &BaseConsumer<Context>,
    partitions: &TopicPartitionList,
) -> KafkaResult<TopicPartitionList> {
    let committed = consumer.committed_offsets(partitions.clone(), WAIT)?;
    committed.elements().iter().try_for_each(|found| found.error())?;
    Ok(committed)
}

/// These partitions with the offsets up to which they have been polled.
pub(super) fn moved_on(consumer: &BaseConsumer<Context>, begun: &TopicPartitionList) -> TopicPartitionList {
    let position = consumer.position().unwrap_or_default();
    let mut all = TopicPartitionList::new();
    for found in begun.elements() {
        let polled = position.find_partition(found.topic(), found.partition()).map(|polled| polled.offset());
        add(&mut all, &found, polled.filter(|offset| *offset != Offset::Invalid).unwrap_or_else(|| found.offset()));
    }
    all
}

/// Adds a partition to a list.
pub(super) fn add(list: &mut TopicPartitionList, partition: &TopicPartitionListElem<'_>, offset: Offset) {
    let added = list.add_partition_offset(partition.topic(), partition.partition(), offset);
    // Only a list of a negative partition is refused.
    debug_assert!(added.is_ok());
}
