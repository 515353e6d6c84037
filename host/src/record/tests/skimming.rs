//! Skimming against the parser: what is passed is what the parser reads as a record, and all else is as it was.

use proptest::collection::vec;
use proptest::prelude::*;
use sonic_rs::{JsonType, JsonValueTrait, Value};

use super::super::opened::Opening;
use super::super::quotes::Places;
use super::super::skim::Members;
use super::super::{
    Entry, Inside, Legible, Look, Opened, Part, Position, ReadLimits, Reader, Record, Subtle, Wanted, json, legible,
    unpack,
};
use super::gzip;
use crate::finding::FindingLimits;
use crate::finding::testing::render_with;

/// Cases of a property: `DIFFERENTIAL_CASES`, or as many as `make test` has time for.
pub(super) fn cases() -> u32 {
    std::env::var("DIFFERENTIAL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000)
}

/// What lies within a JSON string: whatever tells a careful reader from a careless one.
fn string_part() -> impl Strategy<Value = String> {
    let long = "0123456789abcdef".repeat(4);
    prop_oneof![
        6 => prop::sample::select(vec!["a", "eventName", "aws:", "é", "😀", "\u{7f}", "{", "}", "[", "]", ":", ",", "'", " "])
            .prop_map(str::to_owned),
        3 => prop::sample::select(vec!["\\n", "\\\"", "\\\\", "\\/", "\\u0041", "\\u0000", "\\u00e9", "\\ud83d\\ude00"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec!["\\ud800", "\\uDFFF", "\\u00g0", "\\x", "\\", "\n", "\t", "\u{1}", "\"", "\u{2028}"])
            .prop_map(str::to_owned),
        2 => (0..64_usize).prop_map(move |length| long[..length].to_owned()),
    ]
}

pub(super) fn string() -> impl Strategy<Value = String> {
    vec(string_part(), 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

pub(super) fn key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "\"eventVersion\"",
        "\"eventName\"",
        "\"eventID\"",
        "\"eventTime\"",
        "\"eventSource\"",
        "\"insightDetails\"",
        "\"userIdentity\"",
        "\"type\"",
        "\"event\\u004eame\"",
        "\"t\\u0079pe\"",
        "\"\"",
        "\"detail\"",
        "\"resources\"",
        "\"ARN\"",
        "\"arn\"",
        "\"accountId\"",
        "\"recipientAccountId\"",
        "\"sessionContext\"",
        "\"sessionIssuer\"",
        "\"attributes\"",
        "\"mfaAuthenticated\"",
        "\"creationDate\"",
        "\"addendum\"",
        "\"originalEventID\"",
        "\"sourceIPAddress\"",
        "\"Records\"",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => string()]
}

pub(super) fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => Just(""), 1 => prop::sample::select(vec![" ", "\n", "\r\n\t ", "\u{b}", "\u{a0}", "//"])]
}

/// The text of a value; mostly JSON.
pub(super) fn value() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-0",
        "12",
        "-1.5",
        "1e3",
        "1E-2",
        "1e999",
        "123456789012345678",
        "12345678901234567890123",
        "0.1234567890123456789012",
        "01",
        "-",
        "1.",
        ".5",
        "+1",
        "nul",
        "True",
        "NaN",
        "1a",
    ]);
    let leaf = prop_oneof![2 => scalar.prop_map(str::to_owned), 3 => string()];
    leaf.prop_recursive(5, 24, 4, |inner| {
        let joined = |comma: &'static str, open, close| move |parts: Vec<String>| format!("{open}{}{close}", parts.join(comma));
        let pairs = (key(), space(), space(), inner.clone()).prop_map(|(key, a, b, value)| format!("{key}{a}:{b}{value}"));
        prop_oneof![
            3 => vec(pairs, 0..4).prop_map(joined(",", "{", "}")),
            2 => vec(inner.clone(), 0..4).prop_map(joined(" ,", "[", "]")),
            1 => (1..80_usize, inner).prop_map(|(depth, inner)| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth))),
        ]
    })
}

