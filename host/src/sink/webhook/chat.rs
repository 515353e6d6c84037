//! Findings as people and their tools take them: a message for Slack, an event for PagerDuty.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::secret::Secret;
use crate::sink::facts::{Facts, Level};

/// Characters of a text that Slack shows in one block at most (Slack, "Section block": 3,000 in a text).
const SLACK_TEXT_MAX: usize = 3_000;

/// Characters of a PagerDuty summary at most (Events API v2, "Send an Alert Event").
const SUMMARY_MAX: usize = 1_024;

/// Characters of a PagerDuty deduplication key at most.
const DEDUP_KEY_MAX: usize = 255;

/// A message for an incoming webhook of Slack: severity, rule and what happened, who and where below it, and a link to what to
/// do.
pub(super) fn slack(facts: &Facts) -> Value {
    let rule = facts.rule().map(|rule| format!(" ({})", slack_text(rule))).unwrap_or_default();
    let head = format!("*{}*: {}{rule}", facts.level().name(), slack_text(facts.title()));
    let mut lines = head.clone();
    for (name, value) in told(facts) {
        let _infallible = write!(lines, "\n{name}: {}", slack_text(value));
    }
    // Of addresses only: `|` and `>` end one.
    let links = facts.references().filter(|link| is_link(link)).map(|link| format!("<{}|Runbook>", slack_text(link)));
    if let Some(link) = links.take(1).next() {
        let _infallible = write!(lines, "\n{link}");
    }
    let block = json!({ "type": "section", "text": { "type": "mrkdwn", "text": cut(&lines, SLACK_TEXT_MAX) } });
    json!({ "text": cut(&head, SLACK_TEXT_MAX), "blocks": [block] })
}

/// An event that opens an alert. The finding's id is the key, so a finding that is sent again opens no second one.
pub(super) fn pagerduty(facts: &Facts, routing_key: &Secret) -> Value {
    let severity = match facts.level() {
        Level::Fatal | Level::Critical => "critical",
        Level::High => "error",
        Level::Medium => "warning",
        Level::Low | Level::Informational | Level::Unknown => "info",
    };
    let time = facts.event_time_ms().or_else(|| facts.time_ms()).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let details: serde_json::Map<String, Value> =
        told(facts).map(|(name, value)| (name.to_lowercase().replace(' ', "_"), value.into())).collect();
    let mut payload = json!({
        "summary": cut(&format!("{}: {}", facts.level().name(), facts.message()), SUMMARY_MAX),
        "source": facts.account().map_or_else(|| "trailhound".to_owned(), |account| format!("AWS account {account}")),
        "severity": severity,
        "class": facts.rule(),
        "component": facts.service(),
        "group": facts.account(),
        "custom_details": details,
    });
    if let Some(payload) = payload.as_object_mut() {
        payload.extend(time.map(|time| ("timestamp".to_owned(), time.to_string().into())));
        payload.retain(|_, value| !value.is_null());
    }
    let links: Vec<Value> = facts
        .references()
        .filter(|link| is_link(link))
        .map(|link| json!({ "href": link, "text": "Runbook" }))
        .collect();
    let mut event = json!({
        "routing_key": routing_key.reveal(),
        "event_action": "trigger",
        "client": "Trailhound",
        "payload": payload,
        "links": links,
    });
    if let Some(id) = facts.id() {
        event["dedup_key"] = cut(id, DEDUP_KEY_MAX).into();
    }
    event
}

