//! The reader under a fuzzer: whatever the bytes, no panic, at least one entry, entries counted from 0, every piece a
//! part of what came in, and a file read as the message is.
//!
//! The reader's own source is compiled in, so that neither librdkafka nor wasmtime has to be built for it.

#![no_main]

#[allow(dead_code, unreachable_pub, unused_imports, reason = "the reader is a part of the host's library")]
#[path = "../host/src/record/mod.rs"]
mod record;

use libfuzzer_sys::fuzz_target;
use record::{Entry, ItemKind, ReadLimits, Reader, Splitter, unpack};

/// Small, so that the fuzzer reaches them and never waits for memory.
fn limits() -> ReadLimits {
    ReadLimits {
        message_bytes_max: 64 << 10,
        decompressed_bytes_max: 256 << 10,
        record_bytes_max: 16 << 10,
        records_max: 5_000,
        ..ReadLimits::default()
    }
}

/// What became of each entry: what it is, and its bytes.
fn outcomes(payload: &[u8], limits: &ReadLimits) -> Vec<(&'static str, Vec<u8>)> {
    let mut outcomes = Vec::new();
    unpack(Some(payload), limits, &mut |entry| {
        let (outcome, position) = match entry {
            Entry::Record(record) => (("record", record.raw.as_bytes().to_vec()), Some(record.position)),
            Entry::Passed => unreachable!("all records are wanted"),
            Entry::Skipped(kind) => ((kind.as_str(), Vec::new()), None),
            Entry::Dead(dead) => {
                assert!(!dead.detail.is_empty() && dead.detail.len() <= 200, "{:?}", dead.detail);
                ((dead.reason.as_str(), dead.raw.to_vec()), Some(dead.position))
            }
        };
        assert!(position.is_none_or(|position| position.entry as usize == outcomes.len()), "entries are counted");
        outcomes.push(outcome);
    });
    assert!(!outcomes.is_empty(), "a message is at least one entry");
    outcomes
}

/// A reader that wants no record reads the same.
fn skims_alike(payload: &[u8], limits: &ReadLimits, outcomes: &[(&'static str, Vec<u8>)]) {
    let mut skimmed = Vec::new();
    Reader::new(limits.clone()).unpack(Some(payload), Some(&|_| false), &mut |entry| {
        skimmed.push(match entry {
            Entry::Record(_) | Entry::Passed => "record",
            Entry::Skipped(kind) => kind.as_str(),
            Entry::Dead(dead) => dead.reason.as_str(),
        });
    });
    let outcomes: Vec<&str> = outcomes.iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(skimmed, outcomes, "skimming changes nothing");
}

/// The same of a file, whose items are read one by one.
fn file_outcomes(bytes: &[u8], limits: &ReadLimits) -> Vec<(&'static str, Vec<u8>)> {
    let mut splitter = Splitter::new(bytes, limits.clone());
    let (mut all, mut item_bytes) = (Vec::new(), Vec::new());
    while let Ok(Some(item)) = splitter.next_item(&mut item_bytes) {
        match item.kind {
            ItemKind::Value => all.extend(outcomes(&item_bytes, limits)),
            ItemKind::Broken { reason, .. } => all.push((reason.as_str(), item_bytes.clone())),
        }
    }
    if all.is_empty() { vec![("empty", Vec::new())] } else { all }
}

fuzz_target!(|bytes: &[u8]| {
    let limits = limits();
    let (message, file) = (outcomes(bytes, &limits), file_outcomes(bytes, &limits));
    skims_alike(bytes, &limits, &message);
    // A message has limits that a file, which is streamed, does not have.
    let limited = |reason: &str| reason.contains("too_") || reason == "ratio_too_high";
    if message.iter().chain(&file).any(|(reason, _)| limited(reason)) {
        return;
    }
    // A file does not hold the compressed bytes of a stream that is corrupt.
    let strip = |(reason, bytes)| if reason == "gzip_corrupt" { (reason, Vec::new()) } else { (reason, bytes) };
    let message: Vec<_> = message.into_iter().map(strip).collect();
    let file: Vec<_> = file.into_iter().map(strip).collect();
    assert_eq!(message, file, "a file is read as the message is");
});
