//! What a finding takes from a CloudTrail record, whatever shape the record is in.
//!
//! A record is not trusted to be what AWS documents: a field may be missing, null, or of another type, and then it
//! simply is not there. Text counts when it is a string that is not empty; AWS writes `""` for "none" (`accessKeyId`).

use std::borrow::Cow;

use sonic_rs::{JsonContainerTrait, Value};

use super::node::{First, Members, Node, Object};
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
        let mut fields = Self::default();
        if let Some(skimmed) = record.skimmed {
            let members = skimmed.members().map(|(name, value)| (name, Node::Skimmed(value)));
            if fields.read(members.rev(), Some(skimmed)).is_ok() {
                fields.is_plain = true;
                return fields;
            }
            fields = Self::default();
        }
        let members = record.tree().as_object().into_iter().flatten();
        let members: Vec<_> = members.map(|(name, value)| (name.as_bytes(), Node::Tree(value))).collect();
        // A tree leaves nothing open.
        let _ = fields.read(members.into_iter().rev(), None);
        fields
    }

    /// Members come with the last one first: of a key that occurs twice the first one then counts, as it does for rules.
    fn read(
        &mut self,
        members: impl Iterator<Item = (&'a [u8], Node<'a>)>,
        record: Option<Legible<'a>>,
    ) -> Result<(), Subtle> {
        for (key, value) in members {
            match key {
                b"eventID" => self.event_id = value.text()?,
                b"eventName" => self.event_name = value.text()?,
                b"eventSource" => self.event_source = value.text()?,
                b"eventTime" => self.event_time = value.text_or_number()?,
                b"eventVersion" => self.event_version = value.text()?,
                b"sharedEventID" => self.shared_event_id = value.text()?,
                b"addendum" => {
                    self.original_event_id = first(value.object(record)?.members(), b"originalEventID").text()?
                }
                b"awsRegion" => self.aws_region = value.text()?,
                b"recipientAccountId" => self.recipient_account_id = value.account()?,
                b"sourceIPAddress" => self.source_ip_address = value.text()?,
                b"vpcEndpointId" => self.vpc_endpoint_id = value.text()?,
                b"userAgent" => self.user_agent = value.text()?,
                b"requestID" => self.request_id = value.text()?,
                b"apiVersion" => self.api_version = value.text()?,
                b"errorCode" => self.error_code = value.text()?,
                b"errorMessage" => self.error_message = value.text()?,
                b"userIdentity" => self.identity = Identity::of(&value.object(record)?)?,
                b"resources" => self.resources = Some(value.tree()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The account that the activity belongs to: recipientAccountId, else userIdentity.accountId.
    pub(super) fn account(&self) -> Option<&str> {
        self.recipient_account_id.as_deref().or(self.identity.account_id.as_deref())
    }
}

/// The first member called `name`.
fn first<'a>(members: Members<'a, '_>, name: &[u8]) -> First<'a> {
    let mut first = First::default();
    members.each(|found, value, _| {
        if found == name {
            _ = first.take(value);
        }
    });
    first
}

impl<'a> Identity<'a> {
    /// In one pass: to search for each name took twice the time.
    fn of(identity: &Object<'a>) -> Result<Self, Subtle> {
        let [mut kind, mut user_name, mut principal_id, mut arn, mut account_id] = [First::default(); 5];
        let [mut access_key_id, mut invoked_by, mut issuer, mut created, mut mfa] = [First::default(); 5];
        let [mut session, mut session_issuer, mut attributes] = [First::default(); 3];
        identity.members().each(|name, value, within| match name {
            b"type" => _ = kind.take(value),
            b"userName" => _ = user_name.take(value),
            b"principalId" => _ = principal_id.take(value),
            b"arn" => _ = arn.take(value),
            b"accountId" => _ = account_id.take(value),
            b"accessKeyId" => _ = access_key_id.take(value),
            b"invokedBy" => _ = invoked_by.take(value),
            b"sessionContext" if session.take(value) => within.each(|name, value, within| match name {
                b"sessionIssuer" if session_issuer.take(value) => issuer = first(within, b"arn"),
                b"attributes" if attributes.take(value) => within.each(|name, value, _| match name {
                    b"creationDate" => _ = created.take(value),
                    b"mfaAuthenticated" => _ = mfa.take(value),
                    _ => {}
                }),
                _ => {}
            }),
            _ => {}
        });
        Ok(Identity {
            kind: kind.text()?,
            user_name: user_name.text()?,
            principal_id: principal_id.text()?,
            arn: arn.text()?,
            account_id: account_id.read(Node::account)?,
            access_key_id: access_key_id.text()?,
            invoked_by: invoked_by.text()?,
            session_issuer: issuer.text()?,
            session_created: created.text()?,
            session_mfa: mfa.read(Node::bool_or_text)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::each_reading;

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
    fn of_a_session_that_occurs_twice_nothing_of_the_second_counts() {
        let json = concat!(
            r#"{"userIdentity":{"sessionContext":{"sessionIssuer":{"arn":"a","arn":"b"},"sessionIssuer":{"arn":"c"}},"#,
            r#""sessionContext":{"sessionIssuer":{"arn":"d"},"attributes":{"mfaAuthenticated":"true"}}}}"#
        );
        each_reading(json, |read| {
            let record = match read.legible() {
                Some(skimmed) => Record::skimmed(json.as_bytes(), skimmed, None),
                None => Record::read(json.as_bytes()),
            };
            let identity = Fields::of(&record).identity;
            assert_eq!((identity.session_issuer, identity.session_mfa), (Some("a"), None));
        });
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
