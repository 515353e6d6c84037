//! The endpoint and the broker killed under load: what was answered with success is in Kafka. `INGEST_KILLS` is how often
//! each is killed; 5 times otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::firehose::{Connection, Request};
use harness::kafka::Kafka;
use harness::random::Random;
use harness::say;
use harness::wait::{PATIENCE, pause, until, until_true};

use crate::ingest::Ingest;

/// Clients that send at the same time.
const CLIENTS: usize = 8;

fn kills() -> usize {
    std::env::var("INGEST_KILLS").ok().map_or(5, |text| text.parse().expect("a number"))
}

/// Clients that send requests one after the other, each until it is answered with success.
struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Request>>>,
}

impl Load {
    fn start(port: u16) -> Load {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..CLIENTS)
            .map(|client| {
                let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
                std::thread::spawn(move || send(client, port, &over, &answered))
            })
            .collect();
        Load { over, answered, clients }
    }

    /// Waits until so many more requests have been answered with success.
    fn until_answered(&self, more: usize) {
        let before = self.answered.load(Ordering::SeqCst);
        until_true(PATIENCE, "requests to be answered", || self.answered.load(Ordering::SeqCst) >= before + more);
    }

    /// The requests that were answered with success.
    fn finish(self) -> Vec<Request> {
        self.over.store(true, Ordering::SeqCst);
        self.clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    }
}

fn send(client: usize, port: u16, over: &AtomicBool, answered: &AtomicUsize) -> Vec<Request> {
    let mut random = Random::new(client as u64 + 1);
    let mut connection = None;
    let mut done = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let id = format!("{client}-{}", done.len());
        let records =
            (0..random.below(40) + 1).map(|at| format!("{id}: {}", "record ".repeat(at as usize)).into_bytes());
        let mut request = Request::new(id.clone(), records.collect());
        request.gzip = random.below(2) == 0;
        let taken = until(Duration::from_secs(180), "a request to be taken", || {
            if over.load(Ordering::SeqCst) {
                return Some(false);
            }
            if connection.is_none() {
                connection = Connection::plain(port).ok();
            }
            match connection.as_mut()?.post(&request) {
                Ok(answer) if answer.status == 200 => Some(true),
                Ok(answer) => {
                    assert_eq!(answer.status, 503, "{}", answer.body);
                    None
                }
                Err(_) => {
                    connection = None;
                    None
                }
            }
        });
        if taken {
            answered.fetch_add(1, Ordering::SeqCst);
            done.push(request);
        }
    }
    done
}

/// Checks that all records of these requests are in the topic, and nothing that was never sent.
#[track_caller]
fn check(kafka: &Kafka, topic: &str, answered: &[Request]) {
    let mut found: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut messages = 0;
    for message in kafka.client().read_all(topic) {
        let key = String::from_utf8(message.key.expect("a key")).expect("text");
        found.entry(key).or_default().insert(message.value.expect("a value"));
        messages += 1;
    }
    let mut records = 0;
    for request in answered {
        for (key, record) in request.keys().zip(&request.records) {
            let values = found.get(&key).unwrap_or_else(|| panic!("{key} was answered with success and is not there"));
            assert_eq!(values.iter().collect::<Vec<_>>(), [record], "{key}");
            records += 1;
        }
    }
    let repeats = messages - found.len();
    say(&format!("{topic}: {} requests answered, {records} records, all there; {repeats} repeats", answered.len()));
}

#[test]
fn what_was_answered_is_in_kafka_when_the_endpoint_is_killed() {
    let Some(kafka) = Kafka::shared() else { return };
    let ingest = Ingest::new(kafka, "killed");
    ingest.create_topics(&kafka.client());
    let mut program = ingest.ready();
    let load = Load::start(ingest.port);
    let mut random = Random::new(7);
    for _ in 0..kills() {
        load.until_answered(20);
        pause(Duration::from_millis(random.below(100)));
        program.kill9();
        program = ingest.ready();
    }
    load.until_answered(20);
    let answered = load.finish();
    drop(program);
    check(kafka, &ingest.topic(), &answered);
}

#[test]
fn what_was_answered_is_in_kafka_when_the_broker_is_killed() {
    let Some(mut kafka) = Kafka::start() else { return };
    let ingest = Ingest::new(&kafka, "broker");
    ingest.create_topics(&kafka.client());
    let program = ingest.ready();
    let load = Load::start(ingest.port);
    let mut random = Random::new(8);
    for _ in 0..kills() {
        load.until_answered(20);
        pause(Duration::from_millis(random.below(100)));
        kafka.kill9();
        pause(Duration::from_millis(random.below(1_000)));
        kafka.restart();
    }
    load.until_answered(20);
    let answered = load.finish();
    drop(program);
    check(&kafka, &ingest.topic(), &answered);
}
