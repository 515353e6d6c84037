//! Firehose's contract over real connections: what is answered, when, and what becomes of the records.

use std::io::Write as _;

use super::testing::{ARN, BODY, ID, Running, Taken, head, next, post};
use super::{FirehoseLimits, testing};
use crate::pipeline::now_ms;

fn running() -> Running {
    Running::start(FirehoseLimits::default()).with_worker()
}

/// An answer's body without its time, which must be now.
#[track_caller]
fn timeless(body: &str) -> String {
    let (before, rest) = body.split_once("\"timestamp\":").unwrap();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
    let ms: i64 = rest[..end].parse().unwrap();
    assert!((now_ms() - 60_000..=now_ms()).contains(&ms), "{body}");
    format!("{before}\"timestamp\":0{}", &rest[end..])
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn success_is_answered_to_the_byte() {
    let came = running().ask(&post(BODY.as_bytes(), &[]));
    assert_eq!(timeless(&came.body), format!(r#"{{"requestId":"{ID}","timestamp":0}}"#));
    assert_eq!(came.headers[0], "http/1.1 200 ok");
    let length = format!("content-length: {}", came.body.len());
    for line in ["content-type: application/json", length.as_str()] {
        assert!(came.headers.iter().any(|header| header == line), "no {line} in {:?}", came.headers);
    }
    for name in ["content-encoding", "transfer-encoding"] {
        assert!(!came.headers.iter().any(|header| header.starts_with(name)), "{:?}", came.headers);
    }
}

#[test]
fn every_failure_has_the_form_of_the_contract_and_the_request_s_id() {
    let running = running();
    let wrong_body = |body: &str| post(body.as_bytes(), &[]);
    let path = String::from_utf8(post(BODY.as_bytes(), &[])).unwrap().replacen("POST /", "POST /other", 1);
    let get = head(&[]).replacen("POST", "GET", 1);
    for (request, status, part) in [
        (post(BODY.as_bytes(), &[("X-Amz-Firehose-Access-Key", "")]), 401, "access key"),
        (post(BODY.as_bytes(), &[("X-Amz-Firehose-Access-Key", "an access key of test")]), 401, "access key"),
        (post(BODY.as_bytes(), &[("X-Amz-Firehose-Protocol-Version", "")]), 400, "Protocol-Version"),
        (post(BODY.as_bytes(), &[("X-Amz-Firehose-Protocol-Version", "2.0")]), 400, "Protocol-Version"),
        (post(BODY.as_bytes(), &[("X-Amz-Firehose-Source-Arn", "")]), 400, "Source-Arn"),
        (post(BODY.as_bytes(), &[("Content-Type", "text/plain")]), 400, "Content-Type"),
        (post(BODY.as_bytes(), &[("Content-Encoding", "br")]), 400, "Content-Encoding"),
        (post(BODY.as_bytes(), &[("Content-Encoding", "gzip")]), 400, "no gzip"),
        (wrong_body(""), 400, "EOF"),
        (wrong_body("{}"), 400, "requestId"),
        (wrong_body(&BODY.replace("aGVsbG8=", "*")), 400, "base64"),
        (wrong_body(&BODY.replace("ed4acda5", "00000000")), 400, "not that of the header"),
        (path.into_bytes(), 404, "path"),
        (get.into_bytes(), 405, "POST"),
    ] {
        let came = running.ask(&request);
        assert_eq!(came.status, status, "{}", came.body);
        let start = format!(r#"{{"requestId":"{ID}","timestamp":0,"errorMessage":""#);
        assert!(timeless(&came.body).starts_with(&start) && came.body.contains(part), "{part}: {}", came.body);
        assert!(came.headers.contains(&"content-type: application/json".to_owned()));
    }
    let came = running.ask(&post(BODY.as_bytes(), &[("X-Amz-Firehose-Request-Id", "")]));
    assert!((came.status, came.body.starts_with(r#"{"requestId":"","#)) == (400, true), "{came:?}");
}

#[test]
fn records_come_as_they_were_sent_and_with_the_same_keys_when_they_are_sent_again() {
    let running = Running::start(FirehoseLimits::default());
    let mut source = running.source();
    let gzipped = post(&gzip(BODY.as_bytes()), &[("Content-Encoding", "gzip")]);
    let mut chunked = head(&[("Transfer-Encoding", "chunked")]).into_bytes();
    for part in BODY.as_bytes().chunks(50) {
        write!(chunked, "{:x}\r\n", part.len()).unwrap();
        chunked.extend_from_slice(&[part, b"\r\n"].concat());
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let extra =
        [("X-Amz-Firehose-Access-Key", "another key that is let in"), ("X-Amz-Firehose-Common-Attributes", "{}")];
    for request in [post(BODY.as_bytes(), &[]), gzipped, chunked, post(BODY.as_bytes(), &extra)] {
        let mut client = running.connect();
        client.send(&request);
        let messages = next(&mut source, &running);
        assert_eq!(messages.len(), 2);
        for (at, Taken { key, headers, payload }) in messages.iter().enumerate() {
            assert_eq!(*key, format!("{ID}/{at}"));
            assert_eq!(payload, ["hello", "hello world"][at]);
            let [arn, id, (name, arrived)] = headers.as_slice() else { panic!("{headers:?}") };
            assert_eq!(arn, &("firehose.source-arn".to_owned(), ARN.to_owned()));
            assert_eq!(id, &("firehose.request-id".to_owned(), ID.to_owned()));
            assert_eq!(name, "firehose.arrived-ms");
            assert!((now_ms() - arrived.parse::<i64>().unwrap()).abs() < 60_000, "{arrived}");
        }
        assert!(client.is_quiet(), "no answer before the records are delivered");
        source.commit();
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn what_is_not_delivered_is_to_be_sent_again() {
    let running = Running::start(FirehoseLimits::default());
    let mut source = running.source();
    let mut client = running.connect();
    client.send(&post(BODY.as_bytes(), &[]));
    assert_eq!(next(&mut source, &running).len(), 2);
    source.close();
    let came = client.answer();
    assert!(came.status == 503 && came.body.contains("not delivered"), "{came:?}");
    testing::until("its room to be free", || running.metrics.in_flight_bytes() == 0);
}

#[test]
fn a_broken_request_spoils_no_other_of_its_batch() {
    let running = Running::start(FirehoseLimits::default());
    let mut source = running.source();
    let broken = BODY.replace("aGVsbG8gd29ybGQ=", "*");
    let requests = [BODY, broken.as_str(), BODY].map(|body| post(body.as_bytes(), &[]));
    let mut clients: Vec<_> = requests
        .iter()
        .enumerate()
        .map(|(at, request)| {
            let mut client = running.connect();
            client.send(request);
            testing::until("the request to wait", || running.endpoint.as_ref().unwrap().shared.queue.len() == at + 1);
            client
        })
        .collect();
    assert_eq!(next(&mut source, &running).len(), 4, "two whole requests, and nothing of the third");
    assert_eq!(clients[1].answer().status, 400);
    source.commit();
    assert_eq!([clients[0].answer().status, clients[2].answer().status], [200, 200]);
}

#[test]
fn a_connection_serves_requests_one_after_the_other_also_after_a_refusal() {
    let running = running();
    let mut client = running.connect();
    let large = vec![b'x'; 1 << 20];
    for (body, key, status) in [
        (BODY.as_bytes(), testing::KEY, 200),
        (&large[..], "no key that is let in", 401),
        (&large[..], testing::KEY, 400),
        (BODY.as_bytes(), testing::KEY, 200),
    ] {
        client.send(&post(body, &[("X-Amz-Firehose-Access-Key", key)]));
        assert_eq!(client.answer().status, status);
    }
}

#[test]
fn a_load_balancer_may_ask_without_a_key() {
    let running = running();
    let came = running.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((came.status, came.body.as_str()), (200, "ready\n"));
    assert_eq!(running.ask(b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").status, 404);
}

#[test]
fn a_stop_answers_what_is_in_hand_and_takes_nothing_new() {
    let mut running = Running::start(FirehoseLimits::default());
    let mut source = running.source();
    running.endpoint = None;
    let (mut idle, mut in_hand, mut reading) = (running.connect(), running.connect(), running.connect());
    idle.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    reading.send(head(&[("Content-Length", "1000")]).as_bytes());
    testing::until("its head to be read", || running.metrics.in_flight_bytes() > 0);
    in_hand.send(&post(BODY.as_bytes(), &[]));
    assert_eq!(next(&mut source, &running).len(), 2);
    running.shutdown.request();
    assert_eq!(reading.answer().status, 503, "its body had not come");
    assert!(idle.is_closed());
    testing::until("the port to be free", || std::net::TcpStream::connect(running.address).is_err());
    assert!(in_hand.is_quiet());
    source.commit();
    assert_eq!(in_hand.answer().status, 200);
    let mut batch = crate::batch::Batch::default();
    assert!(!source.next_batch(&mut batch, &running.shutdown).unwrap());
    source.close();
    assert!(in_hand.is_closed());
}
