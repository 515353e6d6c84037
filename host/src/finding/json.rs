//! Writing JSON attribute by attribute, straight into the finding's buffer.
//!
//! A finding has some hundred attributes, nearly all of them short. To write them so takes a third of the instructions
//! that a serializer takes, which looks for what is to be escaped in every key. What is empty is left out: OCSF's schema
//! refuses an empty object.

use std::ops::Range;

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16};

use super::cut;

/// A member's key with all that stands around it: `,"uid":`. [`key!`] makes it.
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) &'static str);

/// A [`Key`] of a name. As it is one piece, to write it is a few stores.
macro_rules! key {
    ($name:literal) => {
        $crate::finding::json::Key(concat!(",\"", $name, "\":"))
    };
}
pub(super) use key;

/// Members of an object, or items of a list, that are being written: each with a comma before it. Whoever encloses them
/// puts a bracket in place of the first comma.
pub(super) struct Json {
    bytes: Vec<u8>,
    /// Where it begins; before that stands what is somebody else's.
    start: usize,
    text_bytes_max: usize,
    /// Whether the record's texts have nothing to escape.
    is_plain: bool,
}

impl Json {
    /// Nothing yet, behind what `bytes` holds. [`Json::text`] cuts at `text_bytes_max`.
    pub(super) fn behind(bytes: Vec<u8>, text_bytes_max: usize) -> Json {
        Json { start: bytes.len(), bytes, text_bytes_max, is_plain: false }
    }

    /// The same for a record whose texts have nothing to escape, or may have.
    pub(super) fn of_record(self, is_plain: bool) -> Json {
        Json { is_plain, ..self }
    }

    /// The bytes with what was written, for [`Json::written`].
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The bytes with what was written, as one object, and where that stands.
    pub(super) fn into_object(mut self) -> (Vec<u8>, Range<usize>) {
        let object = self.enclose(self.start, self.start, *b"{}");
        (self.bytes, object)
    }

    /// Members or items that were written before, apart.
    pub(super) fn written(&mut self, json: &[u8]) {
        self.bytes.extend_from_slice(json);
    }

    /// A member whose value is JSON already.
    #[inline(always)]
    pub(super) fn value(&mut self, key: Key, json: &[u8]) {
        self.key(key);
        self.bytes.extend_from_slice(json);
    }

    /// A member whose value was written before, at `earlier`. Nothing where that is empty.
    #[inline(always)]
    pub(super) fn again(&mut self, key: Key, earlier: Range<usize>) {
        if !earlier.is_empty() {
            self.key(key);
            self.bytes.extend_from_within(earlier);
        }
    }

    /// A text, cut to the limit.
    #[inline(always)]
    pub(super) fn text<'t>(&mut self, key: Key, text: impl Into<Option<&'t str>>) {
        if let Some(text) = text.into() {
            self.key(key);
            self.short(text);
        }
    }

    /// A text of the record's [`Fields`](super::fields::Fields), cut to the limit.
    #[inline(always)]
    pub(super) fn field(&mut self, key: Key, text: Option<&str>) {
        if let Some(text) = text {
            self.key(key);
            if self.is_plain && text.len() <= self.text_bytes_max {
                self.quoted(text);
            } else {
                self.short(text);
            }
        }
    }

    /// A text whose length is bounded otherwise.
    #[inline(always)]
    pub(super) fn whole<'t>(&mut self, key: Key, text: impl Into<Option<&'t str>>) {
        if let Some(text) = text.into() {
            self.key(key);
            self.string(&[text]);
        }
    }

    /// A text that has nothing to escape.
    #[inline(always)]
    pub(super) fn plain(&mut self, key: Key, text: &str) {
        debug_assert!(is_plain(text.as_bytes()));
        self.key(key);
        self.quoted(text);
    }

    /// A text in parts, whose length is bounded otherwise.
    #[inline(always)]
    pub(super) fn parts(&mut self, key: Key, parts: &[&str]) {
        self.key(key);
        self.string(parts);
    }

    #[inline(always)]
    pub(super) fn number(&mut self, key: Key, number: impl itoa::Integer) {
        self.key(key);
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A number, or what else is JSON already, where there is one.
    #[inline(always)]
    pub(super) fn digits(&mut self, key: Key, digits: Option<&str>) {
        if let Some(digits) = digits {
            self.value(key, digits.as_bytes());
        }
    }

    #[inline(always)]
    pub(super) fn flag(&mut self, key: Key, flag: Option<bool>) {
        if let Some(flag) = flag {
            self.value(key, if flag { b"true" } else { b"false" });
        }
    }

    /// An object, and where its value stands. One without members is left out.
    #[inline(always)]
    pub(super) fn object(&mut self, key: Key, members: impl FnOnce(&mut Json)) -> Range<usize> {
        let before = self.bytes.len();
        self.key(key);
        let start = self.bytes.len();
        members(self);
        self.enclose(before, start, *b"{}")
    }

    /// A list. One without items is left out.
    #[inline(always)]
    pub(super) fn list(&mut self, key: Key, items: impl FnOnce(&mut Json)) {
        let before = self.bytes.len();
        self.key(key);
        let start = self.bytes.len();
        items(self);
        self.enclose(before, start, *b"[]");
    }

    /// An object in a list. One without members is left out.
    #[inline(always)]
    pub(super) fn item(&mut self, members: impl FnOnce(&mut Json)) {
        let before = self.bytes.len();
        self.bytes.push(b',');
        members(self);
        self.enclose(before, before + 1, *b"{}");
    }

    /// A text in a list, whose length is bounded otherwise.
    pub(super) fn text_item(&mut self, text: &str) {
        self.bytes.push(b',');
        self.string(&[text]);
    }

    /// Makes one value of what stands from `start` on; nothing from `before` on, where that is empty.
    fn enclose(&mut self, before: usize, start: usize, [open, close]: [u8; 2]) -> Range<usize> {
        match self.bytes.get_mut(start) {
            Some(comma) => *comma = open,
            None => {
                self.bytes.truncate(before);
                return before..before;
            }
        }
        self.bytes.push(close);
        start..self.bytes.len()
    }

    #[inline(always)]
    fn key(&mut self, key: Key) {
        self.bytes.extend_from_slice(key.0.as_bytes());
    }

    #[inline(never)]
    fn quoted(&mut self, text: &str) {
        self.bytes.reserve(text.len() + 2);
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(b'"');
    }

    #[inline(never)]
    fn short(&mut self, text: &str) {
        if text.len() <= self.text_bytes_max && is_plain(text.as_bytes()) {
            return self.quoted(text);
        }
        let text = cut(text, self.text_bytes_max);
        self.string(&[&text]);
    }

    #[inline(never)]
    fn string(&mut self, parts: &[&str]) {
        self.bytes.push(b'"');
        for part in parts {
            escape(&mut self.bytes, part);
        }
        self.bytes.push(b'"');
    }
}

