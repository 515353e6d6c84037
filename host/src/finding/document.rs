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
use super::fields::Fields;
use super::json::{Json, key};
use super::time::milliseconds;
use super::{Detection, FindingLimits, OCSF_VERSION};

/// What all findings say of the products behind them, as [`Json::written`] takes it.
const TRAILHOUND: &str = concat!(
    r#","product":{"name":"Trailhound","vendor_name":"Trailhound","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""},"profiles":["cloud"],"log_provider":"AWS CloudTrail""#
);
const CLOUDTRAIL: &str = r#","product":{"name":"CloudTrail","vendor_name":"AWS"}"#;

/// Times that stand in a finding several times, in digits.
#[derive(Clone, Copy)]
struct Times<'a> {
    now: &'a str,
    event: Option<&'a str>,
    appended: Option<&'a str>,
}

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
    let mut json = Json::behind(std::mem::take(to), limits.field_bytes_max).of_record(fields.is_plain);
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
    let [mut now, mut event, mut appended] = [itoa::Buffer::new(); 3];
    let times = Times {
        now: now.format(detection.now_ms),
        event: fields.event_time.as_deref().and_then(milliseconds).map(|time| event.format(time)),
        appended: detection.origin.appended_ms.map(|time| appended.format(time)),
    };
    let entities = Entities::of(detection.labels, fields);
    json.value(key!("time"), times.now.as_bytes());
    json.digits(key!("start_time"), times.event);
    json.digits(key!("end_time"), times.event);
    message(json, names.title, &entities, limits);
    json.object(key!("finding_info"), |json| finding_info(json, detection, fields, names, times));
    json.object(key!("metadata"), |json| metadata(json, fields, times, names.id, data.is_truncated()));
    json.object(key!("cloud"), |json| {
        json.plain(key!("provider"), "AWS");
        if let Some(partition) = fields.identity.arn.and_then(partition) {
            json.plain(key!("cloud_partition"), partition);
        }
        json.field(key!("region"), fields.aws_region);
        entities::account(json, key!("account"), entities.account);
    });
    let actor = json.object(key!("actor"), |json| entities.actor(json));
    let api = json.object(key!("api"), |json| entities::api(json, fields));
    json.list(key!("resources"), |json| entities::resources(json, fields, entities.account, limits));
    json.list(key!("observables"), |json| entities.observables(json));
    json.object(key!("unmapped"), |json| {
        json.object(key!("trailhound"), |json| trailhound(json, detection, times));
    });
    json.list(key!("evidences"), |json| {
        json.item(|json| {
            json.plain(key!("name"), "AWS CloudTrail record");
            json.field(key!("uid"), fields.event_id);
            json.again(key!("actor"), actor);
            json.again(key!("api"), api);
            json.object(key!("src_endpoint"), |json| entities.source.write(json));
            json.object(key!("http_request"), |json| json.field(key!("user_agent"), fields.user_agent));
            data.write(json);
        });
    });
}

fn finding_info(json: &mut Json, detection: &Detection<'_>, fields: &Fields<'_>, names: Names<'_>, times: Times<'_>) {
    json.plain(key!("uid"), names.id);
    json.whole(key!("title"), names.title);
    json.written(&detection.constants.info);
    json.value(key!("created_time"), times.now.as_bytes());
    json.digits(key!("first_seen_time"), times.event);
    json.digits(key!("last_seen_time"), times.event);
    json.list(key!("related_events"), |json| {
        for uid in fields.event_id.into_iter().chain(fields.original_event_id) {
            json.item(|json| {
                json.field(key!("uid"), Some(uid));
                json.written(CLOUDTRAIL.as_bytes());
            });
        }
    });
    json.list(key!("tags"), |json| {
        json.written(&detection.constants.compliance);
        for (name, value) in detection.labels.iter() {
            json.item(|json| {
                json.text(key!("name"), name);
                json.text(key!("value"), value);
            });
        }
    });
}

fn metadata(json: &mut Json, fields: &Fields<'_>, times: Times<'_>, id: &str, is_truncated: bool) {
    json.plain(key!("version"), OCSF_VERSION);
    json.plain(key!("uid"), id);
    json.written(TRAILHOUND.as_bytes());
    json.field(key!("log_version"), fields.event_version);
    json.field(key!("event_code"), fields.event_name);
    json.field(key!("correlation_uid"), fields.shared_event_id);
    json.field(key!("original_time"), fields.event_time.as_deref());
    json.digits(key!("logged_time"), times.appended);
    json.value(key!("processed_time"), times.now.as_bytes());
    // Written where the evidence is cut.
    json.flag(key!("is_truncated"), is_truncated.then_some(true));
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
    json.parts(key!("message"), &parts);
}

/// Which code made the finding, and which bytes it was made from. OCSF has no place for it.
fn trailhound(json: &mut Json, detection: &Detection<'_>, times: Times<'_>) {
    json.written(&detection.constants.code);
    json.number(key!("generation"), detection.generation);
    // Left out when it is live.
    json.flag(key!("shadow"), (detection.mode == Mode::Shadow).then_some(true));
    json.whole(key!("topic"), &*detection.origin.source);
    json.number(key!("partition"), detection.origin.partition);
    json.number(key!("offset"), detection.origin.offset);
    // The record's place among the entries of its message, and where it begins in the innermost decoded layer, in bytes.
    json.number(key!("entry"), detection.position.entry);
    json.number(key!("byte"), detection.position.byte);
    json.digits(key!("appended_time"), times.appended);
}

/// The partition of an ARN: `arn:aws-cn:…` is in `aws-cn`.
pub(super) fn partition(arn: &str) -> Option<&str> {
    let behind = arn.strip_prefix("arn:")?;
    let partition = behind.get(..behind.bytes().position(|byte| byte == b':')?)?;
    let plain = partition.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (plain && partition.starts_with("aws") && partition.len() <= 32).then_some(partition)
}
