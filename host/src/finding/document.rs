//! Which attribute of the finding is filled from what.
//!
//! | attribute | from |
//! |---|---|
//! | `finding_info.analytic`, `.desc`, `.attacks`, `.types`, `severity`, `risk_details`, `remediation` | the rule (`constant.rs`) |
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

use crate::rules::Mode;

use super::entities::{Entities, resources};
use super::fields::{Fields, milliseconds};
use super::objects::Account;
use super::ocsf::{
    AnyTag, Cloud, DetectionFinding, Evidence, FindingInfo, Metadata, RelatedEvent, Tag, Trailhound, Unmapped,
};
use super::{Detection, FindingLimits, OCSF_VERSION, cut};

/// The finding as an OCSF event, but for its first attributes (`constant.rs`) and for `evidences[0].data`. `is_truncated`
/// says whether that is cut.
pub(super) fn document<'a>(
    detection: &Detection<'a>,
    fields: &'a Fields<'a>,
    entities: &'a Entities<'a>,
    names: Names<'a>,
    is_truncated: bool,
    limits: &FindingLimits,
) -> DetectionFinding<'a> {
    let event_time = fields.event_time.as_deref().and_then(milliseconds);
    DetectionFinding {
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
        actor: entities.actor_written.as_ref(),
        api: entities.api_written.as_ref(),
        resources: resources(fields, entities.account.as_ref(), limits),
        observables: entities.observables(),
        unmapped: Unmapped { trailhound: trailhound(detection) },
        evidences: [Evidence {
            name: "AWS CloudTrail record",
            uid: fields.event_id.map(|id| cut(id, limits.field_bytes_max)),
            actor: entities.actor_written.as_ref(),
            api: entities.api_written.as_ref(),
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
    let constants = detection.constants;
    let events = fields.event_id.into_iter().chain(fields.original_event_id);
    FindingInfo {
        uid: names.id,
        title: names.title,
        desc: constants.desc.as_ref(),
        types: constants.types.as_ref(),
        analytic: constants.analytic.as_ref(),
        attacks: constants.attacks.as_ref(),
        data_sources: ["AWS CloudTrail"],
        created_time: detection.now_ms,
        first_seen_time: event_time,
        last_seen_time: event_time,
        related_events: events
            .map(|uid| RelatedEvent { uid: cut(uid, limits.field_bytes_max), product: constants.cloudtrail.as_ref() })
            .collect(),
        tags: tags(detection, limits),
    }
}

fn tags<'a>(detection: &Detection<'a>, limits: &FindingLimits) -> Vec<AnyTag<'a>> {
    let compliance = detection.constants.compliance.as_ref().map(AnyTag::Written);
    let labels = detection.labels.iter().map(|(key, value)| {
        let cut = |text: &'a str| cut(text, limits.field_bytes_max);
        AnyTag::Label(Tag { name: cut(key), value: Some(cut(value)), values: &[] })
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
        product: detection.constants.trailhound.as_ref(),
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

/// The partition of an ARN: `arn:aws-cn:…` is in `aws-cn`.
pub(super) fn partition(arn: &str) -> Option<&str> {
    let (partition, _) = arn.strip_prefix("arn:")?.split_once(':')?;
    let plain = partition.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (plain && partition.starts_with("aws") && partition.len() <= 32).then_some(partition)
}
