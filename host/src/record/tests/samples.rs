//! Real records and envelopes. They are not part of the repository: without the data folder the tests say so and skip.

use std::fs::{self, File};
use std::path::PathBuf;

use super::super::ReadLimits;
use super::{file_outcomes, outcomes};

/// A path in the data folder: `TRAILHOUND_TEST_DATA`, or `shared/data` beside the repository.
fn data(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TRAILHOUND_TEST_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    let path = folder.join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: no {}; set TRAILHOUND_TEST_DATA", path.display());
    None
}

/// Checks that a file holds this many records and nothing else.
fn check(path: &str, records: usize) {
    let Some(path) = data(path) else { return };
    let limits = ReadLimits::default();
    let got = file_outcomes(File::open(&path).unwrap(), &limits);
    let others: Vec<_> = got.iter().filter(|o| o.starts_with("dead ") || o.starts_with("skip ")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(got.len(), records, "{}", path.display());
    let whole = fs::read(&path).unwrap();
    assert_eq!(outcomes(&whole, &limits), got, "as one message");
}

#[test]
fn collections_of_records() {
    check("records/sans504.ndjson.gz", 30_477);
    check("records/opensearch_catalog.ndjson.gz", 845);
    check("records/awsdocs.ndjson.gz", 26);
    check("records/cribl_pack.ndjson.gz", 44);
}

#[test]
fn s3_deliveries_and_single_records() {
    check("framings/s3_delivery/342082656213_CloudTrail_us-east-2_20210729T2355Z_1lQFb8HU3K2s72AX.json.gz", 1);
    check("framings/aws_lambda_events/example-cloudwatch-cloudtrail-assumed-role.json", 1);
    check("framings/aws_lambda_events/example-cloudwatch-cloudtrail-unknown-federate.json", 1);
    check("framings/opensearch_catalog/raw-sample.json", 1);
}

#[test]
fn envelopes_of_other_content() {
    let folder = "framings/aws_lambda_events/example-";
    for (name, expect) in [
        (
            "cloudwatch_logs-event",
            "dead invalid_json [ERROR] First test message|dead invalid_json [ERROR] Second test message",
        ),
        ("eventbridge-event-obj", "skip other_event"),
        ("eventbridge-schedule", "skip other_event"),
        ("firehose-event", "dead invalid_json Hello World|dead invalid_json Hello World"),
        ("kinesis-event", "dead invalid_json Hello World|dead invalid_json Hello World"),
        ("sns-event", "dead invalid_json Hello\r\nworld!"),
        ("sqs-event-obj", "dead not_cloudtrail {\"a\":\"Test\",\"b\":123}"),
    ] {
        let Some(path) = data(&format!("{folder}{name}.json")) else { return };
        let got = outcomes(&fs::read(path).unwrap(), &ReadLimits::default());
        assert_eq!(got.join("|"), expect, "{name}");
    }
}

/// Labelled test sets hold records with little in them; each is told as a record.
#[test]
fn labelled_records() {
    for path in ["labels/panther.dev.labels.ndjson.gz", "labels/streamalert.labels.ndjson.gz"] {
        let Some(path) = data(path) else { return };
        let limits = ReadLimits::default();
        let mut splitter = super::Splitter::new(File::open(&path).unwrap(), limits.clone());
        let mut line = Vec::new();
        let mut records = 0;
        while splitter.next_item(&mut line).unwrap().is_some() {
            let label: serde_json::Value = serde_json::from_slice(&line).unwrap();
            for key in ["event", "envelope"] {
                if let Some(event) = label.get(key) {
                    let got = outcomes(event.to_string().as_bytes(), &limits);
                    assert!(got.len() == 1 && !got[0].starts_with("dead ") && !got[0].starts_with("skip "), "{got:?}");
                    records += 1;
                }
            }
        }
        assert!(records > 50, "{records} in {}", path.display());
    }
}
