//! Firehose in: a client after its contract, the program, and a real broker.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::firehose::{ARN, Connection, KEY, Request, post};
use harness::folder::Folder;
use harness::kafka::{Client, Kafka, Received, free_port};
use harness::process::Process;
use harness::records::Records;
use harness::trailhound::{STOP, Trailhound};
use harness::wait::{PATIENCE, pause, until, until_true};

use crate::program::{repository, trailhound};

/// A `pipeline.toml` with an endpoint before the topic `NAME.cloudtrail`.
pub(crate) struct Ingest {
    bootstrap: String,
    name: String,
    /// The port of the endpoint.
    pub(crate) port: u16,
    keys: Vec<String>,
    /// More of the source's table, each with a comma before it.
    more: String,
}

impl Ingest {
    pub(crate) fn new(kafka: &Kafka, name: &str) -> Ingest {
        let (bootstrap, name) = (kafka.bootstrap(), name.to_owned());
        Ingest { bootstrap, name, port: free_port(), keys: vec![KEY.to_owned()], more: String::new() }
    }

    fn text(&self) -> String {
        let Ingest { bootstrap, name, port, keys, more } = self;
        format!(
            r#"
[kafka]
"bootstrap.servers" = "{bootstrap}"
"reconnect.backoff.ms" = "20"
"reconnect.backoff.max.ms" = "200"
[pipelines.ingest]
workers = 2
source = {{ firehose = {{ listen = "127.0.0.1:{port}", access_keys = {keys:?}{more} }} }}
sink = {{ kafka = {{ topic = "{name}.cloudtrail" }} }}
dead_letters = {{ kafka = {{ topic = "{name}.dead" }} }}
"#
        )
    }

    pub(crate) fn ready(&self) -> Trailhound {
        let mut program = Trailhound::start_text(&self.text());
        program.until_ready();
        program
    }

    pub(crate) fn create_topics(&self, client: &Client) {
        for part in ["cloudtrail", "dead"] {
            client.create_topic(&format!("{}.{part}", self.name), 4, &[]);
        }
    }

    pub(crate) fn topic(&self) -> String {
        format!("{}.cloudtrail", self.name)
    }
}

/// A topic's messages by their keys.
fn by_key(messages: Vec<Received>) -> BTreeMap<String, Received> {
    let key = |message: &Received| String::from_utf8(message.key.clone().expect("a key")).expect("text");
    let count = messages.len();
    let map: BTreeMap<_, _> = messages.into_iter().map(|message| (key(&message), message)).collect();
    assert_eq!(map.len(), count, "each key once");
    map
}

fn counter(program: &Trailhound, name: &str, labels: &[(&str, &str)]) -> u64 {
    program.metrics().sum(&format!("trailhound_firehose_{name}"), labels)
}

