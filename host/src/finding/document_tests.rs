//! Every attribute of a finding: filled from what it should be, and left out where that is missing.

use serde_json::{Value as Json, json};

use crate::rules::contract::{Rule, Severity};

use super::FindingLimits;
use super::constant::{Constants, severity, types};
use super::document::partition;
use super::testing::{CALL, NOW_MS, SIGN_IN, parse, render_with, rule};

fn check(raw: &str, labels: &[(&str, &str)], expect: &[(&str, Json)]) {
    let finding = parse(&render_with(raw.as_bytes(), labels, &FindingLimits::default()));
    for (pointer, value) in expect {
        assert_eq!(finding.pointer(pointer).unwrap_or(&json!("absent")), value, "{pointer}");
    }
}

#[test]
fn the_class_and_its_names() {
    let expect = [
        ("/class_uid", json!(2004)),
        ("/category_uid", json!(2)),
        ("/type_uid", json!(200_401)),
        ("/activity_id", json!(1)),
        ("/severity_id", json!(4)),
        ("/severity", json!("High")),
        ("/status_id", json!(1)),
        ("/is_alert", json!(true)),
        ("/metadata/version", json!("1.6.0")),
        ("/metadata/profiles", json!(["cloud"])),
        ("/metadata/product/name", json!("Trailhound")),
        ("/metadata/product/version", json!(env!("CARGO_PKG_VERSION"))),
    ];
    check(SIGN_IN, &[], &expect);
    let ids = [Severity::Informational, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    assert_eq!(ids.map(|one| severity(one).0), [1, 2, 3, 4, 5]);
    assert_eq!(severity(Severity::Fatal), (6, "Fatal"));
}

#[test]
fn the_rule_fills_the_finding_info() {
    let tactic = json!({"uid": "TA0001", "name": "Initial Access"});
    let sub = json!({"uid": "T1078.004", "name": "Cloud Accounts"});
    let attacks = json!([
        {"tactic": tactic, "technique": {"uid": "T1078", "name": "Valid Accounts"}, "sub_technique": sub},
        {"tactic": tactic, "technique": {"uid": "T1133", "name": "External Remote Services"}},
    ]);
    let analytic = json!({
        "type_id": 1, "type": "Rule", "uid": "TEST-001", "name": "Somebody signed in", "version": "1.2.3",
    });
    let expect = [
        ("/finding_info/title", json!("Somebody signed in")),
        ("/finding_info/desc", json!("What the rule detects.")),
        ("/finding_info/analytic", analytic),
        ("/finding_info/attacks", attacks),
        ("/finding_info/types", json!(["TTPs/Initial Access"])),
        ("/finding_info/tags", json!([{"name": "compliance", "values": ["PCI", "HIPAA"]}])),
        ("/risk_details", json!("Why it matters.")),
        ("/remediation", json!({"desc": "What to do.", "references": ["https://example.com/why"]})),
        ("/message", json!("Somebody signed in: account 111122223333, source 192.0.2.7")),
    ];
    check(SIGN_IN, &[], &expect);
}

#[test]
fn labels_are_tags_and_mfa_is_also_the_users() {
    let tags = json!([
        {"name": "compliance", "values": ["PCI", "HIPAA"]},
        {"name": "mfa", "value": "no"},
        {"name": "empty", "value": ""},
    ]);
    let expect = [("/finding_info/tags", tags), ("/actor/user/has_mfa", json!(false))];
    check(SIGN_IN, &[("mfa", "no"), ("empty", "")], &expect);
    check(SIGN_IN, &[("mfa", "yes")], &[("/actor/user/has_mfa", json!(true))]);
    check(SIGN_IN, &[("mfa", "unknown")], &[("/actor/user/has_mfa", json!("absent"))]);
}

#[test]
fn the_activitys_time_and_the_findings_are_two() {
    let activity = json!(1_689_802_503_000_i64);
    let expect = |activity: &Json, original: Json| {
        [
            ("/start_time", activity.clone()),
            ("/end_time", activity.clone()),
            ("/finding_info/first_seen_time", activity.clone()),
            ("/finding_info/last_seen_time", activity.clone()),
            ("/metadata/original_time", original),
            ("/time", json!(NOW_MS)),
            ("/finding_info/created_time", json!(NOW_MS)),
            ("/metadata/processed_time", json!(NOW_MS)),
            ("/metadata/logged_time", json!(NOW_MS - 250)),
        ]
    };
    let time = r#""2023-07-19T21:35:03Z""#;
    check(SIGN_IN, &[], &expect(&activity, json!("2023-07-19T21:35:03Z")));
    for (garbage, original) in [("\"...\"", json!("...")), ("1689802503", json!("1689802503"))] {
        check(&SIGN_IN.replace(time, garbage), &[], &expect(&json!("absent"), original));
    }
    for nothing in ["null", "{}", "\"\""] {
        check(&SIGN_IN.replace(time, nothing), &[], &expect(&json!("absent"), json!("absent")));
    }
}

#[test]
fn the_record_fills_the_rest() {
    let response = json!({"error": "AccessDenied", "error_message": "Access Denied"});
    let account = json!({"uid": "444455556666", "type_id": 10, "type": "AWS Account"});
    let bucket = json!({"uid": "arn:aws-us-gov:s3:::logs", "type": "AWS::S3::Bucket", "owner": {"account": account}});
    let product = json!({"name": "CloudTrail", "vendor_name": "AWS"});
    let api = json!({
        "operation": "DeleteBucket", "version": "2006-03-01", "service": {"name": "s3.amazonaws.com"},
        "request": {"uid": "R1"}, "response": response,
    });
    let expect = [
        ("/metadata/event_code", json!("DeleteBucket")),
        ("/metadata/log_version", json!("1.11")),
        ("/metadata/correlation_uid", json!("shared-1")),
        ("/cloud/provider", json!("AWS")),
        ("/cloud/region", json!("us-gov-west-1")),
        ("/cloud/cloud_partition", json!("aws-us-gov")),
        ("/cloud/account", account),
        ("/finding_info/related_events", json!([{"uid": "e2", "product": product}, {"uid": "e1", "product": product}])),
        ("/api", api.clone()),
        ("/evidences/0/api", api),
        ("/evidences/0/uid", json!("e2")),
        ("/evidences/0/src_endpoint", json!({"domain": "cloudformation.amazonaws.com", "uid": "vpce-1"})),
        ("/evidences/0/http_request", json!({"user_agent": "cloudformation.amazonaws.com"})),
        ("/actor/invoked_by", json!("cloudformation.amazonaws.com")),
        ("/actor/session/is_mfa", json!(true)),
        ("/evidences/0/actor/user/uid_alt", json!("AROAEXAMPLE:session")),
        ("/resources", json!([bucket])),
        ("/message", json!("Somebody signed in: account 444455556666, source cloudformation.amazonaws.com")),
    ];
    check(CALL, &[], &expect);
}

#[test]
fn every_observable_points_at_its_value() {
    for (raw, kinds) in [(SIGN_IN, vec![2, 31, 35, 16]), (CALL, vec![1, 31, 19, 35, 16])] {
        let finding = parse(&render_with(raw.as_bytes(), &[], &FindingLimits::default()));
        let observables = finding.pointer("/observables").unwrap().as_array().unwrap();
        for observable in observables {
            let name = observable.pointer("/name").unwrap().as_str().unwrap();
            let pointer = format!("/{}", name.replace("[0]", "/0").replace('.', "/"));
            assert_eq!(finding.pointer(&pointer), observable.pointer("/value"), "{name}");
        }
        let found: Vec<Json> = observables.iter().map(|one| one.pointer("/type_id").unwrap().clone()).collect();
        assert_eq!(found, kinds);
    }
}

#[test]
fn the_origin_says_where_to_find_the_record_again() {
    let origin = json!({
        "module": "sample", "digest": "ab12", "rule_version": "1.2.3", "generation": 7, "topic": "cloudtrail",
        "partition": 3, "offset": 42, "entry": 5, "byte": 678, "appended_time": NOW_MS - 250,
    });
    check(SIGN_IN, &[], &[("/unmapped/trailhound", origin)]);
}

#[test]
fn a_rule_without_words_leaves_their_places_out() {
    let bare = Rule { remediation: String::new(), references: Vec::new(), ..rule() };
    assert!(!String::from_utf8(Constants::of(&bare, "", "").head).unwrap().contains("remediation"));
    assert!(types(&[]).is_empty());
}

#[test]
fn a_partition_is_taken_from_an_arn_only() {
    assert_eq!(partition("arn:aws:iam::1:root"), Some("aws"));
    assert_eq!(partition("arn:aws-cn:iam::1:user/a"), Some("aws-cn"));
    for none in ["arn:aws", "arn:gcp:x", "arn::x", "AIDA:aws:x", "arn:aws\"x:y"] {
        assert_eq!(partition(none), None, "{none}");
    }
}
