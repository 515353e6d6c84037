//! Splunk's HTTP Event Collector (HEC): events as concatenated JSON, taken by the collector, or by the indexers where that
//! is asked for.
//!
//! Without `acknowledge` an answer of 200 means that the collector has the events in its queue; what it loses there is
//! lost. With it an event counts as delivered when the indexers have it (Splunk Enterprise; "About HTTP Event Collector
//! Indexer Acknowledgment"). Splunk knows no document ids: what is sent again is there twice, with the same `id` field.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::finding::{id_of, time_ms_of};
use super::http::{Answer, Client, Courier, HttpConfig, Parcels, Part, Request, Verdict};
use super::{Outgoing, Refused, SinkError, Wait};
use crate::peek;
use crate::secret::Secret;

/// A Splunk sink as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct SplunkConfig {
    /// How the collector is reached.
    pub http: HttpConfig,
    /// The token of the collector's input.
    pub token: Secret,
    /// The index; the token's own where it is left out.
    pub index: Option<String>,
    /// The events' `source`.
    pub source: Option<String>,
    /// The events' `sourcetype`.
    pub sourcetype: Option<String>,
    /// The events' `host`.
    pub host: Option<String>,
    /// How long the indexers' acknowledgement is waited for before the events are sent again; None where it is not asked for.
    pub acknowledge: Option<Duration>,
}

/// The pause between two questions for an acknowledgement: doubled each time, up to the second.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Sends to a HEC. One worker's.
pub struct SplunkSink {
    client: Client,
    courier: Courier,
    config: SplunkConfig,
    ack_path: String,
}

/// What every event says of itself, and the event.
#[derive(Serialize)]
struct Envelope<'a> {
    /// Seconds since the epoch, with milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sourcetype: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<&'a str>,
    /// Indexed fields: flat, and none of them empty.
    fields: BTreeMap<&'a str, &'a str>,
}

/// What a HEC answers. Some write whole numbers with a fraction.
#[derive(Debug, Default, Deserialize)]
struct Reply {
    code: Option<f64>,
    #[serde(rename = "invalid-event-number")]
    invalid_event: Option<f64>,
    #[serde(rename = "ackId")]
    ack_id: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
struct Acks {
    acks: BTreeMap<String, bool>,
}

impl SplunkSink {
    /// A sink to the collector of `config`.
    pub fn new(config: SplunkConfig) -> Result<SplunkSink, SinkError> {
        let channel = channel();
        let token = Secret::new(format!("Splunk {}", config.token.reveal()));
        let mut headers = vec![("authorization", token)];
        if config.acknowledge.is_some() {
            headers.push(("x-splunk-request-channel", Secret::new(channel.clone())));
        }
        Ok(SplunkSink {
            client: Client::new(&config.http, &headers)?,
            courier: Courier::new(&config.http),
            config,
            ack_path: format!("/services/collector/ack?channel={channel}"),
        })
    }

    pub(super) fn name(&self) -> &str {
        self.client.url()
    }

    /// See [`super::Sink::deliver`].
    pub(super) fn deliver(
        &mut self,
        messages: &[Outgoing<'_>],
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Refused>, SinkError> {
        let parcels = Parcels::of(messages, |message, to| encode(&self.config, message, to));
        let SplunkSink { client, courier, config, ack_path } = self;
        courier.deliver(parcels, wait, |parcels, piece, wait| {
            let body = parcels.body(piece);
            let request =
                Request { path: "/services/collector/event", content_type: "application/json", body: Some(&body) };
            let answer = match client.send(request, wait)? {
                Ok(answer) => answer,
                Err(cause) => return Ok(Verdict::Again { after: None, cause }),
            };
            match (verdict(&answer, piece.len()), config.acknowledge) {
                (Verdict::Accepted, Some(patience)) => acknowledged(client, ack_path, &answer, patience, wait),
                (verdict, _) => Ok(verdict),
            }
        })
    }

    /// Asks the collector whether it is well and whether the token is good. Gives what it answered.
    pub fn check(&self) -> Result<String, String> {
        let json = "application/json";
        let health = self.client.ask(Request { path: "/services/collector/health", content_type: json, body: None })?;
        if health.status != 200 {
            return Err(health.excerpt());
        }
        // No data, so that nothing is stored: the token is looked at first.
        let empty = Request { path: "/services/collector/event", content_type: json, body: Some(b"") };
        let answer = self.client.ask(empty)?;
        match reply(&answer).code.map(|code| code as i64) {
            Some(0 | 5 | 6 | 12) => Ok(format!("{}; the token is good", health.excerpt())),
            _ => Err(answer.excerpt()),
        }
    }
}

/// Appends an event.
fn encode(config: &SplunkConfig, message: &Outgoing<'_>, to: &mut Vec<u8>) -> Result<(), String> {
    // One that is cut off would take what follows it along.
    peek::json(message.payload)?;
    let id = id_of(message);
    let named =
        [("id", id.as_deref().ok()), ("rule", message.header("rule")), ("severity", message.header("severity"))];
    let named = named.into_iter().chain([("mode", message.header("mode"))]);
    let envelope = Envelope {
        time: time_ms_of(message.payload).and_then(|ms| serde_json::Number::from_f64(ms as f64 / 1_000.0)),
        host: config.host.as_deref(),
        source: config.source.as_deref(),
        sourcetype: config.sourcetype.as_deref(),
        index: config.index.as_deref(),
        fields: named.filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?))).collect(),
    };
    serde_json::to_writer(&mut *to, &envelope).map_err(|error| error.to_string())?;
    // The event stands in its envelope as it came.
    to.pop();
    to.extend_from_slice(b",\"event\":");
    to.extend_from_slice(message.payload);
    to.extend_from_slice(b"}\n");
    Ok(())
}

