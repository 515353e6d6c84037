//! A message as librdkafka takes it and gives it back, and what a broker will never take.

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
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

/// A message that was not taken, kept to be sent again.
#[derive(Debug)]
pub struct Kept {
    key: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    /// The value.
    pub payload: Vec<u8>,
}

impl Kept {
    pub(crate) fn of(message: &Outgoing<'_>) -> Kept {
        let headers = message.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        Kept { key: message.key.to_owned(), headers, payload: message.payload.to_owned() }
    }

    /// The message of a report.
    pub(crate) fn of_report(message: &BorrowedMessage<'_>) -> Kept {
        let header = |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.unwrap_or_default().to_owned());
        Kept {
            key: message.key().unwrap_or_default().to_owned(),
            headers: message.headers().map(|headers| headers.iter().map(header).collect()).unwrap_or_default(),
            payload: message.payload().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn outgoing(&self) -> Outgoing<'_> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.into())).collect();
        Outgoing { key: &self.key, headers, payload: &self.payload }
    }
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
