//! The attributes of an OCSF 1.6.0 Detection Finding that Trailhound writes, and how they nest.
//!
//! Names, types and what is required are the schema's (<https://schema.ocsf.io/1.6.0/classes/detection_finding>,
//! profile cloud); `document.rs` says what goes in. Everything borrows from the record, the rule or the hit; a text
//! that had to be cut is owned. `objects.rs` has the objects that describe who and what.

use serde::Serialize;

use super::constant::Written;
use super::objects::{Account, Endpoint, HttpRequest, Observable, Resource, Text};

/// The first attributes, which are the same in all findings of a rule.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    pub(super) activity_id: u8,
    pub(super) activity_name: &'static str,
    pub(super) category_uid: u8,
    pub(super) category_name: &'static str,
    pub(super) class_uid: u16,
    pub(super) class_name: &'static str,
    pub(super) type_uid: u32,
    pub(super) type_name: &'static str,
    pub(super) severity_id: u8,
    pub(super) severity: &'static str,
    pub(super) status_id: u8,
    pub(super) status: &'static str,
    pub(super) is_alert: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) risk_details: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remediation: Option<Remediation<'a>>,
}

/// All other attributes.
#[derive(Serialize)]
pub(super) struct DetectionFinding<'a> {
    /// When the finding was made, in milliseconds since the epoch.
    pub(super) time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_time: Option<i64>,
    pub(super) message: String,
    pub(super) finding_info: FindingInfo<'a>,
    pub(super) metadata: Metadata<'a>,
    pub(super) cloud: Cloud<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<&'a Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) api: Option<&'a Written>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) resources: Vec<Resource<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) observables: Vec<Observable<'a>>,
    pub(super) unmapped: Unmapped<'a>,
    /// The last attribute: `evidence.rs` puts the record behind it.
    pub(super) evidences: [Evidence<'a>; 1],
}

#[derive(Serialize)]
pub(super) struct FindingInfo<'a> {
    pub(super) uid: &'a str,
    pub(super) title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) desc: Option<&'a Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) types: Option<&'a Written>,
    /// [`Analytic`].
    pub(super) analytic: Option<&'a Written>,
    /// A list of [`Attack`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attacks: Option<&'a Written>,
    pub(super) data_sources: [&'static str; 1],
    pub(super) created_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_seen_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_seen_time: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) related_events: Vec<RelatedEvent<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<AnyTag<'a>>,
}

#[derive(Serialize)]
pub(super) struct Analytic<'a> {
    pub(super) type_id: u8,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) uid: &'a str,
    pub(super) name: &'a str,
    pub(super) version: &'a str,
}

/// One technique and the tactic that it serves. `version`, that of the ATT&CK matrix, is left out: a rule does not say.
#[derive(Serialize)]
pub(super) struct Attack<'a> {
    pub(super) tactic: Named<'a>,
    pub(super) technique: Named<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sub_technique: Option<Named<'a>>,
}

#[derive(Serialize)]
pub(super) struct Named<'a> {
    pub(super) uid: &'a str,
    pub(super) name: &'a str,
}

#[derive(Serialize)]
pub(super) struct RelatedEvent<'a> {
    pub(super) uid: Text<'a>,
    /// [`Product`].
    pub(super) product: Option<&'a Written>,
}

/// A [`Tag`].
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum AnyTag<'a> {
    Written(&'a Written),
    Label(Tag<'a>),
}

/// A name with one value, or with several.
#[derive(Serialize)]
pub(super) struct Tag<'a> {
    pub(super) name: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Text<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) values: &'a [String],
}

#[derive(Serialize)]
pub(super) struct Product {
    pub(super) name: &'static str,
    pub(super) vendor_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<&'static str>,
}

#[derive(Serialize)]
pub(super) struct Metadata<'a> {
    pub(super) version: &'static str,
    pub(super) uid: &'a str,
    /// [`Product`].
    pub(super) product: Option<&'a Written>,
    pub(super) profiles: [&'static str; 1],
    pub(super) log_provider: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log_version: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event_code: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) correlation_uid: Option<Text<'a>>,
    /// eventTime as it came, be it a time or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) original_time: Option<Text<'a>>,
    /// When the message was appended to its topic, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logged_time: Option<i64>,
    pub(super) processed_time: i64,
    /// Written where the evidence is cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_truncated: bool,
}

#[derive(Serialize)]
pub(super) struct Cloud<'a> {
    pub(super) provider: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cloud_partition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<Account<'a>>,
}

#[derive(Serialize)]
pub(super) struct Remediation<'a> {
    pub(super) desc: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) references: &'a [String],
}

/// All of the evidence but `data`, the original record.
#[derive(Serialize)]
pub(super) struct Evidence<'a> {
    pub(super) name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<&'a Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) api: Option<&'a Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) src_endpoint: Option<&'a Endpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) http_request: Option<&'a HttpRequest<'a>>,
}

/// What OCSF has no place for.
#[derive(Serialize)]
pub(super) struct Unmapped<'a> {
    pub(super) trailhound: Trailhound<'a>,
}

/// Which code made the finding, and which bytes it was made from.
#[derive(Serialize)]
pub(super) struct Trailhound<'a> {
    pub(super) module: &'a str,
    /// SHA-256 of the module, in hex.
    pub(super) digest: &'a str,
    pub(super) rule_version: &'a str,
    /// The number of the rule set.
    pub(super) generation: u64,
    /// Whether the module ran in shadow; left out when it was live.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) shadow: bool,
    /// The topic, or the path of a file.
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// The record's place among the entries of its message, from 0.
    pub(super) entry: u32,
    /// Where the entry begins in the innermost decoded layer of its message, in bytes.
    pub(super) byte: u64,
    /// When the message was appended, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) appended_time: Option<i64>,
}
