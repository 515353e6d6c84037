//! RTM-001: the AWS root user has signed in to the console.

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

fn root_signed_in(e: &SignIn) -> Option<Hit> {
    let root = e.user_type().is("Root") && e.outcome().is("Success");
    // sts:AssumeRoot makes sessions of the type Root in which nobody signed in as root.
    let signed_in = root && !e.assumed_root().is_true();

    signed_in.then(|| {
        Hit::new()
            .label("mfa", e.mfa_used().yes_no_unknown())
            .label("account", e.recipient().or(e.account()))
            .label("source_address", e.source_address())
            .label("region", e.region())
            .label("user_agent", e.user_agent())
    })
}

module! { root_login, version: "1.0.0", rules: [
    rule("RTM-001", "AWS root user signed in to the console")
        .version("1.0.0")
        .severity(High)
        .description("The root user of an AWS account signed in to the AWS Management Console, and AWS let it in. \
            Sign-ins that fail, sign-ins of IAM users, roles and federated users, and sessions of centralised root \
            access (sts:AssumeRoot) are not reported. Neither is work with the root user's access keys: that makes no \
            ConsoleLogin event and is for a rule about root usage. The label mfa says whether a second factor was \
            used: yes, no, or unknown where the record does not tell.")
        .rationale("The root user can do everything in its account: read and delete all data, change who has access, \
            close the account, change the billing and its own password. IAM policies cannot limit it. Hardly any task \
            needs it, so a sign-in is one of these rare tasks, a habit to end, or an intruder who owns the account.")
        .remediation("Ask the account's owner whether the sign-in was planned, and for which task. If nobody knows of \
            it, treat the account as taken over: change the root password and the password of its mailbox, renew its \
            MFA device, delete its access keys, and go through what was done since in CloudTrail. If it was everyday \
            work, move that to a role with least privilege. Give the root user MFA, keep its credentials locked away, \
            and in an organization remove them from member accounts and use centralised root access instead.")
        .references([
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/root-user-best-practices.html",
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_root-user.html",
            "https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-aws-console-sign-in-events.html",
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-track-privileged-tasks.html",
        ])
        .compliance(["PCI", "HIPAA", "APRA", "MAS", "NIST4", "AWS Well-Architected (security)"])
        .attack("T1078.004", "Valid Accounts: Cloud Accounts", "TA0001", "Initial Access")
        .select("eventName", ["ConsoleLogin"])

        .fires("a sign-in with MFA", include_str!("../examples/mfa_yes.json"))
        .fires("a sign-in without MFA", include_str!("../examples/mfa_no.json"))
        .fires("a sign-in that says nothing of MFA", include_str!("../examples/mfa_missing.json"))
        .fires("a sign-in whose additional data was omitted", include_str!("../examples/mfa_omitted.json"))
        .fires("a record without recipientAccountId", include_str!("../examples/no_recipient.json"))
        .fires("the account alias as the user's name", include_str!("../examples/account_alias.json"))
        .fires("an assumedRoot that is false", include_str!("../examples/assumed_root_false.json"))
        .fires("invokedBy and another eventType do not matter", include_str!("../examples/invoked_by.json"))
        .fires("a late record with an addendum", include_str!("../examples/addendum.json"))
        .fires("a host name as the address, strings for objects", include_str!("../examples/odd_shapes.json"))
        .fires("a partition that is not aws", include_str!("../examples/other_partition.json"))

        .quiet("a failed sign-in", include_str!("../examples/failure.json"))
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
        .quiet("the call that opens a centralised root session", include_str!("../examples/assume_root_call.json"))
        .quiet("a call with root's access key", include_str!("../examples/root_access_key.json"))
        .quiet("a service that works for root", include_str!("../examples/service_for_root.json"))
        .quiet("the check of an MFA device", include_str!("../examples/check_mfa.json"))
        .quiet("a credential challenge", include_str!("../examples/credential_challenge.json"))
        .quiet("a credential verification", include_str!("../examples/credential_verification.json"))
        .quiet("root asks for a new password", include_str!("../examples/password_recovery_requested.json"))
        .quiet("root's password was recovered", include_str!("../examples/password_recovery_completed.json"))
        .quiet("root changes its password", include_str!("../examples/password_updated.json"))
        .quiet("root changes its mail address", include_str!("../examples/email_updated.json"))
        .quiet("an Insight record", include_str!("../examples/insight.json"))
        .when(root_signed_in),
] }

