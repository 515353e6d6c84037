//! The endpoint: a listener, its connections, and the thread that serves them.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::handler::handle;
use super::keys::AccessKeys;
use super::metrics::FirehoseMetrics;
use super::progress::Progress;
use super::queue::Queue;
use super::room::Room;
use super::tls::{self, Tls, TlsError, Watch};
use super::{FirehoseConfig, FirehoseLimits};
use crate::shutdown::Shutdown;

/// Size of a request's head, in bytes, and of what is read of a body at once. The access key has up to 4 KiB and common
/// attributes up to 64 KiB of characters.
const HEAD_BYTES_MAX: usize = 128 << 10;

/// How often the wish to stop is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How often the files of the certificate are looked at.
const LOOK_AT_CERTIFICATE: Duration = Duration::from_secs(1);

/// How long accepting rests after it failed, for want of file descriptors say.
const REST: Duration = Duration::from_millis(100);

/// How long the last answers may take once all workers have ended.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(5);

/// An endpoint that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address cannot be had.
    #[error("{address}: {error}\nhint: another program may have the port, or this user may not take one below 1024")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        #[source]
        error: std::io::Error,
    },
    /// The certificate is of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gives no thread or no sockets.
    #[error("the endpoint cannot be started: {0}")]
    System(#[source] std::io::Error),
}

/// What the connections and the workers of an endpoint share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: String,
    pub(super) keys: AccessKeys,
    pub(super) limits: FirehoseLimits,
    pub(super) queue: Queue,
    pub(super) room: Room,
    pub(super) progress: Progress,
    pub(super) metrics: FirehoseMetrics,
    /// All workers have ended.
    finished: AtomicBool,
    /// When a refusal was logged last, in milliseconds since the epoch.
    warned_ms: AtomicI64,
}

