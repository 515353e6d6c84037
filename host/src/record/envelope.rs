//! The envelopes that records travel in, told apart by the keys at their top.
//!
//! | shape                                             | what is read                                        |
//! |---------------------------------------------------|-----------------------------------------------------|
//! | S3 log file, Lambda event of SQS, SNS, Kinesis, S3 | the elements of `Records`                           |
//! | Firehose HTTP body, Lambda transform event, answer | the elements of `records`                           |
//! | CloudWatch Logs subscription                      | the elements of `logEvents`                         |
//! | answer of SQS ReceiveMessage                      | the elements of `Messages`                          |
//! | EventBridge event                                 | `detail`, when it is a record                       |
//! | element of a Kinesis, SNS event; Lambda event of CloudWatch Logs | the inner object: `kinesis`, `Sns`, `awslogs` |
//! | element of `records`; `kinesis`; `awslogs`        | `data`, base64                                      |
//! | Firehose transform failure                        | `rawData`, base64                                   |
//! | SNS notification                                  | `Message`, text                                     |
//! | SQS message                                       | `body` or `Body`, text                              |
//! | element of `logEvents`; a log shipper's event     | `message`, text                                     |
//!
//! Shapes: <https://docs.aws.amazon.com/lambda/latest/dg/lambda-services.html>,
//! <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>,
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html>.

use std::borrow::Cow;

use super::json::RECORD_MARKS;
use super::reason::SkipKind;
use super::text::{begins_base64, unquote};

