//! The producer that is polled by the thread that uses it, and its acknowledgements.

use std::sync::{Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, ProducerContext};

use super::context::{Events, log};
use super::message::Kept;
use super::properties::Properties;

/// Defaults of every producer that differ from librdkafka's. The client's own `message.max.bytes` is large so that only
/// the topic's limit decides.
pub(super) const DEFAULTS: [(&str, &str); 5] = [
    ("linger.ms", "1"),
    ("compression.type", "zstd"),
    ("message.max.bytes", "100000000"),
    ("reconnect.backoff.max.ms", "2000"),
    ("statistics.interval.ms", "0"),
];

/// The number that a message was sent with, and its partition and offset; or why it was not taken, and the message.
pub(crate) type Report = (usize, Result<(i32, i64), (KafkaError, Kept)>);

/// Collects acknowledgements. They arrive within `poll`, on the caller's own thread; the lock only satisfies the
/// compiler.
#[derive(Default)]
pub(crate) struct Reports {
    events: Events,
    reports: Mutex<Vec<Report>>,
}

/// An idempotent producer that waits for all in-sync replicas, with `more` defaults. Its `message.timeout.ms` is short,
/// because who sends knows what to do about a message that times out, and tells about it.
pub(crate) fn idempotent(
    properties: &Properties,
    more: &[(&str, &str)],
    client_id: &str,
) -> Result<BaseProducer<Reports>, KafkaError> {
    let defaults = [&DEFAULTS[..], &[("message.timeout.ms", "30000")], more].concat();
    let fixed = [("acks", "all"), ("enable.idempotence", "true"), ("client.id", client_id)];
    properties.client(&defaults, &fixed).create_with_context(Reports::default())
}

impl Reports {
    /// What has come since this was last called.
    pub(crate) fn take(&self) -> Vec<Report> {
        std::mem::take(&mut *self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.note(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let report = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, message)) => Err((error.clone(), Kept::of_report(message))),
        };
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push((number, report));
    }
}
