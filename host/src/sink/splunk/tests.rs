//! A collector's answers, and what becomes of the events.

use serde_json::Value;

use super::super::http::testing::{Patience, Reply, Stub, findings, outgoing};
use super::*;

fn config(stub: &Stub, acknowledge: Option<Duration>) -> SplunkConfig {
    SplunkConfig {
        http: stub.config(),
        token: Secret::new("s3cret".to_owned()),
        index: Some("sec".to_owned()),
        source: Some("trailhound".to_owned()),
        sourcetype: None,
        host: None,
        acknowledge,
    }
}

fn ok() -> Reply {
    Reply::json(200, r#"{"text":"Success","code":0}"#)
}

fn code(status: u16, code: u32) -> Reply {
    Reply::json(status, format!(r#"{{"text":"t","code":{code}}}"#))
}

/// The ids of the events of a request.
fn ids(body: &str) -> Vec<String> {
    let events = body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.map(|event| event["fields"]["id"].as_str().unwrap().to_owned()).collect()
}

/// Delivers findings to a collector that answers so. Gives the ids of each request, and what was refused.
fn deliver(n: usize, replies: Vec<Reply>) -> (Vec<Vec<String>>, Vec<usize>) {
    let stub = Stub::script(replies);
    let all = findings(n);
    let mut sink = SplunkSink::new(config(&stub, None)).unwrap();
    let refused = sink.deliver(&outgoing(&all), &mut Patience::new().wait()).unwrap();
    let sent = stub.seen().iter().map(|seen| ids(&seen.body)).collect();
    (sent, refused.iter().map(|refused| refused.index).collect())
}

#[test]
fn an_event_is_what_hec_takes() {
    let stub = Stub::script(vec![ok()]);
    let all = findings(2);
    let mut sink = SplunkSink::new(config(&stub, None)).unwrap();
    assert!(sink.deliver(&outgoing(&all), &mut Patience::new().wait()).unwrap().is_empty());
    let [seen] = stub.seen().try_into().unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/services/collector/event"));
    assert_eq!(seen.header("authorization"), Some("Splunk s3cret"));
    assert_eq!(seen.header("x-splunk-request-channel"), None);
    assert_eq!(
        seen.body.lines().next().unwrap(),
        format!(
            "{{\"time\":1700000000.123,\"source\":\"trailhound\",\"index\":\"sec\",\"fields\":{{\"id\":\"id0\",\
             \"rule\":\"A-1\",\"severity\":\"high\"}},\"event\":{}}}",
            all[0].1
        )
    );
}

/// Each code of the table with the status that it comes with.
#[test]
fn every_code_means_something() {
    for (code, status, expect) in [
        (0, 200, "accepted"),
        (1, 403, "stop"),      // Token disabled
        (2, 401, "stop"),      // Token is required
        (3, 401, "stop"),      // Invalid authorization
        (4, 403, "stop"),      // Invalid token
        (5, 400, "split"),     // No data
        (6, 400, "split"),     // Invalid data format
        (7, 400, "stop"),      // Incorrect index
        (8, 500, "again"),     // Internal server error
        (9, 503, "again"),     // Server is busy
        (10, 400, "stop"),     // Data channel is missing
        (11, 400, "stop"),     // Invalid data channel
        (12, 400, "split"),    // Event field is required
        (13, 400, "split"),    // Event field cannot be blank
        (14, 400, "stop"),     // ACK is disabled
        (15, 400, "split"),    // Error in handling indexed fields
        (16, 400, "stop"),     // Query string authorization is not enabled
        (17, 200, "again"),    // HEC is healthy: no answer to events
        (18, 503, "again"),    // HEC is unhealthy, queues are full
        (19, 503, "again"),    // HEC is unhealthy, ack service unavailable
        (20, 503, "again"),    // HEC is unhealthy, both
        (21, 400, "stop"),     // Invalid token
        (22, 400, "stop"),     // Token disabled
        (23, 503, "again"),    // Server is shutting down
        (24, 200, "accepted"), // The queue approaches its capacity
        (25, 200, "accepted"), // The ACK channel approaches its capacity
        (26, 429, "again"),    // The queue is at its capacity
        (27, 429, "again"),    // The ACK channel is at its capacity
        // Of others that speak HEC: an address, a form, a room that is not there; a code that nobody knows.
        (6, 404, "stop"),
        (6, 415, "stop"),
        (6, 413, "split"),
        (9, 429, "again"),
        (24, 503, "again"),
        (404, 404, "stop"),
        (99, 400, "split"),
        (99, 200, "again"),
    ] {
        let body = format!(r#"{{"text":"t","code":{code}}}"#).into_bytes();
        let kind = match verdict(&Answer { status, body, ..Answer::default() }, 2) {
            Verdict::Accepted => "accepted",
            Verdict::Again { .. } => "again",
            Verdict::Split(_) => "split",
            Verdict::Stop(_) => "stop",
            Verdict::Parts(_) => "parts",
        };
        assert_eq!(kind, expect, "code {code} with status {status}");
    }
}

#[test]
fn codes_that_pass_are_waited_for() {
    for reply in [
        code(500, 8),
        code(503, 9),
        code(503, 18),
        code(503, 23),
        code(429, 26),
        // The token, the index, the channel: nothing is thrown away.
        code(403, 1),
        code(401, 2),
        code(401, 3),
        code(403, 4),
        code(400, 7),
        code(400, 10),
        code(400, 14),
        // Not Splunk's.
        Reply::json(502, "<html>"),
        Reply::json(200, "<html>"),
        Reply::Cut,
        Reply::Silent,
    ] {
        let (sent, refused) = deliver(1, vec![reply.clone(), ok()]);
        assert_eq!((sent.len(), refused.len()), (2, 0), "{reply:?}");
    }
}

#[test]
fn the_event_that_is_named_is_refused_alone() {
    let bad = r#"{"text":"Invalid data format","code":6,"invalid-event-number":1}"#;
    let (sent, refused) = deliver(3, vec![Reply::json(400, bad), ok()]);
    assert_eq!(sent, [vec!["id0", "id1", "id2"], vec!["id0", "id2"]]);
    assert_eq!(refused, [1]);
    // One that is out of bounds names none, as does no number.
    for bad in [r#"{"code":12,"invalid-event-number":9}"#, r#"{"code":6}"#, r#"{"code":13.0}"#] {
        let (sent, refused) = deliver(2, vec![Reply::json(400, bad), Reply::json(400, bad), ok()]);
        assert_eq!(sent, [vec!["id0", "id1"], vec!["id0"], vec!["id1"]]);
        assert_eq!(refused, [0]);
    }
    let (sent, refused) = deliver(2, vec![Reply::json(413, ""), ok()]);
    assert_eq!((sent.len(), refused.len()), (3, 0));
}

#[test]
fn what_is_no_json_is_not_sent() {
    let stub = Stub::script(vec![ok()]);
    let all = vec![("a".to_owned(), "{\"cut\":".to_owned()), ("b".to_owned(), "{}".to_owned())];
    let mut sink = SplunkSink::new(config(&stub, None)).unwrap();
    let refused = sink.deliver(&outgoing(&all), &mut Patience::new().wait()).unwrap();
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [0]);
    assert_eq!(ids(&stub.seen()[0].body), ["b"]);
}

/// Delivers two findings to a collector with acknowledgement. Gives how often events were sent.
fn acknowledge(answer: impl FnMut(usize, bool) -> Reply + Send + 'static) -> usize {
    let mut answer = answer;
    let stub = Stub::start(move |number, seen| answer(number, seen.path.starts_with("/services/collector/ack?")));
    let mut sink = SplunkSink::new(config(&stub, Some(Duration::from_millis(400)))).unwrap();
    let all = findings(2);
    assert!(sink.deliver(&outgoing(&all), &mut Patience::new().wait()).unwrap().is_empty());
    let seen = stub.seen();
    let channel = seen[0].header("x-splunk-request-channel").unwrap().to_owned();
    assert_eq!(channel.len(), 36);
    for seen in &seen {
        assert_eq!(seen.header("x-splunk-request-channel"), Some(channel.as_str()));
        if let Some(of) = seen.path.strip_prefix("/services/collector/ack?channel=") {
            assert_eq!((of, seen.body.as_str()), (channel.as_str(), r#"{"acks":[7]}"#));
        }
    }
    seen.iter().filter(|seen| seen.path == "/services/collector/event").count()
}

fn taken() -> Reply {
    Reply::json(200, r#"{"text":"Success","code":0,"ackId":7}"#)
}

fn acks(done: bool) -> Reply {
    Reply::json(200, format!(r#"{{"acks":{{"7":{done}}}}}"#))
}

#[test]
fn an_acknowledgement_is_asked_for_until_it_comes() {
    let sent = acknowledge(|number, asks| if asks { acks(number > 3) } else { taken() });
    assert_eq!(sent, 1);
    let sent = acknowledge(|number, asks| match (number, asks) {
        (_, false) => taken(),
        (1, true) => Reply::Cut,
        (2, true) => Reply::json(503, "busy"),
        _ => acks(true),
    });
    assert_eq!(sent, 1);
}

#[test]
fn events_whose_acknowledgement_is_lost_are_sent_again() {
    let mut sent = 0;
    let sent = acknowledge(move |_, asks| {
        sent += usize::from(!asks);
        if asks { acks(sent > 1) } else { taken() }
    });
    assert_eq!(sent, 2);
    // One that is near its capacity, and says nothing to ask with, has promised nothing.
    assert_eq!(
        acknowledge(|number, asks| match (number, asks) {
            (0, _) => code(200, 25),
            (_, true) => acks(true),
            (_, false) => taken(),
        }),
        2
    );
    // A token without acknowledgement waits for somebody to act, with one event.
    assert_eq!(
        acknowledge(|number, asks| if asks {
            acks(true)
        } else if number == 0 {
            ok()
        } else {
            taken()
        }),
        3
    );
}

#[test]
fn the_check_asks_for_health_and_token() {
    let healthy = Reply::json(200, r#"{"text":"HEC is healthy","code":17}"#);
    let check = |health: Reply, token: Reply| {
        let stub = Stub::script(vec![health, token]);
        SplunkSink::new(config(&stub, None)).unwrap().check()
    };
    assert!(check(healthy.clone(), code(400, 5)).unwrap().contains("HEC is healthy"));
    assert!(check(healthy, code(403, 4)).unwrap_err().contains("HTTP 403"));
    assert!(check(code(503, 18), code(400, 5)).unwrap_err().contains("HTTP 503"));
}