/// The text of an object that is likely a record.
fn record() -> impl Strategy<Value = String> {
    let member = (key(), space(), value(), space()).prop_map(|(key, a, value, b)| format!("{key}{a}:{value}{b}"));
    let first = prop::sample::select(vec![
        "\"eventVersion\":\"1.08\"",
        "\"eventName\":\"N\"",
        "\"a\":1",
        "\"eventVersion\":null",
    ]);
    (first, vec(member, 0..6))
        .prop_map(|(first, members)| format!("{{{}}}", [vec![first.to_owned()], members].concat().join(",")))
}

/// What something on the way does to bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Damage(Option<(prop::sample::Index, u8, u8)>);

pub(super) fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![prop::sample::select(b"\"\\{}[]:,\n\0 01e-".to_vec()), any::<u8>()];
    prop_oneof![
        3 => Just(Damage(None)),
        1 => (any::<prop::sample::Index>(), 0..3_u8, byte).prop_map(|damage| Damage(Some(damage))),
    ]
}

impl Damage {
    /// What becomes of `bytes`, of which there are some.
    pub(super) fn done(self, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some((at, how, byte)) = self.0 {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        bytes
    }
}

/// A record's bytes, or what something on the way has made of them.
pub(super) fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (record(), damage()).prop_map(|(record, damage)| damage.done(record.into_bytes()))
}

