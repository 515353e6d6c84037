//! Who did it, by which call, from where, and to what: the record's entities as OCSF objects.
//!
//! The fields follow OCSF's own CloudTrail mapping (ocsf/examples, `mappings/…/CloudTrail`), in 1.6's terms: `user.uid`
//! is the ARN, `user.uid_alt` the principal id, `user.credential_uid` the access key id.

use std::borrow::Cow;
use std::net::IpAddr;

use sonic_rs::{JsonContainerTrait, JsonValueTrait};

use super::constant::{Written, written};
use super::fields::{Fields, Identity, account as account_id, milliseconds, text};
use super::objects::{
    Account, Actor, Api, Endpoint, HttpRequest, Observable, Owner, Request, Resource, Response, Service, Session, Text,
    User,
};
use super::{Detection, FindingLimits, cut};

/// What CloudTrail writes for the name that somebody typed at a sign-in that failed, as it may be a password.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

/// The entities of one record. An object that would be empty, which the schema refuses, is None.
pub(super) struct Entities<'a> {
    pub(super) account: Option<Account<'a>>,
    pub(super) actor: Option<Actor<'a>>,
    /// The actor in JSON: it stands in a finding twice.
    pub(super) actor_written: Option<Written>,
    /// The call ([`Api`]), likewise.
    pub(super) api_written: Option<Written>,
    pub(super) src_endpoint: Option<Endpoint<'a>>,
    pub(super) http_request: Option<HttpRequest<'a>>,
}

impl<'a> Entities<'a> {
    pub(super) fn of(detection: &Detection<'_>, fields: &'a Fields<'_>, limits: &FindingLimits) -> Self {
        let cut = |text: &'a str| cut(text, limits.field_bytes_max);
        let actor = actor(&fields.identity, has_mfa(detection.labels), limits);
        let api = fields.event_name.map(|operation| Api {
            operation: cut(operation),
            version: fields.api_version.map(cut),
            service: fields.event_source.map(|name| Service { name: cut(name) }),
            request: fields.request_id.map(|uid| Request { uid: cut(uid) }),
            response: (fields.error_code.is_some() || fields.error_message.is_some())
                .then(|| Response { error: fields.error_code.map(cut), error_message: fields.error_message.map(cut) }),
        });
        Self {
            account: fields.account().map(|uid| aws_account(cut(uid))),
            actor_written: actor.as_ref().and_then(written),
            api_written: api.as_ref().and_then(written),
            actor,
            src_endpoint: endpoint(fields, limits),
            http_request: fields.user_agent.map(|agent| HttpRequest { user_agent: cut(agent) }),
        }
    }

    /// What an analyst pivots on. A name is OCSF's pointer to the attribute that holds the value; ids and types are
    /// those of the observable object in 1.6.
    pub(super) fn observables(&'a self) -> Vec<Observable<'a>> {
        let mut observables = Vec::with_capacity(6);
        let mut add = |type_id, kind, name, value: Option<&'a str>| {
            observables.extend(value.map(|value| Observable { name, type_id, kind, value }));
        };
        let user = self.actor.as_ref().and_then(|actor| actor.user.as_ref());
        let source = self.src_endpoint.as_ref();
        add(2, "IP Address", "evidences[0].src_endpoint.ip", source.and_then(|source| source.ip));
        add(1, "Hostname", "evidences[0].src_endpoint.domain", source.and_then(|source| source.domain));
        add(4, "User Name", "actor.user.name", user.and_then(|user| user.name.as_deref()));
        add(31, "User Object: uid", "actor.user.uid", user.and_then(|user| user.uid.as_deref()));
        let credential = user.and_then(|user| user.credential_uid.as_deref());
        add(19, "User Credential ID", "actor.user.credential_uid", credential);
        add(35, "Account Object: uid", "cloud.account.uid", self.account.as_ref().map(|account| &*account.uid));
        let agent = self.http_request.as_ref().map(|request| &*request.user_agent);
        add(16, "HTTP User-Agent", "evidences[0].http_request.user_agent", agent);
        observables
    }
}

