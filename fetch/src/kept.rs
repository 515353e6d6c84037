//! Messages that are kept for a while, with their values where librdkafka has put them.
//!
//! A value that is copied is read twice and written once more; a batch that is kept until a transaction ends fits no cache, so that
//! each of these goes to memory. Without the copy a worker takes 8 % less CPU a record, and 13 % less with exactly once
//! (BENCHMARKS.md).

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use super::Client;
use super::message::{Message, Native};

/// Messages in the order in which they were kept. What librdkafka has fetched or decompressed with a message stays in memory as long
/// as the message does: at each end of what a partition has here, up to a batch of its producer, or a whole answer to a
/// fetch (`fetch.max.bytes`) where it is not compressed.
#[derive(Default)]
pub struct Kept {
    messages: Vec<One>,
    /// The clients of `messages`, which must outlive them: one, unless messages of several are mixed.
    clients: Vec<Client>,
}

struct One {
    /// The value, within `native`; None for a tombstone.
    payload: Option<NonNull<[u8]>>,
    /// Given back to librdkafka when it is dropped.
    _native: Native,
}

// SAFETY: librdkafka's messages may be used and given back on any thread ("librdkafka is completely thread-safe", its
// INTRODUCTION.md), `payload` points into them and is only read, and clients are Send and Sync.
unsafe impl Send for Kept {}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages", self.messages.len())
    }
}

impl Kept {
    /// Keeps a message, and gives the number by which it is found.
    pub fn keep(&mut self, message: Message<'_>) -> usize {
        if self.clients.last().is_none_or(|client| !Arc::ptr_eq(client, message.client)) {
            self.clients.push(Arc::clone(message.client));
        }
        let payload = message.payload().map(NonNull::from);
        self.messages.push(One { payload, _native: message.native });
        self.messages.len() - 1
    }

    /// The value of message `number`; None for a tombstone, and for a number that was not given.
    pub fn payload(&self, number: usize) -> Option<&[u8]> {
        let payload = self.messages.get(number)?.payload?;
        // SAFETY: the message that it lies in is valid until `messages` is emptied, which takes this borrow's end.
        Some(unsafe { payload.as_ref() })
    }

    /// Gives all back.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.clients.clear();
    }
}
