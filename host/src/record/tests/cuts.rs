//! Damage at every byte: a record that is cut or changed takes none of its neighbours along.

use super::super::ReadLimits;
use super::{eventbridge, file_outcomes, gzip, outcomes, record};

/// Five records with what stands around them, and where each of them ends.
fn five(open: &str, join: &str, close: &str, wrap: fn(&str) -> String) -> (String, Vec<usize>) {
    let mut text = open.to_owned();
    let mut ends = Vec::new();
    for id in ["1", "2", "3", "4", "5"] {
        if !ends.is_empty() {
            text.push_str(join);
        }
        text.push_str(&wrap(&record(id)));
        ends.push(text.len());
    }
    text.push_str(close);
    (text, ends)
}

/// Cuts at every byte: the records before the cut, then at most one dead letter, and one whenever a value was cut.
fn sweep(open: &str, join: &str, close: &str, wrap: fn(&str) -> String, listed: bool) {
    let (text, ends) = five(open, join, close, wrap);
    let limits = ReadLimits::default();
    for cut in 1..text.len() {
        let part = &text.as_bytes()[..cut];
        let got = outcomes(part, &limits);
        assert_eq!(got, file_outcomes(part, &limits), "a file cut at {cut}");
        let complete = ends.iter().filter(|end| **end <= cut).count();
        let (ids, dead): (Vec<_>, Vec<_>) = got.iter().partition(|o| !o.starts_with("dead"));
        let ids: Vec<&str> = ids.into_iter().map(String::as_str).collect();
        let mut expect = ["1", "2", "3", "4", "5"][..complete].to_vec();
        // An inner record that is complete is visited although its envelope is cut.
        if ids.len() > complete && wrap(&record("1")) != record("1") {
            expect = ["1", "2", "3", "4", "5"][..=complete].to_vec();
        }
        assert_eq!(ids, expect, "cut at {cut}: {got:?}");
        let at_boundary = ends.iter().any(|end| (*end..=*end + join.len()).contains(&cut));
        let lossless = !listed && at_boundary;
        assert_eq!(dead.len(), usize::from(!lossless), "cut at {cut}: {got:?}");
        assert!(dead.iter().all(|d| d.starts_with("dead truncated")), "{got:?}");
    }
}

#[test]
fn truncated_at_every_byte() {
    let alone: fn(&str) -> String = str::to_owned;
    sweep("", "\n", "\n", alone, false);
    sweep("", "", "", alone, false);
    sweep("", " , ", "", alone, false);
    sweep("{\"Records\":[", ",", "]}", alone, true);
    sweep("{ \"Records\" : [\r\n", "\r\n,", "\r\n]\r\n}", alone, true);
    sweep("[", ",", "]", alone, true);
    sweep("", "\n", "\n", eventbridge, false);
    sweep("", "", "", eventbridge, false);
}

#[test]
fn gzip_truncated_at_every_byte() {
    let (text, _) = five("{\"Records\":[", ",", "]}", str::to_owned);
    let whole = gzip(text);
    for cut in 2..whole.len() {
        let got = outcomes(&whole[..cut], &ReadLimits::default());
        let (last, before) = got.split_last().unwrap();
        assert!(last.starts_with("dead gzip_corrupt"), "cut at {cut}: {got:?}");
        let expect = &["1", "2", "3", "4", "5"][..before.len()];
        assert_eq!(before, expect, "cut at {cut}");
    }
}

#[test]
fn a_record_cut_at_every_byte_among_others() {
    let (first, middle, last) = (record("1"), record("2"), record("3"));
    for (open, join, close) in
        [("", "\n", ""), ("", "\r\n", "\r\n"), ("", "", ""), ("[", ",", "]"), ("{\"Records\":[", ",", "]}")]
    {
        for cut in 1..middle.len() {
            let text = format!("{open}{first}{join}{}{join}{last}{close}", &middle[..cut]);
            let got = outcomes(text.as_bytes(), &ReadLimits::default());
            assert_eq!(got.len(), 3, "cut at {cut} of {text}: {got:?}");
            assert!(got[0] == "1" && got[1].starts_with("dead") && got[2] == "3", "cut at {cut} of {text}: {got:?}");
        }
    }
}

#[test]
fn a_byte_changed_at_every_place_harms_its_record_only() {
    let (first, middle, last) = (record("1"), record("2"), record("3"));
    for (open, join, close) in [("", "\n", ""), ("", "", ""), ("[", ",", "]"), ("{\"Records\":[", ",", "]}")] {
        for at in 0..middle.len() {
            for byte in [b'"', b'\\', b'{', b'}', b'[', b']', b',', b':', b'\n', b' ', b'x', 0, 0xff] {
                let mut bytes = format!("{open}{first}{join}{middle}{join}{last}{close}").into_bytes();
                bytes[open.len() + first.len() + join.len() + at] = byte;
                let got = outcomes(&bytes, &ReadLimits::default());
                let harmless = got == ["1", "2", "3"] || (got.len() == 3 && !got[1].starts_with("dead"));
                let named: Vec<_> = got.iter().filter(|o| *o == "1" || *o == "3").collect();
                assert_eq!(named, ["1", "3"], "{}: {got:?}", String::from_utf8_lossy(&bytes));
                assert!(harmless || got.iter().any(|o| o.starts_with("dead")), "{got:?}");
            }
        }
    }
}
