//! The receivers themselves: each starts, takes something, is killed, and comes back with it.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::json;

use super::*;
use crate::http;
use crate::wait::{PATIENCE, until, until_true};

#[test]
fn siem_opensearch_keeps_what_it_acknowledged() {
    let Some(mut node) = OpenSearch::start(&["http.max_content_length=1mb"]) else { return };
    assert!(node.documents("findings").is_empty());
    let body = "{\"create\":{\"_id\":\"a\"}}\n{\"n\":1}\n{\"create\":{\"_id\":\"a\"}}\n{\"n\":2}\n";
    let (status, answer) = node.request("POST", "/findings/_bulk", body);
    assert_eq!(status, 200, "{answer}");
    let statuses: Vec<_> = (0..2).map(|at| answer["items"][at]["create"]["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(201), Some(409)], "{answer}");
    let (status, _) = node.request("POST", "/findings/_bulk", &"x".repeat(2 << 20));
    assert_eq!(status, 413, "too large");
    node.kill9();
    node.restart();
    assert_eq!(node.documents("findings")["a"], json!({ "n": 1 }));
    node.set("findings", &json!({ "index.blocks.write": true }));
    let (_, answer) = node.request("POST", "/findings/_bulk", "{\"create\":{\"_id\":\"b\"}}\n{\"n\":1}\n");
    assert_eq!(answer["items"][0]["create"]["status"], 403, "{answer}");
}

#[test]
fn siem_hec_keeps_what_it_answered() {
    let Some(mut hec) = Hec::start(HecOptions { ack: true, ..HecOptions::default() }) else { return };
    let post = |path: &str, token: &str, body: &str| {
        let port = hec.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let authorization = format!("Splunk {token}");
        let channel = ("X-Splunk-Request-Channel", "0d6f3a1c-5a5e-4f0e-9a3e-3f0c8a527b11");
        http::send(port, "POST", path, &[("Authorization", &authorization), channel], body.as_bytes()).expect("answer")
    };
    let event = r#"{"time":1.5,"source":"s","index":"i","fields":{"rule":"x"},"event":{"n":1}}"#;
    let (status, answer) = post("/services/collector/event", TOKEN, &format!("{event}{event}"));
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("\"ackId\": 1"), "{answer}");
    assert_eq!(post("/services/collector/event", "another", event).0, 401);
    assert!(post("/services/collector/ack", TOKEN, "{\"acks\":[1]}").1.contains("\"1\":true"));
    assert!(post("/services/collector/ack", TOKEN, "{\"acks\":[1]}").1.contains("\"1\":false"), "once");
    hec.kill9();
    hec.restart();
    let events = hec.events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["event"], json!({ "n": 1 }));
    assert_eq!(events[0]["meta"]["com.splunk.index"], "i");
    assert_eq!(events[0]["fields"]["rule"], "x");
    assert_eq!(events[0]["time_ns"], 1_500_000_000_u64);
}

#[test]
fn siem_rsyslog_writes_what_arrives() {
    let Some(mut rsyslog) = Rsyslog::start(None, Writes::AtOnce) else { return };
    let message = "<134>1 2026-01-02T03:04:05.000006Z h a - - - two\nlines \"é\"";
    for count in 1..=2 {
        let mut stream = TcpStream::connect(("127.0.0.1", rsyslog.port())).expect("a connection");
        write!(stream, "{} {message}", message.len()).expect("a write");
        until_true(PATIENCE, "the message", || rsyslog.messages() == vec![message; count]);
        rsyslog.kill9();
        rsyslog.restart();
    }
    let authority = Authority::new();
    let tls = RsyslogTls { certificate: authority.server(&["127.0.0.1"]), ca: authority.file(), asks_clients: true };
    let Some(rsyslog) = Rsyslog::start(Some(&tls), Writes::Later) else { return };
    let mut plain = TcpStream::connect(("127.0.0.1", rsyslog.port())).expect("a connection");
    plain.write_all(&[b'x'; 100]).expect("a write");
    until_true(PATIENCE, "a refusal of what is no TLS", || rsyslog.log().to_lowercase().contains("ssl"));
}

#[test]
fn siem_stub_answers_as_told() {
    let mut stub = Stub::start(|request, number| match number {
        0 => Reply::status(429, &request.text()).with("retry-after", "7"),
        1 => Reply::Cut,
        _ => Reply::Never,
    });
    let port: u16 = stub.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let post = |body: &str| http::send(port, "POST", "/x?y", &[("A", "b")], body.as_bytes());
    assert_eq!(post("one").expect("an answer"), (429, "one".to_owned()));
    assert!(post("two").is_err());
    let waiting = std::thread::spawn(move || http::send(port, "POST", "/", &[], b"three"));
    until(PATIENCE, "three requests", || (stub.requests().len() == 3).then_some(()));
    stub.down();
    assert!(waiting.join().expect("no panic").is_err());
    assert!(http::get(port, "/").is_err(), "down");
    stub.up();
    let requests = stub.requests();
    let first = requests.first().expect("a request");
    assert_eq!((first.method.as_str(), first.path.as_str(), first.header("a")), ("POST", "/x?y", "b"));
}
