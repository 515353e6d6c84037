//! One syslog message (RFC 5424), framed by its length (RFC 6587, section 3.4.1, which RFC 5425 asks for with TLS).

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde_json::Value;

use super::{Form, SyslogConfig, cef};
use crate::pipeline::now_ms;
use crate::sink::facts::{Facts, Level};

/// The enterprise number of our structured data: the one for examples (RFC 5612), since Trailhound has none.
const STRUCTURED_DATA_ID: &str = "trailhound@32473";

/// The longest MSGID (RFC 5424, section 6).
const MESSAGE_ID_BYTES_MAX: usize = 32;

/// Appends `payload` as a framed message, or says why it can never be sent.
pub(super) fn encode(config: &SyslogConfig, payload: &[u8], to: &mut Vec<u8>) -> Result<(), String> {
    let text = std::str::from_utf8(payload).map_err(|_| "it is no UTF-8".to_owned())?;
    let facts = Facts::read(payload)?;
    let mut message = header(config, &facts);
    match config.form {
        Form::StructuredData => {
            structured_data(&facts, &mut message);
            body(facts.message(), &mut message);
        }
        Form::Cef => {
            let mut event = String::new();
            cef::write(&facts, &mut event);
            message.push('-');
            body(&event, &mut message);
        }
        Form::Ocsf => {
            message.push_str("- ");
            let start = message.len();
            ascii(text, &mut message);
            if message.len() > config.message_bytes_max {
                message.truncate(start);
                ascii(&without_evidence(facts), &mut message);
            }
        }
    }
    if message.len() > config.message_bytes_max {
        let what = if config.form == Form::Ocsf { " without its evidence" } else { "" };
        return Err(format!("{} bytes{what}, over the limit of {}", message.len(), config.message_bytes_max));
    }
    to.extend_from_slice(message.len().to_string().as_bytes());
    to.push(b' ');
    to.extend_from_slice(message.as_bytes());
    Ok(())
}

/// Everything before the structured data, and a space.
fn header(config: &SyslogConfig, facts: &Facts) -> String {
    let priority = config.facility * 8 + severity(facts.level());
    let time = Timestamp::from_millisecond(facts.time_ms().unwrap_or_else(now_ms)).unwrap_or_else(|_| Timestamp::now());
    // More than six digits are no syslog timestamp (section 6.2.3.1).
    let time = DateTimePrinter::new().precision(Some(6)).timestamp_to_string(&time);
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    let kind: String = facts.rule().unwrap_or("-").chars().take(MESSAGE_ID_BYTES_MAX).map(plain).collect();
    format!("<{priority}>1 {time} {} {} - {kind} ", config.hostname, config.app_name)
}

/// Syslog's severity (section 6.2.1), where less is worse. Never 0: many a daemon shows that on everybody's terminal.
fn severity(level: Level) -> u8 {
    match level {
        Level::Fatal => 1,
        Level::Critical => 2,
        Level::High => 3,
        Level::Medium => 4,
        Level::Low | Level::Unknown => 5,
        Level::Informational => 6,
    }
}

fn structured_data(facts: &Facts, to: &mut String) {
    to.push('[');
    to.push_str(STRUCTURED_DATA_ID);
    let event_time = facts.event_time_ms().and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(|at| at.to_string());
    for (name, value) in [
        ("id", facts.id()),
        ("rule", facts.rule()),
        ("severity", Some(facts.level().name())),
        ("account", facts.account()),
        ("region", facts.region()),
        ("actor", facts.actor()),
        ("actorId", facts.actor_uid()),
        ("operation", facts.operation()),
        ("service", facts.service()),
        ("source", facts.source_ip().or_else(|| facts.source_name())),
        ("eventId", facts.event_id()),
        ("eventTime", event_time.as_deref()),
        ("reference", facts.references().next()),
    ] {
        let Some(value) = value else { continue };
        to.push(' ');
        to.push_str(name);
        to.push_str("=\"");
        for c in value.chars() {
            match c {
                // Section 6.3.3.
                '"' | '\\' | ']' => to.extend(['\\', c]),
                c if c.is_control() => to.push(' '),
                c => to.push(c),
            }
        }
        to.push('"');
    }
    to.push(']');
}

/// The message behind the structured data. What is more than ASCII must begin with a byte order mark (section 6.4).
fn body(text: &str, to: &mut String) {
    to.push(' ');
    if !text.is_ascii() {
        to.push('\u{feff}');
    }
    to.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
}

