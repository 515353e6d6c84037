//! A batch: messages with the place they came from, in one buffer that is reused from batch to batch.

use std::ops::Range;
use std::sync::Arc;

use crate::record::DeadReason;

/// Where a message came from: enough to find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The topic, or the path of a file (`-` for standard input).
    pub source: Arc<str>,
    /// The partition; 0 for a file.
    pub partition: i32,
    /// The message's offset in its partition; for a file, the byte at which the item starts once decompressed.
    pub offset: i64,
    /// When the message was appended, in milliseconds since the epoch: the broker's time or the producer's, as the
    /// topic is configured (KIP-32). None where the source has no such time.
    pub appended_ms: Option<i64>,
}

/// What a message holds.
#[derive(Clone, Debug)]
enum Payload {
    /// Bytes to be read.
    Bytes(Range<usize>),
    /// A Kafka message without a value.
    Tombstone,
    /// A piece that the source itself could not read, with the reason.
    Broken(Range<usize>, DeadReason, String),
}

/// A message as it is handed to the reader.
#[derive(Debug)]
pub enum Message<'a> {
    /// Bytes to be read.
    Bytes(&'a [u8]),
    /// A Kafka message without a value.
    Tombstone,
    /// A piece that the source itself could not read: its bytes, the reason, and words for a person.
    Broken(&'a [u8], DeadReason, &'a str),
}

/// Messages of one turn of the loop, in the order in which they were received.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    messages: Vec<(Origin, Payload)>,
}

/// A buffer that one huge message has grown is given back at the next batch when it exceeds this, in bytes.
const KEPT_BYTES_MAX: usize = 32 << 20;

impl Batch {
    /// Forgets the messages and keeps the buffer.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }

    /// Adds a message; `None` is a tombstone.
    pub fn push(&mut self, origin: Origin, payload: Option<&[u8]>) {
        let payload = match payload {
            Some(bytes) => Payload::Bytes(self.copy(bytes)),
            None => Payload::Tombstone,
        };
        self.messages.push((origin, payload));
    }

    /// Adds a piece that the source could not read.
    pub fn push_broken(&mut self, origin: Origin, bytes: &[u8], reason: DeadReason, detail: String) {
        let range = self.copy(bytes);
        self.messages.push((origin, Payload::Broken(range, reason, detail)));
    }

    /// Drops the messages for whose origin `keep` says no: those of a partition that was revoked.
    pub fn retain(&mut self, mut keep: impl FnMut(&Origin) -> bool) {
        self.messages.retain(|(origin, _)| keep(origin));
    }

    /// How many messages the batch holds.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether the batch holds no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The size of all payloads, in bytes.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Origin, Message<'_>)> {
        self.messages.iter().map(|(origin, payload)| {
            let slice = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
            let message = match payload {
                Payload::Bytes(range) => Message::Bytes(slice(range)),
                Payload::Tombstone => Message::Tombstone,
                Payload::Broken(range, reason, detail) => Message::Broken(slice(range), *reason, detail),
            };
            (origin, message)
        })
    }

    /// The origins in order.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.messages.iter().map(|(origin, _)| origin)
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }
}
