//! A finding's identity: the same rule on the same activity always gives the same id.
//!
//! The id is the first 16 bytes, in hex, of SHA-256 over three texts, each behind its length (8 bytes, little endian,
//! so that no two triples run together): the rule's id, the event, and the account.
//!
//! - The event is `eventID`. Where that is absent, null, empty or no string, it is the digest of the record in
//!   canonical form (`canonical.rs`), so that a copy which was re-framed, re-indented, re-ordered or re-escaped on its
//!   way has the same one.
//! - The account is `recipientAccountId`, else `userIdentity.accountId`, else empty. One trail may deliver an event to
//!   several accounts, and each of them has its own finding.
//!
//! Nothing else goes in: no time, no origin, no rule version, no module. So duplicates (in the log of one account, one
//! record in five was one), replays, and runs of a newer module all meet in one finding.

use sha2::{Digest, Sha256};

use super::canonical;
use super::fields::Fields;
use super::original::Record;

/// The id of the finding that `rule` makes of `record`: 32 lower-case hex digits.
pub(super) fn finding_id(rule: &str, record: &Record<'_>, fields: &Fields<'_>) -> String {
    let digest;
    let event = match fields.event_id {
        Some(id) => id,
        None => {
            digest = hex(&canonical::digest(record));
            &digest
        }
    };
    let mut hash = Sha256::new();
    for part in [rule, event, fields.account().unwrap_or_default()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    hex(digest.get(..16).unwrap_or_default())
}

/// Lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    let mut digits = [0; 64];
    for (digits, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *digits = [byte >> 4, byte & 15].map(|nibble| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    }
    str::from_utf8(&digits[..2 * bytes.len().min(32)]).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(rule: &str, raw: &str) -> String {
        let record = Record::read(raw.as_bytes());
        finding_id(rule, &record, &Fields::of(&record))
    }

    #[test]
    fn the_id_is_fixed_for_all_time() {
        // sha256(le64(7) "RTM-001" le64(2) "e1" le64(12) "111122223333"), made with another program.
        let record = r#"{"eventID":"e1","recipientAccountId":"111122223333"}"#;
        assert_eq!(id("RTM-001", record), "99f8b719555baa0ff57d51a477064eb3");
    }

    #[test]
    fn rule_event_and_account_each_make_another_id() {
        let base = id("R", r#"{"eventID":"e1","recipientAccountId":"1"}"#);
        assert_ne!(base, id("S", r#"{"eventID":"e1","recipientAccountId":"1"}"#));
        assert_ne!(base, id("R", r#"{"eventID":"e2","recipientAccountId":"1"}"#));
        assert_ne!(base, id("R", r#"{"eventID":"e1","recipientAccountId":"2"}"#));
        assert_ne!(base, id("R", r#"{"eventID":"e1"}"#));
        // The same letters, divided otherwise.
        assert_ne!(base, id("Re", r#"{"eventID":"1","recipientAccountId":"1"}"#));
        assert_ne!(base, id("R", r#"{"eventID":"e11"}"#));
    }

    #[test]
    fn nothing_but_rule_event_and_account_counts() {
        let base = id("R", r#"{"eventID":"e1","recipientAccountId":"012345678901"}"#);
        assert_eq!(base, id("R", r#"{"eventTime":"x","recipientAccountId":12345678901,"eventID":"\u0065\u0031"}"#));
        assert_eq!(base, id("R", r#"{"userIdentity":{"accountId":"012345678901"},"eventID":"e1"}"#));
    }

    #[test]
    fn without_an_event_id_the_record_itself_counts() {
        let base = id("R", r#"{"eventID":null,"awsRegion":"eu-west-1"}"#);
        assert_eq!(base, id("R", "{\n  \"awsRegion\": \"eu\\u002dwest-1\",\n  \"eventID\": null\n}"));
        assert_ne!(base, id("R", r#"{"eventID":null,"awsRegion":"eu-west-2"}"#));
        assert_ne!(base, id("S", r#"{"eventID":null,"awsRegion":"eu-west-1"}"#));
        let (empty, number) = (r#"{"eventID":"","a":1}"#, r#"{"eventID":7,"a":1}"#);
        assert_ne!(id("R", empty), id("R", r#"{"eventID":"","a":2}"#));
        assert_ne!(id("R", number), id("R", r#"{"eventID":7,"a":2}"#));
    }

    #[test]
    fn every_input_has_an_id() {
        for raw in ["", "null", "[]", "\"x\"", "{", "{\"a\":\"\\ud800\"}", "{\"a\":1e999}"] {
            let id = id("R", raw);
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{raw}: {id}");
        }
        assert_ne!(id("R", "{"), id("R", "["));
    }
}
