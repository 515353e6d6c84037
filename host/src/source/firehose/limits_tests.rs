//! Every limit of the endpoint, hit by a client that would go beyond it.

use std::time::{Duration, Instant};

use super::testing::{BODY, Folder, Running, certificate, head, next, post, until};
use super::{FirehoseLimits, testing};

const KIB: usize = 1 << 10;

fn chunk(bytes: usize) -> Vec<u8> {
    [format!("{bytes:x}\r\n").as_bytes(), &vec![b' '; bytes], b"\r\n"].concat()
}

#[test]
fn a_body_that_is_too_large_is_refused_and_never_with_413() {
    let limits = FirehoseLimits { body_bytes_max: 200 * KIB, ..Default::default() };
    let running = Running::start(limits).with_worker();
    let came = running.ask(&post(&vec![b' '; 201 * KIB], &[]));
    assert!(came.status == 400 && came.body.contains("body_bytes_max"), "{came:?}");
    let mut client = running.connect();
    client.send(head(&[("Transfer-Encoding", "chunked")]).as_bytes());
    client.send(&chunk(150 * KIB));
    assert!(client.is_quiet());
    client.send(&chunk(51 * KIB));
    let came = client.answer();
    assert!(came.status == 400 && came.body.contains("body_bytes_max"), "{came:?}");
    let spaces = post(&[BODY.as_bytes(), &vec![b' '; 190 * KIB]].concat(), &[]);
    assert_eq!(running.ask(&spaces).status, 200);
}

#[test]
fn room_is_reserved_before_a_body_is_read_and_overload_is_answered_at_once() {
    let limits = FirehoseLimits { in_flight_bytes_max: 1_000 * KIB, ..Default::default() };
    let running = Running::start(limits).with_worker();
    let mut first = running.connect();
    first.send(head(&[("Content-Length", &(900 * KIB).to_string())]).as_bytes());
    until("the room to be reserved", || running.metrics.in_flight_bytes() == (904 * KIB) as i64);
    // Nothing of the first body has come, and the second is not sent either.
    let mut second = running.connect();
    second.send(head(&[("Content-Length", &(100 * KIB).to_string())]).as_bytes());
    let came = second.answer();
    assert!(came.status == 503 && came.body.contains("in_flight_bytes_max"), "{came:?}");
    // Of a body of unknown length room is taken as it comes.
    let mut third = running.connect();
    third.send(head(&[("Transfer-Encoding", "chunked")]).as_bytes());
    third.send(&chunk(60 * KIB));
    assert!(third.is_quiet());
    third.send(&chunk(60 * KIB));
    assert_eq!(third.answer().status, 503);
    first.close();
    until("the room to be free", || running.metrics.in_flight_bytes() == 0);
    assert_eq!(running.ask(&post(BODY.as_bytes(), &[])).status, 200);
}

#[test]
fn who_has_no_key_gets_no_room() {
    let running = Running::start(FirehoseLimits::default()).with_worker();
    let length = (60 << 20).to_string();
    let mut clients: Vec<_> = (0..20).map(|_| running.connect()).collect();
    for client in &mut clients {
        client.send(head(&[("Content-Length", &length), ("X-Amz-Firehose-Access-Key", "x")]).as_bytes());
        assert_eq!(client.answer().status, 401);
    }
    assert_eq!(running.metrics.in_flight_bytes(), 0);
}

#[test]
fn a_slow_body_is_given_up() {
    let limits = FirehoseLimits { body_max: Duration::from_millis(200), ..Default::default() };
    let running = Running::start(limits).with_worker();
    let mut client = running.connect();
    client.send(head(&[("Content-Length", "1000")]).as_bytes());
    let (started, mut trickled) = (Instant::now(), 0);
    while client.is_quiet() {
        client.send(b" ");
        trickled += 1;
    }
    assert!(started.elapsed() >= Duration::from_millis(200) && trickled > 0);
    let came = client.answer();
    assert!(came.status == 408 && came.body.contains("body_ms_max"), "{came:?}");
    assert!(came.headers.contains(&"connection: close".to_owned()) && client.is_closed());
    assert_eq!(running.metrics.in_flight_bytes(), 0);
}

