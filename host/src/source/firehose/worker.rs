//! The worker's side of the endpoint: whole requests become a batch, and are answered when it is committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::decode::Decoder;
use super::queue::{Next, Request, Waiting};
use super::server::Endpoint;
use crate::batch::{Batch, Origin};
use crate::shutdown::Shutdown;
use crate::source::{BatchLimits, SourceError};

/// How long to wait for a request before the wish to stop is looked at.
const POLL_MAX: Duration = Duration::from_millis(100);

/// A worker's share of an endpoint.
pub struct FirehoseSource {
    endpoint: Arc<Endpoint>,
    limits: BatchLimits,
    decoder: Decoder,
    /// The requests of the batch in hand. Those that are dropped unanswered are sent again.
    in_hand: Vec<Waiting>,
}

impl FirehoseSource {
    /// A source of what `endpoint` gets.
    pub fn new(endpoint: Arc<Endpoint>, limits: BatchLimits) -> FirehoseSource {
        FirehoseSource { endpoint, limits, decoder: Decoder::default(), in_hand: Vec::new() }
    }

    /// See [`crate::source::Source::next_batch`]. A batch holds whole requests, so the last one may go beyond its limits. After
    /// a stop it gives what waits, and then ends.
    pub(crate) fn next_batch(&mut self, batch: &mut Batch, shutdown: &Shutdown) -> Result<bool, SourceError> {
        let endpoint = Arc::clone(&self.endpoint);
        let mut full = None;
        loop {
            let wait = full.map_or(POLL_MAX, |full: Instant| full.saturating_duration_since(Instant::now()));
            match endpoint.shared.queue.pop(wait) {
                Next::Request(request) => self.take(request, batch),
                Next::Nothing | Next::Closed if !batch.is_empty() => break,
                Next::Closed => return Ok(false),
                Next::Nothing if shutdown.expired() => return Ok(false),
                Next::Nothing if endpoint.has_ended() => return Err(SourceError::EndpointEnded),
                Next::Nothing => {}
            }
            if !batch.is_empty() {
                if batch.len() >= self.limits.messages_max || batch.bytes_len() >= self.limits.bytes_max {
                    break;
                }
                full.get_or_insert_with(|| Instant::now() + self.limits.wait);
            }
        }
        endpoint.shared.progress.taken();
        Ok(true)
    }

    /// Adds the records of a request, all or none of them.
    fn take(&mut self, request: Request, batch: &mut Batch) {
        let Request { head, body, arrived_ms, waiting } = request;
        let limits = &self.endpoint.shared.limits;
        if let Err(wrong) = self.decoder.decode(&body, head.gzip, &head.request_id, limits) {
            self.decoder.clear();
            return waiting.answer(Answer::Bad(wrong));
        }
        let (source, arrived) = (Arc::<str>::from(head.source_arn.as_str()), arrived_ms.to_string());
        let headers = [
            ("firehose.source-arn", head.source_arn.as_bytes()),
            ("firehose.request-id", head.request_id.as_bytes()),
            ("firehose.arrived-ms", arrived.as_bytes()),
        ];
        for (index, record) in self.decoder.records().enumerate() {
            // The same when a request is sent again, and spread over the partitions.
            let key = format!("{}/{index}", head.request_id);
            let offset = i64::try_from(index).unwrap_or(i64::MAX);
            let origin = Origin { source: Arc::clone(&source), partition: 0, offset, appended_ms: Some(arrived_ms) };
            batch.push_envelope(key.as_bytes(), headers.into_iter());
            batch.push(origin, Some(record));
        }
        self.decoder.clear();
        self.in_hand.push(waiting);
    }

    /// Answers the requests of the batch: all of it is acknowledged.
    pub(crate) fn commit(&mut self) {
        self.endpoint.shared.progress.delivered();
        self.in_hand.drain(..).for_each(|waiting| waiting.answer(Answer::Stored));
    }

    /// Frees the room of requests whose time was over while a delivery takes long.
    pub(crate) fn keep_alive(&self) {
        self.endpoint.shared.queue.forget_abandoned();
    }

    /// Ends. What is in hand was not delivered, and is to be sent again. The last worker waits until the answers are out.
    pub(crate) fn close(mut self) {
        self.in_hand.clear();
        if let Some(endpoint) = Arc::into_inner(self.endpoint) {
            endpoint.finish();
        }
    }
}
