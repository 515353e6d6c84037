//! RTM-002: the AWS root user has signed in to the console without MFA.

use trailhound_rule::prelude::*;

fields! { SignIn {
    user_type:      "userIdentity.type",
    outcome:        "responseElements.ConsoleLogin",
    assumed_root:   "userIdentity.sessionContext.assumedRoot",
    mfa_used:       "additionalEventData.MFAUsed",
    source_address: "sourceIPAddress",
    region:         "awsRegion",
    user_agent:     "userAgent",
    recipient:      "recipientAccountId",
    account:        "userIdentity.accountId",
} }

/// A record that does not tell is no record of a sign-in without MFA: older ones lack MFAUsed, and CloudTrail may omit
/// the additional data. A critical finding must be true, and RTM-001 reports these sign-ins with the label mfa unknown.
/// AWS writes `No` here, but of the other answer it has two spellings, so the case does not matter.
fn root_signed_in_without_mfa(e: &SignIn) -> Option<Hit> {
    let root = e.user_type().is("Root") && e.outcome().is("Success");
    // sts:AssumeRoot makes sessions of the type Root in which nobody signed in as root: whether a second factor was used
    // was decided where the administrator signed in. SAML and federated users have a type of their own, also where
    // root's credentials made their session, and CloudTrail cannot see their provider's second factor.
    let signed_in = root && !e.assumed_root().is_true();
    let without_mfa = e.mfa_used().yes_no_unknown() == "no";

    (signed_in && without_mfa).then(|| {
        Hit::new()
            // Always the same here; a search over all root sign-ins finds it under the name that RTM-001 uses.
            .label("mfa", "no")
            .label("account", e.recipient().or(e.account()))
            .label("source_address", e.source_address())
            .label("region", e.region())
            .label("user_agent", e.user_agent())
    })
}

module! { root_no_mfa, version: "1.0.0", rules: [
    rule("RTM-002", "AWS root user signed in to the console without MFA")
        .version("1.0.0")
        .severity(Critical)
        .description("The root user of an AWS account signed in to the AWS Management Console with its password alone: \
            AWS let it in and recorded that no second factor was used. Sign-ins with MFA and sign-ins whose record \
            does not say whether MFA was used are not reported here; RTM-001 reports every sign-in of root. Sign-ins \
            that fail, those of IAM users, roles and federated users, and sessions of centralised root access \
            (sts:AssumeRoot) are not reported. Neither is work with the root user's access keys, which is no sign-in.")
        .rationale("A password can be guessed, phished or found, and whoever has the root user's owns the account: no \
            IAM policy limits it. Without a second factor nothing else stands between a leaked password, or a mailbox \
            that can reset it, and all data of the account. Such a sign-in also shows that the account's root user has \
            no MFA at all, since AWS asks for it at every sign-in once a device is registered.")
        .remediation("Ask the account's owner at once whether it was them. If nobody knows of it, treat the account as \
            taken over: change the root password and the password of its mailbox, register MFA, delete the root user's \
            access keys, look for users, roles, keys and policies that were made since, and contact AWS Support. If it \
            was the owner, register MFA for the root user now, best two devices or passkeys kept in different places, \
            and change the password, since it may have been seen. In an organization, remove the root credentials from \
            member accounts and use centralised root access instead.")
        .references([
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/enable-mfa-for-root.html",
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/root-user-best-practices.html",
            "https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-aws-console-sign-in-events.html",
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-track-privileged-tasks.html",
        ])
        .compliance(["PCI", "GDPR", "APRA", "MAS", "NIST4", "AWS Well-Architected (security)"])
        .attack("T1078.004", "Valid Accounts: Cloud Accounts", "TA0001", "Initial Access")
        .select("eventName", ["ConsoleLogin"])

        .fires("a sign-in without MFA", include_str!("../examples/mfa_no.json"))
        .fires("the answer in capitals", include_str!("../examples/mfa_no_upper.json"))
        .fires("the answer in small letters", include_str!("../examples/mfa_no_lower.json"))
        .fires("a record without recipientAccountId", include_str!("../examples/no_recipient.json"))
        .fires("the account alias as the user's name", include_str!("../examples/account_alias.json"))
        .fires("an assumedRoot that is false", include_str!("../examples/assumed_root_false.json"))
        .fires("invokedBy and another eventType do not matter", include_str!("../examples/invoked_by.json"))
        .fires("a late record with an addendum", include_str!("../examples/addendum.json"))
        .fires("a host name as the address, strings for objects", include_str!("../examples/odd_shapes.json"))
        .fires("a partition that is not aws", include_str!("../examples/other_partition.json"))

        .quiet("a sign-in with MFA", include_str!("../examples/mfa_yes.json"))
        .quiet("a sign-in with MFA, as AWS writes it of root", include_str!("../examples/mfa_yes_upper.json"))
        .quiet("a sign-in that says nothing of MFA", include_str!("../examples/mfa_missing.json"))
        .quiet("a sign-in whose additional data was omitted", include_str!("../examples/mfa_omitted.json"))
        .quiet("a sign-in without additional data", include_str!("../examples/data_null.json"))
        .quiet("an MFAUsed that is null", include_str!("../examples/mfa_null.json"))
        .quiet("an MFAUsed that is empty", include_str!("../examples/mfa_empty.json"))
        .quiet("an MFAUsed that AWS does not write", include_str!("../examples/mfa_bool.json"))
        .quiet("a failed sign-in without MFA", include_str!("../examples/failure.json"))
        .quiet("an answer that is null", include_str!("../examples/response_null.json"))
        .quiet("no answer at all", include_str!("../examples/response_missing.json"))
        .quiet("an answer that was omitted", include_str!("../examples/response_omitted.json"))
        .quiet("an answer that is a string", include_str!("../examples/response_string.json"))
        .quiet("an identity that is null", include_str!("../examples/identity_null.json"))
        .quiet("an IAM user named root", include_str!("../examples/iam_user_named_root.json"))
        .quiet("an IAM user in China", include_str!("../examples/iam_user_china.json"))
        .quiet("a SAML sign-in", include_str!("../examples/saml.json"))
        .quiet("a federated user whom root issued a session", include_str!("../examples/federated_by_root.json"))
        .quiet("a centralised root session", include_str!("../examples/assumed_root.json"))
        .quiet("a centralised root session, marked with a bool", include_str!("../examples/assumed_root_bool.json"))
        .quiet("a call with root's access key", include_str!("../examples/root_access_key.json"))
        .quiet("the check of an MFA device", include_str!("../examples/check_mfa.json"))
        .quiet("a credential verification", include_str!("../examples/credential_verification.json"))
        .quiet("root's password was recovered", include_str!("../examples/password_recovery_completed.json"))
        .quiet("an Insight record", include_str!("../examples/insight.json"))
        .when(root_signed_in_without_mfa),
] }

