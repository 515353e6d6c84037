//! The connection to a receiver: made, written to, and watched, in turns that keep the worker's other duties.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Confirm, SyslogConfig, SyslogTls};
use crate::sink::Wait;

/// How long the network is waited for before the worker sees to its source and to a stop.
const TURN: Duration = Duration::from_millis(50);

/// Bytes that are written at once: the receiver must read on within `answer_max` for each.
const CHUNK_BYTES: usize = 64 << 10;

/// A connection.
pub(super) struct Link {
    stream: Box<dyn Duplex>,
    /// How long it took to be made: at least one way there and back.
    made_in: Duration,
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {
    /// The connection below TLS.
    fn tcp(&self) -> &TcpStream;
}

impl Duplex for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Duplex for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// What connections are made with.
pub(super) struct Network {
    runtime: Runtime,
    /// None for plain TCP.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Network {
    /// Reads certificates and keys, and connects to nothing.
    pub(super) fn new(config: &SyslogConfig) -> Result<Network, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let tls = config.tls.as_ref().map(|tls| {
            let host = config.address.rsplit_once(':').map_or("", |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
            Ok::<_, String>((TlsConnector::from(Arc::new(client(tls)?)), name))
        });
        Ok(Network { runtime: runtime.map_err(|error| error.to_string())?, tls: tls.transpose()? })
    }

    /// Makes one attempt to deliver `bytes`, on the connection that is there or on a new one; says why it failed. None when
    /// the stop's deadline has passed.
    pub(super) fn send(
        &self,
        config: &SyslogConfig,
        link: &mut Option<Link>,
        bytes: &[u8],
        wait: &mut Wait<'_>,
    ) -> Option<Result<(), String>> {
        self.runtime.block_on(async {
            let mut attempt = pin!(self.attempt(config, link, bytes));
            loop {
                match timeout(TURN, &mut attempt).await {
                    Ok(done) => return Some(done),
                    Err(_) if wait.turn() => {}
                    Err(_) => return None,
                }
            }
        })
    }

    /// Connects for somebody who has nothing else to do, sends nothing, and says how it went.
    pub(super) fn check(&self, config: &SyslogConfig) -> Result<(), String> {
        /// How long a receiver has to refuse us: with TLS 1.3 it sees our certificate after we think that all is well.
        const REFUSES: Duration = Duration::from_secs(1);
        self.runtime.block_on(async {
            let mut link = within(config.connect_max, "connecting", self.connect(config)).await?;
            within(config.answer_max, "closing", link.stream.shutdown()).await?;
            match timeout(REFUSES, link.until_end()).await {
                Ok(ended) => ended.map_err(|error| error.to_string()),
                Err(_) if config.confirm == Confirm::Close => {
                    Err("it does not close its side of a connection after ours, which confirm = \"close\" waits for"
                        .to_owned())
                }
                Err(_) => Ok(()),
            }
        })
    }

    async fn attempt(&self, config: &SyslogConfig, kept: &mut Option<Link>, bytes: &[u8]) -> Result<(), String> {
        // Whatever goes wrong from here on, this connection is not used again.
        let usable = match kept.take() {
            Some(mut link) => (!link.has_ended().await).then_some(link),
            None => None,
        };
        let mut link = match usable {
            Some(link) => link,
            None => within(config.connect_max, "connecting", self.connect(config)).await?,
        };
        for chunk in bytes.chunks(CHUNK_BYTES) {
            within(config.answer_max, "the receiver to read on", link.stream.write_all(chunk)).await?;
        }
        within(config.answer_max, "the receiver to read on", link.stream.flush()).await?;
        match config.confirm {
            Confirm::Close => {
                // With TLS this says so in TLS first, which the receiver answers when it has read that.
                within(config.answer_max, "the receiver to read on", link.stream.shutdown()).await?;
                let hint = "the receiver to close its side after ours; one that never does needs confirm = \"settle\"";
                within(config.answer_max, hint, link.until_end()).await?;
                link.was_read().await.map_err(|error| format!("the receiver has gone in the middle: {error}"))?;
            }
            Confirm::Settle(settle) => {
                if let Ok(ended) = timeout(settle, link.until_end()).await {
                    return Err(match ended {
                        Ok(()) => "the receiver has closed the connection after a delivery".to_owned(),
                        Err(error) => format!("the connection broke after a delivery: {error}"),
                    });
                }
                *kept = Some(link);
            }
        }
        Ok(())
    }

    async fn connect(&self, config: &SyslogConfig) -> io::Result<Link> {
        let started = Instant::now();
        let stream = TcpStream::connect(&config.address).await?;
        stream.set_nodelay(true)?;
        let made_in = started.elapsed();
        let stream: Box<dyn Duplex> = match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
        };
        Ok(Link { stream, made_in })
    }
}

impl Link {
    /// Reads until the receiver has closed its side. What it says before is nobody's: syslog has no answers.
    async fn until_end(&mut self) -> io::Result<()> {
        let mut ignored = [0; 1024];
        loop {
            match self.stream.read(&mut ignored).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Many a receiver closes the connection without saying so in TLS; it has read our saying so.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the receiver's system still knew the connection when our last byte came. A receiver that dies after it has
    /// read what was there, and before the rest comes, looks as if it had closed in good order; the rest is answered
    /// with a reset, one way there and back later.
    async fn was_read(&mut self) -> io::Result<()> {
        const LEAST: Duration = Duration::from_millis(10);
        tokio::time::sleep(LEAST + self.made_in.saturating_mul(2)).await;
        self.stream.tcp().take_error()?.map_or(Ok(()), Err)
    }

    /// Whether the receiver has closed the connection since the last delivery.
    async fn has_ended(&mut self) -> bool {
        timeout(Duration::ZERO, self.until_end()).await.is_ok()
    }
}

/// Waits for a step at most so long. The error says what was waited for.
async fn within<T>(most: Duration, what: &str, step: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(most, step).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("waited {} ms in vain for {what}", most.as_millis())),
    }
}

/// What a connection by TLS (1.2 or 1.3) begins with.
fn client(tls: &SyslogTls) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &tls.ca_file {
        None => builder.with_platform_verifier().map_err(|error| error.to_string())?,
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            builder.with_root_certificates(roots)
        }
    };
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            // What an error says of a key may quote it.
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|_| format!("{}: cannot be read as a private key in PEM", key.display()))?;
            let both = format!("{} and {}", certificate.display(), key.display());
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .map_err(|error| format!("{both}: {error}"))?
        }
    };
    // A receiver on OpenSSL that asks for certificates refuses to go on with an old session unless it was told of a
    // context for them; rsyslog 8.2302 is not.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| format!("{}: {error}", path.display()))?;
    if all.is_empty() { Err(format!("{}: holds no certificate in PEM", path.display())) } else { Ok(all) }
}