/// Appends a text as it stands within a JSON string (RFC 8259, section 7).
fn escape(to: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        return to.extend_from_slice(text.as_bytes());
    }
    for &byte in text.as_bytes() {
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..0x20 => {
                let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default() as u8;
                to.extend_from_slice(b"\\u00");
                to.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
                continue;
            }
            _ => {
                to.push(byte);
                continue;
            }
        };
        to.extend_from_slice(&[b'\\', short]);
    }
}

/// Whether nothing is to be escaped. Sixteen or eight bytes at a time; the last ones may overlap those before.
fn is_plain(text: &[u8]) -> bool {
    if let Some(last) = text.last_chunk::<16>() {
        return dispatch!(Level::baseline(), simd => are_plain(simd, text.as_chunks::<16>().0, last));
    }
    let (words, rest) = text.as_chunks::<8>();
    let last = match text.last_chunk::<8>() {
        Some(last) => special(*last),
        None => u64::from(rest.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'))),
    };
    words.iter().fold(last, |found, word| found | special(*word)) == 0
}

#[inline(always)]
fn are_plain<S: Simd>(simd: S, blocks: &[[u8; 16]], last: &[u8; 16]) -> bool {
    let special = |bytes: &[u8; 16]| {
        let bytes = u8x16::load_array_ref(simd, bytes);
        let is = |byte| bytes.simd_eq(u8x16::splat(simd, byte));
        bytes.simd_lt(u8x16::splat(simd, b' ')) | is(b'"') | is(b'\\')
    };
    !blocks.iter().fold(special(last), |found, block| found | special(block)).any_true()
}

/// Not 0 if a byte is a control character, a quote or a backslash. In each byte the highest bit says whether it is less
/// than 32, or is 0 after what is looked for was taken out of it; a borrow from the byte below can only follow a find.
fn special(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let word = u64::from_le_bytes(word);
    let less = |word: u64, than: u64| word.wrapping_sub(ONES * than) & !word;
    let without = |byte: u8| word ^ (ONES * u64::from(byte));
    let found = less(word, 0x20) | less(without(b'"'), 1) | less(without(b'\\'), 1);
    found & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_written_as_other_writers_write_it(text in r#"([a-z"\\\x00-\x20\x7f é€𝄞]|[ -~]{0,9}){0,12}"#) {
            let mut written = Vec::new();
            escape(&mut written, &text);
            prop_assert_eq!(format!("\"{}\"", String::from_utf8(written).unwrap()), serde_json::to_string(&text).unwrap());
        }
    }

    #[test]
    fn every_byte_is_seen_at_every_place() {
        for byte in 0..=0x7f_u8 {
            for len in 1..40 {
                for at in 0..len {
                    let mut text = vec![b'~'; len];
                    text[at] = byte;
                    let expect = byte >= 0x20 && byte != b'"' && byte != b'\\';
                    assert_eq!(is_plain(&text), expect, "{byte} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn what_is_empty_is_left_out_and_commas_stand_between() {
        let mut json = Json::behind(b"before".to_vec(), 3);
        let empty = json.object(key!("a"), |json| {
            json.list(key!("b"), |json| json.item(|json| json.text(key!("c"), None)));
        });
        json.text(key!("d"), "abcd");
        json.list(key!("e"), |json| {
            json.text_item("x");
            json.item(|json| json.number(key!("n"), -1));
            json.item(|_| {});
            json.written(b",2");
        });
        json.again(key!("f"), empty);
        let object = json.object(key!("g"), |json| json.flag(key!("h"), Some(true)));
        json.again(key!("i"), object);
        json.digits(key!("j"), None);
        json.parts(key!("k"), &["x\"", "{"]);
        json.plain(key!("l"), "[");
        let expect = r#"{"d":"abc…","e":["x",{"n":-1},2],"g":{"h":true},"i":{"h":true},"k":"x\"{","l":"["}"#;
        let (bytes, object) = json.into_object();
        assert_eq!(str::from_utf8(&bytes[object]).unwrap(), expect);
        assert!(bytes.starts_with(b"before"));
        assert_eq!(Json::behind(b"before".to_vec(), 0).into_object(), (b"before".to_vec(), 6..6));
    }
}
