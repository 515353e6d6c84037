//! What the tests of this room share: a rule, a record, and OCSF's schema.

use std::path::PathBuf;

use jsonschema::Validator;
use serde_json::Value as Json;

use crate::batch::Origin;
use crate::record::Position;
use crate::record::testing::each_reading;
use crate::rules::contract::{Attack, Rule, Severity};
use crate::rules::{Labels, Mode, told};

use super::{Constants, Detection, FindingLimits, render};

/// 2026-01-02T03:04:05Z
pub(super) const NOW_MS: i64 = 1_767_323_045_000;

/// A root sign-in, after AWS's documented sample.
pub(super) const SIGN_IN: &str = concat!(
    r#"{"eventVersion":"1.08","userIdentity":{"type":"Root","principalId":"111122223333","#,
    r#""arn":"arn:aws:iam::111122223333:root","accountId":"111122223333","accessKeyId":""},"#,
    r#""eventTime":"2023-07-19T21:35:03Z","eventSource":"signin.amazonaws.com","eventName":"ConsoleLogin","#,
    r#""awsRegion":"us-east-1","sourceIPAddress":"192.0.2.7","userAgent":"Mozilla/5.0","#,
    r#""requestParameters":null,"responseElements":{"ConsoleLogin":"Success"},"#,
    r#""additionalEventData":{"LoginTo":"https://console.aws.amazon.com/console/home","MobileVersion":"No","#,
    r#""MFAUsed":"No"},"eventID":"3fcfb182-98f8-4744-bd45-10a395ab61cb","readOnly":false,"#,
    r#""eventType":"AwsConsoleSignIn","managementEvent":true,"eventCategory":"Management","#,
    r#""recipientAccountId":"111122223333"}"#,
);

/// A call by an assumed role, with everything that a sign-in lacks.
pub(super) const CALL: &str = concat!(
    r#"{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE:session","#,
    r#""arn":"arn:aws-us-gov:sts::444455556666:assumed-role/deploy/session","accountId":"444455556666","#,
    r#""accessKeyId":"ASIAEXAMPLE","sessionContext":{"sessionIssuer":{"type":"Role","#,
    r#""arn":"arn:aws-us-gov:iam::444455556666:role/deploy"},"#,
    r#""attributes":{"creationDate":"2023-07-19T21:17:28Z","mfaAuthenticated":"true"}},"#,
    r#""invokedBy":"cloudformation.amazonaws.com"},"eventTime":"2023-07-19T21:35:03Z","#,
    r#""eventSource":"s3.amazonaws.com","eventName":"DeleteBucket","awsRegion":"us-gov-west-1","#,
    r#""sourceIPAddress":"cloudformation.amazonaws.com","userAgent":"cloudformation.amazonaws.com","#,
    r#""errorCode":"AccessDenied","errorMessage":"Access Denied","requestParameters":{"bucketName":"logs"},"#,
    r#""responseElements":null,"requestID":"R1","eventID":"e2","apiVersion":"2006-03-01","#,
    r#""sharedEventID":"shared-1","vpcEndpointId":"vpce-1","resources":[{"accountId":"444455556666","#,
    r#""type":"AWS::S3::Bucket","ARN":"arn:aws-us-gov:s3:::logs"}],"addendum":{"reason":"UPDATED_DATA","#,
    r#""originalEventID":"e1"},"recipientAccountId":"444455556666"}"#,
);

/// A rule with every attribute filled.
pub(super) fn rule() -> Rule {
    let attack = |technique: &str, technique_name: &str| Attack {
        technique: technique.into(),
        technique_name: technique_name.into(),
        tactic: "TA0001".into(),
        tactic_name: "Initial Access".into(),
    };
    Rule {
        id: "TEST-001".into(),
        version: "1.2.3".into(),
        title: "Somebody signed in".into(),
        severity: Severity::High,
        description: "What the rule detects.".into(),
        rationale: "Why it matters.".into(),
        remediation: "What to do.".into(),
        references: vec!["https://example.com/why".into()],
        compliance: vec!["PCI".into(), "HIPAA".into()],
        attacks: vec![
            attack("T1078.004", "Valid Accounts: Cloud Accounts"),
            attack("T1133", "External Remote Services"),
        ],
        select: Vec::new(),
        examples: Vec::new(),
    }
}

