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

use std::ops::Range;

use crate::rules::Mode;

use super::entities::{self, Entities};
use super::evidence::Data;
use super::fields::{Fields, milliseconds};
use super::json::Json;
use super::{Detection, FindingLimits, OCSF_VERSION};

/// What all findings say of the products behind them, as [`Json::written`] takes it.
const TRAILHOUND: &str = concat!(
    r#","product":{"name":"Trailhound","vendor_name":"Trailhound","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""},"profiles":["cloud"],"log_provider":"AWS CloudTrail""#
);
const CLOUDTRAIL: &str = r#","product":{"name":"CloudTrail","vendor_name":"AWS"}"#;

/// What the finding is called, for machines and for people.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) id: &'a str,
    /// Cut to its limit.
    pub(super) title: &'a str,
}

/// Appends the finding as an OCSF event, and says where it stands.
pub(super) fn document(
    detection: &Detection<'_>,
    fields: &Fields<'_>,
    names: Names<'_>,
    data: &Data<'_>,
    limits: &FindingLimits,
    to: &mut Vec<u8>,
) -> Range<usize> {
    let mut json = Json::behind(std::mem::take(to), limits.field_bytes_max);
    json.written(&detection.constants.head);
    attributes(&mut json, detection, fields, names, data, limits);
    let (bytes, document) = json.into_object();
    *to = bytes;
    document
}

fn attributes(
    json: &mut Json,
    detection: &Detection<'_>,
    fields: &Fields<'_>,
    names: Names<'_>,
    data: &Data<'_>,
    limits: &FindingLimits,
) {
    let event_time = fields.event_time.as_deref().and_then(milliseconds);
    let entities = Entities::of(detection.labels, fields);
    json.number("time", detection.now_ms);
    json.time("start_time", event_time);
    json.time("end_time", event_time);
    message(json, names.title, &entities, limits);
    json.object("finding_info", |json| finding_info(json, detection, fields, names, event_time));
    json.object("metadata", |json| metadata(json, detection, fields, names.id, data.is_truncated()));
    json.object("cloud", |json| {
        json.word("provider", "AWS");
        json.whole("cloud_partition", fields.identity.arn.and_then(partition));
        json.text("region", fields.aws_region);
        entities::account(json, "account", entities.account);
    });
    let actor = json.object("actor", |json| entities.actor(json));
    let api = json.object("api", |json| entities::api(json, fields));
    json.list("resources", |json| entities::resources(json, fields, entities.account, limits));
    json.list("observables", |json| entities.observables(json));
    json.object("unmapped", |json| {
        json.object("trailhound", |json| trailhound(json, detection));
    });
    json.list("evidences", |json| {
        json.item(|json| {
            json.word("name", "AWS CloudTrail record");
            json.text("uid", fields.event_id);
            json.again("actor", actor);
            json.again("api", api);
            json.object("src_endpoint", |json| entities.source.write(json));
            json.object("http_request", |json| json.text("user_agent", fields.user_agent));
            data.write(json);
        });
    });
}

fn finding_info(
    json: &mut Json,
    detection: &Detection<'_>,
    fields: &Fields<'_>,
    names: Names<'_>,
    event_time: Option<i64>,
) {
    json.whole("uid", names.id);
    json.whole("title", names.title);
    json.written(&detection.constants.info);
    json.number("created_time", detection.now_ms);
    json.time("first_seen_time", event_time);
    json.time("last_seen_time", event_time);
    json.list("related_events", |json| {
        for uid in fields.event_id.into_iter().chain(fields.original_event_id) {
            json.item(|json| {
                json.text("uid", uid);
                json.written(CLOUDTRAIL.as_bytes());
            });
        }
    });
    json.list("tags", |json| {
        json.written(&detection.constants.compliance);
        for (name, value) in detection.labels {
            json.item(|json| {
                json.text("name", &**name);
                json.text("value", &**value);
            });
        }
    });
}

fn metadata(json: &mut Json, detection: &Detection<'_>, fields: &Fields<'_>, id: &str, is_truncated: bool) {
    json.word("version", OCSF_VERSION);
    json.whole("uid", id);
    json.written(TRAILHOUND.as_bytes());
    json.text("log_version", fields.event_version);
    json.text("event_code", fields.event_name);
    json.text("correlation_uid", fields.shared_event_id);
    json.text("original_time", fields.event_time.as_deref());
    json.time("logged_time", detection.origin.appended_ms);
    json.number("processed_time", detection.now_ms);
    // Written where the evidence is cut.
    json.flag("is_truncated", is_truncated.then_some(true));
}

/// A sentence for an analyst: what happened, in which account, from where.
fn message(json: &mut Json, title: &str, entities: &Entities<'_>, limits: &FindingLimits) {
    let cut = |text| super::cut(text, limits.field_bytes_max);
    let (account, source) = (entities.account.map(cut), entities.source.shown(limits));
    let parts = match (&account, &source) {
        (None, None) => [title, "", "", "", ""],
        (Some(account), None) => [title, ": account ", account, "", ""],
        (None, Some(source)) => [title, ": source ", source, "", ""],
        (Some(account), Some(source)) => [title, ": account ", account, ", source ", source],
    };
    json.parts("message", &parts);
}

/// Which code made the finding, and which bytes it was made from. OCSF has no place for it.
fn trailhound(json: &mut Json, detection: &Detection<'_>) {
    json.whole("module", detection.module);
    json.whole("digest", detection.digest);
    json.whole("rule_version", &*detection.rule.version);
    json.number("generation", detection.generation);
    // Left out when it is live.
    json.flag("shadow", (detection.mode == Mode::Shadow).then_some(true));
    json.whole("topic", &*detection.origin.source);
    json.number("partition", detection.origin.partition);
    json.number("offset", detection.origin.offset);
    // The record's place among the entries of its message, and where it begins in the innermost decoded layer, in bytes.
    json.number("entry", detection.position.entry);
    json.number("byte", detection.position.byte);
    json.time("appended_time", detection.origin.appended_ms);
}

/// The partition of an ARN: `arn:aws-cn:…` is in `aws-cn`.
pub(super) fn partition(arn: &str) -> Option<&str> {
    let (partition, _) = arn.strip_prefix("arn:")?.split_once(':')?;
    let plain = partition.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (plain && partition.starts_with("aws") && partition.len() <= 32).then_some(partition)
}
