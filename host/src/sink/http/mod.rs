//! What all targets over HTTP share: one client, what an answer means, and the patience to send until it is taken.

mod answer;
mod client;
mod courier;
mod parcel;
#[cfg(test)]
pub(super) mod testing;

use std::path::PathBuf;
use std::time::Duration;

pub(super) use answer::{Answer, Part, Verdict, one_line};
pub(super) use client::{Client, Request};
pub(super) use courier::Courier;
pub(super) use parcel::Parcels;

/// How a target is reached, and with how much patience.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// Scheme, host, port and a path before that of the target's own, without a slash at its end.
    pub url: String,
    /// A file of PEM certificates. Where it is given, these alone vouch for the target, and not those of the system.
    pub ca_file: Option<PathBuf>,
    /// A file with a PEM certificate (and its chain) and one with its key, with which the client proves who it is.
    pub client: Option<(PathBuf, PathBuf)>,
    /// How long a connection may take to be made.
    pub connect_max: Duration,
    /// How long a request may take in all, its answer included.
    pub request_max: Duration,
    /// Bytes of a request before it is compressed. One message alone may exceed it.
    pub request_bytes_max: usize,
    /// Whether bodies are compressed with gzip.
    pub gzip: bool,
    /// The pause after a first failure; doubled each time.
    pub retry_min: Duration,
    /// The pause at most.
    pub retry_max: Duration,
    /// How long a target's own wish for a pause (`Retry-After`) is followed at most.
    pub retry_after_max: Duration,
    /// Failures in a row after which the target counts as down: single messages are tried until one passes.
    pub failures_in_row_max: u32,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            url: String::new(),
            ca_file: None,
            client: None,
            connect_max: Duration::from_secs(5),
            request_max: Duration::from_secs(30),
            // More than a batch holds, whose messages get an envelope each: a batch is one request, and one acknowledgement.
            request_bytes_max: 5 << 20,
            gzip: true,
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(120),
            failures_in_row_max: 5,
        }
    }
}