#[test]
fn slow_heads_and_idle_connections_are_closed() {
    let limits = FirehoseLimits {
        head_max: Duration::from_millis(300),
        idle_max: Duration::from_millis(900),
        ..Default::default()
    };
    let running = Running::start(limits).with_worker();
    let (mut silent, mut slow, mut idle) = (running.connect(), running.connect(), running.connect());
    let started = Instant::now();
    slow.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nX-");
    idle.send(&post(BODY.as_bytes(), &[]));
    assert_eq!(idle.answer().status, 200);
    assert!(silent.is_closed() && slow.is_closed());
    let first = started.elapsed();
    assert!(first >= Duration::from_millis(300), "{first:?}");
    assert!(idle.is_closed());
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
    until("their places to be free", || running.metrics.connections() == 0);
}

#[test]
fn a_handshake_that_never_ends_is_given_up() {
    let folder = Folder::new("handshake");
    let limits = FirehoseLimits { head_max: Duration::from_millis(200), ..Default::default() };
    let running = Running::with(limits, Some(certificate(&folder, "localhost"))).with_worker();
    let mut client = running.connect();
    client.send(&[22, 3, 1, 2, 0]);
    assert!(client.is_closed());
}

#[test]
fn connections_are_limited_and_one_more_is_closed_at_once() {
    let limits = FirehoseLimits { connections_max: 2, ..Default::default() };
    let running = Running::start(limits).with_worker();
    let health = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut open: Vec<_> = (0..2).map(|_| running.connect()).collect();
    for client in &mut open {
        client.send(health);
        assert_eq!(client.answer().status, 200);
    }
    assert!(running.connect().is_closed());
    assert_eq!(running.metrics.connections_refused(), 1);
    open.pop().unwrap().close();
    until("its place to be free", || running.metrics.connections() == 1);
    assert_eq!(running.ask(health).status, 200);
}

#[test]
fn a_head_that_is_too_large_ends_its_connection() {
    let running = Running::start(FirehoseLimits::default()).with_worker();
    let attributes = "x".repeat(100 * KIB);
    assert_eq!(running.ask(&post(BODY.as_bytes(), &[("X-Amz-Firehose-Common-Attributes", &attributes)])).status, 200);
    let mut client = running.connect();
    client.send(head(&[("X-Long", &"x".repeat(400 * KIB))]).as_bytes());
    assert_eq!(client.answer().status, 431);
}

#[test]
fn a_request_that_waits_too_long_is_to_be_sent_again_and_takes_no_room() {
    let limits = FirehoseLimits { answer_max: Duration::from_millis(200), ..Default::default() };
    let running = Running::start(limits);
    let mut source = running.source();
    let mut in_hand = running.connect();
    in_hand.send(&post(BODY.as_bytes(), &[]));
    assert_eq!(next(&mut source, &running).len(), 2);
    let came = running.ask(&post(BODY.as_bytes(), &[]));
    assert!(came.status == 503 && came.body.contains("in time"), "{came:?}");
    assert_eq!(in_hand.answer().status, 503);
    // The sink still has not acknowledged: the worker gives back what nobody waits for.
    let one = running.metrics.in_flight_bytes() / 2;
    source.keep_alive();
    assert_eq!(running.metrics.in_flight_bytes(), one);
    source.commit();
    assert_eq!(running.metrics.in_flight_bytes(), 0);
    // What was answered 503 is not delivered again by itself.
    let mut client = running.connect();
    client.send(&post(BODY.as_bytes(), &[]));
    assert_eq!(next(&mut source, &running).len(), 2);
    source.commit();
    assert_eq!(client.answer().status, 200);
}

#[test]
fn clients_that_go_leave_nothing_behind() {
    let running = Running::start(FirehoseLimits::default());
    let shared = &running.endpoint.as_ref().unwrap().shared;
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let mut client = running.connect();
            client.send(&post(BODY.as_bytes(), &[]));
            client
        })
        .collect();
    until("all to wait", || shared.queue.len() == 10);
    clients.iter().for_each(testing::Client::close);
    let source = running.source();
    until("all to be forgotten", || {
        source.keep_alive();
        shared.queue.len() == 0
    });
    assert_eq!(running.metrics.in_flight_bytes(), 0);
}
