//! Sources: batches of messages with their origin, and offsets that move when the loop says so.

mod begin;
mod consumer;
mod file;
mod firehose;
mod group;
mod kafka;

use std::time::Duration;

pub use consumer::{KafkaSourceConfig, Protocol};
pub use file::FileSource;
pub use firehose::{
    AccessKeys, Certificate, Endpoint, EndpointError, FirehoseConfig, FirehoseLimits, FirehoseMetrics, FirehoseSource,
    Firehoses, KEY_BYTES_MAX, KEY_BYTES_MIN,
};
pub use kafka::KafkaSource;

use crate::batch::Batch;
use crate::kafka::{Membership, TransactionError};
use crate::shutdown::Shutdown;

/// When a batch ends: whichever limit is reached first. Small batches when it is quiet, large ones when it is busy, but none that
/// does not fit the cache of a core: a thousand records take 1.5 MB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Messages in a batch.
    pub messages_max: usize,
    /// Payload bytes in a batch; one message alone may exceed it.
    pub bytes_max: usize,
    /// How long a batch that holds a message waits for more.
    pub wait: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { messages_max: 1_000, bytes_max: 4 << 20, wait: Duration::from_millis(2) }
    }
}

impl BatchLimits {
    /// Whether a batch may take one more message.
    fn has_room(&self, batch: &Batch) -> bool {
        batch.len() < self.messages_max && batch.held_bytes() < self.bytes_max
    }

    /// The same for the next piece of `batch`, which is as large as a batch is by default.
    fn piece(&self, batch: &Batch) -> BatchLimits {
        let BatchLimits { messages_max, bytes_max, .. } = BatchLimits::default();
        BatchLimits {
            messages_max: self.messages_max.min(batch.len() + messages_max),
            bytes_max: self.bytes_max.min(batch.held_bytes() + bytes_max),
            wait: self.wait,
        }
    }
}

/// Where messages come from.
pub enum Source {
    /// A consumer of a Kafka group.
    Kafka(Box<KafkaSource>),
    /// Files, folders and standard input, read once to their end.
    File(Box<FileSource>),
    /// A share of an endpoint that Amazon Data Firehose delivers to.
    Firehose(Box<FirehoseSource>),
}

/// A source that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// librdkafka says that this client is beyond repair.
    #[error("consumer of {topics}: {error}")]
    Kafka {
        /// The topics, for the message.
        topics: String,
        /// librdkafka's words.
        #[source]
        error: rdkafka::error::KafkaError,
    },
    /// A message did not come by the queue of messages, so that it may have been overtaken.
    #[error(
        "{topic} [{partition}]: the message at offset {offset} came by the wrong queue; this is a fault of trailhound"
    )]
    Astray {
        /// Its topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
    },
    /// The worker's transaction did not commit.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The endpoint serves nobody any more, although nobody stopped it.
    #[error("the firehose endpoint has ended; this is a fault of trailhound")]
    EndpointEnded,
}

impl Source {
    /// Fills `batch` with the next messages; waits for them. Where nothing has come for a while it may be empty. False when
    /// there are no more, or a stop is asked for.
    pub fn next_batch(&mut self, batch: &mut Batch, shutdown: &Shutdown) -> Result<bool, SourceError> {
        batch.clear();
        match self {
            Source::Kafka(source) => source.next_batch(batch, shutdown),
            Source::File(source) => Ok(!shutdown.requested() && source.next_batch(batch)),
            Source::Firehose(source) => source.next_batch(batch, shutdown),
        }
    }

    /// Adds to `batch`, all of which was detected, what is there at once and is better delivered with it. False when that is nothing.
    /// What is taken away meanwhile stays in it, and does not let it commit.
    pub fn more(&mut self, batch: &mut Batch, shutdown: &Shutdown) -> Result<bool, SourceError> {
        match self {
            Source::Kafka(source) => source.more(batch, shutdown),
            Source::File(_) | Source::Firehose(_) => Ok(false),
        }
    }

    /// Notes that all of `batch` was delivered: only now may its offsets move, or its requests be answered. Where the delivery is a transaction, this
    /// commits it.
    pub fn commit(&mut self, batch: &Batch, shutdown: &Shutdown) -> Result<(), SourceError> {
        match self {
            Source::Kafka(source) => source.commit(batch, shutdown),
            Source::File(_) => Ok(()),
            Source::Firehose(source) => {
                source.commit();
                Ok(())
            }
        }
    }

    /// Takes out of `batch`, which was not delivered and is to be done again, what is not this worker's any more.
    pub fn drop_taken(&mut self, batch: &mut Batch) {
        if let Source::Kafka(source) = self {
            source.drop_taken(batch);
        }
    }

    /// The group's word on this consumer's place in it. None without a group, and while the place is being lost.
    pub fn membership(&self) -> Option<Membership> {
        match self {
            Source::Kafka(source) => source.membership(),
            Source::File(_) | Source::Firehose(_) => None,
        }
    }

    /// Keeps the source's place in its group while a delivery takes long, and lets go who waits no more. It fetches nothing
    /// meanwhile.
    pub fn keep_alive(&mut self) {
        match self {
            Source::Kafka(source) => source.keep_alive(),
            Source::File(_) => {}
            Source::Firehose(source) => source.keep_alive(),
        }
    }

    /// Commits what was delivered and leaves the group, or answers what is still to be answered. Takes a few seconds at most.
    pub fn close(self) {
        match self {
            Source::Kafka(source) => source.close(),
            Source::File(_) => {}
            Source::Firehose(source) => source.close(),
        }
    }
}
