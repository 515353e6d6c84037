//! The producer of transactions, and the reports on what it has sent.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use sha2::{Digest as _, Sha256};

use super::message::is_refusal;
use super::reports::DEFAULTS;
use super::{Events, Properties};

/// `transaction.timeout.ms` unless told otherwise: short, because what a killed worker left open holds its readers up
/// until then.
pub(super) const TIMEOUT_MS: &str = "10000";

/// A message as it comes again when its batch is done again: topic, key and payload, hashed.
pub(super) type Identity = [u8; 32];

/// Collects acknowledgements on the thread that serves the producer; the worker waits for them.
#[derive(Default)]
pub(super) struct Context {
    events: Events,
    reports: Mutex<Reports>,
    /// Notified of each report.
    pub(super) news: Condvar,
}

/// Reports on messages since the transaction began.
#[derive(Default)]
pub(super) struct Reports {
    /// How many are in.
    pub(super) done: usize,
    /// Why messages were not taken; who they are where that is for good.
    pub(super) failed: Vec<(Option<Identity>, RDKafkaErrorCode)>,
}

impl Context {
    pub(super) fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.note(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let failed = result.as_ref().err().map(|(error, message)| {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            let identity =
                || identity(message.topic(), message.key().unwrap_or_default(), message.payload().unwrap_or_default());
            (is_refusal(code).then(identity), code)
        });
        let mut reports = self.reports();
        reports.done += 1;
        reports.failed.extend(failed);
        self.news.notify_one();
    }
}

/// The identity of a message.
pub(super) fn identity(topic: &str, key: &[u8], payload: &[u8]) -> Identity {
    let mut hash = Sha256::new();
    for part in [topic.as_bytes(), key, payload] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A producer with the transactional id `id` and transactions that take `timeout` at most. It is served by a thread of
/// its own: an abort waits for reports, and does not serve them.
pub(super) fn producer(
    properties: &Properties,
    id: &str,
    timeout: Duration,
) -> Result<ThreadedProducer<Context>, KafkaError> {
    let timeout_ms = timeout.as_millis().to_string();
    // Time is left to abort before the coordinator does, after which the producer would have to be made anew.
    let message_ms = (timeout.as_millis() * 3 / 4).to_string();
    let mut defaults = DEFAULTS.to_vec();
    defaults.push(("message.timeout.ms", &message_ms));
    let fixed = [
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("client.id", id),
        ("transactional.id", id),
        ("transaction.timeout.ms", timeout_ms.as_str()),
    ];
    properties.client(&defaults, &fixed).create_with_context(Context::default())
}
