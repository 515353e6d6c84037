//! What an endpoint counts.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

type Labels = Vec<(&'static str, String)>;

/// The metrics of all endpoints of a process.
#[derive(Clone, Debug)]
pub struct Firehoses {
    requests: Family<Labels, Counter>,
    request_bytes: Family<Labels, Counter>,
    in_flight_bytes: Family<Labels, Gauge<i64, AtomicI64>>,
    connections: Family<Labels, Gauge<i64, AtomicI64>>,
    connections_refused: Family<Labels, Counter>,
    acknowledged: Family<Labels, Histogram, fn() -> Histogram>,
}

fn latencies() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0])
}

impl Firehoses {
    /// Registers them.
    pub(crate) fn register(registry: &mut Registry) -> Firehoses {
        let all = Firehoses {
            requests: Family::default(),
            request_bytes: Family::default(),
            in_flight_bytes: Family::default(),
            connections: Family::default(),
            connections_refused: Family::default(),
            acknowledged: Family::new_with_constructor(latencies),
        };
        registry.register("firehose_requests", "Requests of Firehose, by the status answered", all.requests.clone());
        let help = "Bodies of requests, as they were sent";
        registry.register("firehose_request_bytes", help, all.request_bytes.clone());
        let help = "Bytes reserved for requests that are read, wait, or are delivered";
        registry.register("firehose_in_flight_bytes", help, all.in_flight_bytes.clone());
        registry.register("firehose_connections", "Connections that are open", all.connections.clone());
        let help = "Connections closed at once, because connections_max were open";
        registry.register("firehose_connections_refused", help, all.connections_refused.clone());
        let help = "From the arrival of a request until all of it was acknowledged";
        registry.register_with_unit("firehose_acknowledged", help, Unit::Seconds, all.acknowledged.clone());
        all
    }

    /// Those of one pipeline. They are there from the start, at zero.
    pub(crate) fn pipeline(&self, name: &str) -> FirehoseMetrics {
        let labels = vec![("pipeline", name.to_owned())];
        FirehoseMetrics {
            requests: self.requests.clone(),
            request_bytes: self.request_bytes.get_or_create_owned(&labels),
            in_flight_bytes: self.in_flight_bytes.get_or_create_owned(&labels),
            connections: self.connections.get_or_create_owned(&labels),
            connections_refused: self.connections_refused.get_or_create_owned(&labels),
            acknowledged: self.acknowledged.get_or_create_owned(&labels),
            labels,
        }
    }
}

/// The metrics of one endpoint.
#[derive(Clone, Debug)]
pub struct FirehoseMetrics {
    labels: Labels,
    requests: Family<Labels, Counter>,
    request_bytes: Counter,
    in_flight_bytes: Gauge<i64, AtomicI64>,
    connections: Gauge<i64, AtomicI64>,
    connections_refused: Counter,
    acknowledged: Histogram,
}

impl FirehoseMetrics {
    /// Counts an answer.
    pub(super) fn answered(&self, status: u16) {
        let mut labels = self.labels.clone();
        labels.push(("status", status.to_string()));
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a body that has arrived.
    pub(super) fn body(&self, bytes: usize) {
        self.request_bytes.inc_by(bytes as u64);
    }

    /// Notes how long a request took until it was acknowledged.
    pub(super) fn acknowledged(&self, took: Duration) {
        self.acknowledged.observe(took.as_secs_f64());
    }

    /// Notes that bytes are reserved, or given back where they are negative.
    pub(super) fn reserved(&self, bytes: i64) {
        self.in_flight_bytes.inc_by(bytes);
    }

    /// Notes that a connection came; `closed` notes that it went.
    pub(super) fn opened(&self) {
        self.connections.inc();
    }

    /// Notes that a connection went.
    pub(super) fn closed(&self) {
        self.connections.dec();
    }

    /// Counts a connection that was closed at once.
    pub(super) fn refused(&self) {
        self.connections_refused.inc();
    }
}

#[cfg(test)]
impl FirehoseMetrics {
    pub(super) fn for_tests() -> FirehoseMetrics {
        Firehoses::register(&mut Registry::default()).pipeline("test")
    }

    pub(super) fn in_flight_bytes(&self) -> i64 {
        self.in_flight_bytes.get()
    }

    pub(super) fn connections(&self) -> i64 {
        self.connections.get()
    }

    pub(super) fn connections_refused(&self) -> u64 {
        self.connections_refused.get()
    }
}
