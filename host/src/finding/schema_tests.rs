//! Every finding is valid OCSF: of the data sets' records, of records in any state, and under every limit.

use std::io::Read;

use flate2::read::GzDecoder;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::testing::{CALL, SIGN_IN, check_valid, data_path, parse, render_with, schema};
use super::{FindingLimits, OCSF_VERSION};
use crate::rules::RuleLimits;

/// Renders up to `records_max` records of a data set; gives how many there were, and how many were root sign-ins.
fn check_data_set(file: &str, records_max: usize) -> Option<(usize, usize)> {
    let (path, schema) = (data_path(file)?, schema()?);
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let mut counts = (0, 0);
    for (at, line) in text.lines().enumerate() {
        let record: Json = serde_json::from_str(line).unwrap();
        let root_sign_in = record.pointer("/eventName") == Some(&json!("ConsoleLogin"))
            && record.pointer("/userIdentity/type") == Some(&json!("Root"));
        if at >= records_max && !root_sign_in {
            continue;
        }
        let finding = render_with(line.as_bytes(), &[("mfa", "no")], &FindingLimits::default());
        check_valid(&schema, &finding);
        assert_eq!(parse(&finding).pointer("/evidences/0/data"), Some(&record));
        counts.0 += 1;
        counts.1 += usize::from(root_sign_in);
    }
    Some(counts)
}

#[test]
fn findings_of_real_records_are_valid() {
    for (file, records_max, expect) in [
        ("records/awsdocs.ndjson.gz", usize::MAX, (26, 3)),
        ("records/cribl_pack.ndjson.gz", usize::MAX, (44, 0)),
        ("records/opensearch_catalog.ndjson.gz", usize::MAX, (845, 0)),
        // The first 2,000, and every root sign-in wherever it stands.
        ("records/sans504.ndjson.gz", 2000, (2001, 5)),
    ] {
        if let Some(counts) = check_data_set(file, records_max) {
            assert_eq!(counts, expect, "{file}");
        }
    }
}

/// The labelled events of a test set for rules: up to `findings`, all of them valid.
fn check_labels(file: &str, pointer: &str) -> Option<usize> {
    let (path, schema) = (data_path(file)?, schema()?);
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Json>(line).unwrap().pointer(pointer).cloned());
    let findings = events.map(|event| {
        check_valid(&schema, &render_with(event.to_string().as_bytes(), &[], &FindingLimits::default()));
    });
    Some(findings.count())
}

#[test]
fn findings_of_labelled_events_are_valid() {
    if let Some(count) = check_labels("labels/panther.dev.labels.ndjson.gz", "/event") {
        assert_eq!(count, 195);
    }
}

#[test]
fn the_schema_refuses_what_the_class_does_not_have() {
    // Guards the other tests: a validator that takes anything would make all of them pass.
    let Some(schema) = schema() else { return };
    let finding = parse(&render_with(SIGN_IN.as_bytes(), &[], &FindingLimits::default()));
    assert!(schema.is_valid(&finding));
    for (pointer, key, value) in [
        ("", "compliance", json!({})),
        ("/metadata", "original_event_uid", json!("e")),
        ("/evidences/0/src_endpoint", "ip", json!("cloudtrail.amazonaws.com")),
        ("", "severity_id", json!(7)),
    ] {
        let mut broken = finding.clone();
        broken.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(key.into(), value);
        assert!(!schema.is_valid(&broken), "{pointer}/{key}");
    }
    assert_eq!(finding.pointer("/metadata/version"), Some(&json!(OCSF_VERSION)));
}

#[test]
fn a_finding_stays_below_what_kafka_takes() {
    // Every text as long as it may be, and of characters that take six bytes each once escaped.
    let long = "\\u0001".repeat(30_000);
    let hostile = ["192.0.2.7", "eu-west-1", "Root", "signin.amazonaws.com", "ConsoleLogin", "Mozilla/5.0", "3fcfb182"];
    let raw = hostile.iter().fold(SIGN_IN.to_owned(), |raw, word| raw.replace(word, &long));
    let rules = RuleLimits::default();
    let (key, value) = ("\u{1}".repeat(rules.label_key_bytes_max), "\u{1}".repeat(rules.label_bytes_max));
    let labels = vec![(key, value); rules.labels_max];
    let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let limits = FindingLimits::default();
    let finding = render_with(raw.as_bytes(), &labels, &limits);
    assert!(raw.len() > 1_000_000 && finding.payload.len() < 512 << 10, "{} {}", raw.len(), finding.payload.len());
    let json = parse(&finding);
    let tags = json.pointer("/finding_info/tags").unwrap().as_array().unwrap();
    assert_eq!(tags.len(), 1 + rules.labels_max);
    let agent = json.pointer("/evidences/0/http_request/user_agent").unwrap().as_str().unwrap();
    assert_eq!(agent.strip_suffix('…').map(str::len), Some(limits.field_bytes_max));
    assert_eq!(json.pointer("/metadata/is_truncated"), Some(&json!(true)));
    assert_eq!(json.pointer("/evidences/0/data/original_bytes"), Some(&json!(raw.len())));
    if let Some(schema) = schema() {
        check_valid(&schema, &finding);
    }
}

