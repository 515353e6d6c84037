//! The Kafka sink: an idempotent producer that waits for all in-sync replicas.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};

use super::{Outgoing, Refused, SinkError, Wait};
use crate::kafka::{Properties, Reports, idempotent, is_refusal, record};

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
}

impl KafkaSink {
    /// A sink for `config.topic`. It connects in the background.
    pub fn new(config: KafkaSinkConfig, client_id: &str) -> Result<KafkaSink, SinkError> {
        let producer = producer(&config, client_id)?;
        Ok(KafkaSink { producer, config, client_id: client_id.to_owned() })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.config.topic
    }

    /// See [`super::Sink::deliver`].
    pub(super) fn deliver(
        &mut self,
        messages: &[Outgoing<'_>],
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Refused>, SinkError> {
        let mut pending: Vec<usize> = (0..messages.len()).collect();
        let mut refused = Vec::new();
        let (mut backoff, mut is_down) = (BACKOFF.0, false);
        loop {
            let failed = self.attempt(messages, &pending, wait)?;
            let (large, down): (Vec<_>, Vec<_>) = failed.into_iter().partition(|(_, code)| is_refusal(*code));
            pending = down.iter().map(|(index, _)| *index).collect();
            for (index, code) in large {
                // A broker refuses a whole batch of the producer, so the messages are told apart by sending each
                // alone: only what is refused alone is refused.
                match self.attempt(messages, &[index], wait)?.pop() {
                    None => {}
                    Some((_, code)) if is_refusal(code) => refused.push(Refused { index, cause: code.to_string() }),
                    Some(_) => pending.push(index),
                }
                tracing::debug!(topic = self.config.topic, "sent alone after: {code}");
            }
            let Some((_, code)) = down.first() else {
                if !pending.is_empty() {
                    continue;
                }
                if is_down {
                    wait.metrics.target_up();
                }
                return Ok(refused);
            };
            tracing::warn!(
                topic = self.config.topic,
                waiting = pending.len(),
                retry_ms = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX),
                "not delivered yet: {code}"
            );
            // librdkafka has tried for all of `message.timeout.ms`.
            is_down = true;
            wait.metrics.target_down(&self.name(), &code.to_string());
            if !wait.pause(backoff) {
                return Err(self.stopped(pending.len()));
            }
            backoff = (backoff * 2).min(BACKOFF.1);
            if let Some((code, reason)) = self.producer.client().fatal_error() {
                tracing::warn!(topic = self.config.topic, "producer made anew: {code}: {reason}");
                self.producer = producer(&self.config, &self.client_id)?;
            }
        }
    }

    /// Sends the messages at `indexes` once and waits for every report. Returns those that failed.
    fn attempt(
        &mut self,
        messages: &[Outgoing<'_>],
        indexes: &[usize],
        wait: &mut Wait<'_>,
    ) -> Result<Vec<(usize, RDKafkaErrorCode)>, SinkError> {
        let started = Instant::now();
        let (mut failed, mut waiting) = (Vec::new(), 0usize);
        for index in indexes {
            let Some(message) = messages.get(*index) else { continue };
            loop {
                match self.send(*index, message) {
                    Ok(()) => {
                        waiting += 1;
                        break;
                    }
                    Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => {
                        self.collect(&mut waiting, &mut failed);
                        self.patient(started, waiting, wait)?;
                    }
                    Err(error) => {
                        failed.push((*index, error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)));
                        break;
                    }
                }
            }
        }
        while waiting > 0 {
            self.collect(&mut waiting, &mut failed);
            if waiting > 0 {
                self.patient(started, waiting, wait)?;
            }
        }
        Ok(failed)
    }

    fn send(&self, index: usize, message: &Outgoing<'_>) -> Result<(), KafkaError> {
        let record = record(&self.config.topic, message, index);
        self.producer.send(record).map_err(|(error, _)| error)
    }

    /// Takes the reports that are there, and pauses where there is none. rust-rdkafka's own wait asks again and again for the whole of its
    /// last millisecond, which costs a core, and does not end when a report comes.
    fn collect(&self, waiting: &mut usize, failed: &mut Vec<(usize, RDKafkaErrorCode)>) {
        self.producer.poll(Duration::ZERO);
        let reports = self.producer.context().take();
        if reports.is_empty() {
            std::thread::sleep(POLL);
        }
        for (index, report) in reports {
            *waiting = waiting.saturating_sub(1);
            if let Err(error) = report {
                failed.push((index, error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)));
            }
        }
    }

    fn patient(&self, started: Instant, waiting: usize, wait: &mut Wait<'_>) -> Result<(), SinkError> {
        if started.elapsed() > PATIENCE && !wait.turn() {
            return Err(self.stopped(waiting));
        }
        Ok(())
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