/// What an object holds, as slices of its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    /// It carries a record's names, or no envelope's: only its tree can tell.
    MaybeRecord,
    /// Nothing to evaluate.
    Skip(SkipKind),
    /// Arrays whose elements are entries.
    Lists(Vec<&'a [u8]>),
    /// An object that is an entry.
    Object(&'a [u8]),
    /// An object that is evaluated when it is a record; `event`: else it is another service's event (EventBridge).
    Detail { detail: &'a [u8], event: bool },
    /// A JSON string that holds base64 of a layer.
    Base64(&'a [u8]),
    /// A JSON string that holds a layer.
    Text(&'a [u8]),
}

/// Whether an object begins as envelopes do (but `Records`, which `Split` opens), for which parsing the whole as a
/// record first would be in vain. A hint about what to try first, no more.
pub(super) fn begins_envelope(object: &[u8]) -> bool {
    const KEYS: [&[u8]; 19] = [
        b"id",
        b"records",
        b"messageType",
        b"logEvents",
        b"awslogs",
        b"requestId",
        b"invocationId",
        b"kinesis",
        b"EventSource",
        b"EventVersion",
        b"Type",
        b"messageId",
        b"MessageId",
        b"data",
        b"recordId",
        b"rawData",
        b"version",
        b"account",
        b"detail",
    ];
    KEYS.contains(&first_key(object))
}

/// The first key of an object, as it is written; empty where it is longer than any that matters.
pub(super) fn first_key(object: &[u8]) -> &[u8] {
    let inner = object.strip_prefix(b"{").unwrap_or_default();
    let text = inner.trim_ascii_start().strip_prefix(b"\"").unwrap_or_default();
    let end = text.iter().take(FIRST_KEY_BYTES_MAX + 1).position(|byte| *byte == b'"');
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

/// The longest first key that matters, in bytes.
const FIRST_KEY_BYTES_MAX: usize = 12;

/// The members of an object that tell its shape, as raw JSON. Of a key that occurs twice the first counts, but for
/// lists, all of which are read.
#[derive(Debug, Default)]
struct Members<'a> {
    lists: Vec<&'a [u8]>,
    record: bool,
    inner: Option<&'a [u8]>,
    detail: Option<&'a [u8]>,
    detail_type: Option<&'a [u8]>,
    message_type: Option<&'a [u8]>,
    event_source: Option<&'a [u8]>,
    test_event: Option<&'a [u8]>,
    bucket: Option<&'a [u8]>,
    object_key: Option<&'a [u8]>,
    digest: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    base64: Option<&'a [u8]>,
    record_id: Option<&'a [u8]>,
    result: Option<&'a [u8]>,
    text: Option<&'a [u8]>,
    log_text: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    timestamp: Option<&'a [u8]>,
}

/// Tells the shape of the object that `object` begins with, from one pass over its top-level keys, and gives what
/// follows its last member: the closing brace, and whatever comes after the object.
///
/// # Errors
/// The object is not valid JSON.
pub(super) fn shape(object: &[u8]) -> Result<(Shape<'_>, &[u8]), sonic_rs::Error> {
    let mut members = Members::default();
    let mut rest = object;
    for pair in sonic_rs::to_object_iter(object) {
        let (key, value) = pair?;
        // A slice of the input is never copied; a value that were would only be overlooked.
        if let Cow::Borrowed(raw) = value.as_raw_cow() {
            members.note(key.as_bytes(), raw.as_bytes());
            let end = (raw.as_ptr() as usize - object.as_ptr() as usize) + raw.len();
            rest = object.get(end..).unwrap_or_default();
        }
    }
    Ok((members.shape(), rest))
}

/// The shape of an object that has these members: names without escapes, and JSON.
pub(super) fn shape_of<'a>(object: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Shape<'a> {
    let mut members = Members::default();
    object.for_each(|(name, raw)| members.note(name, raw));
    members.shape()
}

impl<'a> Members<'a> {
    fn note(&mut self, key: &[u8], raw: &'a [u8]) {
        let is_string = raw.starts_with(b"\"");
        let member = match key {
            b"Records" | b"records" | b"logEvents" | b"Messages" if raw.starts_with(b"[") => {
                self.lists.push(raw);
                return;
            }
            b"kinesis" | b"Sns" | b"awslogs" if raw.starts_with(b"{") => &mut self.inner,
            b"detail" if raw.starts_with(b"{") => &mut self.detail,
            b"detail-type" => &mut self.detail_type,
            b"messageType" => &mut self.message_type,
            b"eventSource" => &mut self.event_source,
            b"Event" => &mut self.test_event,
            b"s3Bucket" => &mut self.bucket,
            b"s3ObjectKey" => &mut self.object_key,
            b"digestStartTime" => &mut self.digest,
            b"Type" => &mut self.kind,
            b"data" | b"rawData" if is_string => &mut self.base64,
            b"recordId" => &mut self.record_id,
            b"result" => &mut self.result,
            b"Message" | b"body" | b"Body" if is_string => &mut self.text,
            b"message" if is_string => &mut self.log_text,
            b"id" => &mut self.id,
            b"timestamp" => &mut self.timestamp,
            _ => {
                self.record |= RECORD_MARKS.iter().any(|mark| mark.as_bytes() == key);
                return;
            }
        };
        member.get_or_insert(raw);
    }

    fn shape(self) -> Shape<'a> {
        let is = |member: Option<&[u8]>, text: &str| member.is_some_and(|raw| unquoted(raw) == text.as_bytes());
        let source = self.event_source.map(unquoted).unwrap_or_default();
        if self.record && !source.starts_with(b"aws:") {
            return Shape::MaybeRecord;
        }
        if is(self.message_type, "CONTROL_MESSAGE") {
            return Shape::Skip(SkipKind::ControlMessage);
        }
        if !self.lists.is_empty() {
            return Shape::Lists(self.lists);
        }
        let notification = self.bucket.is_some() && self.object_key.is_some();
        if *source == *b"aws:s3" || is(self.test_event, "s3:TestEvent") || notification {
            return Shape::Skip(SkipKind::S3Notification);
        }
        if self.digest.is_some() {
            return Shape::Skip(SkipKind::Digest);
        }
        if is(self.kind, "SubscriptionConfirmation") || is(self.kind, "UnsubscribeConfirmation") {
            return Shape::Skip(SkipKind::ControlMessage);
        }
        if let Some(raw) = self.inner {
            return Shape::Object(raw);
        }
        if let Some(raw) = self.base64 {
            return Shape::Base64(raw);
        }
        if self.record_id.is_some() && self.result.is_some() {
            // A Lambda transform dropped this one: no data.
            return Shape::Skip(SkipKind::Empty);
        }
        if let Some(raw) = self.text {
            return Shape::Text(raw);
        }
        if let Some(raw) = self.log_text
            && ((self.id.is_some() && self.timestamp.is_some()) || holds_layer(raw))
        {
            return Shape::Text(raw);
        }
        match self.detail {
            Some(detail) => Shape::Detail { detail, event: self.detail_type.is_some() },
            None if self.detail_type.is_some() => Shape::Skip(SkipKind::OtherEvent),
            None => Shape::MaybeRecord,
        }
    }
}

fn unquoted(raw: &[u8]) -> Cow<'_, [u8]> {
    unquote(raw).unwrap_or_default()
}

/// Whether a JSON string holds JSON or base64 of it, by its beginning.
pub(super) fn holds_layer(raw: &[u8]) -> bool {
    let text = unquoted(raw);
    let text = text.trim_ascii_start();
    text.starts_with(b"{") || text.starts_with(b"[") || begins_base64(text)
}
