//! OCSF 1.6.0's objects for who did something, by which call, from where, and to what.
//!
//! Each has the attributes that Trailhound fills, out of many more; `entities.rs` says from what. The schema refuses an
//! empty object: it names a few attributes of which one must be there.

use std::borrow::Cow;

use serde::Serialize;

/// A text, cut to its limit.
pub(super) type Text<'a> = Cow<'a, str>;

/// An AWS account.
#[derive(Clone, Serialize)]
pub(super) struct Account<'a> {
    pub(super) uid: Text<'a>,
    pub(super) type_id: u8,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

#[derive(Serialize)]
pub(super) struct Actor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<User<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<Session<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) invoked_by: Option<Text<'a>>,
}

#[derive(Serialize)]
pub(super) struct User<'a> {
    pub(super) type_id: u8,
    #[serde(rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid_alt: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credential_uid: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<Account<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) has_mfa: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct Session<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) issuer: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_mfa: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct Api<'a> {
    pub(super) operation: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<Service<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<Request<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<Response<'a>>,
}

#[derive(Serialize)]
pub(super) struct Service<'a> {
    pub(super) name: Text<'a>,
}

#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub(super) uid: Text<'a>,
}

#[derive(Serialize)]
pub(super) struct Response<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_message: Option<Text<'a>>,
}

/// Where a request came from: at least one of these.
#[derive(Default, Serialize)]
pub(super) struct Endpoint<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<Text<'a>>,
}

#[derive(Serialize)]
pub(super) struct HttpRequest<'a> {
    pub(super) user_agent: Text<'a>,
}

#[derive(Serialize)]
pub(super) struct Resource<'a> {
    pub(super) uid: Text<'a>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<Owner<'a>>,
}

#[derive(Serialize)]
pub(super) struct Owner<'a> {
    pub(super) account: Account<'a>,
}

#[derive(Serialize)]
pub(super) struct Observable<'a> {
    pub(super) name: &'static str,
    pub(super) type_id: u8,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) value: &'a str,
}
