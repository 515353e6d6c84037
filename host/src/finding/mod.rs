//! From a hit and its record to a finding: the bytes of one OCSF Detection Finding (class 2004, cloud profile).
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | what goes in (`Detection`), what comes out (`Finding`), the limits, and `render` |
//! | `original.rs` | the record, as well as it can be read |
//! | `node.rs` | a value of the record, skimmed or parsed |
//! | `fields.rs` | what a finding takes from a CloudTrail record, whatever shape the record is in |
//! | `id.rs` | the identity: the same activity and rule always give the same id |
//! | `canonical.rs` | the digest of a record without an eventID |
//! | `evidence.rs` | the original record, whole or visibly cut |
//! | `scan.rs` | JSON text as bytes: nesting, white space |
//! | `constant.rs` | what all findings of a rule have in common, written once |
//! | `document.rs` | which attribute is filled from what |
//! | `entities.rs` | the same for who did it, from where, and to what |
//! | `json.rs` | writing JSON, attribute by attribute |
//! | `time.rs` | times in milliseconds |
//!
//! `render` is total: it holds no lock, does no I/O, and gives a finding that is valid against OCSF's schema for every
//! rule and every sequence of bytes. Two times are kept apart: that of the activity (`start_time`, `end_time`,
//! `finding_info.first_seen_time`; absent where eventTime is no time) and that of the finding (`time`).

mod canonical;
mod constant;
mod document;
#[cfg(test)]
mod document_tests;
mod entities;
mod evidence;
mod fields;
mod id;
mod json;
mod node;
mod original;
mod scan;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
pub(crate) mod testing;
mod time;

use std::borrow::Cow;
use std::ops::Range;

use sonic_rs::Value;

use crate::batch::Origin;
use crate::record::{Legible, Position};
use crate::rules::contract::{Rule, Severity};
use crate::rules::{Labels, Mode};

pub use self::constant::Constants;
use self::document::Names;
use self::evidence::Data;
use self::fields::Fields;
use self::original::Record;

/// The version of the OCSF schema that findings follow. 1.6.0 is what AWS Security Hub consumes.
pub const OCSF_VERSION: &str = "1.6.0";

/// How large the parts of a finding may get that come from a record or from a hit. With the defaults a finding stays
/// under 512 KiB apart from its rule's own text, so it fits Kafka's default `message.max.bytes` of 1 MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingLimits {
    /// The original record inside a finding, in bytes as written. A larger record is cut, and marked as cut.
    pub evidence_bytes_max: usize,
    /// A text that is taken from the record or the hit (a user agent, a title, a label), in bytes before escaping.
    /// A longer one is cut and ends in `…`.
    pub field_bytes_max: usize,
    /// How many of the record's resources a finding lists. The evidence has them all.
    pub resources_max: usize,
}

impl Default for FindingLimits {
    fn default() -> Self {
        Self { evidence_bytes_max: 64 << 10, field_bytes_max: 1024, resources_max: 16 }
    }
}

/// A rule that fired on a record, with all that the finding says of both.
#[derive(Clone, Copy, Debug)]
pub struct Detection<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What all findings of the rule have in common, what they say of its module too.
    pub constants: &'a Constants,
    /// The number of the rule set that was in force.
    pub generation: u64,
    /// Whether the module is live or in shadow.
    pub mode: Mode,
    /// A title for this one finding, in place of the rule's.
    pub title: Option<&'a str>,
    /// Facts that the rule shows; `RuleLimits` bounds their number. `mfa` with `yes` or `no` also fills `actor.user.has_mfa`.
    pub labels: Labels<'a>,
    /// The record as it came: JSON, or anything else.
    pub raw: &'a [u8],
    /// The same as it was skimmed; else the finding reads it.
    pub skimmed: Option<Legible<'a>>,
    /// The tree of what was skimmed, where there is one already.
    pub tree: Option<&'a Value>,
    /// Where the record's message came from.
    pub origin: &'a Origin,
    /// Where in the message the record stood.
    pub position: Position,
    /// When the finding is made, in milliseconds since the epoch.
    pub now_ms: i64,
}

/// A finding, ready for a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// 32 hex digits; see [`render`]. The Kafka key, and the document id in a SIEM.
    pub id: String,
    /// The rule's id.
    pub rule: String,
    /// The rule's severity.
    pub severity: Severity,
    /// Where the OCSF event stands: one JSON object, UTF-8, without a line break.
    pub payload: Range<usize>,
}

/// Makes the finding of one detection, and appends its payload to `payloads`: a buffer that is used again and again takes a
/// fifth less time than one for each finding, whose memory the system takes back and clears in between.
///
/// The id is the first half of a SHA-256 over rule id, eventID and account, so a duplicate, a replay or a retry gives
/// the same id. `id.rs` says what stands in for an eventID or an account that a record lacks.
pub fn render(detection: &Detection<'_>, limits: &FindingLimits, payloads: &mut Vec<u8>) -> Finding {
    let record = match detection.skimmed {
        Some(skimmed) => Record::skimmed(detection.raw, skimmed, detection.tree),
        None => Record::read(detection.raw),
    };
    let fields = Fields::of(&record);
    let id = id::finding_id(&detection.rule.id, &record, &fields);
    let data = Data::of(&record, limits.evidence_bytes_max);
    let title = detection.title.unwrap_or(&detection.rule.title);
    let title = cut(title, limits.field_bytes_max);
    let names = Names { id: &id, title: &title };
    let payload = document::document(detection, &fields, names, &data, limits, payloads);
    Finding { id, rule: detection.rule.id.clone(), severity: detection.rule.severity, payload }
}

/// The text, cut at a character's boundary to `bytes_max` bytes with a `…` behind it where it is longer.
fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let kept = text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default();
    Cow::Owned(format!("{kept}…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc…");
        assert_eq!(cut("äöü", 3), "ä…");
        assert_eq!(cut("ä", 0), "…");
    }

    #[test]
    fn a_finding_carries_what_a_sink_needs() {
        let finding = testing::render_with(testing::SIGN_IN.as_bytes(), &[], &FindingLimits::default());
        assert_eq!((finding.rule.as_str(), finding.severity), ("TEST-001", Severity::High));
        let json = testing::parse(&finding);
        for pointer in ["/finding_info/uid", "/metadata/uid"] {
            assert_eq!(json.pointer(pointer).unwrap(), finding.id.as_str());
        }
    }

    fn check_title(title: Option<&str>, expect: &str) {
        let limits = FindingLimits { field_bytes_max: 20, ..FindingLimits::default() };
        let finding = testing::render_titled(br#"{"recipientAccountId":"1"}"#, title, &limits);
        let json = testing::parse(&finding);
        assert_eq!(json.pointer("/finding_info/title").unwrap(), expect);
        assert_eq!(json.pointer("/message").unwrap(), &format!("{expect}: account 1"));
    }

    #[test]
    fn a_hit_may_have_a_title_of_its_own() {
        check_title(None, "Somebody signed in");
        check_title(Some("Root signed in"), "Root signed in");
        check_title(Some("A title of more than twenty"), "A title of more than…");
    }
}
