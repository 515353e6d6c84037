//! Messages of every kind with what must become of them: records, what is skipped, what is broken.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use harness::framing::{Framing, control_message, gzip};
use harness::kafka::Outgoing;
use harness::records::Records;

/// Bytes that are dead letters, with the reason.
pub(crate) fn broken(number: usize, supply: &mut Records) -> Vec<(&'static str, Vec<u8>)> {
    let record = supply.root_sign_in().to_string();
    // Within a name: separators around a broken piece are no part of it.
    let (half, _) = record.split_once("ource\":").expect("a record with an eventSource");
    let mut not_text = record.clone().into_bytes();
    not_text[20] = 0xff;
    let mut no_gzip = vec![0x1f, 0x8b, 0x08];
    no_gzip.extend_from_slice(record.as_bytes());
    vec![
        ("invalid_utf8", not_text),
        ("invalid_json", format!("{{\"eventVersion\": tru, \"number\": {number}}}").into_bytes()),
        ("truncated", half.as_bytes().to_vec()),
        ("not_an_object", format!("{number}").into_bytes()),
        ("not_cloudtrail", format!("{{\"number\": {number}}}").into_bytes()),
        ("gzip_corrupt", no_gzip),
    ]
}

/// Messages that hold no records and are nothing to complain about, with the kind; None is a tombstone.
fn skipped() -> Vec<(&'static str, Option<Vec<u8>>)> {
    let digest = json!({
        "awsAccountId": "111122223333", "digestStartTime": "2025-06-03T09:00:00Z", "digestEndTime": "2025-06-03T10:00:00Z",
        "digestS3Bucket": "trail", "digestS3Object": "AWSLogs/digest.json.gz", "logFiles": [], "digestPublicKeyFingerprint": "ab",
    });
    let notification = json!({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "awsRegion": "eu-central-1",
        "s3": {"bucket": {"name": "trail"}, "object": {"key": "AWSLogs/log.json.gz", "size": 1024}},
    }]});
    let other_event = json!({
        "version": "0", "id": "e-1", "detail-type": "EC2 Instance State-change Notification", "source": "aws.ec2",
        "account": "111122223333", "time": "2025-06-03T09:00:00Z", "region": "eu-central-1", "resources": [],
        "detail": {"instance-id": "i-1", "state": "running"},
    });
    vec![
        ("tombstone", None),
        ("empty", Some(b" \n".to_vec())),
        ("empty", Some(br#"{"Records":[]}"#.to_vec())),
        ("digest", Some(gzip(&digest))),
        ("control_message", Some(control_message())),
        ("s3_notification", Some(notification.to_string().into_bytes())),
        ("other_event", Some(other_event.to_string().into_bytes())),
    ]
}

/// What is produced to one topic, and what must become of it.
#[derive(Default)]
pub(crate) struct Corpus {
    /// The messages.
    pub(crate) messages: Vec<Outgoing>,
    /// The records in them, repeats included.
    pub(crate) records: Vec<Value>,
    /// What must become a dead letter, with the reason.
    pub(crate) dead: Vec<(&'static str, Vec<u8>)>,
    /// What must be skipped, by kind.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
}

impl Corpus {
    /// Every framing, every kind of skip and of break; no other seed gives the same eventIDs.
    pub(crate) fn new(seed: u64) -> Corpus {
        let mut supply = Records::new(seed);
        let mut corpus = Corpus::default();
        for (number, framing) in Framing::ALL.into_iter().enumerate() {
            let records = supply.take(25, 5);
            let frames = framing.frame(&records);
            corpus.messages.extend(frames.iter().map(|bytes| Outgoing::value(bytes.as_slice())));
            // Each comes a second time, as CloudTrail's deliveries do: a repeat, under the same id.
            corpus.messages.extend(frames.into_iter().map(Outgoing::value));
            corpus.records.extend(records.iter().chain(&records).cloned());
            for (reason, bytes) in broken(number, &mut supply) {
                corpus.messages.push(Outgoing::value(bytes.as_slice()));
                corpus.dead.push((reason, bytes));
            }
            for (kind, value) in skipped() {
                corpus.messages.push(Outgoing { key: Some(b"k".to_vec()), value, ..Outgoing::default() });
                *corpus.skipped.entry(kind).or_default() += 1;
            }
        }
        // One bad line among good ones costs only itself.
        let records = supply.take(2, 1);
        let bad = br#"{"eventName": "ConsoleLogin", }"#;
        let lines = [records[0].to_string().as_bytes(), bad, records[1].to_string().as_bytes()].join(&b'\n');
        corpus.messages.push(Outgoing::value(lines));
        corpus.records.extend(records);
        corpus.dead.push(("invalid_json", bad.to_vec()));
        // A checksum that is wrong: what can be read is read, and the whole is a dead letter besides.
        let records = supply.take(20, 5);
        let mut packed = gzip(&json!({"Records": records}));
        let checksum = packed.len() - 8;
        packed[checksum] ^= 1;
        corpus.messages.push(Outgoing::value(packed.as_slice()));
        corpus.records.extend(records);
        corpus.dead.push(("gzip_corrupt", packed));
        corpus
    }

    /// Entries in all messages together.
    pub(crate) fn entries(&self) -> u64 {
        (self.records.len() + self.dead.len()) as u64 + self.skipped.values().sum::<u64>()
    }
}
