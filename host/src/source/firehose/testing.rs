//! What the tests of the endpoint share: an endpoint on a free port, a worker, and a client that speaks plain bytes.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown as Half, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{AccessKeys, Certificate, Endpoint, FirehoseConfig, FirehoseLimits, FirehoseMetrics, FirehoseSource};
use crate::batch::{Batch, Message};
use crate::shutdown::Shutdown;
use crate::source::BatchLimits;

/// The key that the endpoint lets in.
pub(super) const KEY: &str = "an access key of tests";
/// The id of the client's requests.
pub(super) const ID: &str = "ed4acda5-034f-9f42-bba1-f29aea6d7d8f";
/// The stream they come from.
pub(super) const ARN: &str = "arn:aws:firehose:us-east-1:123456789:deliverystream/testStream";
/// A body with two records: `hello` and `hello world`.
pub(super) const BODY: &str = r#"{"requestId":"ed4acda5-034f-9f42-bba1-f29aea6d7d8f","timestamp":1578090901599,"records":[{"data":"aGVsbG8="},{"data":"aGVsbG8gd29ybGQ="}]}"#;

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder that is gone with its test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("trailhound-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes a new certificate for `name` into `folder`.
pub(super) fn certificate(folder: &Folder, name: &str) -> Certificate {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let files = Certificate { certificate: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

/// A running endpoint.
pub(super) struct Running {
    pub(super) endpoint: Option<Arc<Endpoint>>,
    pub(super) address: SocketAddr,
    pub(super) shutdown: Arc<Shutdown>,
    pub(super) metrics: FirehoseMetrics,
    worker: Option<JoinHandle<()>>,
}

impl Running {
    /// One that nobody takes requests from.
    pub(super) fn start(limits: FirehoseLimits) -> Running {
        Running::with(limits, None)
    }

    pub(super) fn with(limits: FirehoseLimits, tls: Option<Certificate>) -> Running {
        let (shutdown, metrics) = (Arc::new(Shutdown::new(PATIENCE)), FirehoseMetrics::for_tests());
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = FirehoseConfig {
            listen,
            path: "/".to_owned(),
            access_keys: AccessKeys::new([KEY, "another key that is let in"]),
            tls,
            limits,
        };
        let endpoint = Endpoint::start("test", &config, metrics.clone(), Arc::clone(&shutdown)).unwrap();
        let address = endpoint.address();
        Running { endpoint: Some(Arc::new(endpoint)), address, shutdown, metrics, worker: None }
    }

    /// With a worker that takes everything for delivered.
    pub(super) fn with_worker(mut self) -> Running {
        let (mut source, shutdown) = (self.source(), Arc::clone(&self.shutdown));
        self.endpoint = None;
        self.worker = Some(std::thread::spawn(move || {
            let mut batch = Batch::default();
            while source.next_batch(&mut batch, &shutdown).unwrap() {
                source.commit();
                batch.clear();
            }
            source.close();
        }));
        self
    }

    pub(super) fn source(&self) -> FirehoseSource {
        let limits = BatchLimits { wait: Duration::from_millis(1), ..BatchLimits::default() };
        FirehoseSource::new(Arc::clone(self.endpoint.as_ref().unwrap()), limits)
    }

    pub(super) fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    /// Sends `bytes` on a connection of their own; what comes back.
    pub(super) fn ask(&self, bytes: &[u8]) -> Came {
        let mut client = self.connect();
        client.send(bytes);
        client.answer()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.request();
        if let Some(worker) = self.worker.take() {
            // A worker that failed has failed its test by what is missing.
            let _ended = worker.join();
        }
        if let Some(endpoint) = self.endpoint.take().and_then(Arc::into_inner) {
            endpoint.finish();
        }
    }
}

/// A message as text.
pub(super) struct Taken {
    pub(super) key: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) payload: String,
}

/// The messages of the next batch.
pub(super) fn next(source: &mut FirehoseSource, running: &Running) -> Vec<Taken> {
    let mut batch = Batch::default();
    assert!(source.next_batch(&mut batch, &running.shutdown).unwrap());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let messages = batch.iter().zip(batch.envelopes());
    messages
        .map(|((_, message), envelope)| {
            let Message::Bytes(payload) = message else { panic!("{message:?}") };
            let headers = envelope.headers().map(|(name, value)| (name.to_owned(), text(value))).collect();
            Taken { key: text(envelope.key), headers, payload: text(payload) }
        })
        .collect()
}

/// Looks until it holds.
#[track_caller]
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::yield_now();
    }
}

/// The head of Firehose's request, with `changes` to its headers: an empty value leaves one out.
pub(super) fn head(changes: &[(&str, &str)]) -> String {
    let mut headers = vec![
        ("Host", "localhost"),
        ("X-Amz-Firehose-Protocol-Version", "1.0"),
        ("X-Amz-Firehose-Request-Id", ID),
        ("X-Amz-Firehose-Source-Arn", ARN),
        ("X-Amz-Firehose-Access-Key", KEY),
        ("Content-Type", "application/json"),
    ];
    for (name, value) in changes {
        headers.retain(|(known, _)| known != name);
        headers.push((name, value));
    }
    let mut text = "POST / HTTP/1.1\r\n".to_owned();
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text + "\r\n"
}

/// A whole request with `body`.
pub(super) fn post(body: &[u8], changes: &[(&str, &str)]) -> Vec<u8> {
    let length = body.len().to_string();
    let changes = [&[("Content-Length", length.as_str())], changes].concat();
    [head(&changes).as_bytes(), body].concat()
}

/// A connection.
pub(super) struct Client(BufReader<TcpStream>);

/// What came back.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) status: u16,
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

impl Client {
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The next answer.
    #[track_caller]
    pub(super) fn answer(&mut self) -> Came {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            assert!(line.ends_with("\r\n"), "the connection ended after {lines:?}");
            match line.trim_end() {
                "" => break,
                text => lines.push(text.to_lowercase()),
            }
        }
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        Came { status, headers: lines, body: String::from_utf8(body).unwrap() }
    }

    /// Whether nothing comes for a moment.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.0.get_ref().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let quiet = self.0.fill_buf().is_err();
        self.0.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        quiet
    }

    /// Whether the endpoint ended the connection without a word.
    pub(super) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        // To be closed with bytes unread is to be reset.
        let read = self.0.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
        read.is_ok() || read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    }

    pub(super) fn close(&self) {
        let _closed = self.0.get_ref().shutdown(Half::Both);
    }
}
