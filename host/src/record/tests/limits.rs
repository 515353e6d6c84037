//! Each limit, hit; and input that is made to exhaust time, memory or stack.

use std::io::Write;
use std::time::{Duration, Instant};

use super::super::{Entry, ReadLimits, unpack};
use super::{base64, eventbridge, file_outcomes, firehose, gzip, outcomes, quoted, record, records};

/// Checks the entries of one message under changed limits; of a dead letter only the reason.
#[track_caller]
fn check(change: impl Fn(&mut ReadLimits), payload: impl AsRef<[u8]>, expect: &[&str]) {
    let mut limits = ReadLimits::default();
    change(&mut limits);
    let got = outcomes(payload.as_ref(), &limits);
    assert_eq!(got.iter().map(|o| reason(o)).collect::<Vec<_>>(), expect);
}

fn reason(outcome: &str) -> &str {
    outcome.strip_prefix("dead ").map_or(outcome, |dead| dead.split(' ').next().unwrap_or_default())
}

#[test]
fn message_bytes_max() {
    let message = records(&["a", "b"], "\n");
    check(|l| l.message_bytes_max = message.len(), &message, &["a", "b"]);
    check(|l| l.message_bytes_max = message.len() - 1, &message, &["message_too_large"]);
    // One value within a stream: pieces of at most the limit; its records are found all the same.
    let value = format!("{{\"k\":\"{}\",\"Records\":[{}]}}", "x".repeat(300_000), records(&["a", "b"], ","));
    let stream = format!("{}\n{value}\n{}", record("1"), record("2"));
    let expect = ["1", "message_too_large", "message_too_large", "message_too_large", "a", "b", "2"];
    check(|l| l.message_bytes_max = 100_000, gzip(&stream), &expect);
    let limits = ReadLimits { message_bytes_max: 100_000, ..ReadLimits::default() };
    let file = file_outcomes(stream.as_bytes(), &limits);
    assert_eq!(file.iter().map(|o| reason(o)).collect::<Vec<_>>(), expect);
    // gzip within gzip is held whole, and dropped over the limit.
    let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    stored.write_all(&[b' '; 300_000]).unwrap();
    check(|l| l.message_bytes_max = 100_000, gzip(stored.finish().unwrap()), &["message_too_large"]);
}

#[test]
fn record_bytes_max() {
    let large = format!("{{\"eventVersion\":\"1\",\"pad\":\"{}\"}}", "x".repeat(2000));
    for join in ["\n", ""] {
        let message = [record("a"), large.clone(), record("b")].join(join);
        check(|l| l.record_bytes_max = 1000, &message, &["a", "record_too_large", "b"]);
    }
    check(|l| l.record_bytes_max = 1000, &large, &["record_too_large"]);
    check(|l| l.record_bytes_max = 1000, eventbridge(&large), &["record_too_large"]);
    check(|l| l.record_bytes_max = large.len(), &large, &["record"]);
    // An envelope may be larger than a record.
    let body = firehose(&[record("a").into_bytes(), vec![b' '; 3000]]);
    check(|l| l.record_bytes_max = 1000, body, &["a", "skip empty"]);
    let file = format!("{{\"k\":1,\"Records\":[{}]}}", vec![record("a"); 8].join(","));
    check(|l| l.record_bytes_max = 1000, file, &["a"; 8]);
}

#[test]
fn records_max() {
    let many = records(&["a", "b", "c", "d"], "\n");
    check(|l| l.records_max = 4, &many, &["a", "b", "c", "d"]);
    check(|l| l.records_max = 2, &many, &["a", "b", "too_many_records"]);
    check(|l| l.records_max = 2, gzip(&many), &["a", "b", "too_many_records"]);
    check(|l| l.records_max = 0, &many, &["a", "too_many_records"]);
    check(|l| l.records_max = 2, "1 2 3 4", &["not_an_object", "not_an_object", "too_many_records"]);
    let limits = ReadLimits { records_max: 2, ..ReadLimits::default() };
    let rest = records(&["c", "d"], "\n");
    assert_eq!(outcomes(many.as_bytes(), &limits)[2], format!("dead too_many_records {rest}"));
    let body = firehose(&[record("a").into_bytes(), record("b").into_bytes(), record("c").into_bytes()]);
    assert_eq!(outcomes(body.as_bytes(), &limits)[2], format!("dead too_many_records {body}"));
}

#[test]
fn nesting_max() {
    let two = gzip(base64(gzip(record("a"))));
    check(|l| l.nesting_max = 3, &two, &["a"]);
    check(|l| l.nesting_max = 2, &two, &["nested_too_deep"]);
    check(|l| l.nesting_max = 0, gzip(record("a")), &["nested_too_deep"]);
    check(|l| l.nesting_max = 0, record("a"), &["a"]);
    check(|l| l.nesting_max = 0, eventbridge(&record("a")), &["nested_too_deep"]);
    check(|l| l.nesting_max = 1, eventbridge(&record("a")), &["a"]);
    let mut onion = record("a");
    for _ in 0..100 {
        onion = format!("{{\"body\":{}}}", quoted(&onion)).chars().take(1 << 20).collect();
        if onion.len() > 1 << 16 {
            break;
        }
    }
    check(|_| {}, &onion, &["nested_too_deep"]);
    let mut kinesis = record("a");
    for _ in 0..60 {
        kinesis = format!("{{\"kinesis\":{kinesis}}}");
    }
    check(|l| l.nesting_max = u32::MAX, &kinesis, &["nested_too_deep"]);
    let quine = gzip(gzip(gzip(record("a"))));
    check(|l| l.nesting_max = 3, &quine, &["a"]);
    check(|l| l.nesting_max = 2, &quine, &["nested_too_deep"]);
}

