//! The record of a finding: its bytes, and what they say, as well as they can be read.

use std::borrow::Cow;
use std::cell::OnceCell;

use sonic_rs::{Deserializer, JsonValueTrait, Value};

use super::scan::depth;
use crate::record::{Legible, PLAIN_DEPTH_MAX};

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
    /// The same as it was skimmed.
    pub(super) skimmed: Option<Legible<'a>>,
    /// What they say; null where they are not JSON. Of what was skimmed a tree is made when it is asked for.
    tree: OnceCell<Cow<'a, Value>>,
    /// How well they could be read.
    pub(super) reading: Reading,
    /// How deep they nest, in levels, or an upper bound that is no more than [`JSON_DEPTH_MAX`].
    pub(super) depth: usize,
}

impl<'a> Record<'a> {
    /// A record that was skimmed, so strict JSON of [`PLAIN_DEPTH_MAX`] levels at most; and its tree, where there is one.
    pub(super) fn skimmed(raw: &'a [u8], skimmed: Legible<'a>, tree: Option<&'a Value>) -> Self {
        let tree = tree.map(|tree| OnceCell::from(Cow::Borrowed(tree))).unwrap_or_default();
        Self { raw, skimmed: Some(skimmed), tree, reading: Reading::Strict, depth: PLAIN_DEPTH_MAX }
    }

    /// The record as a tree.
    pub(super) fn tree(&self) -> &Value {
        self.tree.get_or_init(|| Cow::Owned(sonic_rs::from_slice(self.raw).unwrap_or_default()))
    }

    /// Whether it is a JSON object.
    pub(super) fn is_object(&self) -> bool {
        self.skimmed.is_some() || self.tree().is_object()
    }

    /// Reads the bytes as well as they allow.
    pub(super) fn read(raw: &'a [u8]) -> Self {
        let depth = depth(raw, JSON_DEPTH_MAX);
        let read = |reading, tree| Self { raw, skimmed: None, tree: OnceCell::from(Cow::Owned(tree)), reading, depth };
        if depth > READ_DEPTH_MAX {
            return read(Reading::None, Value::new_null());
        }
        if let Ok(value) = sonic_rs::from_slice(raw) {
            return read(Reading::Strict, value);
        }
        let text = String::from_utf8_lossy(raw);
        // `utf8_lossy` is for the lone surrogates.
        let mut lenient = Deserializer::from_str(&text).utf8_lossy().use_rawnumber();
        match lenient.deserialize().and_then(|value: Value| lenient.end().map(|()| value)) {
            Ok(value) => read(Reading::Lenient, value),
            Err(_) => read(Reading::None, Value::new_null()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::Fields;
    use super::*;

    fn check_reading(raw: &[u8], expect: Reading, id: Option<&str>) {
        let record = Record::read(raw);
        assert_eq!(record.reading, expect, "{}", String::from_utf8_lossy(raw));
        assert_eq!(Fields::of(&record).event_id, id);
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
}
