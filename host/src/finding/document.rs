//! Which attribute of the finding is filled from what.
//!
//! | attribute | from |
//! |---|---|
//! | `finding_info.analytic`, `.desc`, `.attacks`, `.types`, `risk_details`, `remediation` | the rule |
//! | `finding_info.title` | the hit, or else the rule |
//! | `finding_info.tags` | `compliance` with the rule's standards first, then the hit's labels, one tag each |
//! | `finding_info.related_events` | eventID, and `addendum.originalEventID` |
//! | `start_time`, `end_time`, `finding_info.first_seen_time`, `.last_seen_time` | eventTime, if it is a time |
//! | `metadata.original_time` | eventTime as it came |
//! | `metadata.logged_time` | when the message was appended to its topic |
//! | `time`, `finding_info.created_time`, `metadata.processed_time` | now |
//! | `metadata.correlation_uid` | sharedEventID, which ties one action across accounts |
//! | `actor`, `api`, `evidences[0]` | the record (`entities.rs`, `evidence.rs`) |
//! | `unmapped.trailhound` | module, rule set, and origin |

use std::borrow::Cow;

use crate::rules::Mode;
use crate::rules::contract::{Attack as RuleAttack, Rule, Severity};

use super::entities::{Entities, resources};
use super::fields::{Fields, milliseconds};
use super::objects::Account;
use super::ocsf::{
    Analytic, Attack, Cloud, DetectionFinding, Evidence, FindingInfo, Metadata, Named, Product, RelatedEvent,
    Remediation, Tag, Trailhound, Unmapped,
};
use super::{Detection, FindingLimits, OCSF_VERSION, cut};

const TRAILHOUND: Product =
    Product { name: "Trailhound", vendor_name: "Trailhound", version: Some(env!("CARGO_PKG_VERSION")) };
const CLOUDTRAIL: Product = Product { name: "CloudTrail", vendor_name: "AWS", version: None };

/// The finding as an OCSF event, but for `evidences[0].data`. `is_truncated` says whether that is cut.
pub(super) fn document<'a>(
    detection: &Detection<'a>,
    fields: &'a Fields<'a>,
    entities: &'a Entities<'a>,
    names: Names<'a>,
    is_truncated: bool,
    limits: &FindingLimits,
) -> DetectionFinding<'a> {
    let rule = detection.rule;
    let event_time = fields.event_time.as_deref().and_then(milliseconds);
    let (severity_id, severity) = severity(rule.severity);
    DetectionFinding {
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
        time: detection.now_ms,
        start_time: event_time,
        end_time: event_time,
        message: message(names.title, entities),
        finding_info: finding_info(detection, fields, names, event_time, limits),
        metadata: metadata(detection, fields, names.id, is_truncated, limits),
        cloud: Cloud {
            provider: "AWS",
            cloud_partition: fields.identity.arn.and_then(partition),
            region: fields.aws_region.map(|region| cut(region, limits.field_bytes_max)),
            account: entities.account.clone(),
        },
        actor: entities.actor.as_ref(),
        api: entities.api.as_ref(),
        resources: resources(fields, entities.account.as_ref(), limits),
        observables: entities.observables(),
        risk_details: &rule.rationale,
        remediation: remediation(rule),
        unmapped: Unmapped { trailhound: trailhound(detection) },
        evidences: [Evidence {
            name: "AWS CloudTrail record",
            uid: fields.event_id.map(|id| cut(id, limits.field_bytes_max)),
            actor: entities.actor.as_ref(),
            api: entities.api.as_ref(),
            src_endpoint: entities.src_endpoint.as_ref(),
            http_request: entities.http_request.as_ref(),
        }],
    }
}

/// What the finding is called, for machines and for people.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) id: &'a str,
    pub(super) title: &'a str,
}

