//! Findings in a real rsyslog, over TCP and TLS, which is killed and restarted in the middle: what arrives is what was sent,
//! and what is lost is no more than the papers say.

use std::collections::{BTreeMap, BTreeSet};

use harness::kafka::Kafka;
use harness::say;
use harness::siem::{Authority, Finding, Forward, Rsyslog, RsyslogTls, Writes};
use harness::trailhound::{STOP, Trailhound};
use harness::wait::{PATIENCE, until_true};
use serde_json::Value;

const COUNT: usize = 10_000;

/// The pipeline: one worker, small batches, so that there are many deliveries.
fn forward(kafka: &Kafka, name: &str, port: u16, keys: &str) -> Forward {
    let sink = format!(r#"{{ syslog = {{ address = "127.0.0.1:{port}", retry_ms_max = 500, {keys} }} }}"#);
    Forward::new(kafka, name, 1, &sink, "batch = { messages_max = 100 }")
}

/// The finding in a message of the form `ocsf`.
fn finding(message: &str) -> Value {
    let (_, json) = message.split_once(" - ").and_then(|(_, rest)| rest.split_once(" - ")).expect("a header");
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {message}"))
}

/// Checks that each message is one of `sent`, as it was; returns the numbers of those that are missing.
#[track_caller]
fn missing(messages: &[String], sent: &[Finding]) -> Vec<usize> {
    let by_id: BTreeMap<&str, (usize, &Value)> =
        sent.iter().enumerate().map(|(number, one)| (one.id.as_str(), (number, &one.event))).collect();
    let mut came = BTreeSet::new();
    for message in messages {
        let event = finding(message);
        let (number, expect) = by_id[event["finding_info"]["uid"].as_str().expect("an id")];
        assert_eq!(&event, expect);
        came.insert(number);
    }
    (0..sent.len()).filter(|number| !came.contains(number)).collect()
}

/// Waits until it has written at least so many messages.
#[track_caller]
fn until_written(program: &mut Trailhound, rsyslog: &Rsyslog, count: usize) {
    program.until("messages in rsyslog's file", |_| (rsyslog.count() >= count).then_some(()));
}

/// Kills the receiver while a delivery lies in its system's buffers, and starts it again when the program has noticed. Gives
/// how many messages it had written.
#[track_caller]
fn kill_within_a_delivery(program: &mut Trailhound, rsyslog: &mut Rsyslog) -> usize {
    rsyslog.freeze();
    let frozen = program.metrics().sum("trailhound_sent_total", &[]);
    // The delivery that the freeze has caught may be at its end; of the next one nothing is read.
    program.until("a delivery that nobody reads", |program| {
        (program.metrics().sum("trailhound_sent_total", &[]) > frozen
            || frozen > program.metrics().sum("trailhound_forwarded_total", &[]))
        .then_some(())
    });
    rsyslog.kill9();
    program.until_waiting();
    let written = rsyslog.messages().len();
    rsyslog.restart();
    written
}

/// Waits until it has written the last finding.
#[track_caller]
fn until_last(rsyslog: &Rsyslog, sent: &[Finding]) {
    let last = &sent.last().expect("a finding").id;
    until_true(PATIENCE, "the last finding", || rsyslog.messages().last().is_some_and(|one| one.contains(last)));
}

#[test]
fn siem_syslog_loses_nothing_to_kill_9_where_the_receiver_writes_before_it_reads_on() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(mut rsyslog) = Rsyslog::start(None, Writes::AtOnce) else { return };
    let forward = forward(kafka, "syslog-kill", rsyslog.port(), r#"protocol = "tcp""#);
    let client = kafka.client();
    let sent = Finding::some(0, COUNT);
    let mut program = forward.ready();
    forward.produce(&client, &sent, Some(0));
    for part in 1..=3 {
        until_written(&mut program, &rsyslog, part * COUNT / 5);
        kill_within_a_delivery(&mut program, &mut rsyslog);
    }
    forward.until_done(&client);
    let summary = program.stop();
    summary.assert_balanced();
    assert_eq!((summary.count("forwarded"), summary.count("dead_lettered")), (COUNT as u64, 0));
    let messages = rsyslog.messages();
    assert_eq!(missing(&messages, &sent), [0; 0]);
    let again = messages.len() - COUNT;
    say(&format!("{again} of {COUNT} findings came again"));
}

#[test]
fn siem_syslog_over_tls_loses_only_what_the_receiver_had_in_memory() {
    let Some(kafka) = Kafka::shared() else { return };
    let authority = Authority::new();
    let (server, us) = (authority.server(&["127.0.0.1"]), authority.client("trailhound"));
    let tls = RsyslogTls { certificate: server, ca: authority.file(), asks_clients: true };
    let Some(mut rsyslog) = Rsyslog::start(Some(&tls), Writes::Later) else { return };
    let keys = format!(
        "ca_file = {:?}, client_certificate_file = {:?}, client_key_file = {:?}",
        authority.file(),
        us.certificate,
        us.key
    );
    let forward = forward(kafka, "syslog-tls", rsyslog.port(), &keys);
    let client = kafka.client();
    let sent = Finding::some(0, COUNT);
    let mut program = forward.ready();
    forward.produce(&client, &sent, Some(0));
    until_written(&mut program, &rsyslog, COUNT / 5);
    let written = kill_within_a_delivery(&mut program, &mut rsyslog);
    // Asked to stop, a receiver writes what it has read; so of the second half nothing may be missing.
    until_written(&mut program, &rsyslog, written + COUNT / 5);
    rsyslog.stop();
    program.until_waiting();
    rsyslog.restart();
    forward.until_done(&client);
    program.stop();
    until_last(&rsyslog, &sent);
    let lost = missing(&rsyslog.messages(), &sent);
    // What was in its memory when it died: the messages right behind those that it had written.
    let run: Vec<usize> = (written..written + lost.len()).collect();
    assert_eq!(lost, run, "{written} were written before the kill");
    say(&format!("{} of {COUNT} findings were in rsyslog's memory when it was killed", lost.len()));
}

#[test]
fn siem_syslog_with_a_connection_that_stays_loses_only_what_was_on_its_way() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(mut rsyslog) = Rsyslog::start(None, Writes::AtOnce) else { return };
    let keys = r#"protocol = "tcp", confirm = "settle", settle_ms = 20"#;
    let forward = forward(kafka, "syslog-settle", rsyslog.port(), keys);
    let client = kafka.client();
    let sent = Finding::some(0, COUNT / 5);
    let mut program = forward.ready();
    forward.produce(&client, &sent, Some(0));
    until_written(&mut program, &rsyslog, COUNT / 20);
    // It stands still, and the program goes on: deliveries count that nobody has read.
    rsyslog.freeze();
    let frozen = program.metrics().sum("trailhound_forwarded_total", &[]);
    program.until("deliveries that nobody reads", |program| {
        (program.metrics().sum("trailhound_forwarded_total", &[]) >= frozen + 200).then_some(())
    });
    rsyslog.kill9();
    program.until_waiting();
    let written = rsyslog.messages().len();
    rsyslog.restart();
    forward.until_done(&client);
    program.stop();
    until_last(&rsyslog, &sent);
    let lost = missing(&rsyslog.messages(), &sent);
    assert!(!lost.is_empty(), "what lay in the buffers");
    assert_eq!(lost, (written..written + lost.len()).collect::<Vec<_>>(), "{written} were written before the kill");
}

