//! What a finding takes from a CloudTrail record, whatever shape the record is in.
//!
//! A record is not trusted to be what AWS documents: a field may be missing, null, or of another type, and then it
//! simply is not there. Text counts when it is a string that is not empty; AWS writes `""` for "none" (`accessKeyId`).

use std::borrow::Cow;

use sonic_rs::{Deserializer, JsonContainerTrait, JsonValueTrait, Value};

use super::scan::depth;
use crate::record::PLAIN_DEPTH_MAX;

/// The deepest nesting of a record that is read, in levels. The parser recurses (see `scan.rs`), and so does
/// `canonical.rs`. In a release build 1,000 levels take 256 KiB of stack; in a debug build sonic-rs needs 40 KiB for each
/// level. AWS's own records nest to about ten.
pub(super) const READ_DEPTH_MAX: usize = 256;

/// The deepest nesting of a record that goes into its finding as JSON, in levels. Readers have limits of their own, 128
/// in serde_json, and the finding around the record uses three.
pub(super) const JSON_DEPTH_MAX: usize = 100;

/// How well a record could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// JSON that every reader takes.
    Strict,
    /// JSON except for invalid UTF-8, a lone surrogate, or a number that no double holds. Many readers refuse that.
    Lenient,
    /// Not JSON, or nested deeper than [`READ_DEPTH_MAX`].
    None,
}

/// A record: its bytes and their reading.
pub(super) struct Record<'a> {
    /// The bytes as they came.
    pub(super) raw: &'a [u8],
    /// What they say; null where they are not JSON.
    pub(super) value: Cow<'a, Value>,
    /// How well they could be read.
    pub(super) reading: Reading,
    /// How deep they nest, in levels, or an upper bound that is no more than [`JSON_DEPTH_MAX`].
    pub(super) depth: usize,
}

impl<'a> Record<'a> {
    /// A record whose tree is known, strict JSON of [`PLAIN_DEPTH_MAX`] levels at most.
    pub(super) fn plain(raw: &'a [u8], tree: &'a Value) -> Self {
        Self { raw, value: Cow::Borrowed(tree), reading: Reading::Strict, depth: PLAIN_DEPTH_MAX }
    }

    /// Reads the bytes as well as they allow.
    pub(super) fn read(raw: &'a [u8]) -> Self {
        let depth = depth(raw, JSON_DEPTH_MAX);
        let unread = Self { raw, value: Cow::Owned(Value::new_null()), reading: Reading::None, depth };
        if depth > READ_DEPTH_MAX {
            return unread;
        }
        if let Ok(value) = sonic_rs::from_slice(raw) {
            return Self { value: Cow::Owned(value), reading: Reading::Strict, ..unread };
        }
        let text = String::from_utf8_lossy(raw);
        // `utf8_lossy` is for the lone surrogates.
        let mut lenient = Deserializer::from_str(&text).utf8_lossy().use_rawnumber();
        match lenient.deserialize().and_then(|value: Value| lenient.end().map(|()| value)) {
            Ok(value) => Self { value: Cow::Owned(value), reading: Reading::Lenient, ..unread },
            Err(_) => unread,
        }
    }
}

/// The top level of a record. Names are CloudTrail's, in Rust's spelling.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) event_id: Option<&'a str>,
    pub(super) event_name: Option<&'a str>,
    pub(super) event_source: Option<&'a str>,
    /// The text as it came, be it a time or not; a number's digits.
    pub(super) event_time: Option<Cow<'a, str>>,
    pub(super) event_version: Option<&'a str>,
    pub(super) shared_event_id: Option<&'a str>,
    /// `addendum.originalEventID`: the event that this late or corrected one replaces.
    pub(super) original_event_id: Option<&'a str>,
    pub(super) aws_region: Option<&'a str>,
    pub(super) recipient_account_id: Option<Cow<'a, str>>,
    /// An address, a DNS name, or words such as `AWS Internal`.
    pub(super) source_ip_address: Option<&'a str>,
    pub(super) vpc_endpoint_id: Option<&'a str>,
    pub(super) user_agent: Option<&'a str>,
    pub(super) request_id: Option<&'a str>,
    pub(super) api_version: Option<&'a str>,
    pub(super) error_code: Option<&'a str>,
    pub(super) error_message: Option<&'a str>,
    pub(super) identity: Identity<'a>,
    /// `resources`, unread.
    pub(super) resources: Option<&'a Value>,
}