#[test]
fn json_depth_max() {
    let deep = |levels: usize| {
        let inner = levels - 1;
        format!("{{\"eventVersion\":\"1\",\"d\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
    };
    check(|_| {}, deep(64), &["record"]);
    check(|_| {}, deep(65), &["nested_too_deep"]);
    check(|l| l.json_depth_max = 3, deep(3), &["record"]);
    check(|l| l.json_depth_max = 3, deep(4), &["nested_too_deep"]);
    check(|l| l.json_depth_max = u32::MAX, deep(256), &["record"]);
    check(|l| l.json_depth_max = u32::MAX, deep(257), &["nested_too_deep"]);
    check(|l| l.json_depth_max = u32::MAX, deep(600), &["nested_too_deep"]);
    check(|_| {}, [record("a"), deep(400), record("b")].join("\n"), &["a", "nested_too_deep", "b"]);
    // Many brackets are not deep.
    let wide = format!("{{\"eventVersion\":\"1\",\"d\":[{}[]],\"s\":\"{}\"}}", "[],".repeat(500), "[{".repeat(500));
    check(|_| {}, wide, &["record"]);
    // An envelope's own levels do not count for its records.
    check(|_| {}, format!("{{\"k\":[],\"Records\":[{}]}}", deep(64)), &["record"]);
}

#[test]
fn decompressed_bytes_max_and_ratio_max() {
    let many = vec![record("a"); 20_000].join("\n");
    let whole = gzip(&many);
    check(|l| l.decompressed_bytes_max = many.len() as u64, &whole, &["a"; 20_000]);
    let limits = ReadLimits { decompressed_bytes_max: 1 << 20, ratio_max: u32::MAX, ..ReadLimits::default() };
    let got = outcomes(&whole, &limits);
    assert!(got.len() > 3000, "what came out before the limit is visited: {}", got.len());
    assert_eq!(reason(got.last().unwrap()), "decompressed_too_large");
    assert_eq!(got.iter().filter(|o| o.starts_with("dead")).count(), 1);
    // All layers draw on one budget.
    let body = firehose(&[gzip(record("a")), gzip(record("b")), gzip(record("c"))]);
    let two = record("a").len() as u64 * 2;
    check(|l| l.decompressed_bytes_max = two, body, &["a", "b", "decompressed_too_large"]);
    let limits = ReadLimits { ratio_max: 5, ..ReadLimits::default() };
    let got = outcomes(&whole, &limits);
    assert_eq!(reason(got.last().unwrap()), "ratio_too_high");
    assert!(got.len() > 3000);
    // A small stream may compress as well as it likes.
    check(|l| l.ratio_max = 1, gzip(vec![record("a"); 100].join("\n")), &["a"; 100]);
}

#[test]
fn a_bomb_ends_quickly() {
    let start = Instant::now();
    for byte in [b' ', b'[', b'{', b'"', b'x', 0, b'\n'] {
        let bomb = gzip(vec![byte; 100 << 20]);
        let got = outcomes(&bomb, &ReadLimits::default());
        // Quotes are empty strings, each an entry.
        assert!(got.len() <= if byte == b'"' { 200_001 } else { 3 }, "{byte}: {}", got.len());
        // fast() compresses runs by about 230: under the ratio, so the whole comes out.
        let strict = ReadLimits { ratio_max: 100, records_max: u32::MAX, ..ReadLimits::default() };
        for bomb in [gzip(&bomb), bomb] {
            let got = outcomes(&bomb, &strict);
            assert_eq!(reason(got.last().unwrap()), "ratio_too_high");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

/// Input that makes careless readers take quadratic time or overflow the stack, a megabyte or more of each.
#[test]
fn hostile_repetitions_end_quickly() {
    let start = Instant::now();
    for (unit, times) in [
        ("[", 1_000_000),
        ("{\"a\":", 1_000_000),
        ("{\"a\":\n", 1_000_000),
        ("{\"a\":[\n", 300_000),
        ("{\"eventVersion\":", 300_000),
        ("{\"eventVersion\":\"", 300_000),
        ("{\"eventVersion\":\"1\",", 300_000),
        ("\n{\"", 1_000_000),
        ("\n{\"a\"", 1_000_000),
        ("{\"Records\":[", 300_000),
        ("\n{\"Records\":[", 300_000),
        ("\"", 1_000_001),
        ("\\", 1_000_000),
        ("\"\\", 1_000_000),
        ("{ \"", 1_000_000),
        ("{\"          {", 300_000),
        ("H4sI", 300_000),
        ("\nH4sIAAAAA", 300_000),
        ("}", 1_000_000),
        ("]", 1_000_000),
        (",", 1_000_000),
        ("{\"kinesis\":", 300_000),
        ("{\"detail\":{\"eventVersion\":1},", 100_000),
        ("\n{\"a\":1},{\"eventVersion\":NaN", 100_000),
        ("{\"eventVersion\":1}", 150_000),
        ("{\"a\":{\"eventVersion\":1}", 100_000),
    ] {
        let bytes = unit.repeat(times);
        let started = Instant::now();
        let mut entries = 0;
        unpack(Some(bytes.as_bytes()), &ReadLimits::default(), &mut |_| entries += 1);
        assert!(entries >= 1);
        let wrapped = format!("{{\"Records\":[{bytes}");
        unpack(Some(wrapped.as_bytes()), &ReadLimits::default(), &mut |_: Entry<'_>| entries += 1);
        assert!(started.elapsed() < Duration::from_secs(10), "{unit:?} took {:?}", started.elapsed());
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
