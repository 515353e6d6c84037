//! The shapes in which CloudTrail records travel: one test record in, the bytes of a message out.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// How records are put into a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One record a message; more become more messages.
    One,
    /// One record a line.
    Ndjson,
    /// `{…}{…}`: Firehose adds no delimiter of its own.
    Concatenated,
    /// `[{…},{…}]`
    Array,
    /// A log file in S3, gzip'd.
    RecordsGzip,
    /// An EventBridge event around each record; more become more messages.
    EventBridge,
    /// A CloudWatch Logs subscription's message, gzip'd.
    CloudWatch,
    /// The same, base64 encoded in a Firehose delivery.
    CloudWatchInFirehose,
}

impl Framing {
    /// All of them.
    pub const ALL: [Framing; 8] = [
        Framing::One,
        Framing::Ndjson,
        Framing::Concatenated,
        Framing::Array,
        Framing::RecordsGzip,
        Framing::EventBridge,
        Framing::CloudWatch,
        Framing::CloudWatchInFirehose,
    ];

    /// The messages that carry these records.
    pub fn frame(self, records: &[Value]) -> Vec<Vec<u8>> {
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        match self {
            Framing::One => lines.into_iter().map(String::into_bytes).collect(),
            Framing::Ndjson => vec![lines.join("\n").into_bytes()],
            Framing::Concatenated => vec![lines.concat().into_bytes()],
            Framing::Array => vec![json!(records).to_string().into_bytes()],
            Framing::RecordsGzip => vec![gzip(&json!({"Records": records}))],
            Framing::EventBridge => {
                records.iter().map(|record| event_bridge(record).to_string().into_bytes()).collect()
            }
            Framing::CloudWatch => vec![gzip(&data_message(&lines))],
            Framing::CloudWatchInFirehose => {
                let data = STANDARD.encode(gzip(&data_message(&lines)));
                let body = json!({"requestId": "r-1", "timestamp": 1_748_937_600_000_u64, "records": [{"data": data}]});
                vec![body.to_string().into_bytes()]
            }
        }
    }
}

/// A CloudWatch Logs control message: no records, to be skipped.
pub fn control_message() -> Vec<u8> {
    gzip(&json!({
        "messageType": "CONTROL_MESSAGE", "owner": "CloudwatchLogs", "logGroup": "", "logStream": "",
        "subscriptionFilters": [],
        "logEvents": [{"id": "", "timestamp": 1_748_937_600_000_u64, "message": "CWL CONTROL MESSAGE: Checking health of destination"}],
    }))
}

/// Gzip'd JSON.
pub fn gzip(value: &Value) -> Vec<u8> {
    gzip_bytes(value.to_string().as_bytes())
}

/// Gzip'd bytes.
pub fn gzip_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("a write to memory");
    encoder.finish().expect("a write to memory")
}

fn event_bridge(record: &Value) -> Value {
    json!({
        "version": "0",
        "id": record["eventID"],
        "detail-type": "AWS Console Sign In via CloudTrail",
        "source": "aws.signin",
        "account": record["recipientAccountId"],
        "time": record["eventTime"],
        "region": record["awsRegion"],
        "resources": [],
        "detail": record,
    })
}

fn data_message(lines: &[String]) -> Value {
    let event = |(number, line): (usize, &String)| json!({"id": format!("{number:056}"), "timestamp": 1_748_937_600_000_u64, "message": line});
    let events: Vec<Value> = lines.iter().enumerate().map(event).collect();
    json!({
        "messageType": "DATA_MESSAGE", "owner": "111122223333", "logGroup": "cloudtrail", "logStream": "111122223333_CloudTrail",
        "subscriptionFilters": ["all"], "logEvents": events,
    })
}
