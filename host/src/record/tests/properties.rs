//! Properties that hold for any records, any framing and any bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Entry, ReadLimits, json, unpack};
use super::{base64, cloudwatch, eventbridge, file_outcomes, firehose, gzip, outcomes, quoted};

/// Any JSON value, not too deep.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        "[{}\\[\\]\",:\\\\\n ]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec((".{0,6}", inner), 0..4).prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

/// A record with any content, its `eventVersion` first or not, in compact or pretty form.
fn any_record() -> impl Strategy<Value = String> {
    (any_json(), any::<u32>(), any::<bool>(), any::<bool>()).prop_map(|(value, id, first, pretty)| {
        let mut record = serde_json::json!({"eventID": format!("id-{id}"), "eventName": "N", "zone": value});
        if first {
            record["eventVersion"] = "1.08".into();
        }
        let mut text =
            if pretty { serde_json::to_string_pretty(&record) } else { serde_json::to_string(&record) }.unwrap();
        if first && !pretty {
            text = text.replacen('{', "{\"eventVersion\":\"1\",", 1);
        }
        text
    })
}

/// Packs messages into fewer, as AWS and what stands between do.
fn reframe(parts: &[String], how: usize) -> Vec<u8> {
    let text = |join: &str| parts.join(join);
    match how {
        0 => text("\n").into_bytes(),
        1 => text("").into_bytes(),
        2 => text(" \r\n").into_bytes(),
        3 => format!("[{}]", text(",")).into_bytes(),
        4 => format!("{{\"Records\":[{}]}}", text(", ")).into_bytes(),
        5 => format!("{{\"x\":null,\"Records\":[{}]}}", text(",")).into_bytes(),
        6 => gzip(text("\n")),
        7 => parts.iter().flat_map(gzip).collect(),
        8 => cloudwatch(parts).into_bytes(),
        9 => gzip(cloudwatch(parts)),
        10 => base64(gzip(text(""))).into_bytes(),
        11 => firehose(&parts.iter().map(gzip).collect::<Vec<_>>()).into_bytes(),
        12 => parts.iter().map(|p| format!("{{\"Message\":{}}}\n", quoted(p))).collect::<String>().into_bytes(),
        _ => parts.iter().map(|p| eventbridge(p)).collect::<String>().into_bytes(),
    }
}

fn ids(records: &[String]) -> Vec<String> {
    records.iter().flat_map(|record| outcomes(record.as_bytes(), &ReadLimits::default())).collect()
}

/// Bytes that are likely to matter, and any others.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        4 => prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\n", " ", "{\"", "\":", "\"Records\":[", "{\"Records\":[",
            "{\"eventVersion\":\"1\"}", "{\"eventVersion\":\"1\",\"eventID\":\"i\"", "null", "1", "\\ud800", "\\u0000",
            "\"detail\":{", "\"message\":\"{}\"", "{\"data\":\"e30=\"}", "H4sIAAAAAAAA", "eyJhIjoxfQ==", "{\"kinesis\":",
        ]).prop_map(|token| token.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
        1 => Just(gzip("{\"eventVersion\":\"1\"}")),
    ];
    vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

/// A message is never empty of entries; a file is read as the message is.
fn holds(bytes: &[u8]) -> Result<(), TestCaseError> {
    let limits = ReadLimits::default();
    let whole = outcomes(bytes, &limits);
    prop_assert!(!whole.is_empty());
    // The layers that `Splitter` opens count for a message only.
    if whole.iter().any(|outcome| outcome.starts_with("dead nested_too_deep")) {
        return Ok(());
    }
    let mut file = file_outcomes(bytes, &limits);
    if file.is_empty() {
        file.push("skip empty".to_owned());
    }
    let strip = |outcomes: Vec<String>| -> Vec<String> {
        // A file does not hold the compressed bytes of a broken stream.
        let reason = |o: String| if o.starts_with("dead gzip_corrupt") { "dead gzip_corrupt".into() } else { o };
        outcomes.into_iter().map(reason).collect()
    };
    prop_assert_eq!(strip(file), strip(whole));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_framing_gives_the_same_records(
        records in vec(any_record(), 1..6), hows in vec(0_usize..13, 0..3), innermost in 0_usize..14,
    ) {
        let expect = ids(&records);
        prop_assert!(expect.iter().all(|id| id.starts_with("id-")), "{:?}", expect);
        let mut bytes = reframe(&records, innermost);
        for how in hows {
            let Ok(text) = String::from_utf8(bytes.clone()) else { break };
            // A text of several lines or values is one log event, but not one element of a list.
            if (3..=5).contains(&how) && !text.starts_with("{\"Records\"") {
                continue;
            }
            bytes = reframe(&[text], how);
        }
        // A Firehose body alone is three layers.
        prop_assert_eq!(outcomes(&bytes, &ReadLimits { nesting_max: 16, ..ReadLimits::default() }), expect);
        holds(&bytes)?;
    }

    #[test]
    fn any_bytes_give_an_entry(bytes in vec(any::<u8>(), 0..200)) {
        holds(&bytes)?;
    }

    #[test]
    fn any_tokens_give_an_entry(bytes in any_bytes()) {
        holds(&bytes)?;
    }

    #[test]
    fn any_mutation_gives_an_entry(
        records in vec(any_record(), 1..4), how in 0_usize..14,
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..4),
    ) {
        let mut bytes = reframe(&records, how);
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match kind {
                0 => bytes.insert(at, byte),
                1 => bytes.truncate(at),
                2 => if at < bytes.len() { bytes[at] = byte },
                _ => if at < bytes.len() { bytes.remove(at); },
            }
        }
        holds(&bytes)?;
    }

    /// The parser takes what serde_json takes, but for lone surrogates, and nothing else.
    #[test]
    fn the_parser_is_as_strict_as_serde_json(
        bytes in any_bytes(), text in "[-+.eE0-9truefalsn\"\\\\u{}\\[\\],: ]{0,12}",
    ) {
        for bytes in [&bytes[..], text.as_bytes()] {
            let ours = json::parse(bytes, 100).is_ok();
            let theirs = serde_json::from_slice::<serde_json::Value>(bytes);
            let lone_surrogate = theirs.as_ref().is_err_and(|error| {
                let text = error.to_string();
                text.contains("surrogate") || text.contains("hex escape")
            });
            prop_assert!(ours == theirs.is_ok() || (ours && lone_surrogate), "{:?}: {:?}", bytes, theirs);
        }
    }

    /// Nothing that was received disappears: every record id is in an entry, as a record or in a dead letter.
    #[test]
    fn a_cut_message_keeps_every_record_before_the_cut(
        records in vec(any_record(), 1..5), how in 0_usize..5, at in any::<prop::sample::Index>(),
    ) {
        let bytes = reframe(&records, how);
        let cut = at.index(bytes.len());
        let mut end = 0;
        let complete = records.iter().take_while(|record| {
            let found = bytes[end..].windows(record.len()).position(|window| window == record.as_bytes());
            end += found.unwrap_or(0) + record.len();
            end <= cut
        }).count();
        let got = outcomes(&bytes[..cut], &ReadLimits::default());
        let expect = ids(&records[..complete]);
        prop_assert_eq!(&got[..complete.min(got.len())], &expect[..]);
    }

    #[test]
    fn entries_are_counted(bytes in any_bytes()) {
        let mut next = 0;
        unpack(Some(&bytes), &ReadLimits::default(), &mut |entry| {
            if let Entry::Dead(dead) = &entry {
                assert_eq!(dead.position.entry, next);
            }
            next += 1;
        });
        prop_assert!(next > 0);
    }
}
