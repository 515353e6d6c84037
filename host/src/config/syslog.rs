//! The keys of `sink.syslog`.

use std::path::Path;
use std::time::Duration;

use super::section::{Findings, Section};
use super::sink::Base;
use crate::sink::{Confirm, Form, SyslogConfig, SyslogTls};

/// Facilities and their numbers (RFC 5424, section 6.2.1), the default first. Those of a system's own parts are left out.
const FACILITIES: [(&str, u8); 14] = [
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
    ("user", 1),
    ("daemon", 3),
    ("auth", 4),
    ("authpriv", 10),
    ("audit", 13),
    ("alert", 14),
];

/// Reads a receiver.
pub(super) fn read_syslog(mut part: Section<'_>, base: Base<'_>, findings: &mut Findings) -> Option<SyslogConfig> {
    let mut config = SyslogConfig::default();
    let address = read_address(&mut part, findings);
    config.tls = read_tls(&mut part, base.folder, findings);
    config.form = match part.one_of("form", ["ocsf", "structured-data", "cef"], findings) {
        "cef" => Form::Cef,
        "structured-data" => Form::StructuredData,
        _ => Form::Ocsf,
    };
    let facility = part.one_of("facility", FACILITIES.map(|(name, _)| name), findings);
    config.facility = FACILITIES.iter().find(|(name, _)| *name == facility).map_or(16, |(_, number)| *number);
    let app_name = part.text("app_name", Some(&config.app_name), findings);
    config.app_name = printable(&part, "app_name", app_name, 48, findings);
    let hostname = part.optional("hostname", findings).or_else(machine);
    config.hostname = printable(&part, "hostname", hostname, 255, findings);
    // What every receiver takes (RFC 5425, section 4.3.1), to what none is known to take.
    part.number("message_bytes_max", &mut config.message_bytes_max, [2_048, 1 << 20], findings);
    let confirm = part.one_of("confirm", ["close", "settle"], findings);
    let mut settle_ms = 200;
    part.number("settle_ms", &mut settle_ms, [1, 10_000], findings);
    if confirm == "settle" {
        config.confirm = Confirm::Settle(Duration::from_millis(settle_ms));
    }
    for (name, value) in [
        ("connect_ms_max", &mut config.connect_max),
        ("answer_ms_max", &mut config.answer_max),
        ("retry_ms_max", &mut config.retry_max),
    ] {
        let mut ms = u64::try_from(value.as_millis()).unwrap_or_default();
        part.number(name, &mut ms, [100, 600_000], findings);
        *value = Duration::from_millis(ms);
    }
    part.finish(findings);
    config.address = address?;
    Some(config)
}

fn read_address(part: &mut Section<'_>, findings: &mut Findings) -> Option<String> {
    let hint = "the receiver's host and port: address = \"siem.example.com:6514\"";
    let address = part.required("address", hint, findings)?;
    let parts = address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    let bare_v6 = |host: &str| host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    match parts {
        Some((host, Ok(port))) if !host.is_empty() && port > 0 && !bare_v6(host) && !host.contains('/') => {
            Some(address)
        }
        _ => {
            findings.wrong(part.span_of("address").as_ref(), &part.key("address"), "must be HOST:PORT", hint);
            None
        }
    }
}

/// None for plain TCP.
fn read_tls(part: &mut Section<'_>, folder: &Path, findings: &mut Findings) -> Option<SyslogTls> {
    let protocol = part.one_of("protocol", ["tls", "tcp"], findings);
    let [ca_file, certificate, key] = ["ca_file", "client_certificate_file", "client_key_file"]
        .map(|name| part.optional(name, findings).map(|path| folder.join(path)));
    let names = ["ca_file", "client_certificate_file", "client_key_file"];
    if protocol == "tcp" {
        for name in names.into_iter().filter(|name| part.has(name)) {
            let hint = "leave it out, or say protocol = \"tls\"";
            findings.wrong(part.span_of(name).as_ref(), &part.key(name), "is for TLS, and this is plain TCP", hint);
        }
        return None;
    }
    if certificate.is_some() != key.is_some() {
        let (there, missing) = if key.is_none() { (names[1], names[2]) } else { (names[2], names[1]) };
        let hint = "a certificate and its key go together";
        findings.wrong(part.span_of(there).as_ref(), &part.key(there), format!("needs `{missing}` beside it"), hint);
    }
    Some(SyslogTls { ca_file, client: certificate.zip(key) })
}

/// A field of a message's header.
fn printable(
    part: &Section<'_>,
    name: &str,
    value: Option<String>,
    bytes_max: usize,
    findings: &mut Findings,
) -> String {
    let value = value.unwrap_or_else(|| "-".to_owned());
    if value.is_empty() || value.len() > bytes_max || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        let what = format!("must be 1 to {bytes_max} printable ASCII characters without spaces");
        findings.wrong(part.span_of(name).as_ref(), &part.key(name), what, "");
    }
    value
}

/// The name of this machine; None where it has none that a header may have.
fn machine() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let fits = (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| name.to_owned())
}
