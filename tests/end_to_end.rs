//! The whole path through a real broker: every framing and codec in; findings, dead letters and an account of
//! everything out.

use std::collections::BTreeMap;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use harness::findings;
use harness::http::Metrics;
use harness::kafka::{Client, Kafka, Outgoing, Received};
use harness::records::{Records, finding_of, findings_of};
use harness::say;
use harness::trailhound::{Config, Summary, Trailhound};
use harness::wait::{PATIENCE, until};

use crate::corpus::{Corpus, broken};

#[test]
fn every_framing_and_codec_is_read_and_everything_is_accounted_for() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let codecs = ["gzip", "snappy", "lz4", "zstd"];
    let corpora: Vec<(String, Corpus)> =
        (0..).map(Corpus::new).zip(codecs).map(|(c, codec)| (format!("whole.{codec}"), c)).collect();
    for ((topic, _), codec) in corpora.iter().zip(codecs) {
        client.create_topic(topic, 4, &[("compression.type", codec)]);
    }
    client.create_topic("whole.findings", 4, &[]);
    client.create_topic("whole.dead", 4, &[]);
    let mut config = Config::new(&kafka.bootstrap(), "whole");
    let topics: Vec<&String> = corpora.iter().map(|(topic, _)| topic).collect();
    config.source = format!("{{ kafka = {{ topics = {topics:?}, group = \"whole\" }} }}");
    let mut program = Trailhound::ready(&config);
    for ((topic, corpus), codec) in corpora.iter().zip(codecs) {
        client.produce(topic, &corpus.messages, &[("compression.type", codec), ("sticky.partitioning.linger.ms", "0")]);
    }
    let entries = corpora.iter().map(|(_, corpus)| corpus.entries()).sum();
    program.until_received(entries);
    let metrics = program.metrics();
    let summary = program.stop();

    summary.assert_balanced();
    assert_eq!(summary.count("received"), entries);
    assert_eq!(summary.count("evaluated"), corpora.iter().map(|(_, corpus)| corpus.records.len() as u64).sum::<u64>());
    for kind in ["tombstone", "empty", "digest", "control_message", "s3_notification", "other_event"] {
        let expect: u64 = corpora.iter().filter_map(|(_, corpus)| corpus.skipped.get(kind)).sum();
        assert_eq!(summary.of("skipped", kind), expect, "{kind}");
    }
    assert_metrics_agree(&metrics, &summary);

    let all = corpora.iter().flat_map(|(_, corpus)| &corpus.records);
    let fired = all.clone().filter(|record| finding_of(record).is_some()).count();
    let found = findings::read(&client.read_all("whole.findings"));
    findings::check(&found, &findings_of(all));
    // No rebalance, no fault: then nothing is delivered twice but what has come twice.
    assert_eq!(found.len(), fired);
    assert_eq!(summary.of("findings", "RTM-001"), fired as u64);

    let letters = client.read_all("whole.dead");
    let expected =
        corpora.iter().flat_map(|(_, corpus)| corpus.dead.iter().map(|(reason, bytes)| (*reason, bytes.clone())));
    assert_dead_letters(&letters, expected.collect(), &summary);
    for (topic, _) in &corpora {
        assert_origins(&client, topic, &letters);
        let committed: Vec<i64> =
            client.committed("whole", topic).into_iter().map(|offset| offset.unwrap_or(0)).collect();
        assert_eq!(committed, client.end_offsets(topic), "{topic}: everything is committed");
    }
}

/// The metrics page says what the summary says.
#[track_caller]
fn assert_metrics_agree(metrics: &Metrics, summary: &Summary) {
    for name in ["received", "evaluated", "skipped", "dead_lettered", "failed", "findings"] {
        let metric = metrics.sum(&format!("trailhound_{name}_total"), &[("pipeline", "detect")]);
        assert_eq!(metric, summary.count(name), "{name}");
    }
    for (name, label) in [("skipped", "kind"), ("dead_lettered", "reason"), ("findings", "rule")] {
        for (member, value) in metrics.by_label(&format!("trailhound_{name}_total"), label) {
            assert_eq!(value, summary.of(name, &member), "{name} {member}");
        }
    }
}

/// The dead letters are these bytes, for these reasons, no more and no less.
#[track_caller]
fn assert_dead_letters(letters: &[Received], mut expected: Vec<(&str, Vec<u8>)>, summary: &Summary) {
    let mut got: Vec<(String, Vec<u8>)> = letters
        .iter()
        .map(|letter| {
            (letter.header("trailhound.reason").unwrap_or_default(), letter.value.clone().unwrap_or_default())
        })
        .collect();
    got.sort();
    expected.sort();
    for ((reason, bytes), (wanted, original)) in got.iter().zip(&expected) {
        let (shown, wanted_text) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(original));
        assert!(reason == wanted && bytes == original, "{reason}:\n{shown:?}\ninstead of {wanted}:\n{wanted_text:?}");
    }
    assert_eq!(got.len(), expected.len(), "dead letters");
    assert_eq!(summary.count("dead_lettered"), expected.len() as u64);
    assert!(
        letters.iter().all(|letter| { letter.header("trailhound.detail").is_some_and(|detail| !detail.is_empty()) })
    );
}

