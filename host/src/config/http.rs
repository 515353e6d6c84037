//! What every target over HTTP has: where it is, how it proves who it is, and with how much patience it is sent to.

use std::path::Path;
use std::time::Duration;

use super::section::{Findings, Section};
use crate::sink::HttpConfig;

/// In what targets over HTTP differ.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a> {
    /// A URL for the hint.
    pub(super) example: &'a str,
    /// Whether bodies are compressed unless told otherwise.
    pub(super) gzip: bool,
    /// Whether the URL may have a query.
    pub(super) query: bool,
}

/// Reads the keys that all targets over HTTP share. `example` is a URL for the hint.
pub(super) fn read_http(
    part: &mut Section<'_>,
    folder: &Path,
    example: &str,
    findings: &mut Findings,
) -> Option<HttpConfig> {
    read_http_of(Kind { example, gzip: true, query: false }, part, folder, findings)
}

/// The same for another kind of target.
pub(super) fn read_http_of(
    kind: Kind<'_>,
    part: &mut Section<'_>,
    folder: &Path,
    findings: &mut Findings,
) -> Option<HttpConfig> {
    let example = kind.example;
    let defaults = HttpConfig { gzip: kind.gzip, ..HttpConfig::default() };
    let url = part.required("url", &format!("url = \"{example}\""), findings);
    if let Some(what) = url.as_deref().and_then(|url| no_url(url, kind.query)) {
        findings.wrong(part.span_of("url").as_ref(), &part.key("url"), what, format!("url = \"{example}\""));
    }
    let ca_file = part.optional("ca_file", findings).map(|file| folder.join(file));
    let certificate = part.optional("client_certificate_file", findings).map(|file| folder.join(file));
    let key = part.optional("client_key_file", findings).map(|file| folder.join(file));
    if certificate.is_some() != key.is_some() {
        let (has, lacks) = match certificate.is_some() {
            true => ("client_certificate_file", "client_key_file"),
            false => ("client_key_file", "client_certificate_file"),
        };
        findings.wrong(part.span_of(has).as_ref(), &part.key(has), format!("needs `{lacks}`"), "name both files");
    }
    let gzip = part.flag("gzip", defaults.gzip, findings);
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut times = [
        ("connect_ms_max", ms(defaults.connect_max), [10, 600_000]),
        ("request_ms_max", ms(defaults.request_max), [10, 3_600_000]),
        ("retry_ms_min", ms(defaults.retry_min), [1, 600_000]),
        ("retry_ms_max", ms(defaults.retry_max), [1, 3_600_000]),
        ("retry_after_ms_max", ms(defaults.retry_after_max), [0, 86_400_000]),
    ];
    for (name, value, bounds) in &mut times {
        part.number(name, value, *bounds, findings);
    }
    let [connect_max, request_max, retry_min, retry_max, retry_after_max] =
        times.map(|(_, ms, _)| Duration::from_millis(ms));
    if retry_min > retry_max {
        let hint = "retry_ms_min = 200, retry_ms_max = 30000";
        findings.wrong(
            part.span_of("retry_ms_min").as_ref(),
            &part.key("retry_ms_min"),
            "is over `retry_ms_max`",
            hint,
        );
    }
    let mut request_bytes_max = defaults.request_bytes_max;
    part.number("request_bytes_max", &mut request_bytes_max, [1_024, 1 << 30], findings);
    let mut failures_in_row_max = defaults.failures_in_row_max;
    part.number("failures_in_row_max", &mut failures_in_row_max, [1, 1_000_000], findings);
    let url = url?;
    // Where a path of the target's own follows, that begins with the slash.
    let url = if kind.query { url } else { url.trim_end_matches('/').to_owned() };
    Some(HttpConfig {
        url,
        ca_file,
        client: certificate.zip(key),
        connect_max,
        request_max,
        request_bytes_max,
        gzip: gzip?,
        retry_min,
        retry_max,
        retry_after_max,
        failures_in_row_max,
    })
}

/// Why a text is not the URL of a target. It may hold a secret, so none of it is told.
fn no_url(url: &str, query: bool) -> Option<&'static str> {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return Some("must begin with https:// or http://");
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Some("may not hold a login: it has keys of its own");
    }
    if rest.contains('#') || rest.contains('?') && !query {
        return Some("may not have a query or a fragment");
    }
    if host.is_empty() || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some("names no host");
    }
    None
}
