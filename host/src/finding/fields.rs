//! What a finding takes from a CloudTrail record, whatever shape the record is in.
//!
//! A record is not trusted to be what AWS documents: a field may be missing, null, or of another type, and then it
//! simply is not there. Text counts when it is a string that is not empty; AWS writes `""` for "none" (`accessKeyId`).

use std::borrow::Cow;

use sonic_rs::{JsonContainerTrait, Value};

use super::node::{Node, Object};
use super::original::Record;
use crate::record::{Legible, Subtle};

/// The top level of a record. Names are CloudTrail's, in Rust's spelling.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) event_id: Option<&'a str>,
    pub(super) event_name: Option<&'a str>,
    pub(super) event_source: Option<&'a str>,
    /// The text as it came, be it a time or not; a number's digits.
    pub(super) event_time: Option<Cow<'a, str>>,
    pub(super) event_version: Option<&'a str>,
    pub(super) shared_event_id: Option<&'a str>,
    /// `addendum.originalEventID`: the event that this late or corrected one replaces.
    pub(super) original_event_id: Option<&'a str>,
    pub(super) aws_region: Option<&'a str>,
    pub(super) recipient_account_id: Option<Cow<'a, str>>,
    /// An address, a DNS name, or words such as `AWS Internal`.
    pub(super) source_ip_address: Option<&'a str>,
    pub(super) vpc_endpoint_id: Option<&'a str>,
    pub(super) user_agent: Option<&'a str>,
    pub(super) request_id: Option<&'a str>,
    pub(super) api_version: Option<&'a str>,
    pub(super) error_code: Option<&'a str>,
    pub(super) error_message: Option<&'a str>,
    pub(super) identity: Identity<'a>,
    /// `resources`, unread.
    pub(super) resources: Option<Cow<'a, Value>>,
    /// Whether its texts are as they stand in JSON, with nothing to escape.
    pub(super) is_plain: bool,
}

/// `userIdentity`.
#[derive(Debug, Default)]
pub(super) struct Identity<'a> {
    pub(super) kind: Option<&'a str>,
    pub(super) user_name: Option<&'a str>,
    pub(super) principal_id: Option<&'a str>,
    pub(super) arn: Option<&'a str>,
    pub(super) account_id: Option<Cow<'a, str>>,
    pub(super) access_key_id: Option<&'a str>,
    pub(super) invoked_by: Option<&'a str>,
    /// `sessionContext.sessionIssuer.arn`
    pub(super) session_issuer: Option<&'a str>,
    /// `sessionContext.attributes.creationDate`
    pub(super) session_created: Option<&'a str>,
    /// `sessionContext.attributes.mfaAuthenticated`: a string in AWS's samples, taken as a boolean too.
    pub(super) session_mfa: Option<bool>,
}

impl<'a> Fields<'a> {
    /// The fields of a record: from what was skimmed, or from its tree where only that tells.
    pub(super) fn of(record: &'a Record<'_>) -> Self {
        let skimmed = record.skimmed.map(|skimmed| {
            let members = skimmed.members().map(|(name, value)| (name, Node::Skimmed(value)));
            Self::read(members.rev(), Some(skimmed))
        });
        if let Some(Ok(fields)) = skimmed {
            return Fields { is_plain: true, ..fields };
        }
        let members = record.tree().as_object().into_iter().flatten();
        let members: Vec<_> = members.map(|(name, value)| (name.as_bytes(), Node::Tree(value))).collect();
        // A tree leaves nothing open.
        Self::read(members.into_iter().rev(), None).unwrap_or_default()
    }

