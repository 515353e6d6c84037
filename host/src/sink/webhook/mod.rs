//! Webhooks: a POST of one finding or several, signed where a secret is shared; and the forms of Slack and PagerDuty.

mod chat;
mod signature;

use super::facts::Facts;
use super::http::{Client, Courier, HttpConfig, Parcels, Request, Verdict};
use super::{Outgoing, Refused, SinkError, Wait};
use crate::peek;
use crate::secret::Secret;

/// A webhook as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookConfig {
    /// How it is reached. Its URL ends behind the port: what follows is often a secret.
    pub http: HttpConfig,
    /// What follows in the URL: path and query.
    pub path: Secret,
    /// What a request holds.
    pub form: WebhookForm,
    /// The secret that requests are signed with.
    pub secret: Option<Secret>,
    /// Headers of every request: names in lower case, and values.
    pub headers: Vec<(String, Secret)>,
}

/// What a request holds.
#[derive(Clone, Debug, PartialEq)]
pub enum WebhookForm {
    /// One finding, as it is.
    Json,
    /// A JSON array of findings.
    Array,
    /// Findings, one a line.
    Ndjson,
    /// A message for an incoming webhook of Slack, for one finding.
    Slack,
    /// An event that triggers an alert (PagerDuty Events API v2), for one finding; with the routing key.
    PagerDuty(Secret),
}

/// Bytes that an array has around its findings.
const BRACKETS: usize = 2;

/// A webhook, owned by one worker.
pub struct WebhookSink {
    config: WebhookConfig,
    client: Client,
    courier: Courier,
}

impl WebhookSink {
    /// A sink for the webhook. Fails where a certificate, a key or a header cannot be used.
    pub fn new(config: WebhookConfig) -> Result<WebhookSink, SinkError> {
        let client = Client::new(&config.http, &config.headers)?;
        let alone = !matches!(config.form, WebhookForm::Array | WebhookForm::Ndjson);
        // One message is more than a byte, so it is a request of its own.
        let request_bytes_max = if alone { 1 } else { config.http.request_bytes_max.saturating_sub(BRACKETS) };
        let courier = Courier::new(&HttpConfig { request_bytes_max, ..config.http.clone() });
        Ok(WebhookSink { config, client, courier })
    }

    /// Scheme, host and port.
    pub fn name(&self) -> &str {
        self.client.url()
    }

    /// See [`super::Sink::deliver`].
    pub(super) fn deliver(
        &mut self,
        messages: &[Outgoing<'_>],
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Refused>, SinkError> {
        let Self { config, client, courier } = self;
        let parcels = Parcels::of(messages, |message, to| encode(&config.form, message.payload, to));
        courier.deliver(parcels, wait, |parcels, piece, wait| {
            let body = whole(&config.form, parcels.body(piece));
            let content_type = match config.form {
                WebhookForm::Ndjson => "application/x-ndjson",
                _ => "application/json",
            };
            let signature = config.secret.as_ref().map(|secret| signature::headers(secret, now_seconds(), &body));
            let headers: &[_] = signature.as_ref().map_or(&[], |headers| headers.as_slice());
            let request = Request { path: config.path.reveal(), content_type, body: Some(&body) };
            Ok(match client.send_with(request, headers, wait)? {
                Ok(mut answer) => {
                    // A redirect repeats the path, which may be a secret.
                    if (300..400).contains(&answer.status) {
                        answer.body.clear();
                    }
                    answer.verdict()
                }
                Err(cause) => Verdict::Again { after: None, cause },
            })
        })
    }
}

/// The time that a signature speaks of, in seconds since the epoch.
fn now_seconds() -> i64 {
    crate::pipeline::now_ms() / 1_000
}

/// Appends one message, or says why it can never be sent.
fn encode(form: &WebhookForm, payload: &[u8], to: &mut Vec<u8>) -> Result<(), String> {
    match form {
        WebhookForm::Json => {
            peek::json(payload)?;
            to.extend_from_slice(payload);
        }
        WebhookForm::Array | WebhookForm::Ndjson => {
            peek::json(payload)?;
            // A line break in valid JSON stands between values, where a space is as good.
            to.extend(payload.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
            to.push(b'\n');
        }
        WebhookForm::Slack => to.extend(chat::slack(&Facts::read(payload)?).to_string().bytes()),
        WebhookForm::PagerDuty(key) => to.extend(chat::pagerduty(&Facts::read(payload)?, key).to_string().bytes()),
    }
    Ok(())
}

/// The body of a request from its messages one behind the other. In an array each has the place of its line break for a
/// comma.
fn whole(form: &WebhookForm, mut body: Vec<u8>) -> Vec<u8> {
    if *form != WebhookForm::Array {
        return body;
    }
    body.pop();
    for byte in &mut body {
        if *byte == b'\n' {
            *byte = b',';
        }
    }
    body.insert(0, b'[');
    body.push(b']');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(form: &WebhookForm, payloads: &[&str]) -> String {
        let mut parcels = Parcels::default();
        for payload in payloads {
            parcels.push(|to| encode(form, payload.as_bytes(), to));
        }
        let piece = parcels.pieces(usize::MAX).concat();
        String::from_utf8(whole(form, parcels.body(&piece))).unwrap()
    }

    #[test]
    fn findings_are_one_alone_an_array_or_lines() {
        let pretty = "{\n \"a\": \"x\\ny\"\r\n}";
        assert_eq!(body(&WebhookForm::Json, &[pretty]), pretty);
        assert_eq!(body(&WebhookForm::Array, &["1"]), "[1]");
        assert_eq!(body(&WebhookForm::Array, &[pretty, "no JSON", "[2]"]), "[{  \"a\": \"x\\ny\"  },[2]]");
        assert_eq!(body(&WebhookForm::Ndjson, &[pretty, "2"]), "{  \"a\": \"x\\ny\"  }\n2\n");
    }

    #[test]
    fn what_a_form_cannot_hold_is_refused() {
        let key = WebhookForm::PagerDuty(Secret::new("key".to_owned()));
        for form in [WebhookForm::Json, WebhookForm::Array, WebhookForm::Ndjson, WebhookForm::Slack, key] {
            for payload in [&b""[..], b"{", b"\xff"] {
                assert!(encode(&form, payload, &mut Vec::new()).is_err(), "{form:?} {payload:?}");
            }
        }
    }
}