fn reply(answer: &Answer) -> Reply {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// What an answer means for a request of `sent` events. The codes and their statuses: table "Possible error codes" of
/// <https://help.splunk.com/en/splunk-enterprise/get-data-in/collect-http-event-data/troubleshoot-http-event-collector>.
fn verdict(answer: &Answer, sent: usize) -> Verdict {
    let reply = reply(answer);
    let cause = answer.excerpt();
    // Something between here and the collector has answered, or it has no code for it.
    let Some(code) = reply.code.map(|code| code as i64) else {
        return match answer.verdict() {
            Verdict::Accepted => Verdict::Again { after: None, cause: format!("no answer of a HEC: {cause}") },
            verdict => verdict,
        };
    };
    match code {
        0 => Verdict::Accepted,
        // The token is disabled, missing, not in its form, or not known (21 and 22 are the same of the health's address);
        // its index may not be written; the channel is missing or not good; acknowledgement is off; the token is expected
        // elsewhere. All events would be refused alike.
        1..=4 | 7 | 10 | 11 | 14 | 16 | 21 | 22 => Verdict::Stop(cause),
        // No data, no JSON, no event, an empty event, bad fields. Splunk says which event it is, and may have indexed those
        // before it, which others that speak HEC have not: all but this one are sent again. Others use code 6 for an address or
        // a form that they do not know, too, where the status says that it is no event's fault.
        5 | 6 | 12 | 13 | 15 if matches!(answer.verdict(), Verdict::Split(_) | Verdict::Accepted) => {
            match reply.invalid_event.map(|number| number as usize) {
                Some(bad) if bad < sent => Verdict::Parts(
                    (0..sent).map(|at| if at == bad { Part::Refused(cause.clone()) } else { Part::Unseen }).collect(),
                ),
                _ => Verdict::Split(cause),
            }
        }
        // An error within, busy, unwell (queues full, acknowledgement not at hand, both), shutting down; the queue, or the
        // channel of acknowledgements, is at its capacity. 17, which is well, is only said on the health's address.
        8 | 9 | 17..=20 | 23 | 26 | 27 => Verdict::Again { after: answer.retry_after, cause },
        _ => match answer.verdict() {
            // The queue, or the channel of acknowledgements, is near its capacity: it has taken them.
            Verdict::Accepted if reply.ack_id.is_some() || matches!(code, 24 | 25) => Verdict::Accepted,
            Verdict::Accepted => Verdict::Again { after: None, cause },
            verdict => verdict,
        },
    }
}

/// Asks until the indexers have the events of `answer`. What is not acknowledged in time is sent again: an acknowledgement is
/// told once, so it may be lost, and a collector that was killed has forgotten it.
fn acknowledged(
    client: &Client,
    path: &str,
    answer: &Answer,
    patience: Duration,
    wait: &mut Wait<'_>,
) -> Result<Verdict, SinkError> {
    let Reply { code, ack_id, .. } = reply(answer);
    let Some(id) = ack_id.map(|id| id as u64) else {
        if code != Some(0.0) {
            let cause = format!("taken, and nothing to ask for its acknowledgement with: {}", answer.excerpt());
            return Ok(Verdict::Again { after: answer.retry_after, cause });
        }
        let cause = "the token has no indexer acknowledgement: switch it on (useACK), or set acknowledge = false";
        return Ok(Verdict::Stop(format!("{cause}: {}", answer.excerpt())));
    };
    let body = format!("{{\"acks\":[{id}]}}");
    let request = Request { path, content_type: "application/json", body: Some(body.as_bytes()) };
    let (began, mut pause, mut last) = (Instant::now(), POLL.0, String::new());
    while began.elapsed() < patience {
        if !wait.pause(pause.min(patience)) {
            return Err(SinkError::Stopped { name: client.url().to_owned(), waiting: 1 });
        }
        pause = (pause * 2).min(POLL.1);
        let answer = match client.send(request, wait)? {
            Ok(answer) => answer,
            Err(cause) => {
                last = cause;
                continue;
            }
        };
        if let Ok(acks) = serde_json::from_slice::<Acks>(&answer.body) {
            if acks.acks.get(&id.to_string()) == Some(&true) {
                return Ok(Verdict::Accepted);
            }
            continue;
        }
        last = answer.excerpt();
        if let stop @ Verdict::Stop(_) = verdict(&answer, 1) {
            return Ok(stop);
        }
    }
    let waited = patience.as_millis();
    let cause = format!("the indexers have not acknowledged within {waited} ms; sent again {last}");
    Ok(Verdict::Again { after: None, cause: cause.trim_end().to_owned() })
}

/// A channel of this sink alone: any GUID.
fn channel() -> String {
    let chance = || RandomState::new().build_hasher().finish();
    let (a, b) = (chance(), chance());
    let (low, variant, node) = (a & 0xfff, 0x8000 | (b >> 48 & 0x3fff), b & 0xffff_ffff_ffff);
    format!("{:08x}-{:04x}-4{low:03x}-{variant:04x}-{node:012x}", a >> 32, a >> 16 & 0xffff)
}

#[cfg(test)]
mod tests;