    /// Members come with the last one first: of a key that occurs twice the first one then counts, as it does for rules.
    fn read(members: impl Iterator<Item = (&'a [u8], Node<'a>)>, record: Option<Legible<'a>>) -> Result<Self, Subtle> {
        let mut fields = Self::default();
        for (key, value) in members {
            match key {
                b"eventID" => fields.event_id = value.text()?,
                b"eventName" => fields.event_name = value.text()?,
                b"eventSource" => fields.event_source = value.text()?,
                b"eventTime" => fields.event_time = value.text_or_number()?,
                b"eventVersion" => fields.event_version = value.text()?,
                b"sharedEventID" => fields.shared_event_id = value.text()?,
                b"addendum" => fields.original_event_id = value.object(record)?.text(&["originalEventID"])?,
                b"awsRegion" => fields.aws_region = value.text()?,
                b"recipientAccountId" => fields.recipient_account_id = value.account()?,
                b"sourceIPAddress" => fields.source_ip_address = value.text()?,
                b"vpcEndpointId" => fields.vpc_endpoint_id = value.text()?,
                b"userAgent" => fields.user_agent = value.text()?,
                b"requestID" => fields.request_id = value.text()?,
                b"apiVersion" => fields.api_version = value.text()?,
                b"errorCode" => fields.error_code = value.text()?,
                b"errorMessage" => fields.error_message = value.text()?,
                b"userIdentity" => fields.identity = Identity::of(&value.object(record)?)?,
                b"resources" => fields.resources = Some(value.tree()),
                _ => {}
            }
        }
        Ok(fields)
    }

    /// The account that the activity belongs to: recipientAccountId, else userIdentity.accountId.
    pub(super) fn account(&self) -> Option<&str> {
        self.recipient_account_id.as_deref().or(self.identity.account_id.as_deref())
    }
}

impl<'a> Identity<'a> {
    fn of(identity: &Object<'a>) -> Result<Self, Subtle> {
        let session = |of: &str, name: &str| identity.get(&["sessionContext", of, name]);
        let text = |name: &str| identity.text(&[name]);
        Ok(Identity {
            kind: text("type")?,
            user_name: text("userName")?,
            principal_id: text("principalId")?,
            arn: text("arn")?,
            account_id: identity.get(&["accountId"]).map_or(Ok(None), Node::account)?,
            access_key_id: text("accessKeyId")?,
            invoked_by: text("invokedBy")?,
            session_issuer: session("sessionIssuer", "arn").map_or(Ok(None), Node::text)?,
            session_created: session("attributes", "creationDate").map_or(Ok(None), Node::text)?,
            session_mfa: session("attributes", "mfaAuthenticated").map_or(Ok(None), Node::bool_or_text)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_account(record: &str, expect: Option<&str>) {
        let record = Record::read(record.as_bytes());
        assert_eq!(Fields::of(&record).account(), expect);
    }

    #[test]
    fn the_account_is_the_recipients_or_the_callers() {
        check_account(
            r#"{"recipientAccountId":"111122223333","userIdentity":{"accountId":"2"}}"#,
            Some("111122223333"),
        );
        check_account(r#"{"recipientAccountId":null,"userIdentity":{"accountId":"2"}}"#, Some("2"));
        check_account(r#"{"recipientAccountId":"","userIdentity":{"accountId":12345678901}}"#, Some("012345678901"));
        check_account(r#"{"recipientAccountId":11122223333,"userIdentity":{}}"#, Some("011122223333"));
        check_account(r#"{"recipientAccountId":1.5,"userIdentity":"root"}"#, None);
        check_account(r#"{"recipientAccountId":{"a":1},"userIdentity":null}"#, None);
        check_account(r#"[{"recipientAccountId":"111122223333"}]"#, None);
    }

    #[test]
    fn of_a_key_that_occurs_twice_the_first_counts() {
        let json = r#"{"eventID":"a","eventID":"b","userIdentity":{"type":"Root","type":"IAMUser"},"userIdentity":{}}"#;
        let record = Record::read(json.as_bytes());
        let fields = Fields::of(&record);
        assert_eq!((fields.event_id, fields.identity.kind), (Some("a"), Some("Root")));
    }

    #[test]
    fn the_session_says_whether_it_had_mfa() {
        for (mfa, expect) in
            [(r#""true""#, Some(true)), ("false", Some(false)), (r#""No""#, None), ("null", None), ("1", None)]
        {
            let json =
                format!(r#"{{"userIdentity":{{"sessionContext":{{"attributes":{{"mfaAuthenticated":{mfa}}}}}}}}}"#);
            let record = Record::read(json.as_bytes());
            assert_eq!(Fields::of(&record).identity.session_mfa, expect, "{mfa}");
        }
    }
}
