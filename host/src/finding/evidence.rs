//! The original record inside its finding, whole or visibly cut.
//!
//! `evidences[0].data` is always an object, so that a SIEM sees one type there:
//!
//! - the record itself, byte for byte (apart from white space, where the record had line breaks), or
//! - `{"is_truncated", "original_bytes", "text"}`, where it is larger than the limit, or not an object that every
//!   JSON reader takes: no JSON at all, a lone surrogate, a number outside a double, nesting over [`JSON_DEPTH_MAX`].
//!
//! The record is never parsed and written anew, since that changes numbers and escapes.

use std::borrow::Cow;

use memchr::memchr2;

use super::json::{Json, key};
use super::original::{JSON_DEPTH_MAX, Reading, Record};
use super::scan::compact;

/// What stands in `evidences[0].data`.
pub(super) enum Data<'a> {
    /// The whole record: JSON text of an object.
    Json(Cow<'a, [u8]>),
    /// The record, or its beginning, as text.
    Text(Text),
}

/// A record, or its beginning, as text.
#[derive(Debug, PartialEq)]
pub(super) struct Text {
    /// Whether `text` is only the beginning.
    is_truncated: bool,
    /// The size of the record as it came, in bytes.
    original_bytes: usize,
    /// The record's text; invalid UTF-8 is replaced by U+FFFD.
    text: String,
}

impl<'a> Data<'a> {
    /// The evidence of a record: up to about `bytes_max` bytes once written, and no line break.
    pub(super) fn of(record: &Record<'a>, bytes_max: usize) -> Self {
        let bytes = one_line(record);
        let whole = record.reading == Reading::Strict
            && record.is_object()
            && record.depth <= JSON_DEPTH_MAX
            && bytes.len() <= bytes_max;
        if whole {
            return Data::Json(bytes);
        }
        let (text, is_truncated) = beginning(&bytes, bytes_max);
        Data::Text(Text { is_truncated, original_bytes: record.raw.len(), text })
    }

    /// Whether a part of the record is missing.
    pub(super) fn is_truncated(&self) -> bool {
        matches!(self, Data::Text(Text { is_truncated: true, .. }))
    }

    /// The member `data`.
    ///
    /// The record is valid JSON already. No safe serializer writes it without parsing it once more, which costs as much
    /// as the first time.
    pub(super) fn write(&self, json: &mut Json) {
        match self {
            Data::Json(record) => json.value(key!("data"), record),
            Data::Text(Text { is_truncated, original_bytes, text }) => {
                json.object(key!("data"), |json| {
                    json.flag(key!("is_truncated"), Some(*is_truncated));
                    json.number(key!("original_bytes"), *original_bytes);
                    json.whole(key!("text"), &**text);
                });
            }
        }
    }
}

/// The record on one line: many sinks end an item at a line break.
fn one_line<'a>(record: &Record<'a>) -> Cow<'a, [u8]> {
    match record.reading {
        Reading::Strict if memchr2(b'\n', b'\r', record.raw).is_some() => Cow::Owned(compact(record.raw)),
        _ => Cow::Borrowed(record.raw),
    }
}