/// Who did what, where and when, by name, as far as it is known.
fn told(facts: &Facts) -> impl Iterator<Item = (&'static str, &str)> {
    [
        ("Rule", facts.rule()),
        ("Account", facts.account()),
        ("Region", facts.region()),
        ("Actor", facts.actor_uid().or_else(|| facts.actor())),
        ("Call", facts.operation()),
        ("Source", facts.source_ip().or_else(|| facts.source_name())),
        ("Event time", facts.text("/metadata/original_time")),
        ("Event ID", facts.event_id()),
        ("Finding", facts.id()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// A text that Slack shows as it is, on one line: `&`, `<` and `>` would make mentions and links of it.
fn slack_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Whether a reference is an address that a person may be sent to.
fn is_link(reference: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '|' | '<' | '>' | '"');
    reference.starts_with("https://") && reference.chars().all(plain)
}

/// At most so many characters.
fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(chars_max - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(title: &str, severity: u8) -> Facts {
        let finding = json!({
            "time": 1_767_323_045_000_i64, "start_time": 1_689_802_503_000_i64, "severity_id": severity,
            "message": format!("{title}: account 111122223333"),
            "metadata": {"original_time": "2023-07-19T21:35:03Z"},
            "finding_info": {"uid": "f1", "title": title, "analytic": {"uid": "TEST-001"}, "related_events": [{"uid": "e1"}]},
            "cloud": {"region": "us-east-1", "account": {"uid": "111122223333"}},
            "actor": {"user": {"name": "ann", "uid": "arn:aws:iam::111122223333:user/ann"}},
            "api": {"operation": "ConsoleLogin", "service": {"name": "signin.amazonaws.com"}},
            "evidences": [{"src_endpoint": {"ip": "192.0.2.7"}}],
            "remediation": {"references": ["see the wiki", "https://example.com/why?a=1&b=2"]},
        });
        Facts::read(finding.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn slack_is_told_how_bad_it_is_and_where_to_read_on() {
        let message = slack(&facts("Root signed in", 4));
        assert_eq!(message["text"], "*High*: Root signed in (TEST-001)");
        let text = message["blocks"][0]["text"]["text"].as_str().unwrap();
        let expect = "*High*: Root signed in (TEST-001)\nRule: TEST-001\nAccount: 111122223333\nRegion: us-east-1\n\
                      Actor: arn:aws:iam::111122223333:user/ann\nCall: ConsoleLogin\nSource: 192.0.2.7\n\
                      Event time: 2023-07-19T21:35:03Z\nEvent ID: e1\nFinding: f1\n\
                      <https://example.com/why?a=1&amp;b=2|Runbook>";
        assert_eq!(text, expect);
    }

    #[test]
    fn a_title_cannot_call_the_whole_channel_or_make_a_link() {
        let message = slack(&facts("<!channel> \n<https://evil.example|here> & é", 2)).to_string();
        assert!(message.contains("&lt;!channel&gt;  &lt;https://evil.example|here&gt; &amp; é"), "{message}");
        assert!(!message.contains("<!"), "{message}");
        let long = slack(&facts(&"é".repeat(9_000), 2));
        assert_eq!(long["blocks"][0]["text"]["text"].as_str().unwrap().chars().count(), SLACK_TEXT_MAX);
    }

    #[test]
    fn pagerduty_opens_one_alert_a_finding() {
        let event = pagerduty(&facts("Root signed in", 5), &Secret::new("R0".to_owned()));
        let expect = json!({
            "routing_key": "R0", "event_action": "trigger", "dedup_key": "f1", "client": "Trailhound",
            "payload": {
                "summary": "Critical: Root signed in: account 111122223333", "source": "AWS account 111122223333",
                "severity": "critical", "class": "TEST-001", "component": "signin.amazonaws.com", "group": "111122223333",
                "timestamp": "2023-07-19T21:35:03Z",
                "custom_details": {
                    "rule": "TEST-001", "account": "111122223333", "region": "us-east-1",
                    "actor": "arn:aws:iam::111122223333:user/ann", "call": "ConsoleLogin", "source": "192.0.2.7",
                    "event_time": "2023-07-19T21:35:03Z", "event_id": "e1", "finding": "f1",
                },
            },
            "links": [{"href": "https://example.com/why?a=1&b=2", "text": "Runbook"}],
        });
        assert_eq!(event, expect);
        let severities =
            (0..=6).map(|id| pagerduty(&facts("t", id), &Secret::new(String::new()))["payload"]["severity"].clone());
        let expect = ["info", "info", "info", "warning", "error", "critical", "critical"];
        assert_eq!(severities.collect::<Vec<_>>(), expect);
        let long = pagerduty(&facts(&"t".repeat(5_000), 1), &Secret::new(String::new()));
        assert_eq!(long["payload"]["summary"].as_str().unwrap().chars().count(), SUMMARY_MAX);
    }
}
