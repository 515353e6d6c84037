//! librdkafka's log and errors, routed into ours.

use std::sync::Mutex;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

/// How many error texts are kept for the report of a failed start.
const ERRORS_MAX: usize = 8;

/// Receives what librdkafka says. `max.poll.interval.ms` breaches and the like appear only in its log, so the log is
/// routed, not dropped.
#[derive(Debug, Default)]
pub struct Events {
    errors: Mutex<Vec<(String, String)>>,
}

impl Events {
    /// The last errors: librdkafka's code and its words.
    pub fn errors(&self) -> Vec<(String, String)> {
        self.errors.lock().map(|errors| errors.clone()).unwrap_or_default()
    }

    /// Keeps and logs an error that librdkafka reports. Most are about a broker that went away, which librdkafka
    /// retries by itself, so they are warnings.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", "{error}: {reason}");
        if let Ok(mut errors) = self.errors.lock() {
            if errors.len() >= ERRORS_MAX {
                errors.remove(0);
            }
            let code = error.rdkafka_error_code().map(|code| format!("{code:?}")).unwrap_or_default();
            errors.push((code, reason.to_owned()));
        }
    }
}

/// Writes a line of librdkafka's log into ours.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
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