/// As much text from the beginning of `bytes` as takes up `bytes_max` bytes in a JSON string, and whether some is left.
fn beginning(bytes: &[u8], bytes_max: usize) -> (String, bool) {
    // A byte takes up one byte at least (and U+FFFD three for three), so what lies behind the limit need not be looked at.
    // A character may straddle it; the three bytes more let it be seen whole, and what they show is cut again.
    let seen = bytes.get(..bytes_max.saturating_add(3)).unwrap_or(bytes);
    let mut text = String::from_utf8_lossy(seen).into_owned();
    let mut room = bytes_max;
    let end = text.char_indices().find_map(|(at, character)| {
        let size = match character {
            '"' | '\\' => 2,
            '\0'..='\x1f' => 6,
            other => other.len_utf8(),
        };
        match room.checked_sub(size) {
            Some(left) => {
                room = left;
                None
            }
            None => Some(at),
        }
    });
    if let Some(end) = end {
        text.truncate(end);
    }
    (text, end.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[u8], bytes_max: usize, expect: &str) {
        let mut json = Json::behind(Vec::new(), 0);
        Data::of(&Record::read(raw), bytes_max).write(&mut json);
        assert_eq!(
            String::from_utf8(json.into_object().0).unwrap(),
            format!(r#"{{"data":{expect}}}"#),
            "{}",
            String::from_utf8_lossy(raw)
        );
    }

    #[test]
    fn a_whole_record_goes_in_as_it_came() {
        check(br#"{"a": 1.10,"b":"\u00e9\/"}"#, 100, r#"{"a": 1.10,"b":"\u00e9\/"}"#);
        check(br#"{"n":123456789012345678901234567890}"#, 100, r#"{"n":123456789012345678901234567890}"#);
        check(b"{\r\n  \"a\\\" \": [1,\t2],\n \"b\": \"x y\\\\\" }\n", 100, r#"{"a\" ":[1,2],"b":"x y\\"}"#);
    }

    #[test]
    fn a_large_record_is_cut_and_says_so() {
        check(br#"{"a":"bcdef"}"#, 13, r#"{"a":"bcdef"}"#);
        check(br#"{"a":"bcdef"}"#, 12, r#"{"is_truncated":true,"original_bytes":13,"text":"{\"a\":\"bcd"}"#);
        check(br#"{"a":"bcdef"}"#, 0, r#"{"is_truncated":true,"original_bytes":13,"text":""}"#);
        // White space counts in the size that it had, not in whether it fits.
        check(b"{\n\"a\"\n:\n\"b\"\n}", 9, r#"{"a":"b"}"#);
        check("{\"a\":\"äöü\"}".as_bytes(), 12, r#"{"is_truncated":true,"original_bytes":14,"text":"{\"a\":\"ä"}"#);
    }

    #[test]
    fn what_not_every_reader_takes_goes_in_as_text() {
        let text = |original: usize, text: &str| {
            let text = serde_json::to_string(text).unwrap();
            format!(r#"{{"is_truncated":false,"original_bytes":{original},"text":{text}}}"#)
        };
        for raw in ["[1]", "", "{", "\"x\"", r#"{"a":"\ud800"}"#, r#"{"a":1e999}"#] {
            check(raw.as_bytes(), 100, &text(raw.len(), raw));
        }
        check(b"{\"a\":\"\xff\"}", 100, &text(9, "{\"a\":\"\u{fffd}\"}"));
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(JSON_DEPTH_MAX), "]".repeat(JSON_DEPTH_MAX));
        check(deep.as_bytes(), 1000, &text(deep.len(), &deep));
    }

    #[test]
    fn only_what_nests_too_deep_is_no_json() {
        let flat = format!(r#"{{"a":"{}\"[","b":[[]]}}"#, "{[".repeat(JSON_DEPTH_MAX));
        check(flat.as_bytes(), 1000, &flat);
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(JSON_DEPTH_MAX - 1), "]".repeat(JSON_DEPTH_MAX - 1));
        check(deep.as_bytes(), 1000, &deep);
    }

    #[test]
    fn the_limit_is_on_what_is_written() {
        for raw in ["\"".repeat(999), "\u{1}".repeat(999), "\u{7f}€\n\\x".repeat(200)] {
            let (text, cut) = beginning(raw.as_bytes(), 600);
            let written = serde_json::to_string(&text).unwrap().len() - 2;
            assert!(cut && written <= 600, "{written}");
        }
        assert_eq!(beginning(b"\xff\xff\xff", 6), ("\u{fffd}\u{fffd}".into(), true));
        assert_eq!(beginning(b"abc", 3), ("abc".into(), false));
    }
}
