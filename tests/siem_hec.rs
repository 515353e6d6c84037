//! Findings to a real receiver of Splunk's HTTP Event Collector: whatever breaks on the way, each is there, and what it
//! refuses is a dead letter with its words.

use std::collections::BTreeMap;

use harness::kafka::{Kafka, Outgoing};
use harness::siem::{Authority, Fault, Hec, HecOptions, Reply, Scene, TOKEN, finding, gateway};
use harness::trailhound::{Config, Trailhound};

use crate::program::run;

/// A forwarder of `name` to the collector at `url`; it is impatient, and its batches are small.
fn forwarder(kafka: &Kafka, name: &str, url: &str, more: &str) -> Config {
    let patience = "request_ms_max = 2000, retry_ms_min = 20, retry_ms_max = 300";
    let about = format!(r#"token = "{TOKEN}", index = "security", sourcetype = "ocsf", source = "{name}""#);
    let sink = format!(r#"{{ splunk = {{ url = "{url}", {about}, {patience}{more} }} }}"#);
    let mut config = Config::forward(&kafka.bootstrap(), name, &sink);
    config.more = "batch = { messages_max = 200 }".to_owned();
    config
}

fn port(url: &str) -> u16 {
    url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
}

/// Holds what has arrived against the findings that must be there. Gives how many are there more than once.
#[track_caller]
fn assert_there(hec: &Hec, scene: &Scene) -> usize {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for event in hec.events() {
        let id = event["fields"]["id"].as_str().unwrap_or_else(|| panic!("no id: {event}")).to_owned();
        assert_eq!(event["event"]["finding_info"]["uid"], id.as_str(), "{event}");
        assert_eq!(event["meta"]["com.splunk.index"], "security", "{event}");
        assert_eq!(event["meta"]["com.splunk.sourcetype"], "ocsf", "{event}");
        let time_ms = event["event"]["time"].as_i64().expect("a time");
        assert_eq!(event["time_ns"].as_i64().map(|ns| ns / 1_000_000), Some(time_ms), "{event}");
        *found.entry(id).or_default() += 1;
    }
    let missing: Vec<&String> = scene.ids.iter().filter(|id| !found.contains_key(*id)).collect();
    let strange: Vec<&String> = found.keys().filter(|id| !scene.ids.contains(*id)).collect();
    assert!(missing.is_empty() && strange.is_empty(), "missing {missing:?}, not expected {strange:?}");
    found.values().filter(|times| **times > 1).count()
}

#[test]
fn a_receiver_that_was_killed_has_each_finding() {
    for ack in [false, true] {
        let (Some(kafka), Some(mut hec)) = (Kafka::shared(), Hec::start(HecOptions { ack, ..HecOptions::default() }))
        else {
            return;
        };
        let scene = Scene::new(kafka, &format!("hec-killed-{ack}"), 10_000);
        let more = format!(", acknowledge = {ack}, ack_ms_max = 2000");
        let mut program = Trailhound::ready(&forwarder(kafka, &scene.name, &hec.url(), &more));
        program.until_received(2_000);
        hec.kill9();
        program.until("the target to count as down", |program| {
            (program.metrics().sum("trailhound_target_down", &[("pipeline", "detect")]) > 0).then_some(())
        });
        hec.restart();
        scene.finish(&mut program, 0);
        // Of each worker the batch that was on its way.
        assert!(assert_there(&hec, &scene) <= 400);
    }
}

#[test]
fn storms_and_lost_answers_lose_nothing() {
    let (Some(kafka), Some(hec)) = (Kafka::shared(), Hec::start(HecOptions::default())) else { return };
    let scene = Scene::new(kafka, "hec-storms", 10_000);
    let gateway = gateway(port(&hec.url()), |_, number| match number % 9 {
        1 => Fault::Instead(Reply::status(503, r#"{"text":"Server is busy","code":9}"#)),
        2 => Fault::Instead(Reply::status(429, "slowly").with("retry-after", "0")),
        3 => Fault::LostAnswer,
        5 => Fault::Instead(Reply::Cut),
        6 => Fault::Instead(Reply::status(500, r#"{"text":"Internal server error","code":8}"#)),
        7 if number < 30 => Fault::NeverAnswered,
        _ => Fault::None,
    });
    let mut config = forwarder(kafka, &scene.name, &gateway.url(), "");
    config.sink = config.sink.replace("request_ms_max = 2000", "request_ms_max = 1000");
    config.more = "batch = { messages_max = 500 }".to_owned();
    let mut program = Trailhound::ready(&config);
    scene.finish(&mut program, 0);
    assert!(assert_there(&hec, &scene) > 0, "lost answers make repeats, under one id");
}

#[test]
fn what_is_refused_is_a_dead_letter_with_the_answer() {
    let (Some(kafka), Some(hec)) = (Kafka::shared(), Hec::start(HecOptions::default())) else { return };
    let mut scene = Scene::new(kafka, "hec-refused", 300);
    let bad = |number, value: &str| Outgoing { value: Some(value.as_bytes().to_vec()), ..finding(number) };
    scene.produce_bad(&[bad(1_000, "null"), bad(1_001, "\"\""), bad(1_002, "{\"cut\":"), bad(1_003, "")]);
    scene.produce(&(400..500).map(finding).collect::<Vec<_>>());
    let mut program = Trailhound::ready(&forwarder(kafka, &scene.name, &hec.url(), ""));
    let letters = scene.finish(&mut program, 4);
    assert_there(&hec, &scene);
    let mut details: Vec<String> = letters.iter().filter_map(|letter| letter.header("trailhound.detail")).collect();
    details.sort();
    assert!(details.iter().filter(|detail| detail.starts_with("HTTP 400: ")).count() == 2, "{details:#?}");
    assert!(details.iter().filter(|detail| detail.contains("no JSON")).count() == 2, "{details:#?}");
}

#[test]
fn a_wrong_token_throws_nothing_away() {
    let (Some(kafka), Some(hec)) = (Kafka::shared(), Hec::start(HecOptions::default())) else { return };
    let scene = Scene::new(kafka, "hec-token", 300);
    let right = forwarder(kafka, &scene.name, &hec.url(), "");
    let mut wrong = right.clone();
    wrong.sink = wrong.sink.replace(TOKEN, "s3cret-and-wrong");
    let mut program = Trailhound::ready(&wrong);
    program.until("the token to be refused", |program| program.stderr().contains("until somebody acts").then_some(()));
    assert!(!program.stderr().contains("s3cret"), "{}", program.stderr());
    let done = run(&[&"validate", &"--connect", &"--config", &program.config()]);
    assert_eq!(done.code, 1, "{}", done.stdout);
    assert!(done.stderr.contains("HTTP 401") && !done.stderr.contains("s3cret"), "{}", done.stderr);
    program.kill9();
    let mut program = Trailhound::ready(&right);
    scene.finish(&mut program, 0);
    assert_there(&hec, &scene);
    let done = run(&[&"validate", &"--connect", &"--config", &program.config()]).well();
    assert!(done.stdout.contains("the token is good"), "{}", done.stdout);
}

#[test]
fn both_ends_prove_who_they_are() {
    let Some(kafka) = Kafka::shared() else { return };
    let (ours, theirs) = (Authority::new(), Authority::new());
    let options =
        HecOptions { tls: Some(theirs.server(&["127.0.0.1"])), client_ca: Some(ours.file()), ..HecOptions::default() };
    let Some(hec) = Hec::start(options) else { return };
    let scene = Scene::new(kafka, "hec-tls", 100);
    let with = |authority: &Authority, signer: &Authority| {
        let client = signer.client("forwarder");
        let files = format!(
            ", ca_file = {:?}, client_certificate_file = {:?}, client_key_file = {:?}",
            authority.file(),
            client.certificate,
            client.key
        );
        forwarder(kafka, &scene.name, &hec.url(), &files)
    };
    // The server's certificate is not of our authority; then the client's is not of theirs.
    for config in [with(&ours, &ours), with(&theirs, &theirs)] {
        let mut program = Trailhound::ready(&config);
        program.until("the certificate to be refused", |program| {
            program.stderr().contains("counts as down").then_some(())
        });
        program.kill9();
        assert!(hec.events().is_empty());
    }
    let mut program = Trailhound::ready(&with(&theirs, &ours));
    scene.finish(&mut program, 0);
    assert_there(&hec, &scene);
}
