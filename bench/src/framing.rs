//! The forms in which records arrive, a hundred records a message where a message takes several.

use std::io::Write as _;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::data::DataSet;

/// Records in a message.
const RECORDS: usize = 100;

/// Log events in one base64 text of a Firehose body.
const LOG_EVENTS: usize = 10;

/// A form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Framing {
    /// One record.
    Record,
    /// One record a line.
    Ndjson,
    /// `{"Records":[…]}`.
    Records,
    /// The same, gzip'd: a file as CloudTrail writes it to S3.
    Gzip,
    /// What CloudWatch Logs hands to Data Firehose: in each base64 text gzip of a list of log events, whose messages are
    /// the records as text in JSON.
    CloudWatch,
}

/// The records of a data set as messages.
pub(crate) fn messages(set: &DataSet, framing: Framing) -> Result<Vec<Vec<u8>>> {
    let records: Vec<&[u8]> = set.iter().collect();
    let size = if matches!(framing, Framing::Record) { 1 } else { RECORDS };
    records.chunks(size).map(|records| message(records, framing)).collect()
}

fn message(records: &[&[u8]], framing: Framing) -> Result<Vec<u8>> {
    Ok(match framing {
        Framing::Record => records.concat(),
        Framing::Ndjson => records.join(&b'\n'),
        Framing::Records => file(records),
        Framing::Gzip => gzip(&file(records))?,
        Framing::CloudWatch => firehose(records)?,
    })
}

fn file(records: &[&[u8]]) -> Vec<u8> {
    [b"{\"Records\":[", records.join(&b',').as_slice(), b"]}"].concat()
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn firehose(records: &[&[u8]]) -> Result<Vec<u8>> {
    let mut parts = Vec::new();
    for records in records.chunks(LOG_EVENTS) {
        let events: Vec<_> = records
            .iter()
            .map(|record| {
                let message = String::from_utf8_lossy(record);
                serde_json::json!({"id": format!("{:056}", record.len()), "timestamp": 1_748_844_000_000_u64, "message": message})
            })
            .collect();
        let subscription = serde_json::json!({
            "messageType": "DATA_MESSAGE", "owner": "111122223333", "logGroup": "CloudTrail/organization",
            "logStream": "111122223333_CloudTrail_eu-west-1", "subscriptionFilters": ["to-firehose"],
            "logEvents": events,
        });
        let data = STANDARD.encode(gzip(subscription.to_string().as_bytes())?);
        parts.push(format!("{{\"data\":\"{data}\"}}"));
    }
    let body = format!("{{\"requestId\":\"a\",\"timestamp\":1748844000000,\"records\":[{}]}}", parts.join(","));
    Ok(body.into_bytes())
}