/// What the hit says of multi-factor authentication. Three-valued: a label `unknown`, or none, is no "no".
fn has_mfa(labels: &[(String, String)]) -> Option<bool> {
    let (_, value) = labels.iter().find(|(key, _)| key == "mfa")?;
    match value.as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn actor<'a>(identity: &'a Identity<'_>, has_mfa: Option<bool>, limits: &FindingLimits) -> Option<Actor<'a>> {
    let cut = |text: &'a str| cut(text, limits.field_bytes_max);
    let named = identity.user_name.is_some() || identity.arn.is_some() || identity.account_id.is_some();
    let user = (named || identity.principal_id.is_some()).then(|| {
        let (type_id, kind) = user_type(identity.kind);
        User {
            type_id,
            kind: cut(kind),
            name: identity.user_name.filter(|name| *name != HIDDEN).map(cut),
            uid: identity.arn.or(identity.principal_id).map(cut),
            uid_alt: identity.arn.and(identity.principal_id).map(cut),
            credential_uid: identity.access_key_id.map(cut),
            account: identity.account_id.as_deref().map(|uid| aws_account(cut(uid))),
            has_mfa,
        }
    });
    // A user needs an account, a name or a uid; a hidden name alone is none of them.
    let user = user.filter(|user| user.name.is_some() || user.uid.is_some() || user.account.is_some());
    let session = Session {
        issuer: identity.session_issuer.map(cut),
        created_time: identity.session_created.and_then(milliseconds),
        is_mfa: identity.session_mfa,
    };
    let has_session = session.issuer.is_some() || session.created_time.is_some() || session.is_mfa.is_some();
    let actor = Actor { user, session: has_session.then_some(session), invoked_by: identity.invoked_by.map(cut) };
    (actor.user.is_some() || actor.session.is_some() || actor.invoked_by.is_some()).then_some(actor)
}

/// OCSF's type of user for `userIdentity.type`: id and caption. Whoever is neither a person nor a service is Other, by
/// CloudTrail's name for it (`AssumedRole`).
fn user_type(kind: Option<&str>) -> (u8, &str) {
    match kind {
        None => (0, "Unknown"),
        Some("Root") => (2, "Admin"),
        Some("IAMUser" | "FederatedUser" | "SAMLUser" | "WebIdentityUser" | "IdentityCenterUser" | "Directory") => {
            (1, "User")
        }
        Some("AWSService") => (4, "Service"),
        Some(other) => (99, other),
    }
}

/// Where the request came from. `sourceIPAddress` is an address, a service's DNS name, or words (`AWS Internal`).
fn endpoint<'a>(fields: &'a Fields<'_>, limits: &FindingLimits) -> Option<Endpoint<'a>> {
    let cut = |text: &'a str| cut(text, limits.field_bytes_max);
    let mut endpoint = Endpoint { uid: fields.vpc_endpoint_id.map(cut), ..Endpoint::default() };
    match fields.source_ip_address {
        Some(address) if address.parse::<IpAddr>().is_ok() => endpoint.ip = Some(address),
        Some(domain) if is_domain(domain) => endpoint.domain = Some(domain),
        Some(words) if words != HIDDEN => endpoint.name = Some(cut(words)),
        _ if endpoint.uid.is_none() => return None,
        _ => {}
    }
    Some(endpoint)
}

/// Whether the text is a DNS name of two labels or more (RFC 1035), the last of which is no number.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    text.len() <= 253
        && text.split('.').all(label)
        && text.rsplit_once('.').is_some_and(|(_, last)| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What the activity touched: the record's resources, or the account where the record lists none, so that a finding
/// always names one.
pub(super) fn resources<'a>(
    fields: &Fields<'a>,
    account: Option<&Account<'a>>,
    limits: &FindingLimits,
) -> Vec<Resource<'a>> {
    let listed = fields.resources.and_then(|resources| resources.as_array());
    let mut resources: Vec<Resource<'a>> = listed
        .into_iter()
        .flat_map(|array| array.iter())
        .filter_map(|resource| {
            let uid = resource.get("ARN").or_else(|| resource.get("ARNPrefix")).and_then(text)?;
            let owner = resource.get("accountId").and_then(account_id);
            Some(Resource {
                uid: cut(uid, limits.field_bytes_max),
                kind: resource.get("type").and_then(text).map(|kind| cut(kind, limits.field_bytes_max)),
                owner: owner.map(|uid| Owner { account: aws_account(cut_owned(uid, limits)) }),
            })
        })
        .take(limits.resources_max)
        .collect();
    if resources.is_empty() {
        resources.extend(account.map(|account| Resource {
            uid: account.uid.clone(),
            kind: Some(Cow::Borrowed(account.kind)),
            owner: None,
        }));
    }
    resources
}

