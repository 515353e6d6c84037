//! What a target must know of a finding that is carried, read from its message: its id and its time.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::Outgoing;
use crate::peek;

/// A finding's id: the message's key; else what the finding says of itself; else a digest of it, so that what is sent again has
/// the same. Fails for a key that is no text.
pub(super) fn id_of<'a>(message: &Outgoing<'a>) -> Result<Cow<'a, str>, String> {
    if !message.key.is_empty() {
        return match std::str::from_utf8(message.key) {
            Ok(id) => Ok(Cow::Borrowed(id)),
            Err(_) => Err("its key, which is its id, is no UTF-8".to_owned()),
        };
    }
    if let Some(id) = peek::text(message.payload, &["finding_info", "uid"]).filter(|id| !id.is_empty()) {
        return Ok(Cow::Owned(id));
    }
    let digest = Sha256::digest(message.payload);
    Ok(Cow::Owned(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()))
}

/// A finding's time, in milliseconds since the epoch.
pub(super) fn time_ms_of(payload: &[u8]) -> Option<i64> {
    peek::number(payload, &["time"])
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
}
