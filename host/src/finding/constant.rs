//! What every finding of a rule says of the rule: written once, when its module is loaded. A rule's own texts are the
//! larger part of a finding, and escaping them was a fifth of what a finding costs.

use crate::rules::contract::{Attack, Rule, Severity};

use super::json::{Json, Key, key};

/// What all findings of a rule have in common, as [`Json::written`] takes it.
#[derive(Debug)]
pub struct Constants {
    /// The finding's first members.
    pub(super) head: Vec<u8>,
    /// Members of `finding_info`.
    pub(super) info: Vec<u8>,
    /// An item of `finding_info.tags`; nothing without standards.
    pub(super) compliance: Vec<u8>,
    /// Members of `unmapped.trailhound`.
    pub(super) code: Vec<u8>,
}

impl Constants {
    /// Those of a rule, of a module with this name and this SHA-256 of its bytes, in hex.
    pub fn of(rule: &Rule, module: &str, digest: &str) -> Constants {
        Constants {
            head: written(|json| head(json, rule)),
            info: written(|json| info(json, rule)),
            compliance: written(|json| compliance(json, rule)),
            code: written(|json| {
                json.whole(key!("module"), module);
                json.whole(key!("digest"), digest);
                json.whole(key!("rule_version"), &*rule.version);
            }),
        }
    }
}

/// A rule's texts are bounded by its module's size, and stand in findings whole.
fn written(what: impl FnOnce(&mut Json)) -> Vec<u8> {
    let mut json = Json::behind(Vec::new(), usize::MAX);
    what(&mut json);
    json.into_bytes()
}

fn compliance(json: &mut Json, rule: &Rule) {
    if !rule.compliance.is_empty() {
        json.item(|json| {
            json.plain(key!("name"), "compliance");
            texts(json, key!("values"), &rule.compliance);
        });
    }
}

fn texts(json: &mut Json, key: Key, texts: &[String]) {
    json.list(key, |json| texts.iter().for_each(|text| json.text_item(text)));
}

fn head(json: &mut Json, rule: &Rule) {
    let (severity_id, severity) = severity(rule.severity);
    json.number(key!("activity_id"), 1);
    json.plain(key!("activity_name"), "Create");
    json.number(key!("category_uid"), 2);
    json.plain(key!("category_name"), "Findings");
    json.number(key!("class_uid"), 2004);
    json.plain(key!("class_name"), "Detection Finding");
    json.number(key!("type_uid"), 200_401);
    json.plain(key!("type_name"), "Detection Finding: Create");
    json.number(key!("severity_id"), severity_id);
    json.whole(key!("severity"), severity);
    json.number(key!("status_id"), 1);
    json.plain(key!("status"), "New");
    json.flag(key!("is_alert"), Some(true));
    json.whole(key!("risk_details"), some(&rule.rationale));
    if !rule.remediation.is_empty() || !rule.references.is_empty() {
        json.object(key!("remediation"), |json| {
            json.whole(key!("desc"), &*rule.remediation);
            texts(json, key!("references"), &rule.references);
        });
    }
}

fn info(json: &mut Json, rule: &Rule) {
    json.whole(key!("desc"), some(&rule.description));
    texts(json, key!("types"), &types(&rule.attacks));
    json.object(key!("analytic"), |json| {
        json.number(key!("type_id"), 1);
        json.plain(key!("type"), "Rule");
        json.whole(key!("uid"), &*rule.id);
        json.whole(key!("name"), &*rule.title);
        json.whole(key!("version"), &*rule.version);
    });
    json.list(key!("attacks"), |json| rule.attacks.iter().for_each(|one| json.item(|json| attack(json, one))));
    json.list(key!("data_sources"), |json| json.text_item("AWS CloudTrail"));
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// OCSF's id and caption.
pub(super) fn severity(severity: Severity) -> (u8, &'static str) {
    match severity {
        Severity::Informational => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
        Severity::Fatal => (6, "Fatal"),
    }
}

/// One technique and the tactic that it serves. `T1078.004` is a sub-technique of `T1078`; MITRE writes its name as
/// `Valid Accounts: Cloud Accounts`. `version`, that of the ATT&CK matrix, is left out: a rule does not say.
fn attack(json: &mut Json, attack: &Attack) {
    let named = |json: &mut Json, key: Key, uid: &str, name: &str| {
        json.object(key, |json| {
            json.whole(key!("uid"), uid);
            json.whole(key!("name"), name);
        });
    };
    named(json, key!("tactic"), &attack.tactic, &attack.tactic_name);
    let (uid, name) = (attack.technique.as_str(), attack.technique_name.as_str());
    match uid.split_once('.') {
        None => named(json, key!("technique"), uid, name),
        Some((parent, _)) => {
            let (parent_name, name) = name.split_once(": ").unwrap_or((name, name));
            named(json, key!("technique"), parent, parent_name);
            named(json, key!("sub_technique"), uid, name);
        }
    }
}

/// Finding types in the form of AWS Security Hub (`TTPs/Initial Access`), one a tactic.
pub(super) fn types(attacks: &[Attack]) -> Vec<String> {
    let mut types: Vec<String> = Vec::with_capacity(attacks.len());
    for attack in attacks {
        let name = format!("TTPs/{}", attack.tactic_name);
        if !types.contains(&name) {
            types.push(name);
        }
    }
    types
}
