//! A batch: messages with the place they came from. Those of Kafka stay where librdkafka has put them; others are in one buffer that
//! is reused from batch to batch.

use std::ops::Range;
use std::sync::Arc;

use trailhound_fetch::Kept;

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
    /// The same, of the message of this number among those that are kept.
    Kept(usize),
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

/// What travels with a message that is carried: its key, and its headers in order. Empty where a source was not told to
/// keep it, and for a message that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The key; empty for none.
    pub key: &'a [u8],
    headers: &'a [(Range<usize>, Range<usize>)],
    bytes: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// The headers in order: names and values. One that stands there without a value has an empty one.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        self.headers.iter().map(move |(name, value)| {
            let slice = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
            (std::str::from_utf8(slice(name)).unwrap_or_default(), slice(value))
        })
    }

    /// The value of the first header of that name, where it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers().find(|(found, _)| *found == name).and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// Messages of one turn of the loop, in the order in which they were received.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    kept: Kept,
    /// The size of the values of those that are kept.
    kept_bytes: usize,
    messages: Vec<(Origin, Payload)>,
    envelopes: Envelopes,
}

/// Keys and headers. There are none, or as many as messages.
#[derive(Debug, Default)]
struct Envelopes {
    bytes: Vec<u8>,
    headers: Vec<(Range<usize>, Range<usize>)>,
    /// Of each message its key, and its part of the headers.
    all: Vec<(Range<usize>, Range<usize>)>,
}

impl Envelopes {
    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }
}

/// A buffer that one huge message has grown is given back at the next batch when it exceeds this, in bytes.
const KEPT_BYTES_MAX: usize = 32 << 20;

