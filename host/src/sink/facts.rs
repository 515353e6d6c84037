//! What targets of short messages tell of a finding: who did what, where and when, read from the OCSF event.

use serde_json::Value;

/// A finding as far as an analyst wants it in a line.
#[derive(Debug)]
pub(super) struct Facts(Value);

/// OCSF's `severity_id` (<https://schema.ocsf.io/1.6.0/classes/detection_finding>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// 0 Unknown, 99 Other, or none.
    Unknown,
    Informational,
    Low,
    Medium,
    High,
    Critical,
    Fatal,
}

impl Level {
    /// Its name in OCSF.
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Unknown => "Unknown",
            Level::Informational => "Informational",
            Level::Low => "Low",
            Level::Medium => "Medium",
            Level::High => "High",
            Level::Critical => "Critical",
            Level::Fatal => "Fatal",
        }
    }
}

impl Facts {
    /// Reads a message. Fails for what is no JSON object.
    pub(super) fn read(payload: &[u8]) -> Result<Facts, String> {
        match serde_json::from_slice(payload) {
            Ok(Value::Object(object)) => Ok(Facts(Value::Object(object))),
            Ok(_) => Err("it is no JSON object".to_owned()),
            Err(error) => Err(format!("it is no JSON: {error}")),
        }
    }

    /// The whole, to be written in another form.
    pub(super) fn into_json(self) -> Value {
        self.0
    }

    /// A text at a place (RFC 6901) that is there and not empty.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
    }

    /// When the finding was made, in milliseconds since the epoch.
    pub(super) fn time_ms(&self) -> Option<i64> {
        self.0.get("time")?.as_i64()
    }

    /// How bad it is.
    pub(super) fn level(&self) -> Level {
        match self.0.get("severity_id").and_then(Value::as_u64) {
            Some(1) => Level::Informational,
            Some(2) => Level::Low,
            Some(3) => Level::Medium,
            Some(4) => Level::High,
            Some(5) => Level::Critical,
            Some(6) => Level::Fatal,
            _ => Level::Unknown,
        }
    }

    /// The finding's id.
    pub(super) fn id(&self) -> Option<&str> {
        self.text("/finding_info/uid")
    }

    /// The rule's id.
    pub(super) fn rule(&self) -> Option<&str> {
        self.text("/finding_info/analytic/uid")
    }

    /// What was found; a message that is no finding of ours has at least a name.
    pub(super) fn title(&self) -> &str {
        self.text("/finding_info/title").or_else(|| self.text("/message")).unwrap_or("Finding")
    }

    /// The sentence for an analyst.
    pub(super) fn message(&self) -> &str {
        self.text("/message").unwrap_or_else(|| self.title())
    }

    /// The account in which it happened.
    pub(super) fn account(&self) -> Option<&str> {
        self.text("/cloud/account/uid")
    }

    /// The region in which it happened.
    pub(super) fn region(&self) -> Option<&str> {
        self.text("/cloud/region")
    }

    /// Who did it: the name, or else the ARN or the id.
    pub(super) fn actor(&self) -> Option<&str> {
        self.text("/actor/user/name").or_else(|| self.actor_uid())
    }

    /// The ARN or the id of who did it.
    pub(super) fn actor_uid(&self) -> Option<&str> {
        self.text("/actor/user/uid")
    }

    /// The call.
    pub(super) fn operation(&self) -> Option<&str> {
        self.text("/api/operation")
    }

    /// The service that was called.
    pub(super) fn service(&self) -> Option<&str> {
        self.text("/api/service/name")
    }

    /// The address that the call came from.
    pub(super) fn source_ip(&self) -> Option<&str> {
        self.text("/evidences/0/src_endpoint/ip")
    }

    /// The DNS name that the call came from, where that is no address.
    pub(super) fn source_name(&self) -> Option<&str> {
        self.text("/evidences/0/src_endpoint/domain").or_else(|| self.text("/evidences/0/src_endpoint/name"))
    }

    /// CloudTrail's eventID.
    pub(super) fn event_id(&self) -> Option<&str> {
        self.text("/finding_info/related_events/0/uid").or_else(|| self.text("/evidences/0/uid"))
    }

    /// When it happened, in milliseconds since the epoch.
    pub(super) fn event_time_ms(&self) -> Option<i64> {
        self.0.get("start_time")?.as_i64()
    }

    /// Where to read what to do.
    pub(super) fn references(&self) -> impl Iterator<Item = &str> {
        let all = self.0.pointer("/remediation/references").and_then(Value::as_array);
        all.into_iter().flatten().filter_map(Value::as_str)
    }
}
