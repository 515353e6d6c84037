//! What a target must know of a finding that is carried, read from its message: its id and its time.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};
use sonic_rs::{JsonValueTrait, LazyValue};

use super::Outgoing;

/// A finding's id: the message's key; else what the finding says of itself; else a digest of it, so that what is sent again has
/// the same. Fails for a key that is no text.
pub(super) fn id_of<'a>(message: &Outgoing<'a>) -> Result<Cow<'a, str>, String> {
    if !message.key.is_empty() {
        return match std::str::from_utf8(message.key) {
            Ok(id) => Ok(Cow::Borrowed(id)),
            Err(_) => Err("its key, which is its id, is no UTF-8".to_owned()),
        };
    }
    if let Ok(found) = sonic_rs::get(message.payload, ["finding_info", "uid"])
        && let Some(id) = found.as_str().filter(|id| !id.is_empty())
    {
        return Ok(Cow::Owned(id.to_owned()));
    }
    let digest = Sha256::digest(message.payload);
    Ok(Cow::Owned(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()))
}

/// A finding's time, in milliseconds since the epoch.
pub(super) fn time_ms_of(payload: &[u8]) -> Option<i64> {
    get(payload, "time")?.as_i64()
}

/// A value at the top of a finding; None where there is none.
pub(super) fn get<'a>(payload: &'a [u8], name: &str) -> Option<LazyValue<'a>> {
    sonic_rs::get(payload, [name]).ok()
}

/// Whether the bytes are one JSON text (RFC 8259); says what is wrong otherwise.
pub(super) fn is_json(payload: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<IgnoredAny>(payload) {
        Ok(_) if std::str::from_utf8(payload).is_err() => Err("it is no UTF-8".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("it is no JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_id(key: &[u8], payload: &str, expect: Result<&str, &str>) {
        let message = Outgoing { key, headers: Vec::new(), payload: payload.as_bytes() };
        let id = id_of(&message);
        assert_eq!(id.as_deref().map_err(String::as_str), expect, "{payload}");
    }

    #[test]
    fn an_id_is_the_key_or_what_the_finding_says() {
        let payload = r#"{"finding_info":{"uid":"u"},"time":5}"#;
        check_id(b"k", payload, Ok("k"));
        check_id(b"", payload, Ok("u"));
        check_id(b"\xff", payload, Err("its key, which is its id, is no UTF-8"));
        // The first half of sha256("{}").
        check_id(b"", "{}", Ok("44136fa355b3678a1146ad16f7e8649e"));
    }

    #[test]
    fn a_time_is_a_number_at_the_top() {
        assert_eq!(time_ms_of(br#"{"a":{"time":1},"time":1700000000123}"#), Some(1_700_000_000_123));
        for payload in [&b"{}"[..], b"[]", b"x", b"", br#"{"time":"5"}"#] {
            assert_eq!(time_ms_of(payload), None);
        }
    }

    #[test]
    fn what_is_no_json_is_told() {
        assert!(is_json(br#"{"a":[1,"x"]}"#).is_ok());
        for payload in [&b""[..], b"{", b"{}{}", b"{\"a\":\"\xff\"}", b"nan"] {
            assert!(is_json(payload).is_err(), "{payload:?}");
        }
    }
}
