//! Findings as they lie in their topic, read back and compared with what must be there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::kafka::Received;
use crate::records::FindingKey;

/// A finding that was read back.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What it is about.
    pub key: FindingKey,
    /// Its id: the key of its message.
    pub id: String,
    /// The partition and offset of the message that its record came in.
    pub origin: (i64, i64),
    /// The whole of it.
    pub value: Value,
}

/// Reads findings.
///
/// # Panics
/// When a message is no finding, or its parts contradict each other.
#[track_caller]
pub fn read(messages: &[Received]) -> Vec<Finding> {
    messages.iter().map(finding).collect()
}

#[track_caller]
fn finding(message: &Received) -> Finding {
    let value: Value = serde_json::from_slice(message.value.as_deref().unwrap_or_default()).expect("a finding in JSON");
    let text =
        |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text where one must be: {value}")).to_owned();
    let info = &value["finding_info"];
    let id = String::from_utf8(message.key.clone().expect("a finding's key")).expect("a finding's key in text");
    assert_eq!(text(&info["uid"]), id, "the message's key is the finding's id");
    let key = FindingKey {
        rule: text(&info["analytic"]["uid"]),
        event: text(&info["related_events"][0]["uid"]),
        account: text(&value["cloud"]["account"]["uid"]),
    };
    assert_eq!(message.header("rule").as_ref(), Some(&key.rule));
    assert_eq!(message.header("content-type").as_deref(), Some("application/json"));
    let origin = &value["unmapped"]["trailhound"];
    let number = |name: &str| origin[name].as_i64().unwrap_or_else(|| panic!("no {name} in {origin}"));
    Finding { key, id, origin: (number("partition"), number("offset")), value: value.clone() }
}

/// Compares the findings with what must be there: each at least once, nothing else, one id for each and no id for two.
/// Returns how many were repeats.
#[track_caller]
pub fn check(found: &[Finding], expected: &BTreeSet<FindingKey>) -> usize {
    let keys: BTreeSet<FindingKey> = found.iter().map(|finding| finding.key.clone()).collect();
    let missing: Vec<&FindingKey> = expected.difference(&keys).collect();
    let unexpected: Vec<&FindingKey> = keys.difference(expected).collect();
    assert!(
        missing.is_empty() && unexpected.is_empty(),
        "of {} findings {} are missing, such as {:?}; {} are not expected, such as {:?}",
        expected.len(),
        missing.len(),
        missing.first(),
        unexpected.len(),
        unexpected.first(),
    );
    let ids: BTreeMap<&str, &FindingKey> = found.iter().map(|finding| (finding.id.as_str(), &finding.key)).collect();
    assert_eq!(ids.len(), keys.len(), "as many ids as things that were found");
    for finding in found {
        assert_eq!(ids.get(finding.id.as_str()), Some(&&finding.key), "one id for one thing: {}", finding.id);
    }
    found.len() - keys.len()
}
