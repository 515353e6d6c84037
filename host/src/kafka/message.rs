//! A message as librdkafka takes it, and what a broker will never take.

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::util::IntoOpaque;

use crate::sink::Outgoing;

/// `message` for `topic`; `opaque` comes back with its report.
pub(crate) fn record<'a, D: IntoOpaque>(
    topic: &'a str,
    message: &Outgoing<'a>,
    opaque: D,
) -> BaseRecord<'a, [u8], [u8], D> {
    let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
    for (key, value) in &message.headers {
        headers = headers.insert(Header { key, value: Some(value.as_ref()) });
    }
    let record = BaseRecord::with_opaque_to(topic, opaque).payload(message.payload).headers(headers);
    if message.key.is_empty() { record } else { record.key(message.key) }
}

/// Whether a message will never be taken, however often it is sent. All else may pass: a topic may be made anew, a
/// right may be granted.
pub(crate) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::UnsupportedForMessageFormat
    )
}