impl Shared {
    /// Whether a refusal may be logged now: one a second.
    pub(super) fn may_warn(&self, now_ms: i64) -> bool {
        let before_ms = self.warned_ms.load(Ordering::Relaxed);
        now_ms - before_ms >= 1_000
            && self.warned_ms.compare_exchange(before_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// A running endpoint. All workers of its pipeline hold it together; it ends when the last one has ended.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) shared: Arc<Shared>,
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Endpoint {
    /// Listens and serves until `shutdown` is requested. `name` is that of the pipeline.
    pub fn start(
        name: &str,
        config: &FirehoseConfig,
        metrics: FirehoseMetrics,
        shutdown: Arc<Shutdown>,
    ) -> Result<Endpoint, EndpointError> {
        let certificate = match &config.tls {
            Some(files) => {
                let before = tls::version(files);
                let tls = Arc::new(Tls::load(files)?);
                Some((Arc::clone(&tls), Watch::new(tls, before)))
            }
            None => None,
        };
        let address = config.listen;
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) = bound.map_err(|error| EndpointError::Bind { address, error })?;
        let shared = Arc::new(Shared {
            path: config.path.clone(),
            keys: config.access_keys.clone(),
            limits: config.limits.clone(),
            queue: Queue::default(),
            room: Room::new(config.limits.in_flight_bytes_max, metrics.clone()),
            progress: Progress::default(),
            metrics,
            finished: AtomicBool::new(false),
            warned_ms: AtomicI64::new(0),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(EndpointError::System)?;
        let own = Arc::clone(&shared);
        let serve = move || {
            runtime.block_on(serve(own, listener, certificate, shutdown));
            // A look at the certificate's files may hang.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(format!("{name}-http")).spawn(serve);
        let thread = thread.map_err(EndpointError::System)?;
        tracing::info!(pipeline = name, %address, tls = config.tls.is_some(), path = config.path, "firehose endpoint");
        Ok(Endpoint { shared, address, thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it serves nobody any more.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Gives out the last answers and ends. What is still unanswered after a few seconds stays so.
    pub(super) fn finish(self) {
        self.shared.queue.close();
        self.shared.finished.store(true, Ordering::Release);
        let deadline = Instant::now() + LAST_ANSWERS_MAX + 2 * LOOK;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

/// Accepts connections until a stop, then waits for the answers to what is in hand.
async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    certificate: Option<(Arc<Tls>, Watch)>,
    shutdown: Arc<Shutdown>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the endpoint cannot listen: {error}"),
    };
    let (tls, watch) = certificate.unzip();
    let watching = watch.map(|watch| tokio::spawn(look_at_certificate(watch)));
    let (stop, stopping) = watch::channel(false);
    let connections = Arc::new(Semaphore::new(shared.limits.connections_max));
    let is_over = || shutdown.requested() || shared.finished.load(Ordering::Acquire);
    while !is_over() {
        let accepted = match tokio::time::timeout(LOOK, listener.accept()).await {
            Err(_) => continue,
            Ok(accepted) => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("a connection cannot be accepted: {error}");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&connections).try_acquire_owned() else {
            shared.metrics.refused();
            continue;
        };
        let one = Connection { shared: Arc::clone(&shared), stopping: stopping.clone(), _place: place };
        tokio::spawn(one.accept(stream, tls.as_ref().map(|tls| TlsAcceptor::from(tls.current()))));
    }
    drop(listener);
    shared.queue.close();
    stop.send_replace(true);
    if let Some(watching) = watching {
        watching.abort();
    }
    let all = u32::try_from(shared.limits.connections_max).unwrap_or(u32::MAX);
    let mut finished = None;
    while tokio::time::timeout(LOOK, connections.acquire_many(all)).await.is_err() {
        if shared.finished.load(Ordering::Acquire) {
            let since = *finished.get_or_insert_with(Instant::now);
            if since.elapsed() >= LAST_ANSWERS_MAX {
                return;
            }
        }
    }
}

/// Replaces the certificate whenever its files change.
async fn look_at_certificate(mut watch: Watch) {
    loop {
        tokio::time::sleep(LOOK_AT_CERTIFICATE).await;
        let looked = tokio::task::spawn_blocking(move || {
            match watch.look() {
                None => {}
                Some(Ok(())) => tracing::info!("the certificate of the firehose endpoint was replaced"),
                Some(Err(error)) => tracing::error!("the new certificate is not taken, the old one stays: {error}"),
            }
            watch
        });
        match looked.await {
            Ok(same) => watch = same,
            Err(_) => return,
        }
    }
}

/// One connection; its place is free again when it ends.
struct Connection {
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

/// Counts a connection for as long as it lasts.
struct Open<'a>(&'a FirehoseMetrics);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.closed();
    }
}

impl Connection {
    async fn accept(self, stream: tokio::net::TcpStream, tls: Option<TlsAcceptor>) {
        let shared = Arc::clone(&self.shared);
        shared.metrics.opened();
        let _open = Open(&shared.metrics);
        let deadline = tokio::time::Instant::now() + shared.limits.head_max;
        // Answers are small and not to wait for more.
        let _set = stream.set_nodelay(true);
        match tls {
            None => self.serve(stream, deadline).await,
            Some(tls) => {
                let mut stopping = self.stopping.clone();
                let accepted = tokio::select! {
                    accepted = tokio::time::timeout_at(deadline, tls.accept(stream)) => accepted,
                    _ = stopping.wait_for(|stopping| *stopping) => return,
                };
                match accepted {
                    Ok(Ok(stream)) => self.serve(stream, deadline).await,
                    Ok(Err(error)) => tracing::debug!("no TLS: {error}"),
                    Err(_) => tracing::debug!("no TLS in time"),
                }
            }
        }
    }

    /// Serves requests one after the other. The first must have come by `first`.
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin, first: tokio::time::Instant) {
        let has_asked = AtomicBool::new(false);
        let service = service_fn(|request| {
            has_asked.store(true, Ordering::Relaxed);
            let handled = handle(Arc::clone(&self.shared), self.stopping.clone(), request);
            async { Ok::<_, Infallible>(handled.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // From the end of an answer to the end of the next head, and for the first head too.
            .header_read_timeout(self.shared.limits.idle_max)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut stopping = self.stopping.clone();
        let first = tokio::time::sleep_until(first);
        let mut first = std::pin::pin!(first);
        let (mut waits, mut told) = (true, false);
        loop {
            tokio::select! {
                done = connection.as_mut() => {
                    if let Err(error) = done {
                        tracing::debug!("a connection ended: {error}");
                    }
                    return;
                }
                () = first.as_mut(), if waits => {
                    if !has_asked.load(Ordering::Relaxed) {
                        return tracing::debug!("a connection asked for nothing in time");
                    }
                    waits = false;
                }
                _ = stopping.wait_for(|stopping| *stopping), if !told => {
                    connection.as_mut().graceful_shutdown();
                    told = true;
                }
            }
        }
    }
}