#[test]
fn siem_syslog_takes_cef_and_structured_data() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(rsyslog) = Rsyslog::start(None, Writes::AtOnce) else { return };
    let client = kafka.client();
    let sent = Finding::some(0, 60);
    for (name, id) in [("cef", "externalId="), ("structured-data", "[trailhound@32473 id=\"")] {
        let before = rsyslog.messages().len();
        let keys = format!(r#"protocol = "tcp", form = "{name}", facility = "audit", hostname = "h""#);
        let forward = forward(kafka, &format!("syslog-{name}"), rsyslog.port(), &keys);
        let mut program = forward.ready();
        forward.produce(&client, &sent, Some(0));
        forward.until_done(&client);
        program.stop();
        let messages = rsyslog.messages();
        let messages = &messages[before..];
        assert_eq!(messages.len(), sent.len());
        for (message, finding) in messages.iter().zip(&sent) {
            assert!(message.starts_with(&format!("<{}>1 2025-06-01T00:0", 13 * 8 + severity(finding))), "{message}");
            assert!(message.contains(&format!("{id}{}", finding.id)), "{message}");
            assert_eq!(message.lines().count(), 1, "{message:?}");
        }
    }
}

/// Syslog's severity of a finding.
fn severity(finding: &Finding) -> u64 {
    7 - finding.event["severity_id"].as_u64().expect("a severity")
}