/// An entry in words. A record that was passed has none of its own.
fn in_words(entry: Entry<'_>) -> String {
    match entry {
        Entry::Record(_) | Entry::Passed => "record".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Every entry, records skimmed where that tells.
fn skimmed(bytes: &[u8], wanted: bool) -> Vec<String> {
    let mut entries = Vec::new();
    let wanted: Wanted<'_> = &|_| wanted;
    Reader::default().unpack(Some(bytes), Some(wanted), &mut |entry| entries.push(in_words(entry)));
    entries
}

/// Every entry, records parsed.
fn parsed(bytes: &[u8]) -> Vec<String> {
    let mut entries = Vec::new();
    unpack(Some(bytes), &ReadLimits::default(), &mut |entry| entries.push(in_words(entry)));
    entries
}

/// What lies at a path of names.
fn first<'r>(members: Inside<'r, '_>, path: &[&str]) -> Option<Part<'r>> {
    let (name, rest) = path.split_first()?;
    let (_, part, within) = members.each().find(|(found, ..)| *found == name.as_bytes())?;
    if rest.is_empty() { Some(part) } else { first(within, rest) }
}

/// A skimmed look at a path says what the tree says, or that it does not know.
fn looks_alike(raw: &[u8], tree: &Value, path: &[&str]) -> Result<(), TestCaseError> {
    let mut members = Members::default();
    let Some(skimmed) = members.skim(raw, 64, &mut Places::default()) else { return Ok(()) };
    let found = path.iter().try_fold(tree, |value, name| value.get(name));
    let text = found.and_then(JsonValueTrait::as_str);
    let kind = found.map(JsonValueTrait::get_type);
    let record = Record::skimmed(Legible::new(skimmed).unwrap(), skimmed.opening, Position::default());
    // What was taken apart for the one is there for the other. For a finding it is, or it is done then.
    let looks = [record.look(path.iter().copied()), record.look(path.iter().copied())];
    prop_assert_eq!(looks[0], looks[1], "{:?}", path);
    let finding_agrees = |opened: Opened<'_>| {
        let legible = Legible::again(str::from_utf8(raw).unwrap(), skimmed.places(), skimmed.escapes(), opened);
        let Some((name, rest)) = path.split_first().filter(|(_, rest)| !rest.is_empty()) else { return true };
        let top = legible.members().find(|(found, _)| *found == name.as_bytes());
        let values = top.map(|(_, top)| legible.values(top));
        let look = match &values {
            None => Look::Missing,
            Some(Err(Subtle)) => Look::Unsure,
            Some(Ok(values)) => first(values.members(), rest).map_or(Look::Missing, Part::look),
        };
        look == looks[0]
    };
    record.opened(|opened| assert!(finding_agrees(opened), "{path:?}"));
    prop_assert!(finding_agrees(Opened::default()), "{:?}", path);
    // The first look goes no further than it must, so it may know what the others leave open.
    for look in [skimmed.look(path.iter().copied()), looks[0]] {
        match look {
            Look::Unsure => prop_assert_eq!(looks[0], Look::Unsure, "{:?}", path),
            Look::Missing => prop_assert_eq!(kind, None, "{:?}", path),
            Look::Null => prop_assert_eq!(kind, Some(JsonType::Null), "{:?}", path),
            Look::Bool(is) => prop_assert_eq!(found.and_then(JsonValueTrait::as_bool), Some(is), "{:?}", path),
            Look::Nested => prop_assert!(matches!(kind, Some(JsonType::Object | JsonType::Array)), "{:?}", path),
            Look::Text(look) => prop_assert_eq!(text, Some(look), "{:?}", path),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_passed_is_a_record_and_all_else_is_as_it_was(parts in vec(damaged(), 1..3), how in 0..4) {
        let bytes = match how {
            0 => parts.concat(),
            1 => parts.join(&b'\n'),
            2 => [b"{\"Records\":[".to_vec(), parts.join(&b','), b"]}".to_vec()].concat(),
            _ => gzip(parts.join(&b' ')),
        };
        prop_assert_eq!(skimmed(&bytes, false), parsed(&bytes));
        prop_assert_eq!(skimmed(&bytes, true), parsed(&bytes));
    }

    #[test]
    fn a_record_that_was_skimmed_gives_the_same_finding(raw in damaged()) {
        // Which renders it once for each way of reading it, and compares.
        render_with(&raw, &[], &FindingLimits::default());
    }

    #[test]
    fn a_look_at_a_path_says_what_the_tree_says(raw in damaged()) {
        if let Ok(tree) = json::parse(&raw, 64) {
            for path in [&["eventName"][..], &["eventSource"], &["userIdentity"], &["userIdentity", "type"], &["type", "type"], &[""]] {
                looks_alike(&raw, &tree, path)?;
            }
        }
    }
}

/// Whether skimming finds that `text` is an object.
fn check(text: &[u8], expect: bool) {
    let found = Members::default().skim(text, 8, &mut Places::default()).is_some();
    assert_eq!(found, expect, "{}", String::from_utf8_lossy(text));
    if found {
        assert!(sonic_rs::from_slice::<Value>(text).is_ok(), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn what_is_plain_is_found_and_what_is_subtle_is_left() {
    let plain = [
        r#"{"a":1}"#,
        r#" {"a":1}"#,
        r#"{ "a" : [ ] , "b":{} }"#,
        r#"{"a":"\"\\\/\b\f\n\r\t\u0041"}"#,
        r#"{"a":[1,-0.5,true,false,null,"",[[]]]}"#,
        r#"{"a":"é😀"}"#,
        r#"{"a":{"a":{"a":{"a":{"a":{"a":{"a":1}}}}}}}"#,
        "{\"a\":1}\n",
    ];
    let left = [
        "",
        "{",
        "{}",
        "[]",
        "1",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{,"a":1}"#,
        r#"{"a":1}}"#,
        r#"{"a":1} {"#,
        r#"{"a":1]"#,
        r#"{"a":[1}}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[,1]}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\ud83d\ude00"}"#,
        r#"{"a":"\u00g0"}"#,
        r#"{"a":"\u00"}"#,
        r#"{"a":1e3}"#,
        r#"{"a":01}"#,
        r#"{"a":1.}"#,
        r#"{"a":-}"#,
        r#"{"a":1234567890123456789}"#,
        r#"{"a\u0041":1}"#,
        r#"{"a":tru}"#,
        r#"{"a":truex}"#,
        r#"{a:1}"#,
        r#"{'a':1}"#,
        r#"{"a":"b" "c"}"#,
        r#"{"a" "b":1}"#,
        r#"{"a":"b}"#,
        "{\"a\":\"\n\"}",
        r#"{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":1}}}}}}}}}"#,
    ];
    plain.iter().for_each(|text| check(text.trim_start().as_bytes(), true));
    left.iter().for_each(|text| check(text.as_bytes(), false));
    check(b"{\"a\":\"\xff\"}", false);
    check(b"{\"a\xc3\":1}", false);
}

#[test]
fn a_string_may_end_anywhere_in_a_block() {
    for length in 0..200 {
        for tail in ["", "\\\"", "\\\\", "\\u0041", "é", "\\\"\\\\\\\""] {
            let text =
                format!("{{\"{0}\":\"{0}{tail}\",\"b\":\"{tail}{0}\",\"c\":{{\"d\":[\"{0}\"]}}}}", "k".repeat(length));
            let mut members = Members::default();
            let found = members.skim(text.as_bytes(), 8, &mut Places::default());
            assert_eq!(found.map(|found| found.member("c").map(<[u8]>::len)), Some(Some(length + 10)), "{text}");
        }
        // A control character anywhere in a long string.
        let (before, after) = ("k".repeat(length), "k".repeat(200 - length));
        check(format!("{{\"a\":\"{before}\n{after}\"}}").as_bytes(), false);
        check(format!("{{\"a\":\"{before}\", \n \"b\":\"{after}\"}}").as_bytes(), true);
        check(format!("{{\"a\":\"{before}\\\n{after}\"}}").as_bytes(), false);
    }
}

#[test]
fn an_object_is_taken_apart_whatever_its_lengths() {
    for length in 0..40 {
        for tail in ["", "\\\"", "\\\\", "é"] {
            let (key, text) = ("k".repeat(length), format!("\"{}{tail}\"", "t".repeat(length)));
            let list = format!("[{{\"}}\":\"]{tail}\"}} ,[-1]]");
            let within = format!("{{\"{key}\":{text} ,\"z\":{{ \"n\" : {text}}},\"e\":{{}}}}");
            let object =
                format!("{{ \"{key}\" :{text}, \"list\":{list},\"n\": 12.5 ,\"e\":{{}},\"o\":{within},\"z\":{text}}}");
            // At the end of the text, and with more behind it.
            for raw in [object.clone(), format!("{object},\"more\":\"{}\"}}", "m".repeat(40))] {
                let mut opening = Opening::default();
                let members = opening.open(raw.as_bytes(), 0).unwrap();
                let check = |path: &[&str], expect: Option<&str>| {
                    let found = opening.opened().find(raw.as_bytes(), members.clone(), path.iter().copied());
                    let found = found.map(|at| &raw[at.start as usize..at.end as usize]);
                    assert_eq!(found, expect, "{path:?} of {raw}");
                    if let [name] = path {
                        let first = legible::first(raw.as_bytes(), 0, name).unwrap().map(|at| &raw[at]);
                        assert_eq!(first, expect, "{path:?} of {raw}");
                    }
                };
                check(&[&key], Some(&text));
                check(&["list"], Some(&list));
                check(&["n"], Some("12.5"));
                check(&["e"], Some("{}"));
                check(&["o"], Some(&within));
                check(&["o", &key], Some(&text));
                check(&["o", "z", "n"], Some(&text));
                check(&["o", "e"], Some("{}"));
                check(&["z"], Some(&text));
                for missing in
                    [&["x"][..], &["o", "n"], &["o", "z", "z"], &["o", "e", "z"], &["list", "}"], &["z", "n"]]
                {
                    check(missing, None);
                }
            }
        }
    }
}

#[test]
fn an_escape_in_a_name_is_left_to_the_parser() {
    for raw in [r#"{"a":1,"b\u0041":2}"#, r#"{"a":1,"o":{"x":{"b\u0041":2}}}"#] {
        let mut opening = Opening::default();
        assert!(opening.open(raw.as_bytes(), 0).is_err());
        assert!(opening.opened().members.is_empty(), "nothing is left of it");
        // What stands before it is known.
        assert!(legible::first(raw.as_bytes(), 0, "a").is_ok_and(|found| found == Some(5..6)));
    }
    assert!(legible::first(br#"{"b\u0041":2,"a":1}"#, 0, "a").is_err());
    for none in ["{}", "{ \n}", "[{\"a\":1}]", "null", "\"{\"", ""] {
        assert_eq!(Opening::default().open(none.as_bytes(), 0).ok(), Some(0..0), "{none}");
        assert!(legible::first(none.as_bytes(), 0, "a").is_ok_and(|found| found.is_none()), "{none}");
    }
}
