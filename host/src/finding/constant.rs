//! What every finding of a rule says of the rule: written once, when its module is loaded. A rule's own texts are the
//! larger part of a finding, and escaping them was a fifth of what a finding costs.

use serde::Serialize;
use sonic_rs::OwnedLazyValue;

use crate::rules::contract::{Attack as RuleAttack, Rule, Severity};

use super::ocsf::{Analytic, Attack, Head, Named, Product, Remediation, Tag};

const TRAILHOUND: Product =
    Product { name: "Trailhound", vendor_name: "Trailhound", version: Some(env!("CARGO_PKG_VERSION")) };
const CLOUDTRAIL: Product = Product { name: "CloudTrail", vendor_name: "AWS", version: None };

/// A value in JSON, written as it is.
pub(super) type Written = OwnedLazyValue;

/// What all findings of a rule have in common, in JSON.
#[derive(Debug)]
pub struct Constants {
    /// An object without its closing brace: the finding's first attributes.
    pub(super) head: Vec<u8>,
    pub(super) desc: Option<Written>,
    pub(super) types: Option<Written>,
    pub(super) analytic: Option<Written>,
    pub(super) attacks: Option<Written>,
    /// A tag.
    pub(super) compliance: Option<Written>,
    pub(super) trailhound: Option<Written>,
    pub(super) cloudtrail: Option<Written>,
}

impl Constants {
    /// Those of a rule.
    pub fn of(rule: &Rule) -> Constants {
        let (severity_id, severity) = severity(rule.severity);
        let mut head = Vec::new();
        super::write(
            &mut head,
            &Head {
                activity_id: 1,
                activity_name: "Create",
                category_uid: 2,
                category_name: "Findings",
                class_uid: 2004,
                class_name: "Detection Finding",
                type_uid: 200_401,
                type_name: "Detection Finding: Create",
                severity_id,
                severity,
                status_id: 1,
                status: "New",
                is_alert: true,
                risk_details: &rule.rationale,
                remediation: remediation(rule),
            },
        );
        head.pop();
        let types = types(&rule.attacks);
        let attacks: Vec<Attack<'_>> = rule.attacks.iter().map(attack).collect();
        let compliance = Tag { name: "compliance".into(), value: None, values: &rule.compliance };
        Constants {
            head,
            desc: Some(&rule.description).filter(|desc| !desc.is_empty()).and_then(written),
            types: Some(&types).filter(|types| !types.is_empty()).and_then(written),
            analytic: written(&Analytic {
                type_id: 1,
                kind: "Rule",
                uid: &rule.id,
                name: &rule.title,
                version: &rule.version,
            }),
            attacks: Some(&attacks).filter(|attacks| !attacks.is_empty()).and_then(written),
            compliance: Some(&compliance).filter(|tag| !tag.values.is_empty()).and_then(written),
            trailhound: written(&TRAILHOUND),
            cloudtrail: written(&CLOUDTRAIL),
        }
    }
}

/// The value in JSON. Nothing here fails to be written; see [`super::write`].
pub(super) fn written<T: Serialize>(value: &T) -> Option<Written> {
    sonic_rs::to_lazyvalue(value).ok()
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

/// `T1078.004` is a sub-technique of `T1078`; MITRE writes its name as `Valid Accounts: Cloud Accounts`.
fn attack(attack: &RuleAttack) -> Attack<'_> {
    let tactic = Named { uid: &attack.tactic, name: &attack.tactic_name };
    let (uid, name) = (attack.technique.as_str(), attack.technique_name.as_str());
    let Some((parent, _)) = uid.split_once('.') else {
        return Attack { tactic, technique: Named { uid, name }, sub_technique: None };
    };
    let (parent_name, name) = name.split_once(": ").unwrap_or((name, name));
    let technique = Named { uid: parent, name: parent_name };
    Attack { tactic, technique, sub_technique: Some(Named { uid, name }) }
}

/// Finding types in the form of AWS Security Hub (`TTPs/Initial Access`), one a tactic.
pub(super) fn types(attacks: &[RuleAttack]) -> Vec<String> {
    let mut types: Vec<String> = Vec::with_capacity(attacks.len());
    for attack in attacks {
        let name = format!("TTPs/{}", attack.tactic_name);
        if !types.contains(&name) {
            types.push(name);
        }
    }
    types
}

pub(super) fn remediation(rule: &Rule) -> Option<Remediation<'_>> {
    let any = !rule.remediation.is_empty() || !rule.references.is_empty();
    any.then_some(Remediation { desc: &rule.remediation, references: &rule.references })
}