#[test]
fn what_firehose_sends_is_in_the_topic_byte_for_byte() {
    let Some(kafka) = Kafka::shared() else { return };
    let (client, ingest) = (kafka.client(), Ingest::new(kafka, "ingest"));
    ingest.create_topics(&client);
    let mut program = ingest.ready();
    // JSON, no JSON, every byte, nothing at all.
    let odd = vec![br#"{"eventName":"ConsoleLogin"}"#.to_vec(), b"{broken".to_vec(), (0..=255).collect(), Vec::new()];
    let many: Vec<Vec<u8>> = (0..10_000).map(|number| format!(r#"{{"n":{number}}}"#).into_bytes()).collect();
    let large = vec![vec![b'x'; 1_024_000]; 3];
    let mut connection = Connection::plain(ingest.port).expect("a connection");
    let mut sent = BTreeMap::new();
    let before_ms = now_ms();
    for (number, records) in [odd, many, large].into_iter().enumerate() {
        for gzip in [false, true] {
            let mut request =
                Request::new(format!("00000000-0000-4000-8000-{number:011}{}", u8::from(gzip)), records.clone());
            request.gzip = gzip;
            let answer = connection.post(&request).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert!(
                answer.body.starts_with(&format!(r#"{{"requestId":"{}","timestamp":"#, request.id)),
                "{}",
                answer.body
            );
            sent.extend(request.keys().zip(request.records.iter().cloned()));
        }
    }
    // It is there as soon as it is answered.
    let found = by_key(client.read_all(&ingest.topic()));
    assert_eq!(found.len(), sent.len());
    for (key, record) in &sent {
        let message = found.get(key).unwrap_or_else(|| panic!("{key} is not there"));
        assert!(message.value.as_deref().unwrap_or_default() == record.as_slice(), "{key} is another");
        let id = key.split('/').next().unwrap_or_default();
        assert_eq!(message.header("firehose.request-id").as_deref(), Some(id));
        assert_eq!(message.header("firehose.source-arn").as_deref(), Some(ARN));
        let arrived: i64 = message.header("firehose.arrived-ms").and_then(|ms| ms.parse().ok()).expect("a time");
        assert!((before_ms..=now_ms()).contains(&arrived) && message.headers.len() == 3, "{:?}", message.headers);
    }
    let partitions: std::collections::BTreeSet<i32> = found.values().map(|message| message.partition).collect();
    assert_eq!(partitions.len(), 4, "spread over all partitions");
    assert_eq!(counter(&program, "requests_total", &[("pipeline", "ingest"), ("status", "200")]), 6);
    assert_eq!(counter(&program, "in_flight_bytes", &[]), 0);
    assert_eq!(counter(&program, "acknowledged_seconds_count", &[]), 6);
    program.signal("TERM");
    assert_eq!(program.wait(STOP), 0);
    let summary = program.summary_of("ingest");
    assert_eq!((summary.count("received"), summary.count("forwarded")), (sent.len() as u64, sent.len() as u64));
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    i64::try_from(since.as_millis()).expect("a time")
}

#[test]
fn a_request_that_is_sent_again_makes_the_same_records_in_the_same_partitions() {
    let Some(kafka) = Kafka::shared() else { return };
    let (client, ingest) = (kafka.client(), Ingest::new(kafka, "again"));
    ingest.create_topics(&client);
    let program = ingest.ready();
    let request = Request::new("again", (0..50).map(|number| format!("record {number}").into_bytes()).collect());
    for _ in 0..2 {
        assert_eq!(post(ingest.port, &request).expect("an answer").status, 200);
    }
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for message in client.read_all(&ingest.topic()) {
        found.entry(message.key.clone()).or_default().push((message.partition, message.value));
    }
    assert_eq!(found.len(), 50);
    assert!(found.values().all(|both| both.len() == 2 && both[0] == both[1]), "{found:?}");
    drop(program);
}

#[test]
fn what_kafka_refuses_for_good_is_a_dead_letter_and_the_request_is_answered() {
    let Some(kafka) = Kafka::shared() else { return };
    let (client, ingest) = (kafka.client(), Ingest::new(kafka, "toolarge"));
    ingest.create_topics(&client);
    client.configure_topic(&ingest.topic(), &[("max.message.bytes", "5000")]);
    let mut program = ingest.ready();
    let random = Records::new(9).incompressible(20_000).into_bytes();
    let request = Request::new("some-are-large", vec![b"small".to_vec(), random.clone(), b"another".to_vec()]);
    assert_eq!(post(ingest.port, &request).expect("an answer").status, 200);
    assert_eq!(by_key(client.read_all(&ingest.topic())).len(), 2);
    let letters = client.read_all("toolarge.dead");
    let [letter] = letters.as_slice() else { panic!("one letter: {letters:?}") };
    assert_eq!(letter.value.as_deref(), Some(random.as_slice()));
    assert_eq!(letter.header("trailhound.reason").as_deref(), Some("sink_refused"));
    assert_eq!(letter.header("trailhound.topic").as_deref(), Some(ARN));
    assert_eq!(letter.header("trailhound.offset").as_deref(), Some("1"));
    program.signal("TERM");
    assert_eq!(program.wait(STOP), 0);
    let summary = program.summary_of("ingest");
    assert_eq!((summary.count("forwarded"), summary.count("dead_lettered")), (2, 1));
}

#[test]
fn keys_are_replaced_without_a_gap() {
    let Some(kafka) = Kafka::shared() else { return };
    let (client, mut ingest) = (kafka.client(), Ingest::new(kafka, "rotation"));
    ingest.create_topics(&client);
    let statuses = |ingest: &Ingest| {
        let mut program = ingest.ready();
        let status = |key: &str| {
            let request = Request { key: key.to_owned(), ..Request::new("r", vec![b"x".to_vec()]) };
            post(ingest.port, &request).expect("an answer").status
        };
        let statuses = [status("the old key, long enough"), status("the new key, long enough"), status("")];
        let log = program.stderr();
        assert!(!log.contains("long enough"), "no key is in the log: {log}");
        program.signal("TERM");
        assert_eq!(program.wait(STOP), 0);
        statuses
    };
    let keys = |keys: &[&str]| keys.iter().map(|key| format!("the {key} key, long enough")).collect();
    ingest.keys = keys(&["old"]);
    assert_eq!(statuses(&ingest), [200, 401, 401]);
    ingest.keys = keys(&["old", "new"]);
    assert_eq!(statuses(&ingest), [200, 200, 401]);
    ingest.keys = keys(&["new"]);
    assert_eq!(statuses(&ingest), [401, 200, 401]);
}

#[test]
fn tls_has_its_certificate_replaced_while_it_runs() {
    let Some(kafka) = Kafka::shared() else { return };
    let (client, mut ingest) = (kafka.client(), Ingest::new(kafka, "tls"));
    ingest.create_topics(&client);
    let folder = Folder::new("certificate");
    let renew = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        folder.write("tls.crt", made.cert.pem());
        folder.write("tls.key", made.signing_key.serialize_pem());
        made.cert.pem()
    };
    let file = |name: &str| folder.path().join(name);
    let (old, request) = (renew(), Request::new("tls", vec![b"x".to_vec()]));
    ingest.more = format!(", tls = {{ certificate = {:?}, key = {:?} }}", file("tls.crt"), file("tls.key"));
    let mut program = ingest.ready();
    let mut long = Connection::tls(ingest.port, &old).expect("a connection");
    assert_eq!(long.post(&request).expect("an answer").status, 200);
    assert!(post(ingest.port, &request).is_err(), "nothing without TLS");

    // Broken first: the old one stays.
    folder.write("tls.key", "no key");
    program
        .until("the broken key to be noticed", |program| program.stderr().contains("the old one stays").then_some(()));
    assert_eq!(Connection::tls(ingest.port, &old).expect("the old one").post(&request).expect("an answer").status, 200);

    let new = renew();
    let with = |pem: &str| Connection::tls(ingest.port, pem).and_then(|mut connection| connection.post(&request));
    until(PATIENCE, "the new certificate", || with(&new).ok()).status.eq(&200).then_some(()).expect("success");
    assert!(with(&old).is_err(), "new connections get the new one");
    assert_eq!(long.post(&request).expect("an answer").status, 200, "connections that are open stay");
    program.signal("TERM");
    assert_eq!(program.wait(STOP), 0);
}

#[test]
fn overload_is_answered_at_once_in_bounded_memory_and_passes() {
    let Some(mut kafka) = Kafka::start() else { return };
    let (client, mut ingest) = (kafka.client(), Ingest::new(&kafka, "overload"));
    ingest.create_topics(&client);
    ingest.more =
        ", body_bytes_max = 2_000_000, in_flight_bytes_max = 16_777_216, connections_max = 64, answer_ms_max = 170_000"
            .to_owned();
    let mut program = ingest.ready();
    let request = |number: u64| {
        let record = Records::new(number).incompressible(1_000_000).into_bytes();
        Request::new(format!("overload-{number}"), vec![record])
    };
    let warm = post(ingest.port, &request(1_000)).expect("an answer");
    assert_eq!(warm.status, 200);
    kafka.kill9();
    let before = Process::of(program.pid());
    let port = ingest.port;
    let clients: Vec<_> = (0..40)
        .map(|number| {
            let request = request(number);
            std::thread::spawn(move || {
                let mut at_once = 0;
                // As Firehose does: until it is taken.
                until(Duration::from_secs(170), "the request to be taken", || {
                    let asked = Instant::now();
                    match post(port, &request) {
                        Ok(answer) if answer.status == 200 => Some(()),
                        Ok(answer) => {
                            assert_eq!(answer.status, 503, "{}", answer.body);
                            at_once += usize::from(asked.elapsed() < Duration::from_secs(5));
                            pause(Duration::from_secs(1));
                            None
                        }
                        Err(_) => None,
                    }
                });
                at_once
            })
        })
        .collect();
    let health = || Connection::plain(port).and_then(|mut connection| connection.health());
    until_true(PATIENCE, "the health check to fail", || health().is_ok_and(|answer| answer.status == 503));
    let during = Process::of(program.pid());
    let grown = during.resident_bytes.saturating_sub(before.resident_bytes);
    assert!(grown < 100 << 20, "{before} before, {during} while 40 clients push");
    let refused = counter(&program, "requests_total", &[("status", "503")]);
    assert!(refused > 40, "{refused} times 503");
    assert!(counter(&program, "in_flight_bytes", &[]) <= 16 << 20);
    kafka.restart();
    let at_once: usize = clients.into_iter().map(|client| client.join().expect("a client")).sum();
    assert!(at_once > 40, "{at_once} answers at once");
    until_true(PATIENCE, "the health check to pass", || health().is_ok_and(|answer| answer.status == 200));
    let found: std::collections::BTreeSet<_> =
        client.read_all(&ingest.topic()).into_iter().filter_map(|message| message.key).collect();
    assert_eq!(found.len(), 41, "each request is there");
    program.signal("TERM");
    assert_eq!(program.wait(STOP), 0);
}

#[test]
fn a_port_that_is_taken_and_a_certificate_that_is_not_there_are_said() {
    let Some(kafka) = Kafka::shared() else { return };
    let (client, mut ingest) = (kafka.client(), Ingest::new(kafka, "taken"));
    ingest.create_topics(&client);
    let listener = std::net::TcpListener::bind(("127.0.0.1", ingest.port)).expect("the port");
    let mut program = Trailhound::start_text(&ingest.text());
    assert_eq!(program.wait(STOP), 1);
    let log = program.stderr();
    assert!(log.contains("pipelines.ingest.source.firehose: 127.0.0.1:") && log.contains("hint: "), "{log}");
    drop(listener);
    ingest.more = ", tls = { certificate = \"/nowhere/tls.crt\", key = \"/nowhere/tls.key\" }".to_owned();
    let mut program = Trailhound::start_text(&ingest.text());
    assert_eq!(program.wait(STOP), 1);
    assert!(program.stderr().contains("/nowhere/tls.crt"), "{}", program.stderr());
}

#[test]
fn the_example_is_valid() {
    let file = repository().join("examples/ingest.toml");
    let mut command = trailhound();
    command.arg("validate").arg("--config").arg(file).env("FIREHOSE_KEY", "0123456789abcdef");
    let done = crate::program::Done::from(command.output().expect("the program starts"));
    assert!(done.well().stdout.contains("valid: pipelines ingest"));
}
