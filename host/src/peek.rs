//! Looks into JSON text that anybody may have written, without taking it apart: values are given as they are written.
//!
//! Nothing here recurses, so no nesting is too deep for it. In text that is no JSON something may be found or not.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// The bytes as JSON text (RFC 8259), however deep it nests, or what is wrong with them.
pub(crate) fn json(payload: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(payload).map_err(|_| "it is no UTF-8".to_owned())?;
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("it is no JSON: {error}")),
    }
}

/// The value at a path of names, as it is written. Of a name that occurs twice the first counts.
pub(crate) fn get<'a>(payload: &'a [u8], path: &[&str]) -> Option<&'a str> {
    let mut value = std::str::from_utf8(payload).ok()?.trim_ascii();
    for name in path {
        value = members(value).find(|(found, _)| found == name)?.1;
    }
    Some(value)
}

/// The text at a path; None for another value.
pub(crate) fn text(payload: &[u8], path: &[&str]) -> Option<String> {
    serde_json::from_str(get(payload, path)?).ok()
}

/// The whole number at a path; None for another value.
pub(crate) fn number(payload: &[u8], path: &[&str]) -> Option<i64> {
    get(payload, path)?.parse().ok()
}

/// The members of an object: names, and values as they are written. None for another value.
pub(crate) fn members(object: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    Parts::of(object, '{', '}').map_while(|part| {
        let end = 1 + string_len(part.strip_prefix('"')?)?;
        let (name, rest) = part.split_at_checked(end)?;
        let value = rest.trim_ascii_start().strip_prefix(':')?;
        let plain = name.get(1..end - 1)?;
        let name =
            if plain.contains('\\') { Cow::Owned(serde_json::from_str(name).ok()?) } else { Cow::Borrowed(plain) };
        Some((name, value.trim_ascii()))
    })
}

/// The items of a list, as they are written. None for another value.
pub(crate) fn items(list: &str) -> impl Iterator<Item = &str> {
    Parts::of(list, '[', ']')
}

/// What stands between the commas of an object or a list.
struct Parts<'a> {
    rest: Option<&'a str>,
}

impl Parts<'_> {
    fn of(value: &str, open: char, close: char) -> Parts<'_> {
        let inner = value.trim_ascii().strip_prefix(open).and_then(|inner| inner.strip_suffix(close));
        Parts { rest: inner.map(str::trim_ascii).filter(|inner| !inner.is_empty()) }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.take()?;
        let (mut level, mut at) = (0usize, 0usize);
        while let Some(byte) = rest.as_bytes().get(at) {
            at += 1;
            match byte {
                b'"' => at += string_len(rest.get(at..)?)?,
                b'{' | b'[' => level += 1,
                b'}' | b']' => level = level.checked_sub(1)?,
                b',' if level == 0 => {
                    self.rest = rest.get(at..);
                    return rest.get(..at - 1).map(str::trim_ascii);
                }
                _ => {}
            }
        }
        Some(rest.trim_ascii())
    }
}

/// How many bytes of a string follow its first quote, the last quote among them.
fn string_len(after_quote: &str) -> Option<usize> {
    let (bytes, mut from) = (after_quote.as_bytes(), 0);
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', bytes.get(from..)?)?;
        match bytes.get(at) {
            Some(b'"') => return Some(at + 1),
            _ => from = at + 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_at_its_path() {
        let payload = br#" {"a" : {"b":"x,}\"y" ,"c":[1,{"d":2}],"\u0065":-5}, "time":1700000000123 ,"time":1}"#;
        let check = |path: &[&str], expect: Option<&str>| assert_eq!(get(payload, path), expect, "{path:?}");
        check(&["time"], Some("1700000000123"));
        check(&["a", "b"], Some(r#""x,}\"y""#));
        check(&["a", "c"], Some(r#"[1,{"d":2}]"#));
        check(&["a", "e"], Some("-5"));
        check(&["a", "c", "d"], None);
        check(&["b"], None);
        assert_eq!(text(payload, &["a", "b"]).as_deref(), Some("x,}\"y"));
        assert_eq!((text(payload, &["time"]), number(payload, &["a", "e"])), (None, Some(-5)));
        assert_eq!(items("[ 1, [2,3] ,\"a]\"]").collect::<Vec<_>>(), ["1", "[2,3]", "\"a]\""]);
        assert_eq!((items("[ ]").count(), members("{}").count(), members("[1]").count()), (0, 0, 0));
    }

    #[test]
    fn what_is_no_json_does_no_harm() {
        for payload in
            [&b""[..], b"{", b"{]}", b"{\"a", b"{\"a\\", b"{\"a\":}", b"{\"\\", b"\xff", b"{\"a\" 1}", b"nan"]
        {
            let _ = get(payload, &["a", "b"]);
            assert!(json(payload).is_err(), "{payload:?}");
        }
        assert!(json(b"{}{}").is_err() && json(b"{\"a\":\"\xff\"}").is_err());
        assert_eq!(json(br#"{"a":[1,"x"]}"#), Ok(r#"{"a":[1,"x"]}"#));
    }

    #[test]
    fn no_nesting_is_too_deep() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let payload = format!(r#"{{"deep":{deep},"a":7}}"#);
        assert_eq!(number(payload.as_bytes(), &["a"]), Some(7));
        assert!(json(payload.as_bytes()).is_ok());
        let _ = get("{\"a\":".repeat(1_000_000).as_bytes(), &["a", "a"]);
    }
}