fn cut_owned<'a>(text: Text<'a>, limits: &FindingLimits) -> Text<'a> {
    match text {
        Cow::Borrowed(text) => cut(text, limits.field_bytes_max),
        Cow::Owned(text) => Cow::Owned(cut(&text, limits.field_bytes_max).into_owned()),
    }
}

fn aws_account(uid: Text<'_>) -> Account<'_> {
    Account { uid, type_id: 10, kind: "AWS Account" }
}

#[cfg(test)]
mod tests {
    use super::super::fields::Record;
    use super::*;

    fn check_endpoint(address: &str, expect: &str) {
        let record = Record::read(address.as_bytes());
        let fields = Fields::of(&record.value);
        let endpoint = endpoint(&fields, &FindingLimits { field_bytes_max: 16, ..FindingLimits::default() });
        assert_eq!(sonic_rs::to_string(&endpoint).unwrap(), expect, "{address}");
    }

    #[test]
    fn an_address_is_an_ip_only_if_it_is_one() {
        check_endpoint(r#"{"sourceIPAddress":"192.0.2.7"}"#, r#"{"ip":"192.0.2.7"}"#);
        check_endpoint(r#"{"sourceIPAddress":"2001:db8::1"}"#, r#"{"ip":"2001:db8::1"}"#);
        check_endpoint(r#"{"sourceIPAddress":"config.amazonaws.com"}"#, r#"{"domain":"config.amazonaws.com"}"#);
        check_endpoint(r#"{"sourceIPAddress":"AWS Internal"}"#, r#"{"name":"AWS Internal"}"#);
        check_endpoint(r#"{"sourceIPAddress":"999.1.1.1"}"#, r#"{"name":"999.1.1.1"}"#);
        check_endpoint(r#"{"sourceIPAddress":"a..b"}"#, r#"{"name":"a..b"}"#);
        check_endpoint(r#"{"sourceIPAddress":"0123456789 abcdef"}"#, r#"{"name":"0123456789 abcde…"}"#);
        check_endpoint(r#"{"sourceIPAddress":"HIDDEN_DUE_TO_SECURITY_REASONS"}"#, "null");
        check_endpoint(r#"{"sourceIPAddress":""}"#, "null");
        check_endpoint(r#"{"sourceIPAddress":7}"#, "null");
        check_endpoint(r#"{"sourceIPAddress":"::1","vpcEndpointId":"vpce-1"}"#, r#"{"ip":"::1","uid":"vpce-1"}"#);
        check_endpoint(r#"{"vpcEndpointId":"vpce-1"}"#, r#"{"uid":"vpce-1"}"#);
    }

    fn check_actor(identity: &str, expect: &str) {
        let json = format!(r#"{{"userIdentity":{identity}}}"#);
        let record = Record::read(json.as_bytes());
        let fields = Fields::of(&record.value);
        let actor = actor(&fields.identity, None, &FindingLimits::default());
        assert_eq!(sonic_rs::to_string(&actor).unwrap(), expect, "{identity}");
    }

    #[test]
    fn an_actor_is_what_the_identity_says_and_no_more() {
        check_actor(
            r#"{"type":"Root","principalId":"1","arn":"arn:aws:iam::1:root","accountId":"1","accessKeyId":""}"#,
            concat!(
                r#"{"user":{"type_id":2,"type":"Admin","uid":"arn:aws:iam::1:root","uid_alt":"1","#,
                r#""account":{"uid":"1","type_id":10,"type":"AWS Account"}}}"#
            ),
        );
        check_actor(
            r#"{"type":"IAMUser","userName":"Alice","principalId":"AIDA","accessKeyId":"AKIA"}"#,
            r#"{"user":{"type_id":1,"type":"User","name":"Alice","uid":"AIDA","credential_uid":"AKIA"}}"#,
        );
        check_actor(
            concat!(
                r#"{"type":"AssumedRole","arn":"a","sessionContext":{"sessionIssuer":{"arn":"role"},"#,
                r#""attributes":{"creationDate":"2023-07-19T21:17:28Z","mfaAuthenticated":"false"}}}"#
            ),
            concat!(
                r#"{"user":{"type_id":99,"type":"AssumedRole","uid":"a"},"#,
                r#""session":{"issuer":"role","created_time":1689801448000,"is_mfa":false}}"#
            ),
        );
        check_actor(
            r#"{"type":"AWSService","invokedBy":"config.amazonaws.com"}"#,
            r#"{"invoked_by":"config.amazonaws.com"}"#,
        );
        check_actor(r#"{"type":"IAMUser","userName":"HIDDEN_DUE_TO_SECURITY_REASONS"}"#, "null");
        check_actor(r#"{"userName":"a"}"#, r#"{"user":{"type_id":0,"type":"Unknown","name":"a"}}"#);
        for none in ["{}", "null", "\"root\"", "[]", r#"{"type":"Root"}"#, r#"{"sessionContext":{"attributes":7}}"#] {
            check_actor(none, "null");
        }
    }

    #[test]
    fn mfa_has_three_values() {
        let label = |key: &str, value: &str| has_mfa(&[("x".into(), "yes".into()), (key.into(), value.into())]);
        assert_eq!(label("mfa", "yes"), Some(true));
        assert_eq!(label("mfa", "no"), Some(false));
        assert_eq!(label("mfa", "unknown"), None);
        assert_eq!(label("MFA", "no"), None);
        assert_eq!(has_mfa(&[]), None);
    }

    fn check_resources(record: &str, expect: &str) {
        let record = Record::read(record.as_bytes());
        let fields = Fields::of(&record.value);
        let account = fields.recipient_account_id.clone().map(aws_account);
        let limits = FindingLimits { resources_max: 2, field_bytes_max: 5, ..FindingLimits::default() };
        assert_eq!(sonic_rs::to_string(&resources(&fields, account.as_ref(), &limits)).unwrap(), expect);
    }

    #[test]
    fn resources_are_the_records_or_the_account() {
        check_resources(
            concat!(
                r#"{"resources":[7,null,{"type":"x"},{"ARN":"a1","type":"t","accountId":1},"#,
                r#"{"ARNPrefix":"longer"},{"ARN":"a3"}]}"#
            ),
            concat!(
                r#"[{"uid":"a1","type":"t","owner":{"account":{"uid":"00000…","type_id":10,"type":"AWS Account"}}},"#,
                r#"{"uid":"longe…"}]"#
            ),
        );
        check_resources(r#"{"resources":[],"recipientAccountId":"1"}"#, r#"[{"uid":"1","type":"AWS Account"}]"#);
        check_resources(r#"{"resources":"none"}"#, "[]");
    }
}