#[test]
fn siem_syslog_refuses_what_is_too_long_with_a_dead_letter() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(rsyslog) = Rsyslog::start(None, Writes::AtOnce) else { return };
    let forward = forward(kafka, "syslog-long", rsyslog.port(), r#"protocol = "tcp", message_bytes_max = 2048"#);
    let client = kafka.client();
    let mut sent = Finding::some(0, 6);
    sent[1].event["evidences"][0]["data"] = "x".repeat(5_000).into();
    sent[2].event["message"] = "x".repeat(5_000).into();
    sent[3].event = Value::Null;
    let mut program = forward.ready();
    forward.produce(&client, &sent, Some(0));
    forward.until_done(&client);
    program.stop().assert_balanced();
    let mut dead = forward.dead(&client);
    dead.sort();
    let keys: Vec<&String> = dead.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [&sent[2].id, &sent[3].id]);
    assert!(dead[0].1.contains("over the limit of 2048") && dead[1].1.contains("no JSON object"), "{dead:?}");
    let messages = rsyslog.messages();
    assert_eq!(messages.len(), 4);
    let cut = finding(&messages[1]);
    assert_eq!(cut["metadata"]["is_truncated"], true);
    assert!(cut["evidences"][0].get("data").is_none(), "{cut}");
}

/// Checks that nothing counts as delivered, and that the log says why.
#[track_caller]
fn check_refused(kafka: &Kafka, rsyslog: &Rsyslog, name: &str, keys: &str, why: &[&str]) {
    let mut forward = forward(kafka, name, rsyslog.port(), keys);
    forward.config.more.push_str("\n[limits]\ndrain_ms_max = 500\n");
    let client = kafka.client();
    let mut program = forward.ready();
    forward.produce(&client, &Finding::some(0, 10), Some(0));
    program.until("the receiver to count as down", |program| {
        (program.metrics().sum("trailhound_target_down", &[]) == 1).then_some(())
    });
    assert!(why.iter().any(|why| program.stderr().contains(why)), "{}", program.stderr());
    program.signal("TERM");
    assert_eq!(program.wait(STOP), 1);
    assert_eq!(forward.committed(&client), 0);
    assert!(rsyslog.messages().is_empty());
}

#[test]
fn siem_syslog_delivers_nothing_to_whom_it_does_not_trust_or_who_does_not_trust_it() {
    let Some(kafka) = Kafka::shared() else { return };
    let (authority, other) = (Authority::new(), Authority::new());
    let tls = |names: &[&str], asks_clients| RsyslogTls {
        certificate: authority.server(names),
        ca: authority.file(),
        asks_clients,
    };
    let Some(rsyslog) = Rsyslog::start(Some(&tls(&["127.0.0.1"], true)), Writes::AtOnce) else { return };
    let ca = |authority: &Authority| format!("ca_file = {:?}", authority.file());
    check_refused(kafka, &rsyslog, "syslog-unknown", &ca(&other), &["invalid peer certificate: "]);
    // With TLS 1.3 a client learns that it was refused only after it has sent.
    check_refused(kafka, &rsyslog, "syslog-nobody", &ca(&authority), &["received fatal alert", "reset", "closed"]);
    let us = other.client("trailhound");
    let keys =
        format!("{}, client_certificate_file = {:?}, client_key_file = {:?}", ca(&authority), us.certificate, us.key);
    check_refused(kafka, &rsyslog, "syslog-stranger", &keys, &["received fatal alert", "reset", "closed"]);
    let Some(rsyslog) = Rsyslog::start(Some(&tls(&["siem.example"], false)), Writes::AtOnce) else { return };
    check_refused(kafka, &rsyslog, "syslog-name", &ca(&authority), &["not valid for name"]);
    check_refused(kafka, &rsyslog, "syslog-plain", r#"protocol = "tcp""#, &["reset", "vain", "closed", "Broken pipe"]);
}
