//! A target for unit tests: it answers as a test tells it to, and keeps what was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::HttpConfig;
use crate::metrics::{Metrics, PipelineMetrics};
use crate::overview::Does;
use crate::record::ReadLimits;
use crate::shutdown::Shutdown;
use crate::sink::{Outgoing, Wait};
use crate::source::{BatchLimits, FileSource, Source};

/// A request that has arrived, its body decompressed.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// What a request is answered with.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status, header lines and a body.
    Is(u16, &'static str, String),
    /// The connection is cut.
    Cut,
    /// Nothing, until the client goes away.
    Silent,
}

impl Reply {
    pub(crate) fn json(status: u16, body: impl Into<String>) -> Reply {
        Reply::Is(status, "", body.into())
    }
}

/// Says what a request is answered with.
type Answering = Box<dyn FnMut(usize, &Seen) -> Reply + Send>;

/// A running target.
pub(crate) struct Stub {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Stub {
    /// Starts one that answers request `number`, from 0, with what `answer` says. It ends with the test's process.
    pub(crate) fn start(answer: impl FnMut(usize, &Seen) -> Reply + Send + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let answer: Arc<Mutex<Answering>> = Arc::new(Mutex::new(Box::new(answer)));
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
                std::thread::spawn(move || converse(stream, &all, &answer));
            }
        });
        Stub { url, seen }
    }

    /// One that answers with these in order, and with the last for ever.
    pub(crate) fn script(replies: Vec<Reply>) -> Stub {
        Stub::start(move |number, _| replies[number.min(replies.len() - 1)].clone())
    }

    /// What has arrived.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How it is reached, by a client that has little patience.
    pub(crate) fn config(&self) -> HttpConfig {
        HttpConfig {
            url: self.url.clone(),
            request_max: Duration::from_millis(300),
            retry_min: Duration::from_millis(1),
            retry_max: Duration::from_millis(4),
            retry_after_max: Duration::from_millis(20),
            ..HttpConfig::default()
        }
    }
}

fn converse(stream: TcpStream, all: &Mutex<Vec<Seen>>, answer: &Mutex<Answering>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(seen) = read(&mut reader) {
        let number = {
            let mut all = all.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        let reply = (answer.lock().unwrap())(number, &seen);
        match reply {
            Reply::Is(status, headers, body) => {
                let length = body.len();
                let text = format!("HTTP/1.1 {status} Stub\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
                if writer.write_all(text.as_bytes()).is_err() {
                    return;
                }
            }
            Reply::Cut => return,
            Reply::Silent => {
                let _ = reader.read(&mut [0; 1]);
                return;
            }
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut seen = Seen { method, path, headers, body: String::new() };
    let length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if seen.header("content-encoding") == Some("gzip") {
        flate2::read::GzDecoder::new(body.as_slice()).read_to_string(&mut seen.body).ok()?;
    } else {
        seen.body = String::from_utf8(body).ok()?;
    }
    Some(seen)
}

/// What a sink needs to wait: a source that has nothing, and nobody who wants to stop.
pub(crate) struct Patience {
    source: Source,
    pub(crate) shutdown: Shutdown,
    pub(crate) all: Metrics,
    metrics: PipelineMetrics,
}

impl Patience {
    pub(crate) fn new() -> Patience {
        let source = FileSource::new(&[], ReadLimits::default(), BatchLimits::default()).unwrap();
        let all = Metrics::default();
        all.overview().add("test", Does::Carry, 1);
        let metrics = all.pipeline("test").carrier(0);
        Patience { source: Source::File(Box::new(source)), shutdown: Shutdown::new(Duration::ZERO), all, metrics }
    }

    pub(crate) fn wait(&mut self) -> Wait<'_> {
        Wait { source: &mut self.source, shutdown: &self.shutdown, metrics: &self.metrics }
    }

    /// The value of a metric of the pipeline.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = self.all.page();
        let line = page.lines().find(|line| line.starts_with(&format!("trailhound_{name}{{"))).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

/// Messages that are findings: `n` of them, with the keys `id0`, `id1` and so on.
pub(crate) fn findings(n: usize) -> Vec<(String, String)> {
    (0..n)
        .map(|number| {
            let payload = format!(
                r#"{{"time":{},"severity_id":4,"finding_info":{{"uid":"id{number}"}}}}"#,
                1_700_000_000_123i64 + number as i64
            );
            (format!("id{number}"), payload)
        })
        .collect()
}

/// The same as they are sent.
pub(crate) fn outgoing(all: &[(String, String)]) -> Vec<Outgoing<'_>> {
    all.iter()
        .map(|(key, payload)| Outgoing {
            key: key.as_bytes(),
            headers: vec![crate::sink::text("rule", "A-1"), crate::sink::text("severity", "high")],
            payload: payload.as_bytes(),
        })
        .collect()
}