/// `userIdentity`.
#[derive(Debug, Default)]
pub(super) struct Identity<'a> {
    pub(super) kind: Option<&'a str>,
    pub(super) user_name: Option<&'a str>,
    pub(super) principal_id: Option<&'a str>,
    pub(super) arn: Option<&'a str>,
    pub(super) account_id: Option<Cow<'a, str>>,
    pub(super) access_key_id: Option<&'a str>,
    pub(super) invoked_by: Option<&'a str>,
    /// `sessionContext.sessionIssuer.arn`
    pub(super) session_issuer: Option<&'a str>,
    /// `sessionContext.attributes.creationDate`
    pub(super) session_created: Option<&'a str>,
    /// `sessionContext.attributes.mfaAuthenticated`: a string in AWS's samples, taken as a boolean too.
    pub(super) session_mfa: Option<bool>,
}

impl<'a> Fields<'a> {
    /// The fields of a record.
    pub(super) fn of(record: &'a Value) -> Self {
        let mut fields = Self::default();
        for (key, value) in backwards(record) {
            match key {
                "eventID" => fields.event_id = text(value),
                "eventName" => fields.event_name = text(value),
                "eventSource" => fields.event_source = text(value),
                "eventTime" => fields.event_time = text_or_number(value),
                "eventVersion" => fields.event_version = text(value),
                "sharedEventID" => fields.shared_event_id = text(value),
                "addendum" => fields.original_event_id = value.get("originalEventID").and_then(text),
                "awsRegion" => fields.aws_region = text(value),
                "recipientAccountId" => fields.recipient_account_id = account(value),
                "sourceIPAddress" => fields.source_ip_address = text(value),
                "vpcEndpointId" => fields.vpc_endpoint_id = text(value),
                "userAgent" => fields.user_agent = text(value),
                "requestID" => fields.request_id = text(value),
                "apiVersion" => fields.api_version = text(value),
                "errorCode" => fields.error_code = text(value),
                "errorMessage" => fields.error_message = text(value),
                "userIdentity" => fields.identity = Identity::of(value),
                "resources" => fields.resources = Some(value),
                _ => {}
            }
        }
        fields
    }

    /// The account that the activity belongs to: recipientAccountId, else userIdentity.accountId.
    pub(super) fn account(&self) -> Option<&str> {
        self.recipient_account_id.as_deref().or(self.identity.account_id.as_deref())
    }
}

impl<'a> Identity<'a> {
    fn of(identity: &'a Value) -> Self {
        let mut fields = Self::default();
        for (key, value) in backwards(identity) {
            match key {
                "type" => fields.kind = text(value),
                "userName" => fields.user_name = text(value),
                "principalId" => fields.principal_id = text(value),
                "arn" => fields.arn = text(value),
                "accountId" => fields.account_id = account(value),
                "accessKeyId" => fields.access_key_id = text(value),
                "invokedBy" => fields.invoked_by = text(value),
                "sessionContext" => fields.session(value),
                _ => {}
            }
        }
        fields
    }

    fn session(&mut self, context: &'a Value) {
        self.session_issuer = context.get("sessionIssuer").and_then(|issuer| issuer.get("arn")).and_then(text);
        let Some(attributes) = context.get("attributes") else { return };
        self.session_created = attributes.get("creationDate").and_then(text);
        self.session_mfa = attributes.get("mfaAuthenticated").and_then(|mfa| match mfa.as_str() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => mfa.as_bool(),
        });
    }
}

/// An object's members, the last one first: of a key that occurs twice the first one then counts, as it does for rules.
fn backwards(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let mut members = Vec::new();
    if let Some(object) = object.as_object() {
        members.reserve_exact(object.len());
        object.iter().for_each(|member| members.push(member));
    }
    members.into_iter().rev()
}

/// A string that is not empty.
pub(super) fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// A string that is not empty, or a number's text.
fn text_or_number(value: &Value) -> Option<Cow<'_, str>> {
    match text(value) {
        Some(text) => Some(Cow::Borrowed(text)),
        None if value.is_number() => sonic_rs::to_string(value).ok().map(Cow::Owned),
        None => None,
    }
}

