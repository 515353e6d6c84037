//! Who did it, by which call, from where, and to what: the record's entities as OCSF objects.
//!
//! The fields follow OCSF's own CloudTrail mapping (ocsf/examples, `mappings/…/CloudTrail`), in 1.6's terms: `user.uid`
//! is the ARN, `user.uid_alt` the principal id, `user.credential_uid` the access key id.

use std::borrow::Cow;
use std::net::IpAddr;

use sonic_rs::{JsonContainerTrait, JsonValueTrait};

use super::fields::{Fields, Identity};
use super::json::{Json, Key, key};
use super::node::Node;
use super::time::milliseconds;
use super::{FindingLimits, cut};
use crate::rules::Labels;

/// What CloudTrail writes for the name that somebody typed at a sign-in that failed, as it may be a password.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

/// OCSF's type of an AWS account.
const AWS_ACCOUNT: (u8, &str) = (10, "AWS Account");

/// An observable's members without its value.
macro_rules! observable {
    ($id:literal, $kind:literal, $name:literal) => {
        concat!(r#","name":""#, $name, r#"","type_id":"#, $id, r#","type":""#, $kind, '"')
    };
}

/// The entities of one record.
pub(super) struct Entities<'a> {
    pub(super) account: Option<&'a str>,
    pub(super) source: Source<'a>,
    user: User<'a>,
    identity: &'a Identity<'a>,
    user_agent: Option<&'a str>,
}

/// Who it was.
struct User<'a> {
    name: Option<&'a str>,
    uid: Option<&'a str>,
    has_mfa: Option<bool>,
}

/// Where a request came from. `sourceIPAddress` is an address, a service's DNS name, or words (`AWS Internal`).
pub(super) struct Source<'a> {
    address: Address<'a>,
    vpc_endpoint: Option<&'a str>,
}