/// A finding with its payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) id: String,
    pub(crate) rule: String,
    pub(crate) severity: Severity,
    pub(crate) payload: Vec<u8>,
}

/// Renders with the sample rule, and labels as given. However the record was read, the finding is the same.
pub(crate) fn render_with(raw: &[u8], labels: &[(&str, &str)], limits: &FindingLimits) -> Rendered {
    render_all(raw, told(labels).labels(), None, limits)
}

/// Renders with the sample rule, and the title of a hit.
pub(super) fn render_titled(raw: &[u8], title: Option<&str>, limits: &FindingLimits) -> Rendered {
    render_all(raw, Labels::default(), title, limits)
}

fn render_all(raw: &[u8], labels: Labels<'_>, title: Option<&str>, limits: &FindingLimits) -> Rendered {
    let origin = Origin { source: "cloudtrail".into(), partition: 3, offset: 42, appended_ms: Some(NOW_MS - 250) };
    let rule = rule();
    let detection = Detection {
        rule: &rule,
        constants: &Constants::of(&rule, "sample", "ab12"),
        generation: 7,
        mode: Mode::Live,
        title,
        labels,
        raw,
        skimmed: None,
        tree: None,
        origin: &origin,
        position: Position { entry: 5, byte: 678 },
        now_ms: NOW_MS,
    };
    let finding = rendered(&detection, limits);
    each_reading(raw, |record| {
        let skimmed = Detection { skimmed: record.legible(), ..detection };
        assert_eq!(rendered(&skimmed, limits), finding);
        let both = Detection { tree: Some(record.tree()), ..skimmed };
        assert_eq!(rendered(&both, limits), finding);
    });
    finding
}

fn rendered(detection: &Detection<'_>, limits: &FindingLimits) -> Rendered {
    let mut payloads = b"another".to_vec();
    let finding = render(detection, limits, &mut payloads);
    assert!(payloads.starts_with(b"another") && finding.payload.end == payloads.len());
    let payload = payloads[finding.payload].to_vec();
    Rendered { id: finding.id, rule: finding.rule, severity: finding.severity, payload }
}

/// The payload, as a reader that is not ours takes it.
pub(super) fn parse(finding: &Rendered) -> Json {
    serde_json::from_slice(&finding.payload).unwrap()
}

/// Where the data sets lie: `TRAILHOUND_TEST_DATA`, or beside the repository. None, with a message, where they do not.
pub(super) fn data_path(file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TRAILHOUND_TEST_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    let path = root.join(file);
    let found = path.exists();
    if !found {
        eprintln!("skipped: {} is absent (set TRAILHOUND_TEST_DATA)", path.display());
    }
    found.then_some(path)
}

/// OCSF's schema of the class, strict.
pub(super) fn schema() -> Option<Validator> {
    let file = data_path(&format!("ocsf/detection_finding-{}.schema.json", super::OCSF_VERSION))?;
    // The file names some definitions `win/…`, which a JSON pointer must write as `win~1…` (RFC 6901, section 3).
    let text = std::fs::read_to_string(file).unwrap().replace("#/$defs/win/", "#/$defs/win~1");
    let schema: Json = serde_json::from_str(&text).unwrap();
    Some(jsonschema::validator_for(&schema).unwrap())
}

/// What must hold of every finding: one line of JSON that the schema takes.
#[track_caller]
pub(super) fn check_valid(schema: &Validator, finding: &Rendered) {
    assert!(!finding.payload.iter().any(|byte| matches!(byte, b'\n' | b'\r')), "a line break in a finding");
    let json = parse(finding);
    let errors: Vec<String> =
        schema.iter_errors(&json).map(|error| format!("{} {error:.400}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{:.4000}", String::from_utf8_lossy(&finding.payload));
    assert_eq!(json.pointer("/finding_info/uid").and_then(Json::as_str), Some(finding.id.as_str()));
}
