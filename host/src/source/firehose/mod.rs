//! The Firehose source: an HTTP endpoint that Amazon Data Firehose delivers to.
//!
//! A thread of its own speaks HTTP ([`server`], [`handler`]): it checks the head of a request, reserves room, reads the body
//! into it, and puts the request into a queue. The pipeline's workers take whole requests out of it, decode them into a
//! batch, and answer when the batch is committed. So decoding costs the workers' time, and what waits is as small as it
//! was sent.
//!
//! Source of the contract: AWS, "HTTP endpoint delivery request and response specifications".

mod answer;
mod body;
mod decode;
mod handler;
mod head;
mod keys;
mod metrics;
mod progress;
mod queue;
mod room;
mod server;
mod tls;
mod worker;

#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod testing;

use std::net::SocketAddr;
use std::time::Duration;

pub use keys::{AccessKeys, KEY_BYTES_MAX, KEY_BYTES_MIN};
pub use metrics::{FirehoseMetrics, Firehoses};
pub use server::{Endpoint, EndpointError};
pub use tls::Certificate;
pub use worker::FirehoseSource;

/// A Firehose source as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct FirehoseConfig {
    /// Where the endpoint listens.
    pub listen: SocketAddr,
    /// The path of the stream's URL.
    pub path: String,
    /// The keys that are let in.
    pub access_keys: AccessKeys,
    /// The certificate; None for plain HTTP, behind a load balancer that has one.
    pub tls: Option<Certificate>,
    /// What clients may use.
    pub limits: FirehoseLimits,
}

/// Limits of an endpoint. What exceeds one is answered with a failure; nothing else is affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirehoseLimits {
    /// Size of a body as it was sent, in bytes. AWS: up to 64 MiB before compression.
    pub body_bytes_max: usize,
    /// Size of a body once decompressed, in bytes. The same limit of AWS.
    pub decompressed_bytes_max: usize,
    /// Records in a request. AWS: 1 to 10,000.
    pub records_max: usize,
    /// Size of a record before base64, in bytes. AWS: 1,024,000; the rest is for delimiters that a stream may add. With its
    /// headers it still fits into a topic with Kafka's default `max.message.bytes` of 1,048,588.
    pub record_bytes_max: usize,
    /// Bodies of all requests together that are read, wait, or are delivered, as they were sent, in bytes. It is reserved
    /// before a body is read; without room the answer is 503.
    pub in_flight_bytes_max: usize,
    /// Open connections. One more is closed at once.
    pub connections_max: usize,
    /// How long a new connection may take for TLS and the head of its first request.
    pub head_max: Duration,
    /// How long a connection may wait for the next request. Above the 60 s of AWS's load balancers: one that keeps
    /// connections longer than its target sends requests into closing ones.
    pub idle_max: Duration,
    /// How long a body may take.
    pub body_max: Duration,
    /// How long a request may take in all, until it is answered 503. Firehose gives up after 180 s.
    pub answer_max: Duration,
}

impl Default for FirehoseLimits {
    fn default() -> Self {
        FirehoseLimits {
            body_bytes_max: 64 << 20,
            decompressed_bytes_max: 64 << 20,
            records_max: 10_000,
            record_bytes_max: 1_008 << 10,
            in_flight_bytes_max: 256 << 20,
            connections_max: 512,
            head_max: Duration::from_secs(10),
            idle_max: Duration::from_secs(75),
            body_max: Duration::from_secs(60),
            answer_max: Duration::from_secs(150),
        }
    }
}

impl FirehoseLimits {
    /// Whether the largest body finds room when it is alone.
    pub fn has_room_for_largest(&self) -> bool {
        self.in_flight_bytes_max >= self.body_bytes_max + room::REQUEST_BYTES
    }
}
