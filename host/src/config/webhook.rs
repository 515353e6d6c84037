//! The keys of `sink.webhook`.

use super::http::{Kind, read_http_of};
use super::section::{Findings, Section};
use super::sink::Base;
use crate::secret::Secret;
use crate::sink::{HttpConfig, WebhookConfig, WebhookForm};

/// Headers that every request has anyway, or that would make it another one.
const OURS: [&str; 9] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
    "x-trailhound-signature",
    "x-trailhound-timestamp",
];

/// Reads a webhook.
pub(super) fn read_webhook(mut part: Section<'_>, base: Base<'_>, findings: &mut Findings) -> Option<WebhookConfig> {
    // What receives webhooks seldom unpacks them. Many a URL has its secret in its query.
    let kind = Kind { example: "https://hooks.example/services/…", gzip: false, query: true };
    let http = read_http_of(kind, &mut part, base.folder, findings);
    let form = part.one_of("form", ["json", "array", "ndjson", "slack", "pagerduty"], findings);
    let secret = part.optional("secret", findings).map(Secret::new);
    let routing_key = part.optional("routing_key", findings).map(Secret::new);
    let form = match (form, routing_key) {
        ("pagerduty", Some(key)) => Some(WebhookForm::PagerDuty(key)),
        ("pagerduty", None) => {
            let hint = "routing_key = \"${PAGERDUTY_ROUTING_KEY}\", the integration key of a service";
            findings.wrong(part.span_of("form").as_ref(), &part.key("routing_key"), "is missing", hint);
            None
        }
        (_, Some(_)) => {
            let span = part.span_of("routing_key");
            findings.wrong(span.as_ref(), &part.key("routing_key"), "is for form = \"pagerduty\"", "leave it out");
            None
        }
        ("array", None) => Some(WebhookForm::Array),
        ("ndjson", None) => Some(WebhookForm::Ndjson),
        ("slack", None) => Some(WebhookForm::Slack),
        (_, None) => Some(WebhookForm::Json),
    };
    let headers = read_headers(part.section("headers", findings), findings);
    part.finish(findings);
    let http = http?;
    let (url, path) = split(&http.url);
    let (url, path) = (url.to_owned(), Secret::new(path.to_owned()));
    Some(WebhookConfig { http: HttpConfig { url, ..http }, path, form: form?, secret, headers })
}

fn read_headers(mut section: Section<'_>, findings: &mut Findings) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for (name, (value, span)) in section.properties(findings) {
        let lower = name.to_ascii_lowercase();
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let wrong = if lower.is_empty() || !lower.bytes().all(token) {
            Some(("is no name for a header", "letters, digits and dashes"))
        } else if OURS.contains(&lower.as_str()) {
            Some(("is a header that every request has", "leave it out"))
        } else if !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            Some(("has a character that no header may have", "printable ASCII alone: no line breaks"))
        } else {
            None
        };
        if let Some((what, hint)) = wrong {
            findings.wrong(Some(&span), &section.key(&format!("\"{name}\"")), what, hint);
        }
        headers.push((lower, Secret::new(value)));
    }
    headers
}

/// A URL up to its port, and the rest of it.
fn split(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(host..).and_then(|rest| rest.find(['/', '?'])).map_or(url.len(), |at| host + at);
    url.split_at_checked(end).unwrap_or((url, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_part_of_a_url_begins_behind_the_port() {
        for (url, expect) in [
            ("https://hooks.example/services/T0/B0/x", ("https://hooks.example", "/services/T0/B0/x")),
            ("http://127.0.0.1:8080?sig=a/b", ("http://127.0.0.1:8080", "?sig=a/b")),
            ("https://hooks.example", ("https://hooks.example", "")),
        ] {
            assert_eq!(split(url), expect);
        }
    }
}