impl Batch {
    /// Forgets the messages and keeps the buffer.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.kept.clear();
        self.kept_bytes = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        let Envelopes { bytes, headers, all } = &mut self.envelopes;
        bytes.clear();
        bytes.shrink_to(KEPT_BYTES_MAX);
        headers.clear();
        headers.shrink_to(KEPT_BYTES_MAX / size_of::<(Range<usize>, Range<usize>)>());
        all.clear();
    }

    /// Adds a message; `None` is a tombstone.
    pub fn push(&mut self, origin: Origin, payload: Option<&[u8]>) {
        let payload = match payload {
            Some(bytes) => Payload::Bytes(self.copy(bytes)),
            None => Payload::Tombstone,
        };
        self.messages.push((origin, payload));
    }

    /// Adds a message of Kafka, whose value stays where it is.
    pub fn push_kept(&mut self, origin: Origin, message: trailhound_fetch::Message<'_>) {
        let payload = match message.payload().map(<[u8]>::len) {
            Some(len) => {
                self.kept_bytes += len;
                Payload::Kept(self.kept.keep(message))
            }
            None => Payload::Tombstone,
        };
        self.messages.push((origin, payload));
    }

    /// Adds what travels with the message that is added next. All messages of a batch have that, or none has.
    pub fn push_envelope<'h>(&mut self, key: &[u8], headers: impl Iterator<Item = (&'h str, &'h [u8])>) {
        let key = self.envelopes.copy(key);
        let first = self.envelopes.headers.len();
        for (name, value) in headers {
            let header = (self.envelopes.copy(name.as_bytes()), self.envelopes.copy(value));
            self.envelopes.headers.push(header);
        }
        self.envelopes.all.push((key, first..self.envelopes.headers.len()));
    }

    /// Adds a piece that the source could not read.
    pub fn push_broken(&mut self, origin: Origin, bytes: &[u8], reason: DeadReason, detail: String) {
        let range = self.copy(bytes);
        self.messages.push((origin, Payload::Broken(range, reason, detail)));
    }

    /// Drops the messages for whose origin `keep` says no: those of a partition that was revoked.
    pub fn retain(&mut self, mut keep: impl FnMut(&Origin) -> bool) {
        let Batch { messages, envelopes, .. } = self;
        if envelopes.all.is_empty() {
            messages.retain(|(origin, _)| keep(origin));
            return;
        }
        let kept: Vec<bool> = messages.iter().map(|(origin, _)| keep(origin)).collect();
        let (mut of_messages, mut of_envelopes) = (kept.iter(), kept.iter());
        messages.retain(|_| of_messages.next().is_none_or(|kept| *kept));
        envelopes.all.retain(|_| of_envelopes.next().is_none_or(|kept| *kept));
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
        self.bytes.len() + self.kept_bytes
    }

    /// The size of all that the batch holds, keys and headers too, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.bytes_len() + self.envelopes.bytes.len()
    }

    /// What travels with each message, in the same order as [`Batch::iter`].
    pub fn envelopes(&self) -> impl Iterator<Item = Envelope<'_>> {
        let Envelopes { bytes, headers, all } = &self.envelopes;
        (0..self.messages.len()).map(move |at| match all.get(at) {
            Some((key, own)) => Envelope {
                key: bytes.get(key.clone()).unwrap_or_default(),
                headers: headers.get(own.clone()).unwrap_or_default(),
                bytes,
            },
            None => Envelope::default(),
        })
    }

    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Origin, Message<'_>)> {
        self.since(0)
    }

    /// The messages in order, without the first `seen`.
    pub fn since(&self, seen: usize) -> impl Iterator<Item = (&Origin, Message<'_>)> {
        self.messages.iter().skip(seen).map(|(origin, payload)| {
            let slice = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
            let message = match payload {
                Payload::Bytes(range) => Message::Bytes(slice(range)),
                Payload::Kept(number) => Message::Bytes(self.kept.payload(*number).unwrap_or_default()),
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

    /// The last origin of each run of messages of one partition, in order: a partition may have several, of which the last
    /// says how far it goes. A fetch brings hundreds of messages of one partition, so there are few.
    pub fn ends(&self) -> impl Iterator<Item = &Origin> {
        let runs = self.messages.chunk_by(|(a, _), (b, _)| a.partition == b.partition && a.source == b.source);
        runs.filter_map(|run| run.last()).map(|(origin, _)| origin)
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(partition: i32, offset: i64) -> Origin {
        Origin { source: Arc::from("t"), partition, offset, appended_ms: None }
    }

    #[test]
    fn a_batch_ends_where_each_run_of_a_partition_does() {
        let mut batch = Batch::default();
        for (partition, offset) in [(0, 1), (0, 2), (1, 7), (0, 3), (0, 5)] {
            batch.push(origin(partition, offset), None);
        }
        let ends: Vec<(i32, i64)> = batch.ends().map(|origin| (origin.partition, origin.offset)).collect();
        assert_eq!(ends, [(0, 2), (1, 7), (0, 5)]);
        let since: Vec<i64> = batch.since(3).map(|(origin, _)| origin.offset).collect();
        assert_eq!(since, [3, 5]);
        batch.push(Origin { source: Arc::from("u"), ..origin(0, 6) }, None);
        assert_eq!(batch.ends().count(), 4);
    }

    #[test]
    fn what_travels_with_a_message_stays_with_it() {
        let mut batch = Batch::default();
        for offset in 0..6i64 {
            let (key, value) = (format!("k{offset}"), format!("v{offset}"));
            let headers = [("rule", value.as_bytes()), ("empty", b"")];
            let headers = headers.into_iter().take(offset as usize % 3);
            batch.push_envelope(key.as_bytes(), headers);
            batch.push(origin((offset % 2) as i32, offset), Some(b"12345"));
        }
        batch.retain(|origin| origin.partition == 1);
        let all: Vec<(i64, Envelope<'_>)> =
            batch.origins().map(|origin| origin.offset).zip(batch.envelopes()).collect();
        let keys: Vec<(i64, &[u8])> = all.iter().map(|(offset, envelope)| (*offset, envelope.key)).collect();
        assert_eq!(keys, [(1, &b"k1"[..]), (3, b"k3"), (5, b"k5")]);
        let headers: Vec<Option<&str>> = all.iter().map(|(_, envelope)| envelope.header("rule")).collect();
        assert_eq!(headers, [Some("v1"), None, Some("v5")]);
        let [_, _, (_, last)] = all.as_slice() else { panic!("three are left") };
        assert_eq!(last.headers().collect::<Vec<_>>(), [("rule", &b"v5"[..]), ("empty", b"")]);
        assert!(batch.held_bytes() > batch.bytes_len());
        batch.clear();
        assert_eq!((batch.held_bytes(), batch.envelopes().count()), (0, 0));
        batch.push(origin(0, 0), Some(b"x"));
        assert_eq!(batch.envelopes().collect::<Vec<_>>(), [Envelope::default()]);
    }
}
