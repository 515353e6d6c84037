//! The Kafka sink: an idempotent producer that waits for all in-sync replicas.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};

use super::{Outgoing, Refused, SinkError, Wait};
use crate::kafka::{Kept, Properties, Report, Reports, idempotent, is_refusal, record};

/// A Kafka sink as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaSinkConfig {
    /// The topic.
    pub topic: String,
    /// All librdkafka properties: `[kafka]` with the sink's own on top.
    pub properties: Properties,
}

/// The pause between two looks for acknowledgements, and so what a delivery may take longer than its acknowledgement.
const POLL: Duration = Duration::from_millis(1);

/// From when on the source is kept alive while acknowledgements are waited for.
const PATIENCE: Duration = Duration::from_millis(300);

/// The pause before messages are sent again: doubled each time, up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A producer for one topic, owned by one worker.
pub struct KafkaSink {
    producer: BaseProducer<Reports>,
    config: KafkaSinkConfig,
    client_id: String,
    /// Messages since all were settled: the next one's number.
    sent: usize,
    /// Messages without a report.
    waiting: usize,
    /// Messages that were not taken.
    failed: Vec<Failed>,
}

/// A message that was not taken.
struct Failed {
    number: usize,
    code: RDKafkaErrorCode,
    message: Kept,
}

impl Failed {
    fn new(number: usize, error: &KafkaError, message: Kept) -> Failed {
        Failed { number, code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown), message }
    }
}

impl KafkaSink {
    /// A sink for `config.topic`. It connects in the background.
    pub fn new(config: KafkaSinkConfig, client_id: &str) -> Result<KafkaSink, SinkError> {
        let producer = producer(&config, client_id)?;
        Ok(KafkaSink { producer, config, client_id: client_id.to_owned(), sent: 0, waiting: 0, failed: Vec::new() })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.config.topic
    }

    /// Hands messages to the producer, which copies them, and waits for none.
    pub(super) fn send(&mut self, messages: &[Outgoing<'_>], wait: &mut Wait<'_>) -> Result<(), SinkError> {
        for message in messages {
            self.sent += 1;
            self.hand_over(self.sent - 1, message, wait)?;
        }
        self.collect();
        Ok(())
    }

    /// See [`super::Sink::settle`].
    pub(super) fn settle(&mut self, wait: &mut Wait<'_>) -> Result<Vec<(Refused, Kept)>, SinkError> {
        let mut refused = Vec::new();
        let (mut backoff, mut is_down) = (BACKOFF.0, false);
        loop {
            self.acknowledged(wait)?;
            let failed = std::mem::take(&mut self.failed);
            let (large, mut pending): (Vec<_>, Vec<_>) = failed.into_iter().partition(|failed| is_refusal(failed.code));
            let down = pending.first().map(|failed| failed.code);
            for Failed { number, code, message } in large {
                // A broker refuses a whole batch of the producer, so the messages are told apart by sending each
                // alone: only what is refused alone is refused.
                self.hand_over(number, &message.outgoing(), wait)?;
                self.acknowledged(wait)?;
                for again in std::mem::take(&mut self.failed) {
                    match is_refusal(again.code) {
                        true => refused.push((Refused { index: number, cause: again.code.to_string() }, again.message)),
                        false => pending.push(again),
                    }
                }
                tracing::debug!(topic = self.config.topic, "sent alone after: {code}");
            }
            if let Some(code) = down {
                is_down = true;
                self.pause(code, pending.len(), backoff, wait)?;
                backoff = (backoff * 2).min(BACKOFF.1);
            } else if pending.is_empty() {
                if is_down {
                    wait.metrics.target_up();
                }
                self.sent = 0;
                return Ok(refused);
            }
            for failed in pending {
                self.hand_over(failed.number, &failed.message.outgoing(), wait)?;
            }
        }
    }

    /// Waits before messages are sent again, and makes a producer anew that takes none any more. librdkafka has tried for all
    /// of `message.timeout.ms`.
    fn pause(
        &mut self,
        code: RDKafkaErrorCode,
        waiting: usize,
        backoff: Duration,
        wait: &mut Wait<'_>,
    ) -> Result<(), SinkError> {
        let retry_ms = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(topic = self.config.topic, waiting, retry_ms, "not delivered yet: {code}");
        wait.metrics.target_down(&self.name(), &code.to_string());
        if !wait.pause(backoff) {
            return Err(self.stopped(waiting));
        }
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            tracing::warn!(topic = self.config.topic, "producer made anew: {code}: {reason}");
            self.producer = producer(&self.config, &self.client_id)?;
        }
        Ok(())
    }

    /// Hands a message to the producer, or notes why that does not take it.
    fn hand_over(&mut self, number: usize, message: &Outgoing<'_>, wait: &mut Wait<'_>) -> Result<(), SinkError> {
        let started = Instant::now();
        loop {
            let record = record(&self.config.topic, message, number);
            let Err((error, _)) = self.producer.send(record) else {
                self.waiting += 1;
                return Ok(());
            };
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                self.failed.push(Failed::new(number, &error, Kept::of(message)));
                return Ok(());
            }
            self.look();
            self.patient(started, wait)?;
        }
    }

    /// Waits for every report.
    fn acknowledged(&mut self, wait: &mut Wait<'_>) -> Result<(), SinkError> {
        let started = Instant::now();
        while self.waiting > 0 {
            self.look();
            if self.waiting > 0 {
                self.patient(started, wait)?;
            }
        }
        Ok(())
    }

    /// Takes the reports that are there, and pauses where there is none. rust-rdkafka's own wait asks again and again for the whole
    /// of its last millisecond, which costs a core, and does not end when a report comes.
    fn look(&mut self) {
        if !self.collect() {
            std::thread::sleep(POLL);
        }
    }

    fn patient(&self, started: Instant, wait: &mut Wait<'_>) -> Result<(), SinkError> {
        if started.elapsed() > PATIENCE && !wait.turn() {
            return Err(self.stopped(self.waiting));
        }
        Ok(())
    }

    /// Takes the reports that are there. Whether there were any.
    fn collect(&mut self) -> bool {
        self.producer.poll(Duration::ZERO);
        let reports = self.producer.context().take();
        self.waiting = self.waiting.saturating_sub(reports.len());
        let any = !reports.is_empty();
        let failed = |(number, report): Report| {
            let (error, message) = report.err()?;
            Some(Failed::new(number, &error, message))
        };
        self.failed.extend(reports.into_iter().filter_map(failed));
        any
    }

    fn stopped(&self, waiting: usize) -> SinkError {
        SinkError::Stopped { name: self.name(), waiting }
    }

    fn name(&self) -> String {
        format!("the topic `{}`", self.config.topic)
    }
}

fn producer(config: &KafkaSinkConfig, client_id: &str) -> Result<BaseProducer<Reports>, SinkError> {
    idempotent(&config.properties, &[], client_id)
        .map_err(|error| SinkError::Client { topic: config.topic.clone(), error })
}