/// JSON on one line and in ASCII, so that it needs no byte order mark, which readers of JSON refuse. A line break in valid
/// JSON stands between values, and what is more than ASCII within a string.
fn ascii(json: &str, to: &mut String) {
    to.reserve(json.len());
    for c in json.chars() {
        match c {
            c if c.is_ascii_control() => to.push(' '),
            c if c.is_ascii() => to.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    to.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
}

/// The finding without the records in it, which says so.
fn without_evidence(facts: Facts) -> String {
    let mut finding = facts.into_json();
    for evidence in finding.get_mut("evidences").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(evidence) = evidence.as_object_mut() {
            evidence.remove("data");
        }
    }
    if let Some(metadata) = finding.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("is_truncated".to_owned(), true.into());
    }
    finding.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(form: Form) -> SyslogConfig {
        SyslogConfig { form, hostname: "siem-7".to_owned(), ..SyslogConfig::default() }
    }

    /// The message without its frame, which is checked.
    fn message(config: &SyslogConfig, finding: &Value) -> String {
        let mut framed = Vec::new();
        encode(config, finding.to_string().as_bytes(), &mut framed).unwrap();
        let framed = String::from_utf8(framed).unwrap();
        let (length, message) = framed.split_once(' ').unwrap();
        assert_eq!(length.parse(), Ok(message.len()), "bytes, not characters");
        message.to_owned()
    }

    fn finding(title: &str) -> Value {
        json!({
            "time": 1_767_323_045_006_i64, "severity_id": 4, "message": title,
            "finding_info": {"uid": "f1", "title": title, "analytic": {"uid": "TEST-001"}},
            "metadata": {"version": "1.6.0"}, "evidences": [{"name": "r", "data": "x".repeat(3_000)}],
        })
    }

    #[test]
    fn the_header_is_that_of_the_standard() {
        // Facility local4; three digits more than milliseconds have.
        let config = SyslogConfig { facility: 20, ..config(Form::StructuredData) };
        let message = message(&config, &finding("Root signed in"));
        let expect = "<163>1 2026-01-02T03:04:05.006000Z siem-7 trailhound - TEST-001 \
                      [trailhound@32473 id=\"f1\" rule=\"TEST-001\" severity=\"High\"] Root signed in";
        assert_eq!(message, expect);
    }

    #[test]
    fn structured_data_is_escaped_and_on_one_line() {
        let hostile = "a\"]\\\n[b c=\"d\"]é";
        let mut finding = finding(hostile);
        finding["finding_info"]["uid"] = json!(hostile);
        finding["finding_info"]["analytic"]["uid"] = json!("x y\nz".repeat(20));
        let message = message(&config(Form::StructuredData), &finding);
        let ids = "x_y_zx_y_zx_y_zx_y_zx_y_zx_y_zx_";
        assert!(
            message.contains(&format!(" trailhound - {ids} [trailhound@32473 id=\"a\\\"\\]\\\\ [b c=\\\"d\\\"\\]é\""))
        );
        assert!(message.ends_with("] \u{feff}a\"]\\ [b c=\"d\"]é"), "{message}");
        assert_eq!(message.lines().count(), 1);
    }

    #[test]
    fn only_what_is_more_than_ascii_has_a_byte_order_mark() {
        for (form, title, mark) in [
            (Form::Cef, "plain", false),
            (Form::Cef, "é", true),
            (Form::StructuredData, "é", true),
            (Form::Ocsf, "é𝄞\n", false),
        ] {
            let message = message(&config(form), &finding(title));
            assert_eq!(message.contains('\u{feff}'), mark, "{message}");
        }
    }

    #[test]
    fn ocsf_is_the_same_json_in_ascii() {
        let finding = finding("é𝄞 \"quoted\" | \\ \n");
        let config = SyslogConfig { message_bytes_max: 1 << 20, ..config(Form::Ocsf) };
        let message = message(&config, &finding);
        assert!(message.is_ascii() && message.lines().count() == 1, "{message}");
        let (_, json) = message.split_once(" - TEST-001 - ").unwrap();
        assert_eq!(serde_json::from_str::<Value>(json).unwrap(), finding);
        let mut framed = Vec::new();
        encode(&config, b"{\n\t\"a\": 1\r\n}", &mut framed).unwrap();
        assert!(framed.ends_with(b" - - {  \"a\": 1  }"), "{framed:?}");
    }

    #[test]
    fn what_is_too_long_loses_its_evidence_and_then_is_refused() {
        let config = SyslogConfig { message_bytes_max: 2_048, ..config(Form::Ocsf) };
        let message = message(&config, &finding("t"));
        let json: Value = serde_json::from_str(message.split_once(" - TEST-001 - ").unwrap().1).unwrap();
        assert_eq!(json["evidences"], json!([{"name": "r"}]));
        assert_eq!(json["metadata"]["is_truncated"], true);
        for form in [Form::Ocsf, Form::Cef, Form::StructuredData] {
            let config = SyslogConfig { form, ..config.clone() };
            let mut framed = Vec::new();
            let refused = encode(&config, finding(&"t".repeat(3_000)).to_string().as_bytes(), &mut framed);
            assert!(refused.unwrap_err().contains("over the limit of 2048"), "{form:?}");
        }
    }

    #[test]
    fn what_is_no_finding_is_refused_with_a_reason() {
        for (payload, reason) in
            [(&b"\xff"[..], "no UTF-8"), (b"", "no JSON"), (b"[1]", "no JSON object"), (b"{\"a\":", "no JSON")]
        {
            let refused = encode(&config(Form::Ocsf), payload, &mut Vec::new()).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn severities_keep_their_order_and_never_reach_everybodys_terminal() {
        let of = |id: u8| severity(Facts::read(format!("{{\"severity_id\":{id}}}").as_bytes()).unwrap().level());
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 99].map(of), [5, 6, 5, 4, 3, 2, 1, 5]);
    }
}