/// Values that stand where another was expected.
fn hostile_value() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        Just(String::new()),
        Just("...".into()),
        Just("AWS Internal".into()),
        Just("HIDDEN_DUE_TO_SECURITY_REASONS".into()),
        Just("::ffff:192.0.2.1".into()),
        Just("fe80::1%eth0".into()),
        Just("9999-12-31T23:59:59.999999999Z".into()),
        Just("-009999-01-02T01:59:59Z".into()),
        Just("\u{0}\u{1f}\u{7f}\u{2028}\r\n\"\\".into()),
        Just("é".repeat(3000)),
        any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string()),
        any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        4 => text.prop_map(Json::from),
        1 => Just(Json::Null),
        1 => any::<bool>().prop_map(Json::from),
        1 => any::<u64>().prop_map(Json::from),
        1 => any::<i64>().prop_map(Json::from),
        1 => any::<f64>().prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let keys = prop::sample::select(vec!["ARN", "type", "accountId", "attributes", "arn", "x", ""]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(keys.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

/// Every path of a value that a record of the samples has, `~1` and `~0` not occurring.
fn paths(json: &Json, prefix: &str, found: &mut Vec<String>) {
    found.push(prefix.to_owned());
    match json {
        Json::Object(map) => map.iter().for_each(|(key, value)| paths(value, &format!("{prefix}/{key}"), found)),
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| paths(value, &format!("{prefix}/{at}"), found));
        }
        _ => {}
    }
}

/// A sample record in which up to six places hold something else.
fn mutated_record() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), hostile_value());
    (prop::sample::select(vec![SIGN_IN, CALL]), prop::collection::vec(change, 0..6)).prop_map(|(sample, changes)| {
        let mut record: Json = serde_json::from_str(sample).unwrap();
        for (place, value) in changes {
            let mut found = Vec::new();
            paths(&record, "", &mut found);
            let path: &String = place.get(&found);
            *record.pointer_mut(path).unwrap() = value;
        }
        record.to_string()
    })
}

/// Bytes that are a record no more: one is changed, put in, or everything behind it is gone.
fn broken_record() -> impl Strategy<Value = Vec<u8>> {
    (mutated_record(), any::<prop::sample::Index>(), any::<u8>(), 0..5_u8).prop_map(|(record, at, byte, how)| {
        let mut bytes = record.into_bytes();
        let at = at.index(bytes.len().max(1));
        match how {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, *br"\ud800")),
            _ => drop(bytes.splice(at..at, *b"9e999")),
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_record_gives_a_valid_finding(
        record in mutated_record(),
        evidence_bytes_max in prop_oneof![Just(64 << 10), 0..3000_usize],
        field_bytes_max in prop_oneof![Just(1024), 0..20_usize],
    ) {
        let Some(schema) = shared_schema() else { return Ok(()) };
        let limits = FindingLimits { evidence_bytes_max, field_bytes_max, ..FindingLimits::default() };
        check_valid(schema, &render_with(record.as_bytes(), &[("mfa", "yes"), ("", "")], &limits));
    }

    #[test]
    fn any_bytes_give_a_valid_finding(raw in prop_oneof![3 => broken_record(), 1 => any::<Vec<u8>>()]) {
        let Some(schema) = shared_schema() else { return Ok(()) };
        check_valid(schema, &render_with(&raw, &[], &FindingLimits::default()));
    }

    #[test]
    fn the_id_outlives_any_rewriting(record in mutated_record()) {
        // serde_json sorts keys, re-escapes, and pretty-prints; the record came from it, so no number is lost.
        let json: Json = serde_json::from_str(&record).unwrap();
        let pretty = serde_json::to_string_pretty(&json).unwrap();
        let escaped: String = pretty.chars().map(|c| if c.is_ascii() { c.to_string() } else {
            c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }).collect();
        let id = |raw: &str| render_with(raw.as_bytes(), &[], &FindingLimits::default()).id;
        prop_assert_eq!(id(&record), id(&pretty));
        prop_assert_eq!(id(&record), id(&escaped));
    }
}

fn shared_schema() -> Option<&'static jsonschema::Validator> {
    static SCHEMA: std::sync::OnceLock<Option<jsonschema::Validator>> = std::sync::OnceLock::new();
    SCHEMA.get_or_init(schema).as_ref()
}
