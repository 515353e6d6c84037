//! The fast ways against the slow ones: envelopes that are skimmed, text that is unescaped and gzip that is decompressed at
//! once, each on whatever comes, and on the damage done to it.

use std::io::Read as _;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::gzip::{Gunzip, Stop, whole};
use super::super::text::{unescape, unquote};
use super::super::{Entry, ReadLimits, Reader, Wanted, unpack};
use super::skimming::{cases, damage, damaged, key, space, string, value};
use super::{base64, gzip};

/// An entry in words: of a record what is the same however it was read.
fn words(entry: &Entry<'_>) -> String {
    match entry {
        Entry::Record(record) => format!("{:?} {}", record.position, record.raw),
        other => format!("{other:?}"),
    }
}

/// Every entry, step by step.
fn slowly(bytes: &[u8], limits: &ReadLimits) -> Vec<String> {
    let mut entries = Vec::new();
    unpack(Some(bytes), limits, &mut |entry| entries.push(words(&entry)));
    entries
}

/// Every entry by a reader that has read before.
fn fast(bytes: &[u8], limits: &ReadLimits, wanted: Option<Wanted<'_>>) -> Vec<String> {
    let mut reader = Reader::new(limits.clone());
    reader.unpack(Some(&gzip(bytes)), wanted, &mut |_| {});
    let mut entries = Vec::new();
    reader.unpack(Some(bytes), wanted, &mut |entry| entries.push(words(&entry)));
    entries
}

/// JSON text of a string that holds `text`, with every character escaped in one of the ways that there are.
fn escaped(text: &str, ways: &[u8]) -> String {
    let mut json = String::from("\"");
    for (character, way) in text.chars().zip(ways.iter().cycle()) {
        match (character, way) {
            ('"' | '\\', 0..250) => json.extend(['\\', character]),
            ('/', 0..9) => json.push_str("\\/"),
            ('\n', _) => json.push_str("\\n"),
            ('\t', _) => json.push_str("\\t"),
            (..' ', _) | (_, 250..) => {
                character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| json.push_str(&format!("\\u{unit:04x}")))
            }
            _ => json.push(character),
        }
    }
    json + "\""
}

/// A string that holds something, mostly a record.
fn text() -> impl Strategy<Value = String> {
    let framed = (damaged(), 0..8_u8).prop_map(|(record, how)| match how {
        0 => base64(gzip(record)),
        1 => base64(record),
        2 => format!(" [{}]\n", String::from_utf8_lossy(&record)),
        _ => String::from_utf8_lossy(&record).into_owned(),
    });
    let whole = (framed, vec(any::<u8>(), 1..9)).prop_map(|(text, ways)| escaped(&text, &ways));
    prop_oneof![8 => whole, 1 => string(), 1 => value()]
}

/// An element of a list: mostly an object that holds something.
fn element() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["message", "data", "rawData", "Message", "body", "Records", "mess\\u0061ge"]);
    let member = (key(), space(), value()).prop_map(|(key, a, value)| format!("{key}{a}:{value}"));
    let before =
        prop::sample::select(vec!["\"id\":\"1\",\"timestamp\":2", "\"id\":null", "\"x\":1", "\"Records\":[{}]"]);
    let object = (before, vec(member, 0..2), name, text(), space(), any::<bool>()).prop_map(
        |(before, members, name, text, a, first)| {
            let text = format!("\"{name}\"{a}:{a}{text}");
            let members = [vec![before.to_owned()], members].concat().join(",");
            if first { format!("{{{a}{text},{members}}}") } else { format!("{{{members}{a},{text}}}") }
        },
    );
    prop_oneof![12 => object, 1 => value(), 1 => Just("{}".to_owned()), 1 => damaged().prop_map(lossy)]
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An envelope with lists, or what something on the way has made of it.
fn envelope() -> impl Strategy<Value = Vec<u8>> {
    let list = (
        prop::sample::select(vec!["logEvents", "logEvents", "records", "Records", "Messages", "other"]),
        vec(element(), 0..4),
        space(),
    )
        .prop_map(|(name, elements, a)| format!("\"{name}\":{a}[{a}{}{a}]", elements.join(&format!("{a},{a}"))));
    let first = prop::sample::select(vec![
        "\"messageType\":\"DATA_MESSAGE\"",
        "\"messageType\":\"DATA_MESSAGE\"",
        "\"requestId\":\"a\"",
        "\"messageType\":\"CONTROL_MESSAGE\"",
        "\"x\":1",
        "\"id\":\"1\",\"timestamp\":1",
    ]);
    let member = (key(), space(), value()).prop_map(|(key, a, value)| format!("{key}{a}:{value}"));
    (first, vec(prop_oneof![3 => list, 1 => member], 1..4), damage())
        .prop_map(|(first, members, damage)| damage.done(format!("{{{first},{}}}", members.join(",")).into_bytes()))
}

/// Envelopes in other things, and limits that some of them meet.
fn message() -> impl Strategy<Value = Vec<u8>> {
    (vec(envelope(), 1..3), 0..7_u8).prop_map(|(envelopes, how)| match how {
        0 => envelopes.concat(),
        1 => gzip(envelopes.join(&b'\n')),
        2 => envelopes.iter().flat_map(gzip).collect(),
        3 => super::firehose(&envelopes).into_bytes(),
        4 => super::firehose(&envelopes.iter().map(gzip).collect::<Vec<_>>()).into_bytes(),
        5 => format!("{{\"awslogs\":{{\"data\":\"{}\"}}}}", base64(gzip(&envelopes[0]))).into_bytes(),
        _ => super::cloudwatch(&envelopes.into_iter().map(lossy).collect::<Vec<_>>()).into_bytes(),
    })
}

