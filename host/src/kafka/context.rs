//! librdkafka's log and errors, routed into ours.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How many error texts are kept for the report of a failed start.
const ERRORS_MAX: usize = 8;

/// An error that is the same as the last one is told again after so long. While no broker answers, librdkafka reports
/// hundreds within a moment.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// Receives what librdkafka says. `max.poll.interval.ms` breaches and the like appear only in its log, so the log is
/// routed, not dropped.
#[derive(Debug, Default)]
pub struct Events {
    /// The last errors: code and words.
    errors: Mutex<Vec<(String, String)>>,
    /// When the last of them was told.
    told: Mutex<Option<Instant>>,
}

impl Events {
    /// The last errors: librdkafka's code and its words.
    pub fn errors(&self) -> Vec<(String, String)> {
        self.errors.lock().map(|errors| errors.clone()).unwrap_or_default()
    }

    /// Keeps and logs an error that librdkafka reports. Most are about a broker that went away, which librdkafka
    /// retries by itself, so they are warnings.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        // No error: a reader has asked to be told.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        let code = error.rdkafka_error_code().map(|code| format!("{code:?}")).unwrap_or_default();
        let noted = (code, reason.to_owned());
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.last() == Some(&noted) && told.is_some_and(|told| told.elapsed() < REPEAT_AFTER) {
            return;
        }
        *told = Some(Instant::now());
        tracing::warn!(target: "librdkafka", "{error}: {reason}");
        if errors.len() >= ERRORS_MAX {
            errors.remove(0);
        }
        errors.push(noted);
    }
}

/// Writes a line of librdkafka's log into ours.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    // Properties are set once for consumers and producers alike; each ignores those of the other.
    if facility == "CONFWARN" && message.contains("will be ignored by this") {
        tracing::debug!(target: "librdkafka", facility, "{message}");
        return;
    }
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Events {}
