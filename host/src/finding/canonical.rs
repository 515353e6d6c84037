//! The digest of a record without an eventID, over a form that does not change when the record is written otherwise.
//!
//! The form: keys of an object sorted by their bytes, no white space, strings unescaped, numbers by their value (`1`,
//! `1.0` and `1e0` are one number). It is never written out; it goes straight into the hash, each value as a tag, a
//! length or count (8 bytes, little endian), and its content. That is unambiguous without any escaping.
//!
//! What could not be read has no canonical form: it is hashed byte by byte.

use sha2::{Digest, Sha256};
use sonic_rs::{JsonContainerTrait, JsonType, JsonValueTrait, Value};

use super::original::{Reading, Record};

/// SHA-256 over the record in canonical form.
pub(super) fn digest(record: &Record<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    match record.reading {
        Reading::Strict | Reading::Lenient => update(&mut hash, record.tree()),
        Reading::None => hash.update(record.raw),
    }
    hash.finalize().into()
}

/// Hashes one value. Recursive: what was read is within `READ_DEPTH_MAX`.
fn update(hash: &mut Sha256, value: &Value) {
    match value.get_type() {
        JsonType::Null => hash.update(b"n"),
        JsonType::Boolean => hash.update(if value.is_true() { b"t" } else { b"f" }),
        JsonType::Number => tagged(hash, b"#", number(value).as_bytes()),
        JsonType::String => tagged(hash, b"\"", value.as_str().unwrap_or_default().as_bytes()),
        JsonType::Array => {
            let items = value.as_array().map(|array| array.as_slice()).unwrap_or_default();
            hash.update(b"[");
            hash.update((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| update(hash, item));
        }
        JsonType::Object => {
            let mut pairs: Vec<(&str, &Value)> = value.as_object().into_iter().flatten().collect();
            // Stable, so a key that occurs twice keeps its order.
            pairs.sort_by_key(|(key, _)| *key);
            hash.update(b"{");
            hash.update((pairs.len() as u64).to_le_bytes());
            for (key, value) in pairs {
                tagged(hash, b"", key.as_bytes());
                update(hash, value);
            }
        }
    }
}

fn tagged(hash: &mut Sha256, tag: &[u8], content: &[u8]) {
    hash.update(tag);
    hash.update((content.len() as u64).to_le_bytes());
    hash.update(content);
}

/// One text for one value: digits for an integer below 2^64, else the shortest form of the double.
fn number(value: &Value) -> String {
    const INTEGERS: std::ops::Range<f64> = -18_446_744_073_709_551_616.0..18_446_744_073_709_551_616.0;
    if let Some(integer) = value.as_u64() {
        return integer.to_string();
    }
    if let Some(integer) = value.as_i64() {
        return integer.to_string();
    }
    match value.as_f64() {
        Some(float) if float.fract() == 0.0 && INTEGERS.contains(&float) => (float as i128).to_string(),
        Some(float) if float.is_finite() => format!("{float:e}"),
        // A number that no double holds: its own text.
        _ => sonic_rs::to_string(value).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::original::READ_DEPTH_MAX;
    use super::*;

    fn check_same(one: &str, other: &str) {
        assert_eq!(digest(&Record::read(one.as_bytes())), digest(&Record::read(other.as_bytes())), "{one} {other}");
    }

    fn check_differ(one: &str, other: &str) {
        assert_ne!(digest(&Record::read(one.as_bytes())), digest(&Record::read(other.as_bytes())), "{one} {other}");
    }

    #[test]
    fn the_way_of_writing_does_not_count() {
        check_same(r#"{"a":1,"b":[true,null]}"#, " { \"b\" : [ true ,\tnull ] ,\r\n \"a\" : 1 } ");
        check_same(r#"{"a":{"x":"é/","y":2},"b":0}"#, r#"{"b":0,"\u0061":{"y":2,"x":"\u00e9\/"}}"#);
        check_same(r#"{"x":"\ud83d\ude00"}"#, r#"{"x":"😀"}"#);
        check_same("[1, 100, -0, 1.5]", "[1.0, 1e2, 0, 15e-1]");
        check_same("[10000000000000000000]", "[1e19]");
    }

    #[test]
    fn what_is_written_counts() {
        check_differ(r#"{"a":1}"#, r#"{"a":"1"}"#);
        check_differ(r#"{"a":1}"#, r#"{"a":2}"#);
        check_differ(r#"{"a":null}"#, "{}");
        check_differ(r#"["ab","c"]"#, r#"["a","bc"]"#);
        check_differ("[[1],2]", "[[1,2]]");
        check_differ("[]", "{}");
        check_differ("[true]", "[false]");
        check_differ("[9007199254740993]", "[9007199254740992]");
        check_differ("[1e400]", "[1e401]");
        check_differ(r#"{"a":{"b":1},"c":2}"#, r#"{"a":{"c":2},"b":1}"#);
    }

    #[test]
    fn what_could_not_be_read_is_taken_by_its_bytes() {
        let deep = |open: &str, levels: usize| format!("{}{}", open.repeat(levels), "]".repeat(levels));
        check_same(&deep("[", READ_DEPTH_MAX), &deep("[ ", READ_DEPTH_MAX));
        check_differ(&deep("[", READ_DEPTH_MAX + 1), &deep("[ ", READ_DEPTH_MAX + 1));
        check_differ(&deep("[", 500_000), &deep("[", 500_001));
        check_differ("{", "{{");
    }
}
