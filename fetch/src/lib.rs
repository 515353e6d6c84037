//! Messages of a consumer, taken out of librdkafka's queue many at a call.
//!
//! rdkafka gives one message a poll, which reads the clock three times, notes how long the application was idle under a lock,
//! and allocates: a third of what a worker did with a record that no rule wants (BENCHMARKS.md). librdkafka has a call that does
//! this once for many messages (`rd_kafka_consume_batch_queue`); rdkafka does not wrap it, so here is the only unsafe code
//! of the project.
//!
//! That call may not be used on the consumer's own queue, on which it would answer a rebalance by itself, and wrongly. So messages
//! get a queue of their own, and the consumer's own keeps what else there is to tell: rebalances, commits, errors,
//! statistics. That is polled as ever.

#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod kept;
mod message;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ffi::{CString, c_int};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::types::{RDKafkaMessage, RDKafkaQueue};

pub use kept::Kept;
pub use message::Message;
use message::Native;

/// Messages that are taken at once. What a call costs is shared by them, and so many may be in memory beside those that
/// librdkafka's own limit (`queued.max.messages.kbytes`) counts.
pub const TAKEN_MAX: usize = 64;

/// The client that messages come from, whatever its context.
pub(crate) type Client = Arc<dyn Send + Sync>;

/// The messages of those partitions of a consumer that were forwarded here.
pub struct Queue<C: ConsumerContext> {
    native: NonNull<RDKafkaQueue>,
    /// What was taken and not handed out yet, in order.
    taken: VecDeque<Native>,
    /// It must outlive all of the above.
    consumer: Arc<BaseConsumer<C>>,
    /// The same, as messages that are kept hold it, whatever its context.
    client: Client,
}

// SAFETY: librdkafka's queues and messages may be used from any thread ("librdkafka is completely thread-safe", its
// INTRODUCTION.md), and a context is Send and Sync.
unsafe impl<C: ConsumerContext> Send for Queue<C> {}

impl<C: ConsumerContext + 'static> Queue<C> {
    /// A queue without messages.
    #[expect(clippy::expect_used, reason = "librdkafka allocates it, and ends the process where it cannot")]
    pub fn new(consumer: Arc<BaseConsumer<C>>) -> Queue<C> {
        // SAFETY: the client lives as long as `consumer`.
        let native = unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let native = NonNull::new(native).expect("a queue");
        Queue { native, taken: VecDeque::with_capacity(TAKEN_MAX), client: Arc::clone(&consumer) as Client, consumer }
    }

    /// The consumer whose messages these are.
    pub fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Lets the messages of a partition come here, those too that are on their way, and never again by the consumer's own queue.
    /// To be called before the partition is assigned, and again after that until its first message has come: when librdkafka
    /// stops to read a partition it takes the forwarding back, and when it is read again at once that may happen late; meanwhile its
    /// messages stay where they are. It does no harm to call it once more.
    pub fn forward(&self, topic: &str, partition: i32) {
        // No topic has a NUL in its name.
        let Ok(topic) = CString::new(topic) else { return };
        let client = self.consumer.client().native_ptr();
        // SAFETY: client and name live through the call. It gives a reference of ours, or null, to a queue that the partition
        // holds too.
        let of_partition = unsafe { sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        if !of_partition.is_null() {
            // SAFETY: both queues are valid, and not the same. The partition then holds a reference to `native` itself.
            unsafe { sys::rd_kafka_queue_forward(of_partition, self.native.as_ptr()) };
            // SAFETY: our reference, which is not used any more.
            unsafe { sys::rd_kafka_queue_destroy(of_partition) };
        }
    }

    /// Takes what librdkafka has fetched, at most `max` and [`TAKEN_MAX`] messages; waits up to `wait` for a first. While some are left of
    /// the last time it takes no more. False when there is nothing.
    pub fn take(&mut self, max: usize, wait: Duration) -> bool {
        if self.taken.is_empty() {
            self.consume(max, 0);
        }
        if self.taken.is_empty() && !wait.is_zero() {
            // It would wait for as many as are asked for.
            let ms = c_int::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(c_int::MAX);
            self.consume(max.min(1), ms);
        }
        !self.taken.is_empty()
    }

    /// The next message that was taken; an error that librdkafka puts in its place.
    pub fn pop(&mut self) -> Option<KafkaResult<Message<'_>>> {
        self.taken.pop_front().map(|native| Message::new(native, &self.client))
    }

    /// Drops what was taken and not handed out of partitions for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, i32) -> bool) {
        self.taken.retain(|message| keep(message.topic(), message.partition()));
    }

    fn consume(&mut self, max: usize, timeout_ms: c_int) {
        let mut messages = [null_mut::<RDKafkaMessage>(); TAKEN_MAX];
        let max = max.min(TAKEN_MAX);
        // SAFETY: the queue is valid, and there is room for `max` pointers.
        let taken =
            unsafe { sys::rd_kafka_consume_batch_queue(self.native.as_ptr(), timeout_ms, messages.as_mut_ptr(), max) };
        let taken = messages.iter().take(usize::try_from(taken).unwrap_or(0));
        // SAFETY: so many are messages now, and ours alone.
        self.taken.extend(taken.filter_map(|message| unsafe { Native::own(*message) }));
    }
}

impl<C: ConsumerContext> Drop for Queue<C> {
    fn drop(&mut self) {
        self.taken.clear();
        // SAFETY: it is not used any more, and the consumer is still there. Partitions that are forwarded here have references of
        // their own; what comes then is dropped.
        unsafe { sys::rd_kafka_queue_destroy(self.native.as_ptr()) };
    }
}
