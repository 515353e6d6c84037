//! `make bench-ingest`: real HTTP load on the Firehose endpoint before a real broker, side by side with a bare axum handler
//! that reads the body and answers. Both run as processes of their own, and what counts is bytes of records for each second
//! of a core: on a machine that clients and broker share, time alone says little.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on panics")]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::child::Child;
use harness::firehose::{Connection, KEY, Request};
use harness::folder::Folder;
use harness::kafka::{Kafka, free_port};
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
    if let (Some("bare"), Some(port)) = (arguments.next().as_deref(), arguments.next()) {
        return bare(port.parse().expect("a port"));
    }
    let Some(kafka) = Kafka::start() else { return ExitCode::FAILURE };
    let (port, bare_port) = (free_port(), free_port());
    kafka.client().create_topic("bench", 4, &[("retention.bytes", "100000000"), ("segment.bytes", "50000000")]);
    let program = program(&kafka, port);
    let folder = Folder::new("bench-ingest");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["bare", &bare_port.to_string()]);
    let server = Child::start(&command, folder.path(), "bare");
    until(PATIENCE, "the bare handler to listen", || Connection::plain(bare_port).ok());

    let mut table = String::from("body   server       MB/s    MB/s a core   of bare\n");
    let mut report = Vec::new();
    for gzip in [false, true] {
        let requests = requests(gzip);
        let (mut ours, mut bares) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bares.push(measure(bare_port, server.pid(), &requests));
            ours.push(measure(port, program.pid(), &requests));
        }
        let ratios = ours.iter().zip(&bares).map(|(ours, bare)| ours.per_core / bare.per_core);
        let ratio = median(ratios.collect());
        for (name, samples) in [("bare axum", &bares), ("trailhound", &ours)] {
            let body = if gzip { "gzip" } else { "plain" };
            let per_second = median(samples.iter().map(|sample| sample.per_second).collect());
            let per_core = median(samples.iter().map(|sample| sample.per_core).collect());
            let of_bare = if name == "trailhound" { ratio } else { 1.0 };
            table += &format!("{body:<6} {name:<10} {per_second:>6.0} {per_core:>14.0} {of_bare:>9.2}\n");
            report.push(json!({
                "body": body, "server": name, "mb_per_second": per_second, "mb_per_core_second": per_core,
                "of_bare": of_bare,
            }));
        }
    }
    let _told = std::io::stdout().write_all(table.as_bytes());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder).expect("the build's folder");
    std::fs::write(folder.join("ingest.json"), format!("{:#}\n", json!(report))).expect("a report");
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

/// What a process has spent of processor time (proc_pid_stat(5), in hundredths of a second).
fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // After the name, which may hold anything: utime and stime are the fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let ticks = rest.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The floor: a handler that reads the whole body and answers.
fn bare(port: u16) -> ExitCode {
    use axum::body::Bytes;
    use axum::extract::DefaultBodyLimit;
    use axum::routing::post;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).expect("the port");
    listener.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let served = runtime.block_on(async {
        let router = axum::Router::new()
            .route("/", post(async |body: Bytes| format!(r#"{{"requestId":"","timestamp":{}}}"#, body.len())))
            .layer(DefaultBodyLimit::disable());
        axum::serve(tokio::net::TcpListener::from_std(listener).expect("a listener"), router).await
    });
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
