//! Webhooks, on a stub that answers what a test wishes: nothing is lost, and dead letters hold exactly what was refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use harness::kafka::Kafka;
use harness::siem::{Authority, Finding, Forward, Reply, Request, Stub};
use harness::trailhound::STOP;
use hmac::{Hmac, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// The ids that a server has answered with 200, and how often.
type Taken = Arc<Mutex<BTreeMap<String, usize>>>;

fn take(taken: &Taken, ids: impl IntoIterator<Item = String>) {
    let mut taken = taken.lock().expect("no panic");
    ids.into_iter().for_each(|id| *taken.entry(id).or_default() += 1);
}

/// The findings' ids in a body: one event, an array, or lines.
fn ids(body: &str) -> Vec<String> {
    let events: Vec<Value> = match serde_json::from_str(body) {
        Ok(Value::Array(events)) => events,
        Ok(event) => vec![event],
        Err(_) => body.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect(),
    };
    events.iter().map(|event| event["finding_info"]["uid"].as_str().expect("an id").to_owned()).collect()
}

fn forward(kafka: &Kafka, name: &str, url: &str, keys: &str) -> Forward {
    let quick = "retry_ms_min = 10, retry_ms_max = 100, request_ms_max = 500";
    let sink = format!("{{ webhook = {{ url = \"{url}/hook/s3cret-path?sig=s3cret-query\", {quick}, {keys} }} }}");
    Forward::new(kafka, name, 2, &sink, "batch = { messages_max = 100 }")
}

#[test]
fn siem_webhook_delivers_each_finding_through_every_trouble() {
    const COUNT: usize = 1_000;
    let Some(kafka) = Kafka::shared() else { return };
    let sent = Finding::some(0, COUNT);
    let refused: BTreeSet<String> = sent.iter().step_by(100).map(|finding| finding.id.clone()).collect();
    let (taken, never) = (Taken::default(), refused.clone());
    let server = Arc::clone(&taken);
    let mut stub = Stub::start(move |request, number| match number {
        10 => Reply::status(429, "slow down").with("retry-after", "1"),
        20..25 => Reply::status(503, "busy"),
        30 => Reply::Cut,
        40 => Reply::Never,
        _ => {
            let ids = ids(&request.text());
            if ids.iter().any(|id| never.contains(id)) {
                return Reply::status(422, "I do not want it");
            }
            take(&server, ids);
            Reply::status(200, "")
        }
    });
    let forward =
        forward(kafka, "webhook", &stub.url(), r#"secret = "a shared secret", headers = { "X-Team" = "blue" }"#);
    let client = kafka.client();
    let mut program = forward.ready();
    forward.produce(&client, &sent, None);
    program.until("some to be taken", |_| (taken.lock().expect("no panic").len() > 100).then_some(()));
    stub.down();
    program.until("the target to count as down", |program| {
        (program.metrics().sum("trailhound_target_down", &[]) >= 1).then_some(())
    });
    stub.up();
    forward.until_done(&client);
    let summary = program.stop();
    summary.assert_balanced();
    assert_eq!((summary.count("forwarded"), summary.count("dead_lettered")), (990, 10));
    let taken: BTreeSet<String> = taken.lock().expect("no panic").keys().cloned().collect();
    let all: BTreeSet<String> = sent.iter().map(|finding| finding.id.clone()).collect();
    assert_eq!(taken, all.difference(&refused).cloned().collect());
    let dead: BTreeMap<String, String> = forward.dead(&client).into_iter().collect();
    assert_eq!(dead.keys().cloned().collect::<BTreeSet<_>>(), refused);
    assert!(dead.values().all(|cause| cause == "HTTP 422: I do not want it"), "{dead:?}");
    for request in stub.requests() {
        check_signature(&request);
        assert_eq!(request.header("x-team"), "blue");
        assert_eq!(request.path, "/hook/s3cret-path?sig=s3cret-query");
    }
    let log = program.stderr();
    assert!(!log.contains("s3cret"), "the path and the query are secrets: {log}");
}

#[track_caller]
fn check_signature(request: &Request) {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"a shared secret").expect("a key");
    mac.update(request.header("x-trailhound-timestamp").as_bytes());
    mac.update(b".");
    mac.update(&request.body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(request.header("x-trailhound-signature"), format!("v1={hex}"));
}

#[test]
fn siem_webhook_of_several_findings_refuses_only_the_one_that_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let sent = Finding::some(0, 500);
    for (form, content_type) in [("array", "application/json"), ("ndjson", "application/x-ndjson")] {
        let (taken, poison) = (Taken::default(), sent[77].id.clone());
        let (server, never) = (Arc::clone(&taken), poison.clone());
        let stub = Stub::start(move |request, _| {
            let ids = ids(&request.text());
            if ids.contains(&never) {
                return Reply::status(400, "one of them is bad");
            }
            take(&server, ids);
            Reply::status(202, "ok")
        });
        let keys = format!("form = \"{form}\", request_bytes_max = 20000, gzip = true");
        let forward = forward(kafka, &format!("webhook-{form}"), &stub.url(), &keys);
        let client = kafka.client();
        let mut program = forward.ready();
        forward.produce(&client, &sent, None);
        forward.until_done(&client);
        program.stop();
        let dead = forward.dead(&client);
        assert_eq!(dead, [(poison.clone(), "HTTP 400: one of them is bad".to_owned())]);
        assert_eq!(taken.lock().expect("no panic").len(), 499);
        let requests = stub.requests();
        assert!(requests.len() > 20 && requests.iter().all(|one| one.body.len() <= 20_000), "{}", requests.len());
        assert!(requests.iter().all(|one| one.header("content-type") == content_type));
        assert!(requests.iter().all(|one| one.header("content-encoding") == "gzip"));
    }
}

#[test]
fn siem_webhook_speaks_to_slack_and_pagerduty() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let sent = Finding::some(0, 12);
    for (form, keys) in [("slack", ""), ("pagerduty", ", routing_key = \"R0\"")] {
        // Both are asked to go slower; both answer so.
        let stub = Stub::start(|_, number| match number {
            3 => Reply::status(429, "rate_limited").with("retry-after", "1"),
            _ => Reply::status(202, "ok"),
        });
        let forward = forward(kafka, &format!("webhook-{form}"), &stub.url(), &format!("form = \"{form}\"{keys}"));
        let mut program = forward.ready();
        forward.produce(&client, &sent, Some(0));
        forward.until_done(&client);
        program.stop();
        let bodies: Vec<Value> =
            stub.requests().iter().map(|one| serde_json::from_slice(&one.body).expect("JSON")).collect();
        assert_eq!(bodies.len(), sent.len() + 1);
        let texts: Vec<String> = bodies.iter().map(Value::to_string).collect();
        for finding in &sent {
            assert!(texts.iter().any(|text| text.contains(&finding.id)), "{}", finding.id);
        }
        match form {
            "slack" => assert!(texts.iter().all(|text| text.contains("|Runbook>") && !text.contains("<!channel>"))),
            _ => {
                let keys: BTreeSet<&str> = bodies.iter().filter_map(|body| body["dedup_key"].as_str()).collect();
                assert_eq!(keys, sent.iter().map(|finding| finding.id.as_str()).collect());
                assert!(bodies.iter().all(|body| body["event_action"] == "trigger" && body["routing_key"] == "R0"));
            }
        }
    }
}