fn limits() -> impl Strategy<Value = ReadLimits> {
    let usual = ReadLimits::default();
    let narrow = (1..9_u32, 1..9_u32, 40..2_000_usize, 1..12_u32, 100..9_000_u64, 100..9_000_usize).prop_map(
        |(nesting_max, records_max, record_bytes_max, json_depth_max, decompressed_bytes_max, message_bytes_max)| {
            ReadLimits {
                message_bytes_max,
                decompressed_bytes_max,
                nesting_max,
                records_max,
                record_bytes_max,
                json_depth_max,
                ..ReadLimits::default()
            }
        },
    );
    prop_oneof![2 => Just(usual), 1 => narrow]
}

/// All that a stream gives, and whether it ends well.
fn streamed(bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut stream = Gunzip::new(bytes, &ReadLimits::default());
    let (mut all, mut budget, mut chunk) = (Vec::new(), u64::MAX, [0; 100]);
    loop {
        match stream.read(&mut chunk, &mut budget) {
            Ok(0) => return (all, true),
            Ok(read) => all.extend_from_slice(&chunk[..read]),
            Err(Stop::Fault(_)) => return (all, false),
            Err(Stop::Io(error)) => panic!("{error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_envelope_that_is_skimmed_is_read_as_step_by_step(bytes in message(), limits in limits()) {
        let expect = slowly(&bytes, &limits);
        prop_assert_eq!(&fast(&bytes, &limits, None), &expect);
        prop_assert_eq!(&fast(&bytes, &limits, Some(&|_| true)), &expect);
        // Records that nobody wants are passed, each in its place.
        let (passed, expect): (Vec<_>, Vec<_>) =
            fast(&bytes, &limits, Some(&|_| false)).into_iter().zip(expect).filter(|(passed, _)| passed != "Passed").unzip();
        prop_assert_eq!(passed, expect);
    }

    #[test]
    fn what_is_unescaped_is_what_the_parser_reads(text in prop_oneof![string(), text()], damage in damage()) {
        let bytes = damage.done(text.into_bytes());
        let inner = bytes.strip_prefix(b"\"").and_then(|bytes| bytes.strip_suffix(b"\""));
        let parsed = sonic_rs::from_slice::<String>(&bytes).map(String::into_bytes);
        if let Some(text) = inner.and_then(unescape) {
            prop_assert_eq!(parsed.as_deref().ok(), Some(&*text));
        }
        if let Ok(parsed) = &parsed && inner.is_some() {
            let text = unquote(&bytes);
            prop_assert_eq!(text.as_deref(), Some(&parsed[..]));
        }
    }

    #[test]
    fn a_stream_that_is_decompressed_at_once_is_one_that_is_whole(
        parts in vec(vec(any::<u8>(), 0..300), 1..3), tail in vec(any::<u8>(), 0..3), damage in damage(), max in 0..600_u64,
    ) {
        let bytes = damage.done([parts.iter().flat_map(gzip).collect(), tail].concat());
        let mut out = Vec::new();
        if let Some(text) = whole(&bytes, max, &mut out) {
            prop_assert!(text.len() as u64 <= max);
            prop_assert_eq!(streamed(&bytes), (text.to_vec(), true));
        }
    }
}

#[test]
fn an_envelope_of_very_many_events_is_read_step_by_step() {
    let message = super::cloudwatch(&vec![super::record("a"); 14_000]);
    let all = slowly(message.as_bytes(), &ReadLimits::default());
    assert_eq!(all.len(), 14_000);
    assert_eq!(fast(message.as_bytes(), &ReadLimits::default(), None), all);
}

#[test]
fn most_of_what_is_whole_goes_the_fast_way() {
    for text in ["", "x", &"{\"eventVersion\":\"1\"}".repeat(300)] {
        let mut out = vec![1; 10];
        assert_eq!(whole(&gzip(text), 1 << 20, &mut out), Some(text.as_bytes()));
        let mut read = String::new();
        flate2::read::GzDecoder::new(&gzip(text)[..]).read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
    }
    let long = "x".repeat((1 << 20) + 1);
    assert_eq!(whole(&gzip(&long), u64::MAX, &mut Vec::new()), None);
    for (inner, expect) in [
        ("", Some("")),
        ("plain", Some("plain")),
        (r#"\"\\\/\b\f\n\r\t\u0041\u00e9"#, Some("\"\\/\u{8}\u{c}\n\r\tAé")),
        (r"\\\\\\", Some("\\\\\\")),
        (r"\ud83d\ude00", None),
        ("\\", None),
        (r"\\\", None),
        (r"\u00", None),
        (r"\u00g0", None),
        (r"\u+041", None),
        (r"\x", None),
        ("a\"b", None),
        ("a\nb", None),
    ] {
        for length in 0..150 {
            let pad = "k".repeat(length);
            let text = unescape(format!("{pad}\\/{pad}{inner}").as_bytes()).map(|text| lossy(text.into_owned()));
            assert_eq!(text, expect.map(|text| format!("{pad}/{pad}{text}")), "{length} {inner}");
        }
    }
}
