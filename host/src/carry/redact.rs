//! What leaves a finding before it leaves the house. All that stays is copied byte for byte: to parse a record and write it
//! anew changes its numbers and escapes.

use std::borrow::Cow;

use serde::Serialize;

use crate::peek;

/// What is taken out. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redact {
    /// Paths of attributes, the names joined by dots, that are dropped. A path goes into every item of a list on its way.
    pub drop: Vec<String>,
    /// The size of an evidence's `data`, in bytes; a larger one is cut and marked as cut. None for any size.
    pub evidence_bytes_max: Option<usize>,
}

/// Levels that are gone into, so that no nesting takes the stack.
const DEPTH_MAX: usize = 128;

/// Evidence that was cut, in the form that the host gives it.
#[derive(Serialize)]
struct Cut<'a> {
    is_truncated: bool,
    original_bytes: u64,
    text: &'a str,
}

impl Redact {
    /// Whether nothing is taken out.
    pub fn is_empty(&self) -> bool {
        self.drop.is_empty() && self.evidence_bytes_max.is_none()
    }

    /// A message without what is taken out. Fails for what is no JSON object: what cannot be read cannot be redacted.
    pub fn apply<'a>(&self, payload: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        if self.is_empty() {
            return Ok(Cow::Borrowed(payload));
        }
        let text = peek::json(payload)?;
        if !text.trim_ascii_start().starts_with('{') {
            return Err("it is no JSON object".to_owned());
        }
        let paths: Vec<Vec<&str>> = self.drop.iter().map(|path| path.split('.').collect()).collect();
        let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
        let mut out = Vec::with_capacity(payload.len());
        self.copy(text, &paths, (Place::Top, 0), &mut out)?;
        Ok(Cow::Owned(out))
    }

    /// Copies a value that stands at `place`, under so many levels, without the attributes at `paths`.
    fn copy(
        &self,
        raw: &str,
        paths: &[&[&str]],
        (place, depth): (Place, usize),
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("a path of `redact` goes deeper than {DEPTH_MAX} levels"));
        }
        let untouched = paths.is_empty() && (place == Place::Elsewhere || self.evidence_bytes_max.is_none());
        match raw.trim_ascii_start().as_bytes().first() {
            Some(b'{') if !untouched => self.copy_object(raw, paths, (place, depth), out)?,
            Some(b'[') if !untouched => {
                out.push(b'[');
                for (number, item) in peek::items(raw).enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    self.copy(item, paths, (place, depth + 1), out)?;
                }
                out.push(b']');
            }
            _ => out.extend_from_slice(raw.as_bytes()),
        }
        Ok(())
    }

    fn copy_object(
        &self,
        raw: &str,
        paths: &[&[&str]],
        (place, depth): (Place, usize),
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        out.push(b'{');
        let mut first = true;
        for (name, value) in peek::members(raw) {
            let name: &str = &name;
            if paths.iter().any(|path| matches!(path, [only] if *only == name)) {
                continue;
            }
            let below: Vec<&[&str]> = paths
                .iter()
                .filter_map(|path| path.split_first().filter(|(head, _)| **head == name).map(|(_, rest)| rest))
                .collect();
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            write(name, out);
            out.push(b':');
            let within = place.within(name);
            match self.evidence_bytes_max {
                Some(bytes_max) if within == Place::Data && value.len() > bytes_max => {
                    write(&cut(value, bytes_max), out)
                }
                _ => self.copy(value, &below, (within, depth + 1), out)?,
            }
        }
        out.push(b'}');
        Ok(())
    }
}

/// Appends JSON. Memory does not fail, so there is no error to report.
fn write(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok(), "{written:?}");
}

/// Where in a finding a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Evidences,
    Data,
    Elsewhere,
}

impl Place {
    fn within(self, name: &str) -> Place {
        match (self, name) {
            (Place::Top, "evidences") => Place::Evidences,
            (Place::Evidences, "data") => Place::Data,
            _ => Place::Elsewhere,
        }
    }
}

