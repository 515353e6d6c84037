//! Which messages a pipeline carries: by severity, rule, account, and whether the module was in shadow.
//!
//! Headers say it where they are there, else the finding does. What says nothing of it is carried: a filter leaves out what it
//! knows to be unwanted, and nothing else.

use crate::batch::Envelope;
use crate::peek;

/// Conditions that must all hold; without any, every message is carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// OCSF's `severity_id` at least: 1 informational to 6 fatal; 0 for all.
    pub severity_min: u8,
    /// Patterns of rule ids, of which one must fit. `*` stands for any text. Empty for all.
    pub rules: Vec<String>,
    /// Account ids; empty for all.
    pub accounts: Vec<String>,
    /// What is done with findings of modules in shadow.
    pub shadow: Shadow,
}

/// What is done with findings of modules in shadow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shadow {
    /// They are carried like the others.
    #[default]
    Include,
    /// They are left out.
    Exclude,
    /// The others are left out.
    Only,
}

/// The names of severities in the header of a finding; the place is OCSF's `severity_id`.
pub const SEVERITIES: [&str; 7] = ["unknown", "informational", "low", "medium", "high", "critical", "fatal"];

impl Filter {
    /// Whether a message is to be carried.
    pub fn wants(&self, envelope: &Envelope<'_>, payload: &[u8]) -> bool {
        self.severity_fits(envelope, payload)
            && self.shadow_fits(envelope, payload)
            && self.rule_fits(envelope, payload)
            && self.account_fits(payload)
    }

    fn severity_fits(&self, envelope: &Envelope<'_>, payload: &[u8]) -> bool {
        if self.severity_min == 0 {
            return true;
        }
        let named = envelope.header("severity").and_then(|name| SEVERITIES.iter().position(|known| *known == name));
        let severity = match named {
            Some(severity) => i64::try_from(severity).ok(),
            None => peek::number(payload, &["severity_id"]),
        };
        // 0 is unknown and 99 another: neither is known to be too low.
        severity.is_none_or(|severity| severity == 0 || severity >= i64::from(self.severity_min))
    }

    fn shadow_fits(&self, envelope: &Envelope<'_>, payload: &[u8]) -> bool {
        let in_shadow = || match (envelope.header("mode"), envelope.header("rule")) {
            (None, None) => peek::get(payload, &["unmapped", "trailhound", "shadow"]) == Some("true"),
            (mode, _) => mode == Some("shadow"),
        };
        match self.shadow {
            Shadow::Include => true,
            Shadow::Exclude => !in_shadow(),
            Shadow::Only => in_shadow(),
        }
    }

    fn rule_fits(&self, envelope: &Envelope<'_>, payload: &[u8]) -> bool {
        if self.rules.is_empty() {
            return true;
        }
        let fits = |rule: &str| self.rules.iter().any(|pattern| is_like(pattern, rule));
        match envelope.header("rule") {
            Some(rule) => fits(rule),
            None => peek::text(payload, &["finding_info", "analytic", "uid"]).is_none_or(|rule| fits(&rule)),
        }
    }

    fn account_fits(&self, payload: &[u8]) -> bool {
        self.accounts.is_empty()
            || peek::text(payload, &["cloud", "account", "uid"]).is_none_or(|uid| self.accounts.contains(&uid))
    }
}

/// Whether `text` is like `pattern`, in which `*` stands for any text.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::{Batch, Origin};

    fn check(filter: &Filter, headers: &[(&str, &str)], payload: &str, expect: bool) {
        let mut batch = Batch::default();
        let origin = Origin { source: Arc::from("t"), partition: 0, offset: 0, appended_ms: None };
        let all = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        batch.push_envelope(b"", all);
        batch.push(origin, Some(payload.as_bytes()));
        let envelope = batch.envelopes().next().unwrap();
        assert_eq!(filter.wants(&envelope, payload.as_bytes()), expect, "{filter:?} {headers:?} {payload}");
    }

    #[test]
    fn severity_is_in_the_header_or_in_the_finding() {
        let filter = Filter { severity_min: 3, ..Filter::default() };
        for (name, expect) in [("low", false), ("medium", true), ("fatal", true)] {
            check(&filter, &[("severity", name)], r#"{"severity_id":1}"#, expect);
        }
        check(&filter, &[], r#"{"severity_id":2}"#, false);
        check(&filter, &[], r#"{"severity_id":99}"#, true);
        check(&filter, &[("severity", "unheard of")], r#"{"severity_id":4}"#, true);
        check(&filter, &[], "no finding", true);
        check(&Filter::default(), &[("severity", "low")], "{}", true);
    }

    #[test]
    fn rules_are_named_by_patterns() {
        let filter = Filter { rules: vec!["A-*".to_owned(), "B-1".to_owned()], ..Filter::default() };
        for (rule, expect) in [("A-", true), ("A-17", true), ("B-1", true), ("B-12", false), ("XA-1", false)] {
            check(&filter, &[("rule", rule)], "{}", expect);
            let payload = format!(r#"{{"finding_info":{{"analytic":{{"uid":"{rule}"}}}}}}"#);
            check(&filter, &[], &payload, expect);
        }
        check(&filter, &[], "{}", true);
        for (pattern, text, expect) in [
            ("*", "", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("*x*", "yxz", true),
            ("", "x", false),
        ] {
            assert_eq!(is_like(pattern, text), expect, "{pattern} {text}");
        }
    }

    #[test]
    fn accounts_and_shadow_are_chosen() {
        let filter = Filter { accounts: vec!["1".to_owned()], ..Filter::default() };
        check(&filter, &[], r#"{"cloud":{"account":{"uid":"1"}}}"#, true);
        check(&filter, &[], r#"{"cloud":{"account":{"uid":"2"}}}"#, false);
        check(&filter, &[], r#"{"cloud":{}}"#, true);
        for (shadow, live, in_shadow) in
            [(Shadow::Include, true, true), (Shadow::Exclude, true, false), (Shadow::Only, false, true)]
        {
            let filter = Filter { shadow, ..Filter::default() };
            check(&filter, &[], "{}", live);
            check(&filter, &[("rule", "A")], "{}", live);
            check(&filter, &[("rule", "A"), ("mode", "shadow")], "{}", in_shadow);
            check(&filter, &[], r#"{"unmapped":{"trailhound":{"shadow":true}}}"#, in_shadow);
        }
    }
}