enum Address<'a> {
    Ip(&'a str),
    Domain(&'a str),
    Words(&'a str),
    None,
}

impl<'a> Entities<'a> {
    pub(super) fn of(labels: Labels<'_>, fields: &'a Fields<'a>) -> Self {
        let identity = &fields.identity;
        Self {
            account: fields.account(),
            source: Source::of(fields),
            user: User {
                name: identity.user_name.filter(|name| *name != HIDDEN),
                uid: identity.arn.or(identity.principal_id),
                has_mfa: has_mfa(labels),
            },
            identity,
            user_agent: fields.user_agent,
        }
    }

    /// A user needs an account, a name or a uid; a hidden name alone is none of them.
    fn has_user(&self) -> bool {
        self.user.name.is_some() || self.user.uid.is_some() || self.identity.account_id.is_some()
    }

    /// `actor`.
    pub(super) fn actor(&self, json: &mut Json) {
        let Entities { user, identity, .. } = self;
        if self.has_user() {
            json.object(key!("user"), |json| {
                let (type_id, kind) = user_type(identity.kind);
                json.number(key!("type_id"), type_id);
                json.field(key!("type"), Some(kind));
                json.field(key!("name"), user.name);
                json.field(key!("uid"), user.uid);
                json.field(key!("uid_alt"), identity.arn.and(identity.principal_id));
                json.field(key!("credential_uid"), identity.access_key_id);
                account(json, key!("account"), identity.account_id.as_deref());
                json.flag(key!("has_mfa"), user.has_mfa);
            });
        }
        json.object(key!("session"), |json| {
            json.field(key!("issuer"), identity.session_issuer);
            if let Some(created) = identity.session_created.and_then(milliseconds) {
                json.number(key!("created_time"), created);
            }
            json.flag(key!("is_mfa"), identity.session_mfa);
        });
        json.field(key!("invoked_by"), identity.invoked_by);
    }

    /// The items of `observables`, what an analyst pivots on. A name is OCSF's pointer to the attribute that holds the
    /// value; ids and types are those of the observable object in 1.6.
    pub(super) fn observables(&self, json: &mut Json) {
        let Entities { user, identity, .. } = self;
        // An address is never cut: it would be another one.
        let address = match self.source.address {
            Address::Ip(ip) => Some((observable!(2, "IP Address", "evidences[0].src_endpoint.ip"), ip)),
            Address::Domain(domain) => Some((observable!(1, "Hostname", "evidences[0].src_endpoint.domain"), domain)),
            Address::Words(_) | Address::None => None,
        };
        if let Some((head, address)) = address {
            json.item(|json| {
                json.written(head.as_bytes());
                json.plain(key!("value"), address);
            });
        }
        let credential = identity.access_key_id.filter(|_| self.has_user());
        for (head, value) in [
            (observable!(4, "User Name", "actor.user.name"), user.name),
            (observable!(31, "User Object: uid", "actor.user.uid"), user.uid),
            (observable!(19, "User Credential ID", "actor.user.credential_uid"), credential),
            (observable!(35, "Account Object: uid", "cloud.account.uid"), self.account),
            (observable!(16, "HTTP User-Agent", "evidences[0].http_request.user_agent"), self.user_agent),
        ] {
            if value.is_some() {
                json.item(|json| {
                    json.written(head.as_bytes());
                    json.field(key!("value"), value);
                });
            }
        }
    }
}

/// What the hit says of multi-factor authentication. Three-valued: a label `unknown`, or none, is no "no".
fn has_mfa(labels: Labels<'_>) -> Option<bool> {
    let (_, value) = labels.iter().find(|(key, _)| *key == "mfa")?;
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
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

/// `api`: the call.
pub(super) fn api(json: &mut Json, fields: &Fields<'_>) {
    if fields.event_name.is_none() {
        return;
    }
    json.field(key!("operation"), fields.event_name);
    json.field(key!("version"), fields.api_version);
    json.object(key!("service"), |json| json.field(key!("name"), fields.event_source));
    json.object(key!("request"), |json| json.field(key!("uid"), fields.request_id));
    json.object(key!("response"), |json| {
        json.field(key!("error"), fields.error_code);
        json.field(key!("error_message"), fields.error_message);
    });
}

impl<'a> Source<'a> {
    fn of(fields: &Fields<'a>) -> Self {
        let address = match fields.source_ip_address {
            Some(address) if address.parse::<IpAddr>().is_ok() => Address::Ip(address),
            Some(domain) if is_domain(domain) => Address::Domain(domain),
            Some(words) if words != HIDDEN => Address::Words(words),
            _ => Address::None,
        };
        Source { address, vpc_endpoint: fields.vpc_endpoint_id }
    }

    /// `src_endpoint`.
    pub(super) fn write(&self, json: &mut Json) {
        match self.address {
            Address::Ip(ip) => json.plain(key!("ip"), ip),
            Address::Domain(domain) => json.plain(key!("domain"), domain),
            Address::Words(words) => json.field(key!("name"), Some(words)),
            Address::None => {}
        }
        json.field(key!("uid"), self.vpc_endpoint);
    }

    /// The address for people.
    pub(super) fn shown(&self, limits: &FindingLimits) -> Option<Cow<'a, str>> {
        match self.address {
            Address::Ip(address) | Address::Domain(address) => Some(Cow::Borrowed(address)),
            Address::Words(words) => Some(cut(words, limits.field_bytes_max)),
            Address::None => None,
        }
    }
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

/// The items of `resources`, what the activity touched: the record's resources, or the account where the record lists
/// none, so that a finding always names one.
pub(super) fn resources(json: &mut Json, fields: &Fields<'_>, account: Option<&str>, limits: &FindingLimits) {
    let listed = fields.resources.as_deref().and_then(|resources| resources.as_array());
    let mut left = limits.resources_max;
    for resource in listed.into_iter().flat_map(|array| array.iter()) {
        let text = |value| Node::Tree(value).text().ok()?;
        let Some(uid) = resource.get("ARN").or_else(|| resource.get("ARNPrefix")).and_then(text) else { continue };
        let Some(fewer) = left.checked_sub(1) else { break };
        left = fewer;
        json.item(|json| {
            json.text(key!("uid"), uid);
            json.text(key!("type"), resource.get("type").and_then(text));
            let owner = resource.get("accountId").and_then(|value| Node::Tree(value).account().ok()?);
            json.object(key!("owner"), |json| self::account(json, key!("account"), owner.as_deref()));
        });
    }
    if let Some(account) = account.filter(|_| left == limits.resources_max) {
        json.item(|json| {
            json.text(key!("uid"), account);
            json.plain(key!("type"), AWS_ACCOUNT.1);
        });
    }
}

/// An AWS account, where there is one.
pub(super) fn account(json: &mut Json, key: Key, uid: Option<&str>) {
    if uid.is_some() {
        json.object(key, |json| {
            json.text(key!("uid"), uid);
            json.number(key!("type_id"), AWS_ACCOUNT.0);
            json.plain(key!("type"), AWS_ACCOUNT.1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::original::Record;
    use super::*;
    use crate::rules::told;

    /// What `write` makes, in an object, cut at `text_bytes_max`.
    fn written(text_bytes_max: usize, write: impl FnOnce(&mut Json)) -> String {
        let mut json = Json::behind(Vec::new(), text_bytes_max);
        write(&mut json);
        String::from_utf8(json.into_object().0).unwrap()
    }

    fn check_endpoint(address: &str, expect: &str) {
        let record = Record::read(address.as_bytes());
        let fields = Fields::of(&record);
        let endpoint = written(16, |json| Source::of(&fields).write(json));
        assert_eq!(endpoint, expect, "{address}");
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
        check_endpoint(r#"{"sourceIPAddress":"HIDDEN_DUE_TO_SECURITY_REASONS"}"#, "");
        check_endpoint(r#"{"sourceIPAddress":""}"#, "");
        check_endpoint(r#"{"sourceIPAddress":7}"#, "");
        check_endpoint(r#"{"sourceIPAddress":"::1","vpcEndpointId":"vpce-1"}"#, r#"{"ip":"::1","uid":"vpce-1"}"#);
        check_endpoint(r#"{"vpcEndpointId":"vpce-1"}"#, r#"{"uid":"vpce-1"}"#);
    }

    fn check_actor(identity: &str, expect: &str) {
        let json = format!(r#"{{"userIdentity":{identity}}}"#);
        let record = Record::read(json.as_bytes());
        let fields = Fields::of(&record);
        let entities = Entities::of(Labels::default(), &fields);
        let actor = written(1024, |json| entities.actor(json));
        assert_eq!(actor, expect, "{identity}");
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
        check_actor(r#"{"type":"IAMUser","userName":"HIDDEN_DUE_TO_SECURITY_REASONS"}"#, "");
        check_actor(r#"{"userName":"a"}"#, r#"{"user":{"type_id":0,"type":"Unknown","name":"a"}}"#);
        for none in ["{}", "null", "\"root\"", "[]", r#"{"type":"Root"}"#, r#"{"sessionContext":{"attributes":7}}"#] {
            check_actor(none, "");
        }
    }

    #[test]
    fn mfa_has_three_values() {
        let label = |key: &str, value: &str| has_mfa(told(&[("x", "yes"), (key, value)]).labels());
        assert_eq!(label("mfa", "yes"), Some(true));
        assert_eq!(label("mfa", "no"), Some(false));
        assert_eq!(label("mfa", "unknown"), None);
        assert_eq!(label("MFA", "no"), None);
        assert_eq!(has_mfa(Labels::default()), None);
    }

    fn check_resources(record: &str, expect: &str) {
        let record = Record::read(record.as_bytes());
        let fields = Fields::of(&record);
        let limits = FindingLimits { resources_max: 2, ..FindingLimits::default() };
        let written = written(5, |json| {
            json.list(key!("r"), |json| resources(json, &fields, fields.recipient_account_id.as_deref(), &limits));
        });
        assert_eq!(written, expect);
    }

    #[test]
    fn resources_are_the_records_or_the_account() {
        check_resources(
            concat!(
                r#"{"resources":[7,null,{"type":"x"},{"ARN":"a1","type":"t","accountId":1},"#,
                r#"{"ARNPrefix":"longer"},{"ARN":"a3"}]}"#
            ),
            concat!(
                r#"{"r":[{"uid":"a1","type":"t","owner":{"account":{"uid":"00000…","type_id":10,"type":"AWS Account"}}},"#,
                r#"{"uid":"longe…"}]}"#
            ),
        );
        check_resources(r#"{"resources":[],"recipientAccountId":"1"}"#, r#"{"r":[{"uid":"1","type":"AWS Account"}]}"#);
        check_resources(r#"{"resources":"none"}"#, "");
    }
}
