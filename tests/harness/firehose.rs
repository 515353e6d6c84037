//! What Amazon Data Firehose does as an HTTP client: requests after its contract, sent again until one is answered with
//! success, over plain connections or TLS.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// The access key that requests carry unless told otherwise.
pub const KEY: &str = "an access key of the tests";
/// The stream that requests come from.
pub const ARN: &str = "arn:aws:firehose:us-east-1:123456789012:deliverystream/trail";

/// How long an answer may take: longer than Firehose waits.
const TIMEOUT: Duration = Duration::from_secs(200);

/// A request: its id and its records.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its id, the same whenever it is sent.
    pub id: String,
    /// Its records before base64.
    pub records: Vec<Vec<u8>>,
    /// Whether its body is compressed.
    pub gzip: bool,
    /// The access key.
    pub key: String,
}

impl Request {
    /// A plain request with the right key.
    pub fn new(id: impl Into<String>, records: Vec<Vec<u8>>) -> Request {
        Request { id: id.into(), records, gzip: false, key: KEY.to_owned() }
    }

    /// The body as it is sent.
    pub fn body(&self) -> Vec<u8> {
        let base64 = base64::engine::general_purpose::STANDARD;
        let records: Vec<String> =
            self.records.iter().map(|record| format!(r#"{{"data":"{}"}}"#, base64.encode(record))).collect();
        let body =
            format!(r#"{{"requestId":"{}","timestamp":1578090901599,"records":[{}]}}"#, self.id, records.join(","));
        if !self.gzip {
            return body.into_bytes();
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    }

    /// Head and body.
    pub fn bytes(&self) -> Vec<u8> {
        let body = self.body();
        let encoding = if self.gzip { "Content-Encoding: gzip\r\n" } else { "" };
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Firehose-Protocol-Version: 1.0\r\n\
             X-Amz-Firehose-Request-Id: {}\r\nX-Amz-Firehose-Source-Arn: {ARN}\r\nX-Amz-Firehose-Access-Key: {}\r\n\
             Content-Type: application/json\r\n{encoding}Content-Length: {}\r\n\r\n",
            self.id,
            self.key,
            body.len()
        );
        [head.into_bytes(), body].concat()
    }

    /// The keys of its messages.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        (0..self.records.len()).map(|index| format!("{}/{index}", self.id))
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// A connection to an endpoint on a loopback port.
pub struct Connection(BufReader<Box<dyn Stream>>);

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

impl Connection {
    /// A plain connection.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn plain(port: u16) -> io::Result<Connection> {
        Ok(Connection(BufReader::new(Box::new(connect(port)?))))
    }

    /// A connection with TLS to `localhost`, which must have the certificate `pem`.
    ///
    /// # Errors
    /// When nobody listens, or has another certificate.
    pub fn tls(port: u16, pem: &str) -> io::Result<Connection> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let mut stream = connect(port)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Connection(BufReader::new(Box::new(StreamOwned::new(session, stream)))))
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn post(&mut self, request: &Request) -> io::Result<Answer> {
        self.ask(&request.bytes())
    }

    /// Asks what a load balancer asks.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn health(&mut self) -> io::Result<Answer> {
        self.ask(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    }

    /// Sends a whole request that is bytes already, and waits for its answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn ask(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        self.0.get_mut().write_all(bytes)?;
        self.0.get_mut().flush()?;
        let (mut status, mut length) = (None, None);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let line = line.strip_suffix("\r\n").ok_or_else(|| invalid("no answer"))?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            } else if status.is_none() {
                status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
            } else if let Some(text) = line.strip_prefix("content-length: ") {
                length = text.parse().ok();
            }
        }
        let mut body = vec![0; length.ok_or_else(|| invalid("no Content-Length"))?];
        self.0.read_exact(&mut body)?;
        let status = status.ok_or_else(|| invalid("no status"))?;
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request once, on a connection of its own.
///
/// # Errors
/// When the connection breaks.
pub fn post(port: u16, request: &Request) -> io::Result<Answer> {
    Connection::plain(port)?.post(request)
}