/// The beginning of an evidence. One that was cut before keeps the size that it had.
fn cut(raw: &str, bytes_max: usize) -> Cut<'_> {
    let was_cut = peek::get(raw.as_bytes(), &["is_truncated"]).is_some();
    let was = peek::number(raw.as_bytes(), &["original_bytes"]).filter(|_| was_cut);
    let text = raw.get(..raw.floor_char_boundary(bytes_max)).unwrap_or_default();
    Cut {
        is_truncated: true,
        original_bytes: was.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(raw.len() as u64),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(drop: &[&str], evidence_bytes_max: Option<usize>) -> Redact {
        Redact { drop: drop.iter().map(|path| (*path).to_owned()).collect(), evidence_bytes_max }
    }

    fn check(redact: &Redact, payload: &str, expect: &str) {
        let came = redact.apply(payload.as_bytes()).unwrap();
        assert_eq!(std::str::from_utf8(&came).unwrap(), expect);
    }

    #[test]
    fn what_is_named_is_dropped_and_all_else_stays_byte_for_byte() {
        let payload =
            r#"{"a" : 1.00, "b":{"c":[{"d":1,"e":"\u0041"},{"d":2}], "f":1e999},"evidences":[{"data":{"x":1}}]}"#;
        check(&redact(&[], None), payload, payload);
        check(&redact(&["evidences", "b.c.d"], None), payload, r#"{"a":1.00,"b":{"c":[{"e":"\u0041"},{}],"f":1e999}}"#);
        check(&redact(&["b"], None), payload, r#"{"a":1.00,"evidences":[{"data":{"x":1}}]}"#);
        check(
            &redact(&["nothing", "a.b", "b.c.d.e"], None),
            r#"{"a":1,"b":{"c":[{"d":1}]}}"#,
            r#"{"a":1,"b":{"c":[{"d":1}]}}"#,
        );
        // A name that is written otherwise is the same name.
        check(&redact(&["secret"], None), r#"{"\u0073ecret":1,"x":"}\""}"#, r#"{"x":"}\""}"#);
        check(&redact(&["secret"], None), "{}", "{}");
    }

    #[test]
    fn evidence_over_its_size_is_cut_and_says_so() {
        let payload = r#"{"data":"stays","evidences":[{"data":{"x":"ä23456789"}},{"data":{}}]}"#;
        check(&redact(&[], Some(100)), payload, payload);
        check(
            &redact(&[], Some(7)),
            payload,
            r#"{"data":"stays","evidences":[{"data":{"is_truncated":true,"original_bytes":18,"text":"{\"x\":\""}},{"data":{}}]}"#,
        );
        let again = r#"{"evidences":[{"data":{"is_truncated":true,"original_bytes":999,"text":"0123456789"}}]}"#;
        let came = redact(&[], Some(10)).apply(again.as_bytes()).unwrap().into_owned();
        assert!(String::from_utf8(came).unwrap().contains("\"original_bytes\":999"));
    }

    #[test]
    fn what_nests_too_deep_is_not_let_through() {
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let path = ["a"; 200].join(".");
        check(&redact(&[&path], None), &nested(DEPTH_MAX), &nested(DEPTH_MAX));
        for levels in [DEPTH_MAX + 1, 100_000] {
            assert!(
                redact(&[&path], None).apply(nested(levels).as_bytes()).is_err_and(|why| why.contains("128 levels"))
            );
        }
        // Where nobody looks it may be as deep as it likes.
        let deep = format!(r#"{{"b":{}}}"#, nested(100_000));
        assert!(redact(&[&path], None).apply(deep.as_bytes()).is_ok_and(|came| came.len() == deep.len()));
    }

    #[test]
    fn what_cannot_be_read_is_not_let_through() {
        for payload in [&b"no json"[..], b"", b"[]", b"\"text\"", b"{\"a\":\"\xff\"}", b"{} {}"] {
            assert!(redact(&["a"], None).apply(payload).is_err(), "{payload:?}");
        }
        assert!(redact(&[], None).apply(b"no json").is_ok());
    }
}
