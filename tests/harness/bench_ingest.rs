//! `make bench-ingest`: real HTTP load on the Firehose endpoint before a real broker, side by side with a bare axum handler
//! that reads the body and answers, and with one that decodes it too (gzip, JSON, base64) and drops the records. All run as
//! processes of their own, and what counts is bytes of records for each second of a core: on a machine that clients and
//! broker share, time alone says little.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on panics")]

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::MultiGzDecoder;
use harness::child::Child;
use harness::firehose::{Connection, KEY, Request};
use harness::folder::Folder;
use harness::kafka::{Kafka, free_port};
use harness::measure::{median, processor_seconds, report};
use harness::records::Records;
use harness::trailhound::Trailhound;
use harness::wait::{PATIENCE, pause, until};
use serde_json::json;

/// Records in a request: with base64 about a megabyte, which is what Firehose buffers at least.
const RECORDS: usize = 500;
/// Connections that send at the same time.
const CONNECTIONS: u64 = 6;
/// How long a measurement takes, and how often each is repeated.
const LENGTH: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;

/// The floors.
const READING: &str = "axum, reads";
const DECODING: &str = "axum, decodes";

/// What one measurement came to.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Megabytes of bodies once decompressed a second.
    per_second: f64,
    /// The same a second of processor time of the server.
    per_core: f64,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let (Some(name), Some(port)) = (arguments.next(), arguments.next()) {
        return bare(name == DECODING, port.parse().expect("a port"));
    }
    let Some(kafka) = Kafka::start() else { return ExitCode::FAILURE };
    let port = free_port();
    kafka.client().create_topic("bench", 4, &[("retention.bytes", "100000000"), ("segment.bytes", "50000000")]);
    let program = program(&kafka, port);
    let folder = Folder::new("bench-ingest");
    let floors = [READING, DECODING].map(|name| {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([name, &port.to_string()]);
        let server = Child::start(&command, folder.path(), name);
        until(PATIENCE, "a bare handler to listen", || Connection::plain(port).ok());
        (name, port, server)
    });
    let mut servers: Vec<(&str, u16, u32)> =
        floors.iter().map(|(name, port, server)| (*name, *port, server.pid())).collect();
    servers.push(("trailhound", port, program.pid()));

    let mut table = String::from("body   server           MB/s    MB/s a core   of reading   of decoding\n");
    let mut rows = Vec::new();
    for (body, gzip) in [("plain", false), ("gzip", true)] {
        let requests = requests(gzip);
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); servers.len()];
        for _ in 0..ROUNDS {
            for ((_, port, pid), samples) in servers.iter().zip(&mut samples) {
                samples.push(measure(*port, *pid, &requests));
            }
        }
        for ((name, ..), of_one) in servers.iter().zip(&samples) {
            let per_second = median(of_one.iter().map(|sample| sample.per_second).collect());
            let per_core = median(of_one.iter().map(|sample| sample.per_core).collect());
            let [of_reading, of_decoding] = [0, 1].map(|floor: usize| {
                let pairs = of_one.iter().zip(&samples[floor]);
                median(pairs.map(|(one, floor)| one.per_core / floor.per_core).collect())
            });
            table += &format!(
                "{body:<6} {name:<14} {per_second:>6.0} {per_core:>14.0} {of_reading:>12.2} {of_decoding:>13.2}\n"
            );
            rows.push(json!({
                "body": body, "server": name, "mb_per_second": per_second, "mb_per_core_second": per_core,
                "of_reading": of_reading, "of_decoding": of_decoding,
            }));
        }
    }
    report("ingest", &table, &json!(rows));
    ExitCode::SUCCESS
}

fn program(kafka: &Kafka, port: u16) -> Trailhound {
    let bootstrap = kafka.bootstrap();
    let mut program = Trailhound::start_text(&format!(
        r#"
[kafka]
"bootstrap.servers" = "{bootstrap}"
[pipelines.ingest]
workers = 2
source = {{ firehose = {{ listen = "127.0.0.1:{port}", access_keys = ["{KEY}"] }} }}
sink = {{ kafka = {{ topic = "bench" }} }}
dead_letters = {{ file = {{ path = "dead.ndjson" }} }}
"#
    ));
    program.until_ready();
    program
}

/// A request for each connection, as it is sent, and the size of its body once decompressed.
fn requests(gzip: bool) -> Vec<(Request, u64)> {
    (0..CONNECTIONS)
        .map(|seed| {
            let records = Records::new(seed).take(RECORDS, 100);
            let records = records.iter().map(|record| record.to_string().into_bytes()).collect();
            let mut request = Request::new(format!("00000000-0000-4000-8000-{seed:012}"), records);
            let bytes = request.body().len() as u64;
            request.gzip = gzip;
            (request, bytes)
        })
        .collect()
}

/// Sends for a while on all connections.
fn measure(port: u16, pid: u32, requests: &[(Request, u64)]) -> Sample {
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = requests
        .iter()
        .map(|(request, size)| {
            let (over, sent) = (Arc::clone(&over), Arc::clone(&sent));
            let (bytes, size) = (request.bytes(), *size);
            let mut connection = Connection::plain(port).expect("a connection");
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(connection.ask(&bytes).expect("an answer").status, 200);
                    sent.fetch_add(size, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // Caches and connections are warm by then.
    pause(LENGTH / 10);
    let (started, before, spent) = (Instant::now(), sent.load(Ordering::Relaxed), processor_seconds(pid));
    pause(LENGTH);
    let megabytes = (sent.load(Ordering::Relaxed) - before) as f64 / 1e6;
    let (seconds, spent) = (started.elapsed().as_secs_f64(), processor_seconds(pid) - spent);
    over.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("a client"));
    Sample { per_second: megabytes / seconds, per_core: megabytes / spent }
}

/// A floor: a handler that reads the whole body, decodes it where it is to, and answers.
fn bare(decodes: bool, port: u16) -> ExitCode {
    use axum::body::Bytes;
    use axum::extract::DefaultBodyLimit;
    use axum::http::HeaderMap;
    use axum::routing::post;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).expect("the port");
    listener.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handler = async move |headers: HeaderMap, body: Bytes| {
        let bytes = if decodes { decode(headers.contains_key("content-encoding"), &body) } else { body.len() };
        format!(r#"{{"requestId":"","timestamp":{bytes}}}"#)
    };
    let served = runtime.block_on(async {
        let router = axum::Router::new().route("/", post(handler)).layer(DefaultBodyLimit::disable());
        axum::serve(tokio::net::TcpListener::from_std(listener).expect("a listener"), router).await
    });
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What of a body must be looked at to have its records.
#[derive(serde::Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    records: Vec<Record<'a>>,
}

#[derive(serde::Deserialize)]
struct Record<'a> {
    data: &'a str,
}

/// Decodes all records, one behind the other, and gives their size.
fn decode(gzip: bool, body: &[u8]) -> usize {
    let (mut plain, mut records) = (Vec::new(), Vec::new());
    if gzip {
        MultiGzDecoder::new(body).read_to_end(&mut plain).expect("gzip");
    }
    let text = if gzip { &plain } else { body };
    for record in serde_json::from_slice::<Body<'_>>(text).expect("a body of Firehose").records {
        STANDARD.decode_vec(record.data, &mut records).expect("base64");
    }
    records.len()
}
