//! The topic that all contenders read.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use flate2::read::MultiGzDecoder;
use harness::kafka::{Client, Kafka, Outgoing};
use serde::Serialize;

use crate::records;

/// Partitions of every topic with records.
pub(crate) const PARTITIONS: i32 = 4;

/// The seed of made-up records, and how many different ones there are.
const SEED: u64 = 20_250_602;
const DIFFERENT: usize = 20_000;

/// Of so many made-up records one is a sign-in of root.
const ROOT_EVERY: usize = 1_000;

/// A topic, filled.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// What the records are.
    data: &'static str,
    /// One a message.
    pub(crate) records: u64,
    record_bytes: usize,
    /// Sign-ins of root among them.
    pub(crate) findings: u64,
}

impl Topic {
    pub(crate) fn describe(&self) -> String {
        let Topic { data, records, record_bytes, findings, .. } = self;
        format!(
            "{records} records of {record_bytes} bytes, {data}, one a message, {findings} of them fire; {PARTITIONS} partitions, zstd"
        )
    }
}

/// Fills a topic with records, over and over the same ones: real ones of the data folder, made-up ones where it is absent.
pub(crate) fn topic(kafka: &Kafka, name: &str, records: u64) -> Result<Topic> {
    let (data, different) = match real()? {
        Some(real) => ("sans504", real),
        None => ("made up", records::make(SEED, DIFFERENT, ROOT_EVERY).map(String::into_bytes).collect()),
    };
    let client = kafka.client();
    client.create_topic(name, PARTITIONS, &[]);
    let producer = producer(&client, name);
    let messages: Vec<(Outgoing, bool)> =
        different.iter().map(|record| (Outgoing::value(record.clone()), is_root_sign_in(record))).collect();
    let mut findings = 0;
    for (number, (message, fires)) in (0..records).zip(messages.iter().cycle()) {
        let partition = i32::try_from(number % PARTITIONS as u64).ok();
        producer.send(&Outgoing { partition, ..message.clone() });
        findings += u64::from(*fires);
    }
    producer.finish();
    let record_bytes = different.iter().map(Vec::len).sum::<usize>() / different.len().max(1);
    Ok(Topic { name: name.to_owned(), data, records, record_bytes, findings })
}

/// A producer that makes large batches.
fn producer(client: &Client, topic: &str) -> harness::kafka::Producer {
    let settings = [("compression.codec", "zstd"), ("linger.ms", "50"), ("queue.buffering.max.kbytes", "262144")];
    client.producer(topic, &settings)
}

/// The real records; None, which is told, where the data folder is absent.
fn real() -> Result<Option<Vec<Vec<u8>>>> {
    let beside = || crate::repository().join("../shared/data");
    let file =
        std::env::var_os("TRAILHOUND_TEST_DATA").map_or_else(beside, PathBuf::from).join("records/sans504.ndjson.gz");
    if !file.exists() {
        harness::say("made-up records: the data folder is absent (set TRAILHOUND_TEST_DATA)");
        return Ok(None);
    }
    let mut text = Vec::new();
    let opened = std::fs::File::open(&file).with_context(|| file.display().to_string())?;
    MultiGzDecoder::new(opened).read_to_end(&mut text).with_context(|| file.display().to_string())?;
    Ok(Some(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()))
}

/// What all contenders look for, said in the plainest way.
fn is_root_sign_in(record: &[u8]) -> bool {
    let Ok(record) = serde_json::from_slice::<serde_json::Value>(record) else { return false };
    let assumed = &record["userIdentity"]["sessionContext"]["assumedRoot"];
    let assumed = assumed.as_bool().unwrap_or(assumed.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true")));
    record["eventName"] == "ConsoleLogin"
        && record["userIdentity"]["type"] == "Root"
        && record["responseElements"]["ConsoleLogin"] == "Success"
        && !assumed
}

/// A topic without records.
pub(crate) fn empty(name: &str) -> Topic {
    Topic { name: name.to_owned(), data: "made up", records: 0, record_bytes: 0, findings: 0 }
}