#[test]
fn siem_webhook_throws_nothing_away_while_it_is_not_let_in() {
    let Some(kafka) = Kafka::shared() else { return };
    let authority = Authority::new();
    let open = Arc::new(Mutex::new(false));
    let door = Arc::clone(&open);
    let stub = Stub::start_tls(&authority.server(&["127.0.0.1"]), move |_, _| {
        Reply::status(if *door.lock().expect("no panic") { 200 } else { 401 }, "who are you?")
    });
    let keys = |authority: &Authority| format!("ca_file = {:?}", authority.file());
    let other = Authority::new();
    let mut stranger = forward(kafka, "webhook-ca", &stub.url(), &keys(&other));
    stranger.config.more.push_str("\n[limits]\ndrain_ms_max = 500\n");
    let client = kafka.client();
    let sent = Finding::some(0, 20);
    let mut program = stranger.ready();
    stranger.produce(&client, &sent, Some(0));
    program.until("a refused certificate", |program| program.stderr().contains("certificate").then_some(()));
    program.signal("TERM");
    assert_eq!(program.wait(STOP), 1);
    assert!(stub.requests().is_empty() && stranger.committed(&client) == 0);

    let forward = forward(kafka, "webhook-login", &stub.url(), &keys(&authority));
    let mut program = forward.ready();
    forward.produce(&client, &sent, Some(0));
    program.until("a refusal", |program| program.stderr().contains("HTTP 401: who are you?").then_some(()));
    assert_eq!(forward.committed(&client), 0);
    *open.lock().expect("no panic") = true;
    forward.until_done(&client);
    let summary = program.stop();
    assert!(forward.dead(&client).is_empty());
    assert_eq!(summary.count("forwarded"), 20);
}
