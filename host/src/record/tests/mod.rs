//! Tests of the reader: what they share, and one file a subject.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod cuts;
mod limits;
mod malformed;
mod properties;
mod quotes;
mod samples;
mod shapes;
mod sheaves;
mod skimming;
mod streams;

use std::io::Write;

use base64::Engine;
use sonic_rs::JsonValueTrait;

use super::{Entry, ItemKind, ReadLimits, Reader, Splitter, unpack};

/// A record with an id; its strings hold what breaks those who count braces.
pub(super) fn record(id: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.08","userIdentity":{{"type":"Root","userName":"a}}]{{[\"\\"}},"eventName":"ConsoleLogin","eventID":"{id}","requestParameters":{{"list":[{{"k":"}}"}},[1,-2.5e3]],"none":null}},"responseElements":null}}"#
    )
}

/// Records with the ids, joined.
pub(super) fn records(ids: &[&str], join: &str) -> String {
    ids.iter().map(|id| record(id)).collect::<Vec<_>>().join(join)
}

/// What became of each entry: a record's eventID (or eventName), `skip KIND`, or `dead REASON RAW`.
pub(super) fn outcomes(payload: &[u8], limits: &ReadLimits) -> Vec<String> {
    let mut outcomes = Vec::new();
    unpack(Some(payload), limits, &mut |entry| {
        let position = match &entry {
            Entry::Record(record) => Some(record.position),
            Entry::Dead(dead) => Some(dead.position),
            Entry::Passed | Entry::Skipped(_) => None,
        };
        assert!(position.is_none_or(|p| p.entry as usize == outcomes.len()), "entries are counted");
        outcomes.push(outcome(&entry));
    });
    let mut fast = Vec::new();
    Reader::new(limits.clone()).unpack(Some(payload), None, &mut |entry| fast.push(outcome(&entry)));
    assert_eq!(fast, outcomes, "a reader reads what `unpack` reads");
    outcomes
}

fn outcome(entry: &Entry<'_>) -> String {
    match entry {
        Entry::Record(record) => {
            let again: sonic_rs::Value =
                super::json::parse(record.raw.as_bytes(), 256).expect("raw is the record's JSON");
            assert_eq!(again, *record.tree(), "value is raw, parsed");
            let name = |key| record.tree().get(key).and_then(|v: &sonic_rs::Value| v.as_str());
            name("eventID").or(name("eventName")).unwrap_or("record").to_owned()
        }
        Entry::Passed => unreachable!("all records are wanted"),
        Entry::Skipped(kind) => format!("skip {}", kind.as_str()),
        Entry::Dead(dead) => {
            assert!(!dead.detail.is_empty() && dead.detail.len() <= 200, "{:?}", dead.detail);
            format!("dead {} {}", dead.reason.as_str(), String::from_utf8_lossy(dead.raw))
        }
    }
}

/// Checks the entries of one message, under the default limits.
#[track_caller]
pub(super) fn check(payload: impl AsRef<[u8]>, expect: &[&str]) {
    let payload = payload.as_ref();
    let got = outcomes(payload, &ReadLimits::default());
    assert_eq!(got, expect, "entries of {:?}", String::from_utf8_lossy(payload));
}

/// The entries of a file, read through `Splitter` and `unpack`; broken gzip without its bytes.
pub(super) fn file_outcomes(reader: impl std::io::Read, limits: &ReadLimits) -> Vec<String> {
    let mut splitter = Splitter::new(reader, limits.clone());
    let mut all = Vec::new();
    let mut item_bytes = Vec::new();
    while let Some(item) = splitter.next_item(&mut item_bytes).expect("no I/O error") {
        match item.kind {
            ItemKind::Value => all.extend(outcomes(&item_bytes, limits)),
            ItemKind::Broken { reason, detail } => {
                assert!(!detail.is_empty() && detail.len() <= 200);
                all.push(format!("dead {} {}", reason.as_str(), String::from_utf8_lossy(&item_bytes)));
            }
        }
    }
    all
}

/// `bytes` as one gzip member.
pub(super) fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes.as_ref()).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

/// `bytes` as base64.
pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    sonic_rs::to_string(text).expect("a string is JSON")
}

/// A CloudWatch Logs subscription's message with one log event for each text.
pub(super) fn cloudwatch(texts: &[String]) -> String {
    let event = |text: &String| format!(r#"{{"id":"440566","timestamp":1526951139360,"message":{}}}"#, quoted(text));
    let events = texts.iter().map(event).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"messageType":"DATA_MESSAGE","owner":"123456789012","logGroup":"CloudTrail/logs","logStream":"s","subscriptionFilters":["f"],"logEvents":[{events}]}}"#
    )
}

/// An EventBridge event around `detail`.
pub(super) fn eventbridge(detail: &str) -> String {
    format!(
        r#"{{"version":"0","id":"6f87d04b","detail-type":"AWS Console Sign In via CloudTrail","source":"aws.signin","account":"123456789012","time":"2016-01-05T18:21:27Z","region":"us-east-1","resources":[],"detail":{detail}}}"#
    )
}

/// The body of a request of Firehose's HTTP endpoint destination, one record for each of `data`.
pub(super) fn firehose(data: &[Vec<u8>]) -> String {
    let records = data.iter().map(|d| format!(r#"{{"data":"{}"}}"#, base64(d))).collect::<Vec<_>>().join(",");
    format!(r#"{{"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1578090901599,"records":[{records}]}}"#)
}
