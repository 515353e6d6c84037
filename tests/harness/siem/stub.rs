//! An HTTP server that answers as a test says: statuses, headers and bodies, a connection that is cut after the request,
//! an answer that never comes. It keeps what it was sent.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Certificate;
use crate::kafka::free_port;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; decompressed where `content-encoding` is gzip, unless the server is a light one.
    pub body: Vec<u8>,
}

impl Request {
    /// A header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn decompress(&mut self) -> io::Result<()> {
        if self.header("content-encoding") == "gzip" {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(&self.body[..]).read_to_end(&mut plain)?;
            self.body = plain;
        }
        Ok(())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// It answers with status, headers and body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// It closes the connection without an answer.
    Cut,
    /// It never answers.
    Never,
}

impl Reply {
    /// An answer of this status and body.
    pub fn status(status: u16, body: &str) -> Reply {
        Reply::Answer(status, Vec::new(), body.to_owned())
    }

    /// The same with a header more; nothing where there is no answer.
    pub fn with(mut self, name: &'static str, value: &str) -> Reply {
        if let Reply::Answer(_, headers, _) = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

type Handler = Box<dyn FnMut(&Request, usize) -> Reply + Send>;

/// What the threads of a server share.
struct Shared {
    /// Says what to answer; also counts the requests from 0.
    handler: Mutex<(Handler, usize)>,
    requests: Mutex<Vec<Request>>,
    connections: Mutex<Vec<TcpStream>>,
    tls: Option<Arc<ServerConfig>>,
    /// Whether requests are kept, with their bodies decompressed.
    keeps: bool,
    down: AtomicBool,
}

/// A server. It ends with its value.
pub struct Stub {
    shared: Arc<Shared>,
    port: u16,
    /// None while it is down.
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    /// A plain server. `handler` sees each request and its number, from 0, one at a time.
    pub fn start(handler: impl FnMut(&Request, usize) -> Reply + Send + 'static) -> Stub {
        Stub::with(None, true, Box::new(handler))
    }

    /// The same as cheap as it can be, for what is measured: requests are not kept, and their bodies stay as they were sent.
    pub fn start_light(handler: impl FnMut(&Request, usize) -> Reply + Send + 'static) -> Stub {
        Stub::with(None, false, Box::new(handler))
    }

    /// The same with TLS.
    pub fn start_tls(
        certificate: &Certificate,
        handler: impl FnMut(&Request, usize) -> Reply + Send + 'static,
    ) -> Stub {
        let chain = CertificateDer::pem_file_iter(&certificate.certificate).expect("a certificate");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate and its key");
        Stub::with(Some(Arc::new(config)), true, Box::new(handler))
    }

    fn with(tls: Option<Arc<ServerConfig>>, keeps: bool, handler: Handler) -> Stub {
        let shared = Shared {
            handler: Mutex::new((handler, 0)),
            requests: Mutex::default(),
            connections: Mutex::default(),
            tls,
            keeps,
            down: AtomicBool::new(true),
        };
        let mut stub = Stub { shared: Arc::new(shared), port: free_port(), thread: None };
        stub.up();
        stub
    }

    /// Its address, `http://127.0.0.1:PORT` or with `https`.
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The requests so far, in order, answered or not.
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.shared.requests).clone()
    }

    /// Closes all connections and listens no more.
    pub fn down(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.down.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _woken = TcpStream::connect(address(self.port));
        let _ended = thread.join();
        for connection in locked(&self.shared.connections).drain(..) {
            let _closed = connection.shutdown(Shutdown::Both);
        }
    }

    /// Listens again, on the same port.
    pub fn up(&mut self) {
        assert!(self.thread.is_none(), "the server is up");
        let listener = TcpListener::bind(address(self.port)).expect("the port");
        self.shared.down.store(false, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.thread = Some(std::thread::spawn(move || accept(&listener, &shared)));
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.down();
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The content of a mutex, also when a handler has panicked.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.down.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (Ok(held), Ok(closing)) = (stream.try_clone(), stream.try_clone()) else { continue };
        locked(&shared.connections).push(held);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client that goes away is no matter of the server's.
            let _ended = match shared.tls.clone() {
                None => serve(stream, &shared),
                Some(config) => ServerConnection::new(config)
                    .map_err(io::Error::other)
                    .and_then(|connection| serve(StreamOwned::new(connection, stream), &shared)),
            };
            // Whoever holds the connection too, it ends here.
            let _closed = closing.shutdown(Shutdown::Both);
        });
    }
}

/// Answers the requests of one connection.
fn serve(stream: impl Read + Write, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read(&mut stream)? {
        if shared.keeps {
            request.decompress()?;
        }
        let reply = {
            let mut handler = locked(&shared.handler);
            let number = handler.1;
            handler.1 += 1;
            if shared.keeps {
                locked(&shared.requests).push(request.clone());
            }
            (handler.0)(&request, number)
        };
        match reply {
            Reply::Cut => return Ok(()),
            Reply::Never => {
                // Until the client gives up, or the server goes.
                let _rest = stream.read_to_end(&mut Vec::new());
                return Ok(());
            }
            Reply::Answer(status, headers, body) => {
                let mut answer = format!("HTTP/1.1 {status} Stub\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    answer.push_str(&format!("{name}: {value}\r\n"));
                }
                answer.push_str("\r\n");
                answer.push_str(&body);
                stream.get_mut().write_all(answer.as_bytes())?;
                stream.get_mut().flush()?;
                if request.header("connection").eq_ignore_ascii_case("close") {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Reads one request; None when the connection ends before it.
fn read(stream: &mut BufReader<impl Read + Write>) -> io::Result<Option<Request>> {
    let mut request = Request::default();
    let first = line(stream)?;
    let mut words = first.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    (request.method, request.path) = (method.to_owned(), path.to_owned());
    loop {
        let header = line(stream)?;
        let Some((name, value)) = header.split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if request.header("expect").eq_ignore_ascii_case("100-continue") {
        stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        stream.get_mut().flush()?;
    }
    if request.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        loop {
            let size = usize::from_str_radix(&line(stream)?, 16).map_err(io::Error::other)?;
            let start = request.body.len();
            request.body.resize(start + size, 0);
            stream.read_exact(&mut request.body[start..])?;
            line(stream)?;
            if size == 0 {
                break;
            }
        }
    } else {
        let length = request.header("content-length").parse().unwrap_or(0);
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}

/// A line without its end; empty at the end of the connection.
fn line(stream: &mut BufReader<impl Read + Write>) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
