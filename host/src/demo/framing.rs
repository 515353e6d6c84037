//! The forms in which records arrive on the topic, as AWS's services and the things between them write them.

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::random::Random;
use super::record::{Record, timestamp};

/// How a message carries its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Framing {
    /// One record, bare.
    Record,
    /// One record a line.
    Ndjson,
    /// A file as CloudTrail writes it to S3, gzip'd: `{"Records":[…]}`, or a digest.
    S3File,
    /// An event of EventBridge with the record as its `detail`.
    EventBridge,
    /// Records that CloudWatch Logs hands to Data Firehose: the body of a Firehose delivery, in which each base64 text is
    /// gzip of a list of log events.
    CloudWatchLogs,
    /// No value.
    Tombstone,
}

impl Framing {
    /// Every framing, in the order of declaration.
    pub const ALL: [Framing; 6] = [
        Framing::Record,
        Framing::Ndjson,
        Framing::S3File,
        Framing::EventBridge,
        Framing::CloudWatchLogs,
        Framing::Tombstone,
    ];

    /// How many records a message of this framing may carry: at least, and up to.
    pub(super) fn sizes(self) -> (usize, usize) {
        match self {
            Framing::Ndjson => (2, 12),
            Framing::S3File => (20, 60),
            Framing::CloudWatchLogs => (3, 15),
            Framing::Record | Framing::EventBridge | Framing::Tombstone => (1, 1),
        }
    }
}

/// Log events in one base64 text of a Firehose body.
const LOG_EVENTS_MAX: usize = 5;

/// The value of a message.
pub(super) fn frame(framing: Framing, records: &[&Record], random: &mut Random) -> Option<Vec<u8>> {
    let first = records.first()?;
    Some(match framing {
        Framing::Record => first.json.clone().into_bytes(),
        Framing::Ndjson => lines(None, records),
        Framing::S3File => {
            let texts: Vec<&str> = records.iter().map(|record| record.json.as_str()).collect();
            gzip(&format!("{{\"Records\":[{}]}}", texts.join(",")))
        }
        Framing::EventBridge => event(first, random).into_bytes(),
        Framing::CloudWatchLogs => {
            let parts: Vec<String> =
                records.chunks(LOG_EVENTS_MAX).map(|records| subscription(records, first.account, random)).collect();
            firehose(&parts, first.time, random)
        }
        Framing::Tombstone => return None,
    })
}

/// Records, one a line, behind a line that may be none.
pub(super) fn lines(before: Option<&str>, records: &[&Record]) -> Vec<u8> {
    let lines = before.into_iter().chain(records.iter().map(|record| record.json.as_str()));
    lines.flat_map(|line| [line.as_bytes(), b"\n"]).collect::<Vec<_>>().concat()
}

/// gzip without a name and a time (RFC 1952), so that the same text gives the same bytes.
pub(super) fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail.
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// EventBridge user guide, "Events from AWS services through CloudTrail".
fn event(record: &Record, random: &mut Random) -> String {
    let (id, account, time, region) = (random.uuid(), record.account, timestamp(record.time), record.region);
    let service = record.source.split('.').next().unwrap_or_default();
    let kind = if record.sign_in { "AWS Console Sign In via CloudTrail" } else { "AWS API Call via CloudTrail" };
    format!(
        "{{\"version\":\"0\",\"id\":\"{id}\",\"detail-type\":\"{kind}\",\"source\":\"aws.{service}\",\
         \"account\":\"{account}\",\"time\":\"{time}\",\"region\":\"{region}\",\"resources\":[],\"detail\":{}}}",
        record.json
    )
}

/// CloudWatch Logs user guide, "Log group-level subscription filters".
fn subscription(records: &[&Record], account: &str, random: &mut Random) -> String {
    let events: Vec<_> = records
        .iter()
        .map(|record| {
            let id = format!("{:056}", random.next());
            json!({"id": id, "timestamp": record.time * 1_000, "message": record.json})
        })
        .collect();
    json!({
        "messageType": "DATA_MESSAGE", "owner": account, "logGroup": "CloudTrail/organization",
        "logStream": format!("{account}_CloudTrail_eu-west-1"), "subscriptionFilters": ["to-firehose"],
        "logEvents": events,
    })
    .to_string()
}

/// Data Firehose developer guide, "HTTP endpoint delivery request and response specifications".
pub(super) fn firehose(parts: &[String], time: i64, random: &mut Random) -> Vec<u8> {
    let mut body = format!("{{\"requestId\":\"{}\",\"timestamp\":{},\"records\":[", random.uuid(), time * 1_000);
    for (number, part) in parts.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        // Writing into a String cannot fail.
        let _ = write!(body, "{comma}{{\"data\":\"{}\"}}", STANDARD.encode(gzip(part)));
    }
    body.push_str("]}");
    body.into_bytes()
}
