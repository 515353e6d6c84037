//! A message as librdkafka holds it.

use std::ffi::{CStr, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::slice;

use rdkafka::bindings as sys;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaMessage, RDKafkaRespErr};

use super::Client;

/// A message that is given back to librdkafka when it is dropped. Nothing changes it meanwhile.
pub(crate) struct Native(NonNull<RDKafkaMessage>);

impl Native {
    /// None for null.
    ///
    /// # Safety
    ///
    /// `message` must be null or a message that a call of librdkafka has handed over, once, and its client must outlive this.
    pub(crate) unsafe fn own(message: *mut RDKafkaMessage) -> Option<Native> {
        NonNull::new(message).map(Native)
    }

    fn fields(&self) -> &RDKafkaMessage {
        // SAFETY: it is valid until it is dropped, by the word of `own`.
        unsafe { self.0.as_ref() }
    }

    /// Empty for an error that is no partition's.
    pub(crate) fn topic(&self) -> &str {
        let topic = self.fields().rkt;
        if topic.is_null() {
            return "";
        }
        // SAFETY: the message holds a reference to its topic, whose name ends with NUL and does not change.
        let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(topic)) };
        name.to_str().unwrap_or_default()
    }

    pub(crate) fn partition(&self) -> i32 {
        self.fields().partition
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: it is ours alone, and given back once.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// A message that was taken out of a queue; its bytes lie where librdkafka has put them.
pub struct Message<'q> {
    pub(crate) native: Native,
    pub(crate) client: &'q Client,
}

impl<'q> Message<'q> {
    pub(crate) fn new(native: Native, client: &'q Client) -> KafkaResult<Self> {
        match native.fields().err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(Message { native, client }),
            error => Err(KafkaError::MessageConsumption(RDKafkaErrorCode::from(error))),
        }
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        self.native.topic()
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.native.partition()
    }

    /// Its offset in the partition.
    pub fn offset(&self) -> i64 {
        self.native.fields().offset
    }

    /// When it was appended, in milliseconds since the epoch: the broker's time or the producer's, as the topic is configured (KIP-32).
    pub fn appended_ms(&self) -> Option<i64> {
        // SAFETY: the message is valid, and nobody asks for the kind of time.
        let ms = unsafe { sys::rd_kafka_message_timestamp(self.native.0.as_ptr(), null_mut()) };
        (ms >= 0).then_some(ms)
    }

    /// Its value; None for a tombstone.
    pub fn payload(&self) -> Option<&[u8]> {
        let fields = self.native.fields();
        // SAFETY: the value lies there as long as the message is valid.
        unsafe { bytes(fields.payload, fields.len) }
    }

    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        let fields = self.native.fields();
        // SAFETY: the key lies there as long as the message is valid.
        unsafe { bytes(fields.key, fields.key_len) }
    }

    /// Its headers in order: names, and values where there are some. One whose name is no UTF-8 has an empty name.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let mut headers = null_mut();
        // SAFETY: the message is valid. It keeps its headers, and reads them at the first call, which no other thread makes.
        let found = unsafe { sys::rd_kafka_message_headers(self.native.0.as_ptr(), &mut headers) };
        let some = found == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && !headers.is_null();
        let mut number = 0;
        std::iter::from_fn(move || {
            let (mut name, mut value, mut len) = (null(), null(), 0);
            // SAFETY: there are headers, and room for what is told of one.
            let found = some
                .then(|| unsafe { sys::rd_kafka_header_get_all(headers, number, &mut name, &mut value, &mut len) })?;
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            number += 1;
            // SAFETY: name and value lie in the headers, which live as long as the message; the name ends with NUL.
            Some(unsafe { (CStr::from_ptr(name).to_str().unwrap_or_default(), bytes(value, len)) })
        })
    }
}

/// None for null.
///
/// # Safety
///
/// Unless it is null, `len` bytes must lie at `start` for as long as they are borrowed.
unsafe fn bytes<'b>(start: *const c_void, len: usize) -> Option<&'b [u8]> {
    // SAFETY: the caller's word.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), len) })
}
