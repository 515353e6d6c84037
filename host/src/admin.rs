//! The admin page: `/metrics`, `/healthz`, `/readyz`, `/status`. On a thread of its own, so that it answers under load.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use serde_json::{Value, json};

use crate::metrics::Metrics;

/// What the process is doing.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<AtomicU8>);

const RUNNING: u8 = 1;
const STOPPING: u8 = 2;
const FAILED: u8 = 3;

impl Health {
    /// All workers run. One may have failed already, or a stop was asked for.
    pub fn running(&self) {
        self.0.fetch_max(RUNNING, Ordering::AcqRel);
    }

    /// A stop was asked for.
    pub fn stopping(&self) {
        self.0.fetch_max(STOPPING, Ordering::AcqRel);
    }

    /// A worker has failed.
    pub fn failed(&self) {
        self.0.store(FAILED, Ordering::Release);
    }

    /// Ready: all workers run and no stop was asked for.
    fn ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == RUNNING
    }

    /// Healthy: no worker has failed.
    fn healthy(&self) -> bool {
        self.0.load(Ordering::Acquire) != FAILED
    }
}

/// Binds `address`; an error says that another program has the port.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves the page until the process ends. Must run within a tokio runtime.
pub async fn serve(listener: TcpListener, instance: String, metrics: Metrics, health: Health) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, router(instance, metrics, health)).await
}

/// What the process does at present. Rules are there where some pipeline detects.
fn status(instance: &str, metrics: &Metrics, health: &Health) -> Value {
    let overview = metrics.overview();
    let (generation, modules) = metrics.rules();
    json!({
        "instance": instance,
        "version": env!("CARGO_PKG_VERSION"),
        "started_ms": overview.started_ms(),
        "ready": health.ready(),
        "rules": overview.detects().then(|| json!({ "generation": generation, "modules": modules })),
        "pipelines": overview.pipelines(),
    })
}

fn router(instance: String, metrics: Metrics, health: Health) -> Router {
    let answer = |good: bool, yes: &'static str, no: &'static str| {
        if good { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) }
    };
    let ready = health.clone();
    let (told, whole) = (metrics.clone(), health.clone());
    Router::new()
        .route(
            "/metrics",
            get(async move || {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, kind)], metrics.page())
            }),
        )
        .route("/healthz", get(async move || answer(health.healthy(), "healthy\n", "a worker has failed\n")))
        .route("/readyz", get(async move || answer(ready.ready(), "ready\n", "not ready\n")))
        .route(
            "/status",
            get(async move || {
                let text = format!("{:#}\n", status(&instance, &told, &whole));
                ([(header::CONTENT_TYPE, "application/json")], text)
            }),
        )
}