fn finding_info<'a>(
    detection: &Detection<'a>,
    fields: &'a Fields<'a>,
    names: Names<'a>,
    event_time: Option<i64>,
    limits: &FindingLimits,
) -> FindingInfo<'a> {
    let rule = detection.rule;
    let events = fields.event_id.into_iter().chain(fields.original_event_id);
    FindingInfo {
        uid: names.id,
        title: names.title,
        desc: &rule.description,
        types: types(&rule.attacks),
        analytic: Analytic { type_id: 1, kind: "Rule", uid: &rule.id, name: &rule.title, version: &rule.version },
        attacks: rule.attacks.iter().map(attack).collect(),
        data_sources: ["AWS CloudTrail"],
        created_time: detection.now_ms,
        first_seen_time: event_time,
        last_seen_time: event_time,
        related_events: events
            .map(|uid| RelatedEvent { uid: cut(uid, limits.field_bytes_max), product: CLOUDTRAIL })
            .collect(),
        tags: tags(detection, limits),
    }
}

fn tags<'a>(detection: &Detection<'a>, limits: &FindingLimits) -> Vec<Tag<'a>> {
    let standards: &'a [String] = &detection.rule.compliance;
    let compliance =
        (!standards.is_empty()).then_some(Tag { name: Cow::Borrowed("compliance"), value: None, values: standards });
    let labels = detection.labels.iter().map(|(key, value)| Tag {
        name: cut(key, limits.field_bytes_max),
        value: Some(cut(value, limits.field_bytes_max)),
        values: &[],
    });
    compliance.into_iter().chain(labels).collect()
}

fn metadata<'a>(
    detection: &Detection<'a>,
    fields: &'a Fields<'a>,
    id: &'a str,
    is_truncated: bool,
    limits: &FindingLimits,
) -> Metadata<'a> {
    let cut = |text: &'a str| cut(text, limits.field_bytes_max);
    Metadata {
        version: OCSF_VERSION,
        uid: id,
        product: TRAILHOUND,
        profiles: ["cloud"],
        log_provider: "AWS CloudTrail",
        log_version: fields.event_version.map(cut),
        event_code: fields.event_name.map(cut),
        correlation_uid: fields.shared_event_id.map(cut),
        original_time: fields.event_time.as_deref().map(cut),
        logged_time: detection.origin.appended_ms,
        processed_time: detection.now_ms,
        is_truncated,
    }
}

/// A sentence for an analyst: what happened, in which account, from where.
fn message(title: &str, entities: &Entities<'_>) -> String {
    let account = entities.account.as_ref().map(|Account { uid, .. }| ("account", &**uid));
    let source =
        entities.src_endpoint.as_ref().and_then(|source| source.ip.or(source.domain).or(source.name.as_deref()));
    let facts = [account, source.map(|source| ("source", source))];
    let mut message = String::with_capacity(title.len() + 64);
    message.push_str(title);
    for (at, (what, value)) in facts.into_iter().flatten().enumerate() {
        message.push_str(if at == 0 { ": " } else { ", " });
        message.push_str(what);
        message.push(' ');
        message.push_str(value);
    }
    message
}

fn trailhound<'a>(detection: &Detection<'a>) -> Trailhound<'a> {
    Trailhound {
        module: detection.module,
        digest: detection.digest,
        rule_version: &detection.rule.version,
        generation: detection.generation,
        shadow: detection.mode == Mode::Shadow,
        topic: &detection.origin.source,
        partition: detection.origin.partition,
        offset: detection.origin.offset,
        entry: detection.position.entry,
        byte: detection.position.byte,
        appended_time: detection.origin.appended_ms,
    }
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

/// The partition of an ARN: `arn:aws-cn:…` is in `aws-cn`.
pub(super) fn partition(arn: &str) -> Option<&str> {
    let (partition, _) = arn.strip_prefix("arn:")?.split_once(':')?;
    let plain = partition.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (plain && partition.starts_with("aws") && partition.len() <= 32).then_some(partition)
}
