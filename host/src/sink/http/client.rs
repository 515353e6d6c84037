//! A client for one target, owned by one worker: it blocks, and keeps the worker's other duties while it waits.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Identity, redirect};
use tokio::runtime::Runtime;

use super::HttpConfig;
use super::answer::{ANSWER_BYTES_MAX, Answer, retry_after};
use crate::secret::Secret;
use crate::sink::{SinkError, Wait};

/// How long a request is waited for before the worker sees to its source and to a stop.
const TURN: Duration = Duration::from_millis(50);

/// A connection that nobody has used for so long is not used again: most targets and what stands before them close such.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// A client for one target.
pub(crate) struct Client {
    runtime: Runtime,
    http: reqwest::Client,
    url: String,
    gzip: bool,
}

/// One request. Its path goes behind the target's URL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The path, with its first slash, and a query.
    pub(crate) path: &'a str,
    /// The type of the body.
    pub(crate) content_type: &'static str,
    /// The body of a POST; None for a GET.
    pub(crate) body: Option<&'a [u8]>,
}

impl Client {
    /// A client for `config.url` that sends `headers` with every request; their values are kept out of every log and error.
    /// Fails where a certificate or a key cannot be read. It connects when it first sends.
    pub(crate) fn new(config: &HttpConfig, headers: &[(impl AsRef<str>, Secret)]) -> Result<Client, SinkError> {
        // reqwest looks for a provider of the process. A second one is refused, and is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |what: String| SinkError::Target { name: config.url.clone(), what };
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let name = name.as_ref();
            let refused = || failed(format!("the header {name} or its value has a character that no header may have"));
            let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| refused())?;
            value.set_sensitive(true);
            all.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?, value);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("trailhound/", env!("CARGO_PKG_VERSION")))
            .default_headers(all)
            // A redirect would take findings and the token to whoever is named in it.
            .redirect(redirect::Policy::none())
            .connect_timeout(config.connect_max)
            .timeout(config.request_max)
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(1);
        if let Some(path) = &config.ca_file {
            let certificates = Certificate::from_pem_bundle(&read(path).map_err(failed)?);
            let certificates =
                certificates.map_err(|error| failed(format!("{}: {}", path.display(), chain(&error))))?;
            if certificates.is_empty() {
                return Err(failed(format!("{}: holds no certificate in PEM", path.display())));
            }
            builder = builder.tls_certs_only(certificates);
        } else if !config.url.starts_with("https:") {
            // A machine that knows no authority is good enough for plain HTTP.
            builder = builder.tls_certs_only([]);
        }
        if let Some((certificate, key)) = &config.client {
            let mut pem = read(certificate).map_err(failed)?;
            pem.push(b'\n');
            pem.extend_from_slice(&read(key).map_err(failed)?);
            // What the error says may quote the key.
            let identity = Identity::from_pem(&pem).map_err(|_| {
                let (certificate, key) = (certificate.display(), key.display());
                failed(format!("{certificate} and {key} are no certificate and key in PEM"))
            })?;
            builder = builder.identity(identity);
        }
        let http = builder.build().map_err(|error| failed(chain(&error)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        Ok(Client { runtime, http, url: config.url.clone(), gzip: config.gzip })
    }

    /// The target's URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request and waits for its answer, in turns. The inner error says why there is none: whether the target has
    /// taken the request is not known then. The outer one is a stop whose deadline has passed.
    pub(crate) fn send(&self, request: Request<'_>, wait: &mut Wait<'_>) -> Result<Result<Answer, String>, SinkError> {
        self.send_with(request, &[], wait)
    }

    /// The same with headers of this request alone.
    pub(crate) fn send_with(
        &self,
        request: Request<'_>,
        headers: &[(&'static str, String)],
        wait: &mut Wait<'_>,
    ) -> Result<Result<Answer, String>, SinkError> {
        self.runtime.block_on(async {
            let mut exchange = std::pin::pin!(self.exchange(request, headers));
            loop {
                match tokio::time::timeout(TURN, &mut exchange).await {
                    Ok(done) => return Ok(done),
                    Err(_) if wait.turn() => {}
                    Err(_) => return Err(SinkError::Stopped { name: self.url.clone(), waiting: 1 }),
                }
            }
        })
    }

    /// Sends a request for somebody who has nothing else to do, and waits for its answer.
    pub(crate) fn ask(&self, request: Request<'_>) -> Result<Answer, String> {
        self.runtime.block_on(self.exchange(request, &[]))
    }

    async fn exchange(&self, request: Request<'_>, headers: &[(&'static str, String)]) -> Result<Answer, String> {
        let url = format!("{}{}", self.url, request.path);
        let building = match request.body {
            None => self.http.get(url),
            Some(body) => {
                let posting = self.http.post(url).header(CONTENT_TYPE, request.content_type);
                match self.gzip && !body.is_empty() {
                    true => posting.header(CONTENT_ENCODING, "gzip").body(compress(body).map_err(|e| e.to_string())?),
                    false => posting.body(body.to_vec()),
                }
            }
        };
        let building = headers.iter().fold(building, |building, (name, value)| building.header(*name, value));
        let mut response = building.send().await.map_err(words)?;
        let text = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let retry_after = text(RETRY_AFTER).and_then(|text| retry_after(text, crate::pipeline::now_ms()));
        let location = text(LOCATION).map(|place| format!("redirects to {place}; "));
        let mut answer = Answer { status: response.status().as_u16(), retry_after, ..Answer::default() };
        if (300..400).contains(&answer.status) {
            answer.body.extend_from_slice(location.unwrap_or_default().as_bytes());
        }
        while let Some(chunk) = response.chunk().await.map_err(words)? {
            let room = ANSWER_BYTES_MAX - answer.body.len();
            answer.body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if chunk.len() > room {
                answer.cut = true;
                break;
            }
        }
        Ok(answer)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn compress(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// What went wrong, without the URL, which the caller names.
fn words(error: reqwest::Error) -> String {
    if error.is_timeout() && !error.is_connect() {
        return "no answer in time".to_owned();
    }
    chain(&error.without_url())
}

/// An error and all its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