/// An account id. It has twelve digits, so one that came as a number gets back the zeros that the number lost.
pub(super) fn account(value: &Value) -> Option<Cow<'_, str>> {
    match text(value) {
        Some(text) => Some(Cow::Borrowed(text)),
        None => value.as_u64().map(|number| Cow::Owned(format!("{number:012}"))),
    }
}

/// RFC 3339 text, such as CloudTrail's eventTime, in milliseconds since the epoch. None for anything else.
pub(super) fn milliseconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_account(record: &str, expect: Option<&str>) {
        let record = Record::read(record.as_bytes());
        assert_eq!(Fields::of(&record.value).account(), expect);
    }

    #[test]
    fn the_account_is_the_recipients_or_the_callers() {
        check_account(
            r#"{"recipientAccountId":"111122223333","userIdentity":{"accountId":"2"}}"#,
            Some("111122223333"),
        );
        check_account(r#"{"recipientAccountId":null,"userIdentity":{"accountId":"2"}}"#, Some("2"));
        check_account(r#"{"recipientAccountId":"","userIdentity":{"accountId":12345678901}}"#, Some("012345678901"));
        check_account(r#"{"recipientAccountId":11122223333,"userIdentity":{}}"#, Some("011122223333"));
        check_account(r#"{"recipientAccountId":1.5,"userIdentity":"root"}"#, None);
        check_account(r#"{"recipientAccountId":{"a":1},"userIdentity":null}"#, None);
        check_account(r#"[{"recipientAccountId":"111122223333"}]"#, None);
    }

    #[test]
    fn of_a_key_that_occurs_twice_the_first_counts() {
        let json = r#"{"eventID":"a","eventID":"b","userIdentity":{"type":"Root","type":"IAMUser"},"userIdentity":{}}"#;
        let record = Record::read(json.as_bytes());
        let fields = Fields::of(&record.value);
        assert_eq!((fields.event_id, fields.identity.kind), (Some("a"), Some("Root")));
    }

    fn check_reading(raw: &[u8], expect: Reading, id: Option<&str>) {
        let record = Record::read(raw);
        assert_eq!(record.reading, expect, "{}", String::from_utf8_lossy(raw));
        assert_eq!(Fields::of(&record.value).event_id, id);
    }

    #[test]
    fn a_record_is_read_as_well_as_it_allows() {
        check_reading(br#"{"eventID":"a"}"#, Reading::Strict, Some("a"));
        check_reading(br#"{"eventID":"a","x":1e400}"#, Reading::Lenient, Some("a"));
        check_reading(br#"{"eventID":"a","x":"\ud800"}"#, Reading::Lenient, Some("a"));
        check_reading(b"{\"eventID\":\"a\",\"x\":\"\xff\"}", Reading::Lenient, Some("a"));
        check_reading(br#"{"eventID":"a"} {}"#, Reading::None, None);
        check_reading(br#"{"eventID":"a""#, Reading::None, None);
        check_reading(b"", Reading::None, None);
        let nested = |levels: usize| format!(r#"{{"x":{}{},"eventID":"a"}}"#, "[".repeat(levels), "]".repeat(levels));
        check_reading(nested(READ_DEPTH_MAX - 1).as_bytes(), Reading::Strict, Some("a"));
        check_reading(nested(READ_DEPTH_MAX).as_bytes(), Reading::None, None);
        check_reading(nested(500_000).as_bytes(), Reading::None, None);
    }

    #[test]
    fn the_session_says_whether_it_had_mfa() {
        for (mfa, expect) in
            [(r#""true""#, Some(true)), ("false", Some(false)), (r#""No""#, None), ("null", None), ("1", None)]
        {
            let json =
                format!(r#"{{"userIdentity":{{"sessionContext":{{"attributes":{{"mfaAuthenticated":{mfa}}}}}}}}}"#);
            let record = Record::read(json.as_bytes());
            assert_eq!(Fields::of(&record.value).identity.session_mfa, expect, "{mfa}");
        }
    }

    #[test]
    fn only_a_time_is_a_time() {
        assert_eq!(milliseconds("2023-07-19T21:35:03Z"), Some(1_689_802_503_000));
        assert_eq!(milliseconds("2023-07-19T23:35:03.5+02:00"), Some(1_689_802_503_500));
        for none in ["...", "", "2023-07-19", "1689802503", "2023-07-19T21:35:03", "2023-13-45T99:99:99Z"] {
            assert_eq!(milliseconds(none), None, "{none}");
        }
    }
}