#[cfg(test)]
mod tests {
    use trailhound_rule::testing::{assert_examples, event};

    use super::*;

    #[test]
    fn the_examples_agree() {
        assert_examples(module());
    }

    /// The label of the hit on a record; empty where there is no such label.
    fn label(key: &str, record: &str) -> String {
        let hit = root_signed_in(&event(record)).expect("the rule fires");
        hit.get(key).unwrap_or_default().to_owned()
    }

    /// A root sign-in with these fields besides.
    fn sign_in(rest: &str) -> String {
        let fixed = r#""userIdentity": {"type": "Root"}, "responseElements": {"ConsoleLogin": "Success"}"#;
        format!("{{{fixed}, {rest}}}")
    }

    #[test]
    fn mfa_has_three_values() {
        let check = |record: &str, expect| assert_eq!(label("mfa", record), expect, "{record}");
        check(include_str!("../examples/mfa_yes.json"), "yes");
        check(include_str!("../examples/mfa_no.json"), "no");
        check(include_str!("../examples/mfa_missing.json"), "unknown");
        check(include_str!("../examples/mfa_omitted.json"), "unknown");
        for (value, expect) in [("\"Yes\"", "yes"), ("\"yes\"", "yes"), ("\"NO\"", "no"), ("\"\"", "unknown")] {
            check(&sign_in(&format!(r#""additionalEventData": {{"MFAUsed": {value}}}"#)), expect);
        }
        check(&sign_in(r#""additionalEventData": {"MFAUsed": null}"#), "unknown");
        check(&sign_in(r#""additionalEventData": null"#), "unknown");
    }

    #[test]
    fn account_is_the_recipient_or_else_the_users() {
        let check = |record: &str, expect| assert_eq!(label("account", record), expect, "{record}");
        check(include_str!("../examples/mfa_yes.json"), "111122223333");
        check(include_str!("../examples/no_recipient.json"), "123456789012");
        check(&sign_in(r#""recipientAccountId": 111122223333"#), "111122223333");
        check(&sign_in(r#""recipientAccountId": null"#), "");
        check(&sign_in(r#""recipientAccountId": """#), "");
    }

    #[test]
    fn the_other_labels_are_as_the_record_has_them() {
        let record = include_str!("../examples/odd_shapes.json");
        assert_eq!(label("source_address", record), "signin.amazonaws.com");
        assert_eq!(label("region", record), "us-east-1");
        assert_eq!(label("user_agent", record), "signin.amazonaws.com");
        assert_eq!(label("source_address", &sign_in(r#""sourceIPAddress": null"#)), "");
    }

    #[test]
    fn success_is_one_spelling_only() {
        for outcome in ["\"success\"", "\"Success \"", "true", "[\"Success\"]", "{\"Success\": true}"] {
            let record =
                format!(r#"{{"userIdentity": {{"type": "Root"}}, "responseElements": {{"ConsoleLogin": {outcome}}}}}"#);
            assert!(root_signed_in(&event(&record)).is_none(), "{outcome}");
        }
    }

    #[test]
    fn a_centralised_session_in_any_spelling_is_quiet() {
        let check = |assumed: &str, fires| {
            let record = format!(
                r#"{{"userIdentity": {{"type": "Root", "sessionContext": {{"assumedRoot": {assumed}}}}},
                    "responseElements": {{"ConsoleLogin": "Success"}}}}"#
            );
            assert_eq!(root_signed_in(&event(&record)).is_some(), fires, "{assumed}");
        };
        for yes in ["\"true\"", "\"True\"", "\"TRUE\"", "true"] {
            check(yes, false);
        }
        for no in ["\"false\"", "false", "null", "\"\""] {
            check(no, true);
        }
    }
}
