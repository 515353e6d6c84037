//! The keys of `sink.splunk`.

use std::time::Duration;

use super::http::read_http;
use super::section::{Findings, Section};
use super::sink::Base;
use crate::secret::Secret;
use crate::sink::SplunkConfig;

/// Reads a Splunk sink.
pub(super) fn read_splunk(mut part: Section<'_>, base: Base<'_>, findings: &mut Findings) -> Option<SplunkConfig> {
    let http = read_http(&mut part, base.folder, "https://splunk.example:8088", findings);
    let token = part.required("token", "token = \"${SPLUNK_TOKEN}\"", findings);
    let index = part.optional("index", findings);
    let source = part.optional("source", findings);
    let sourcetype = part.optional("sourcetype", findings);
    let host = part.optional("host", findings);
    let acknowledge = part.flag("acknowledge", false, findings);
    let mut ack_ms_max = 120_000u64;
    part.number("ack_ms_max", &mut ack_ms_max, [1_000, 3_600_000], findings);
    part.finish(findings);
    Some(SplunkConfig {
        http: http?,
        token: Secret::new(token?),
        index,
        source,
        sourcetype,
        host,
        acknowledge: acknowledge?.then(|| Duration::from_millis(ack_ms_max)),
    })
}
