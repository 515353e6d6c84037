//! Findings as the program itself writes them, and messages of them as it produces them.

use std::process::Command;

use harness::folder::Folder;
use harness::kafka::Outgoing;
use harness::records::Records;
use harness::trailhound::{binary, module};
use serde_json::Value;

/// How they are produced: as the program does it, spread over partitions one by one, each once however slow the broker is.
pub(crate) const PRODUCER: [(&str, &str); 4] = [
    ("compression.type", "zstd"),
    ("sticky.partitioning.linger.ms", "0"),
    ("enable.idempotence", "true"),
    ("message.timeout.ms", "600000"),
];

/// Findings of as many made-up sign-ins of root, by `trailhound scan`.
pub(crate) fn findings(count: usize) -> Vec<Outgoing> {
    let folder = Folder::new("bench-forward");
    let mut records = Records::new(7);
    let lines: String = (0..count).map(|_| format!("{}\n", records.root_sign_in())).collect();
    let records = folder.write("records.ndjson", lines);
    let module = folder.write("root_login.wasm", module("root_login"));
    let done = Command::new(binary()).arg("scan").arg("--rules").arg(module).arg(records).output();
    let done = done.expect("the program starts");
    let text = String::from_utf8(done.stdout).expect("findings in UTF-8");
    let all: Vec<Outgoing> = text.lines().map(message).collect();
    assert_eq!(all.len(), count, "{}", String::from_utf8_lossy(&done.stderr));
    all
}

/// The message that the program makes of a finding.
fn message(finding: &str) -> Outgoing {
    let value: Value = serde_json::from_str(finding).expect("a finding in JSON");
    let text = |pointer| value.pointer(pointer).and_then(Value::as_str).expect("a text of the finding").to_owned();
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("schema", "ocsf/1.6.0/detection_finding".to_owned()),
        ("rule", text("/finding_info/analytic/uid")),
        ("severity", "high".to_owned()),
    ];
    Outgoing {
        partition: None,
        key: Some(text("/finding_info/uid").into_bytes()),
        value: Some(finding.as_bytes().to_vec()),
        headers: headers.map(|(name, value)| (name.to_owned(), value.into_bytes())).to_vec(),
    }
}

/// Finding `number`: another one with an id of its own, as long as the ids that the program gives.
pub(crate) fn numbered(finding: &Outgoing, number: usize) -> Outgoing {
    let key = finding.key.as_deref().unwrap_or_default();
    let id = format!("{number:0width$}", width = key.len());
    let mut value = finding.value.clone().unwrap_or_default();
    let places: Vec<usize> =
        value.windows(key.len()).enumerate().filter(|(_, found)| *found == key).map(|(at, _)| at).collect();
    for at in places {
        value[at..at + id.len()].copy_from_slice(id.as_bytes());
    }
    Outgoing { key: Some(id.into_bytes()), value: Some(value), ..finding.clone() }
}