#[cfg(test)]
mod tests {
    use trailhound_rule::testing::{assert_examples, event};

    use super::*;

    #[test]
    fn the_examples_agree() {
        assert_examples(module());
    }

    /// A root sign-in without MFA, with these fields besides.
    fn sign_in(rest: &str) -> String {
        let fixed = r#""userIdentity": {"type": "Root"}, "responseElements": {"ConsoleLogin": "Success"}"#;
        format!(r#"{{{fixed}, "additionalEventData": {{"MFAUsed": "No"}}, {rest}}}"#)
    }

    /// The label of the hit on a record; empty where there is no such label.
    fn label(key: &str, record: &str) -> String {
        let hit = root_signed_in_without_mfa(&event(record)).expect("the rule fires");
        hit.get(key).unwrap_or_default().to_owned()
    }

    #[test]
    fn only_a_no_is_a_no() {
        let check = |mfa: &str, fires| {
            let record = format!(
                r#"{{"userIdentity": {{"type": "Root"}}, "responseElements": {{"ConsoleLogin": "Success"}},
                    "additionalEventData": {{"MFAUsed": {mfa}}}}}"#
            );
            assert_eq!(root_signed_in_without_mfa(&event(&record)).is_some(), fires, "{mfa}");
        };
        for no in [r#""No""#, r#""NO""#, r#""no""#, r#""nO""#] {
            check(no, true);
        }
        for other in [
            r#""Yes""#,
            r#""YES""#,
            r#""yes""#,
            r#""""#,
            r#""No ""#,
            r#""None""#,
            "null",
            "false",
            "true",
            "0",
            r#"["No"]"#,
            r#"{"No": "No"}"#,
        ] {
            check(other, false);
        }
    }

    #[test]
    fn success_is_one_spelling_only() {
        for outcome in ["\"success\"", "\"Success \"", "\"Failure\"", "true", "[\"Success\"]", "null"] {
            let record = format!(
                r#"{{"userIdentity": {{"type": "Root"}}, "responseElements": {{"ConsoleLogin": {outcome}}},
                    "additionalEventData": {{"MFAUsed": "No"}}}}"#
            );
            assert!(root_signed_in_without_mfa(&event(&record)).is_none(), "{outcome}");
        }
    }

    #[test]
    fn a_centralised_session_in_any_spelling_is_quiet() {
        let check = |assumed: &str, fires| {
            let record = format!(
                r#"{{"userIdentity": {{"type": "Root", "sessionContext": {{"assumedRoot": {assumed}}}}},
                    "responseElements": {{"ConsoleLogin": "Success"}}, "additionalEventData": {{"MFAUsed": "No"}}}}"#
            );
            assert_eq!(root_signed_in_without_mfa(&event(&record)).is_some(), fires, "{assumed}");
        };
        for yes in ["\"true\"", "\"True\"", "\"TRUE\"", "true"] {
            check(yes, false);
        }
        for no in ["\"false\"", "false", "null", "\"\""] {
            check(no, true);
        }
    }

    #[test]
    fn labels_are_as_the_record_has_them() {
        let check = |key: &str, record: &str, expect| assert_eq!(label(key, record), expect, "{record}");
        let record = include_str!("../examples/odd_shapes.json");
        check("mfa", record, "no");
        check("source_address", record, "signin.amazonaws.com");
        check("region", record, "us-east-1");
        check("user_agent", record, "signin.amazonaws.com");
        check("source_address", &sign_in(r#""sourceIPAddress": null"#), "");
        check("mfa", include_str!("../examples/mfa_no_upper.json"), "no");
    }

    #[test]
    fn account_is_the_recipient_or_else_the_users() {
        let check = |record: &str, expect| assert_eq!(label("account", record), expect, "{record}");
        check(include_str!("../examples/mfa_no.json"), "123456789012");
        check(include_str!("../examples/no_recipient.json"), "123456789012");
        check(&sign_in(r#""recipientAccountId": 111122223333"#), "111122223333");
        check(&sign_in(r#""recipientAccountId": null"#), "");
    }
}
