//! Very many findings wait for a target that is down; then it comes up and takes them all. What the program has of memory
//! meanwhile, and whether every finding arrives.

use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use harness::kafka::Kafka;
use harness::process::Process;
use harness::say;
use harness::siem::{Request, Stub};
use harness::trailhound::{Config, Trailhound};
use harness::wait::{pause, poll};
use serde_json::{Value, json};

use crate::supply;
use crate::target::{hec_answer, hec_sink};

/// The pipeline's name, and so its topics'.
const NAME: &str = "waiting";
/// Findings that differ in more than their ids.
const DIFFERENT: usize = 2_000;
/// How long the target stays down: until everything that fills up has filled up.
const DOWN: Duration = Duration::from_secs(15);
/// How long it may take until all is delivered.
const DRAINED: Duration = Duration::from_secs(1_200);

/// What the program came to.
#[derive(Debug)]
pub(crate) struct Row {
    workers: u32,
    findings: usize,
    bytes: usize,
    /// Resident memory at most while the target was down, and in all, in MiB.
    down_mib: u64,
    most_mib: u64,
    per_second: f64,
    repeats: usize,
}

impl Row {
    pub(crate) fn json(&self) -> Value {
        json!({
            "workers": self.workers, "findings": self.findings, "bytes_a_finding": self.bytes,
            "resident_mib_down": self.down_mib, "resident_mib_most": self.most_mib,
            "findings_per_second": self.per_second, "arrived": self.findings, "repeats": self.repeats,
        })
    }
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = String::from("waiting   bytes  workers  MiB down  MiB most  findings/s  arrived  repeats\n");
    for Row { workers, findings, bytes, down_mib, most_mib, per_second, repeats } in rows {
        table += &format!(
            "{findings:<9} {bytes:>5} {workers:>8} {down_mib:>9} {most_mib:>9} {per_second:>11.0} {findings:>8} {repeats:>8}\n"
        );
    }
    table
}

/// Which findings have arrived, by number, and how many more than once.
#[derive(Debug, Default)]
struct Arrived {
    all: Vec<bool>,
    distinct: usize,
    repeats: usize,
}

impl Arrived {
    /// Takes the ids out of a request.
    fn take(&mut self, request: &Request) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(&request.body[..]).read_to_end(&mut plain).expect("gzip");
        for event in plain.split(|byte| *byte == b'\n').filter(|event| !event.is_empty()) {
            // The id stands in the event's envelope, before the finding.
            let begin = std::str::from_utf8(&event[..event.len().min(400)]).expect("text");
            let (_, rest) = begin.split_once(r#""fields":{"id":""#).expect("an id");
            let (id, _) = rest.split_once('"').expect("the id's end");
            let arrived = self.all.get_mut(id.parse::<usize>().expect("a number")).expect("a known number");
            self.distinct += usize::from(!*arrived);
            self.repeats += usize::from(std::mem::replace(arrived, true));
        }
    }
}

/// Lets `count` findings wait for a HEC that is down, and then takes them all, with so many workers.
pub(crate) fn measure(kafka: &Kafka, count: usize, workers: u32) -> Row {
    let bytes = produce(kafka, count);
    let arrived = Arc::new(Mutex::new(Arrived { all: vec![false; count], ..Arrived::default() }));
    let taking = Arc::clone(&arrived);
    let mut stub = Stub::start_light(move |request, _| {
        taking.lock().expect("no poison").take(request);
        hec_answer()
    });
    stub.down();
    let sink = hec_sink(&stub.url()).replace(" } }", ", retry_ms_max = 500 } }");
    let mut config = Config::forward(&kafka.bootstrap(), NAME, &sink);
    config.source = format!(r#"{{ kafka = {{ topics = ["{NAME}.findings"], group = "{NAME}-{workers}" }} }}"#);
    config.workers = workers;
    let mut program = Trailhound::ready(&config);
    program.until_joined(workers as usize);
    program.until("the target to count as down", |program| program.stderr().contains("counts as down").then_some(()));
    pause(DOWN);
    let mebibytes = |program: &Trailhound| Process::most_resident_bytes(program.pid()) >> 20;
    let down_mib = mebibytes(&program);
    stub.up();
    let started = Instant::now();
    let mut told = Instant::now();
    let drained = poll(DRAINED, || {
        let distinct = arrived.lock().expect("no poison").distinct;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            say(&format!("{distinct} of {count} have arrived; {} MiB at most", mebibytes(&program)));
        }
        (distinct == count).then_some(())
    });
    drained.expect("every finding to arrive");
    let per_second = count as f64 / started.elapsed().as_secs_f64();
    kafka.client().until_committed(&format!("{NAME}-{workers}"), &format!("{NAME}.findings"));
    let most_mib = mebibytes(&program);
    let summary = program.stop();
    assert_eq!(summary.count("dead_lettered"), 0, "{summary:?}");
    let repeats = arrived.lock().expect("no poison").repeats;
    let row = Row { workers, findings: count, bytes, down_mib, most_mib, per_second, repeats };
    say(&table(std::slice::from_ref(&row)));
    row
}

/// Fills the topic, once. Gives the mean size of a finding.
fn produce(kafka: &Kafka, count: usize) -> usize {
    let (client, topic) = (kafka.client(), format!("{NAME}.findings"));
    let findings = supply::findings(DIFFERENT);
    let bytes = findings.iter().filter_map(|finding| finding.value.as_ref()).map(Vec::len).sum::<usize>() / DIFFERENT;
    if client.partitions(&topic) > 0 {
        return bytes;
    }
    say(&format!("producing {count} findings of {bytes} bytes"));
    client.create_topic(&topic, 6, &[]);
    client.create_topic(&format!("{NAME}.dead"), 6, &[]);
    let producer = client.producer(&topic, &supply::PRODUCER);
    for (number, finding) in findings.iter().cycle().take(count).enumerate() {
        producer.send(&supply::numbered(finding, number));
        if number % 1_000 == 0 {
            producer.serve_until(Instant::now());
        }
    }
    producer.finish();
    bytes
}