/// The dead letters of a topic stand where they say: at that byte of that message.
#[track_caller]
fn assert_origins(client: &Client, topic: &str, letters: &[Received]) {
    let messages: BTreeMap<(i32, i64), Vec<u8>> = client
        .read_all(topic)
        .into_iter()
        .map(|message| ((message.partition, message.offset), message.value.unwrap_or_default()))
        .collect();
    let number =
        |letter: &Received, name: &str| letter.header(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(-1);
    let own: Vec<&Received> =
        letters.iter().filter(|letter| letter.header("trailhound.topic").as_deref() == Some(topic)).collect();
    assert!(!own.is_empty(), "dead letters of {topic}");
    for letter in own {
        let place = (number(letter, "trailhound.partition"), number(letter, "trailhound.offset"));
        let message = i32::try_from(place.0).ok().and_then(|partition| messages.get(&(partition, place.1)));
        let byte = usize::try_from(number(letter, "trailhound.byte")).unwrap_or(usize::MAX);
        let there = message.and_then(|message| message.get(byte..)).unwrap_or_default();
        let original = letter.value.as_deref().unwrap_or_default();
        assert!(there.starts_with(original), "{topic} {place:?} byte {byte}: {:?}", letter.headers);
        // The bad line is the second of three; the bad checksum comes after twenty records.
        let entry = number(letter, "trailhound.entry");
        assert!(if byte > 0 { entry == 1 } else { entry == 0 || entry == 20 }, "{:?}", letter.headers);
    }
}

#[test]
fn a_record_that_arrives_while_it_is_idle_is_found_at_once() {
    const RECORDS: usize = 20;
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    for topic in ["idle.cloudtrail", "idle.findings", "idle.dead"] {
        client.create_topic(topic, 4, &[]);
    }
    let mut program = Trailhound::ready(&Config::new(&kafka.bootstrap(), "idle"));
    let producer = client.producer("idle.cloudtrail", &[("linger.ms", "0")]);
    let records = Records::new(7).take(RECORDS, 1);
    for (number, record) in records.iter().enumerate() {
        producer.send_all(&[Outgoing::value(record.to_string())]);
        until(PATIENCE, "the finding of a single record", || {
            (client.end_offsets("idle.findings").iter().sum::<i64>() > i64::try_from(number).ok()?).then_some(())
        });
    }
    program.stop().assert_balanced();
    let found = client.read_all("idle.findings");
    assert_eq!(findings::check(&findings::read(&found), &findings_of(&records)), 0);
    // From the producer's call to the program's own: what a broker and a program in between cost.
    let source = client.read_all("idle.cloudtrail");
    let appended: BTreeMap<(i64, i64), i64> =
        source.iter().filter_map(|m| Some(((i64::from(m.partition), m.offset), m.timestamp_ms?))).collect();
    let mut took: Vec<i64> = findings::read(&found)
        .iter()
        .zip(&found)
        .filter_map(|(finding, message)| Some(message.timestamp_ms? - appended.get(&finding.origin)?))
        .collect();
    took.sort_unstable();
    say(&format!("idle: record to finding, ms: median {:?}, longest {:?}", took.get(took.len() / 2), took.last()));
}

#[test]
fn dead_letters_can_go_to_a_file() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topic("file.cloudtrail", 2, &[]);
    client.create_topic("file.findings", 2, &[]);
    let mut config = Config::new(&kafka.bootstrap(), "file");
    config.dead_letters = r#"{ file = { path = "dead.ndjson" } }"#.to_owned();
    let mut supply = Records::new(11);
    let dead: Vec<(&str, Vec<u8>)> = (0..10).flat_map(|number| broken(number, &mut supply)).collect();
    let records = supply.take(50, 10);
    let mut messages: Vec<Outgoing> = dead.iter().map(|(_, bytes)| Outgoing::value(bytes.as_slice())).collect();
    messages.extend(records.iter().map(|record| Outgoing::value(record.to_string())));
    client.produce("file.cloudtrail", &messages, &[("sticky.partitioning.linger.ms", "0")]);
    let mut program = Trailhound::ready(&config);
    client.until_committed("file", "file.cloudtrail");
    let summary = program.stop();
    summary.assert_balanced();
    findings::check(&findings::read(&client.read_all("file.findings")), &findings_of(&records));

    let text = std::fs::read_to_string(program.folder().join("dead.ndjson")).expect("a file of dead letters");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect();
    let mut got: Vec<(&str, Vec<u8>)> = lines
        .iter()
        .map(|line| {
            assert_eq!(line["topic"], "file.cloudtrail", "{line}");
            let original = STANDARD.decode(line["original_base64"].as_str().unwrap_or("!")).expect("base64");
            (line["reason"].as_str().unwrap_or_default(), original)
        })
        .collect();
    got.sort();
    let mut expected = dead;
    expected.sort();
    assert_eq!(got.len(), expected.len());
    assert!(got == expected, "the original bytes and the reasons");
}

#[test]
fn a_stop_while_it_is_idle_is_quick_and_clean() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    for topic in ["stop.cloudtrail", "stop.findings", "stop.dead"] {
        client.create_topic(topic, 1, &[]);
    }
    for signal in ["TERM", "INT"] {
        let mut program = Trailhound::ready(&Config::new(&kafka.bootstrap(), "stop"));
        assert_eq!(program.page("/healthz").map(|(status, _)| status), Some(200));
        let started = Instant::now();
        program.signal(signal);
        assert_eq!(program.wait(PATIENCE), 0, "{signal}: {}", program.stderr());
        say(&format!("stop on SIG{signal} while idle took {} ms", started.elapsed().as_millis()));
        let summary = program.summary();
        summary.assert_balanced();
        assert_eq!(summary.count("received"), 0);
    }
}
