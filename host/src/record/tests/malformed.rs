//! Broken input, one row a case: what each entry becomes, to the letter.

use super::super::ReadLimits;
use super::{file_outcomes, gzip, outcomes};

/// `@a`, `@b`, `@c`, `@z` stand for small records, `%ff` for the byte 0xFF, in inputs and expectations alike.
fn expand(text: &str) -> Vec<u8> {
    let mut text = text.to_owned();
    for id in ["a", "b", "c", "z"] {
        text = text.replace(&format!("@{id}"), &format!(r#"{{"eventVersion":"1","eventID":"{id}"}}"#));
    }
    let parts: Vec<&[u8]> = text.split("%ff").map(str::as_bytes).collect();
    parts.join(&0xff)
}

#[track_caller]
fn check(input: &str, expect: &[&str]) {
    let bytes = expand(input);
    let expect: Vec<String> = expect.iter().map(|e| String::from_utf8_lossy(&expand(e)).into_owned()).collect();
    let limits = ReadLimits::default();
    assert_eq!(outcomes(&bytes, &limits), expect, "a message: {input}");
    assert_eq!(outcomes(&gzip(&bytes), &limits), expect, "the same, compressed: {input}");
    let file = file_outcomes(&bytes[..], &limits);
    let file = if file.is_empty() { vec!["skip empty".to_owned()] } else { file };
    assert_eq!(file, expect, "a file: {input}");
}

/// What somebody sent to AWS, and stands deep within a record, does not become a record when that one breaks.
#[test]
fn an_object_within_a_broken_record_is_no_record() {
    check_all(&[
        (
            "{\"eventVersion\":\"1\",\"requestParameters\":{\"document\":@z},\"cut\":\"",
            &["dead truncated {\"eventVersion\":\"1\",\"requestParameters\":{\"document\":@z},\"cut\":\""],
        ),
        (
            "{\"eventVersion\":\"1\",\"requestParameters\":{\"documents\":[@z]},\"x\":NaN}\n@b",
            &["dead invalid_json {\"eventVersion\":\"1\",\"requestParameters\":{\"documents\":[@z]},\"x\":NaN}", "b"],
        ),
        (
            "{\"eventVersion\":\"1\",\"requestParameters\":@z,\"x\":NaN}",
            &["dead invalid_json {\"eventVersion\":\"1\",\"requestParameters\":@z,\"x\":NaN}"],
        ),
        (
            "{\"eventVersion\":\"1\",\"requestParameters\":@b@c",
            &["dead invalid_json {\"eventVersion\":\"1\",\"requestParameters\":", "b", "c"],
        ),
    ]);
}

/// Inputs, each with the entries it gives.
type Table<'t> = &'t [(&'t str, &'t [&'t str])];

fn check_all(table: Table<'_>) {
    for (input, expect) in table {
        check(input, expect);
    }
}

#[test]
fn what_is_not_json() {
    check_all(&[
        ("xyz", &["dead invalid_json xyz"]),
        ("hello, world", &["dead invalid_json hello, world"]),
        ("}", &["dead invalid_json }"]),
        ("]", &["dead invalid_json ]"]),
        (":", &["dead invalid_json :"]),
        ("}}]]", &["dead invalid_json }}]]"]),
        (",", &["skip empty"]),
        ("{", &["dead truncated {"]),
        ("[", &["dead truncated ["]),
        ("\"", &["dead truncated \""]),
        ("\"abc", &["dead truncated \"abc"]),
        ("\"abc\ndef", &["dead invalid_json \"abc\ndef"]),
        ("{]", &["dead invalid_json {]"]),
        ("{x}", &["dead invalid_json {x}"]),
        ("{,}", &["dead invalid_json {,}"]),
        ("{:}", &["dead invalid_json {:}"]),
        ("{\"a\"}", &["dead invalid_json {\"a\"}"]),
        ("{\"a\":}", &["dead invalid_json {\"a\":}"]),
        ("{'eventVersion':'1'}", &["dead invalid_json {'eventVersion':'1'}"]),
        ("{eventVersion:\"1\"}", &["dead invalid_json {eventVersion:\"1\"}"]),
        (
            "<xml>{\"a\":1}</xml>",
            &["dead invalid_json <xml>", "dead not_cloudtrail {\"a\":1}", "dead invalid_json </xml>"],
        ),
        ("%ff", &["dead invalid_utf8 %ff"]),
        ("%ff%ff @a", &["dead invalid_utf8 %ff%ff", "a"]),
    ]);
}

#[test]
fn json_that_is_no_record() {
    check_all(&[
        ("null", &["dead not_an_object null"]),
        ("1 2", &["dead not_an_object 1", "dead not_an_object 2"]),
        ("-1.5e3", &["dead not_an_object -1.5e3"]),
        ("true", &["dead not_an_object true"]),
        ("\"\"", &["dead not_an_object \"\""]),
        ("\"text\"", &["dead not_an_object \"text\""]),
        ("\"\\u12\"", &["dead invalid_json \"\\u12\""]),
        ("[1,null,@a]", &["dead not_an_object 1", "dead not_an_object null", "a"]),
        ("{\"Records\":[null]}", &["dead not_an_object null"]),
        ("{\"Records\":[@a,null,@b]}", &["a", "dead not_an_object null", "b"]),
        ("{\"Records\":[@a,{},@b]}", &["a", "dead not_cloudtrail {}", "b"]),
        ("{\"Records\":[@a,[],@b]}", &["a", "skip empty", "b"]),
        ("{\"Records\":[@a,7,\"x\",@b]}", &["a", "dead not_an_object 7", "dead not_an_object \"x\"", "b"]),
        ("{\"Records\":null}", &["dead not_cloudtrail {\"Records\":null}"]),
        ("{\"Records\":{}}", &["dead not_cloudtrail {\"Records\":{}}"]),
        ("{\"Records\":\"x\",\"y\":[1]}", &["dead not_cloudtrail {\"Records\":\"x\",\"y\":[1]}"]),
        ("{\"data\":\"!!!\"}", &["dead base64_corrupt \"!!!\""]),
        ("{\"data\":\"H4s=\"}", &["dead gzip_corrupt \u{1f}\u{fffd}"]),
        ("{\"awslogs\":{\"data\":\"x\"}}", &["dead base64_corrupt \"x\""]),
        ("{\"awslogs\":{}}", &["dead not_cloudtrail {}"]),
    ]);
}

#[test]
fn a_broken_record_among_good_ones() {
    let not_json = |bad: &str| {
        let dead = format!("dead invalid_json {bad}");
        for (open, join, close) in
            [("", "\n", "\n"), ("", "\r\n", ""), ("", "", ""), ("[", ",", "]"), ("{\"Records\":[", ",", "]}")]
        {
            check(&format!("{open}@a{join}{bad}{join}@b{close}"), &["a", &dead, "b"]);
        }
    };
    not_json(r#"{"eventID":NaN}"#);
    not_json(r#"{"eventID":-Infinity}"#);
    not_json(r#"{"eventID":1e999}"#);
    not_json(r#"{"eventID":01}"#);
    not_json(r#"{"eventID":.5}"#);
    not_json(r#"{"eventID":+5}"#);
    not_json(r#"{"eventID":0x1F}"#);
    not_json(r#"{"eventID":"x",}"#);
    not_json(r#"{"list":[1,]}"#);
    not_json(r#"{"list":[1 2]}"#);
    not_json(r#"{"eventID" "x"}"#);
    not_json(r#"{"eventID":"x" "k":1}"#);
    not_json(r#"{"eventID":1,/* c */"k":1}"#);
    not_json(r#"{"eventID":tru}"#);
    not_json(r#"{"eventID":TRUE}"#);
    not_json(r#"{"eventID":undefined}"#);
    not_json(r#"{"eventID":"\x41"}"#);
    not_json(r#"{"eventID":"\uZZZZ"}"#);
    not_json("{\"eventID\":\"a\tb\"}");
    not_json("{\"eventID\":\"a\u{0}b\"}");
    not_json("{\"eventID\":'x'}");
    // Here the extent is not sure, and the record after is found by its first key.
    not_json(r#"{"eventID":"he said "hi" to me"}"#);
    not_json(r#"{"eventID":"x" /* c */}"#);
    not_json(r#"{"eventID":"x""#);
    not_json(r#"{"eventID":{"a":1}"#);
    not_json(r#"{"eventID":[1,2}"#);
    not_json(r#"{"eventID":"cut"#);
    not_json(r#"{"eventID":"cut\"#);
    not_json(r#"{"eventID"#);
    not_json("xyz");
}

#[test]
fn bytes_that_are_not_utf8() {
    check_all(&[
        ("@a\n{\"eventID\":\"%ff\"}\n@b", &["a", "dead invalid_utf8 {\"eventID\":\"%ff\"}", "b"]),
        ("[@a,{\"%ff\":1},@b]", &["a", "dead invalid_utf8 {\"%ff\":1}", "b"]),
        ("@a{\"eventID\":%ff}@b", &["a", "dead invalid_utf8 {\"eventID\":%ff}", "b"]),
        ("@a%ff@b", &["a", "dead invalid_utf8 %ff", "b"]),
        ("@a \"%ff\" @b", &["a", "dead invalid_utf8 \"%ff\"", "b"]),
        ("{\"eventID\":\"%ff\\ud800\"}", &["dead invalid_utf8 {\"eventID\":\"%ff\\ud800\"}"]),
        ("@a\n{\"cut\":\"%ff", &["a", "dead truncated {\"cut\":\"%ff"]),
    ]);
}

#[test]
fn garbage_between_values() {
    check_all(&[
        ("@a xyz @b", &["a", "dead invalid_json xyz", "b"]),
        ("@a xyz 12 \"q\" ; @b", &["a", "dead invalid_json xyz 12 \"q\" ;", "b"]),
        ("@a\nxyz\nmore\n\n@b", &["a", "dead invalid_json xyz\nmore", "b"]),
        ("Jan  1 00:00:00 host app: @a", &["dead invalid_json Jan  1 00:00:00 host app:", "a"]),
        ("@a}@b", &["a", "b"]),
        ("@a]@b", &["a", "b"]),
        ("@a]}", &["a"]),
        ("@a,,,@b", &["a", "b"]),
        ("@a;@b", &["a", "dead invalid_json ;", "b"]),
        ("xyz [@a,@b]", &["dead invalid_json xyz [", "a", "b"]),
        ("xyz\n[@a,@b]", &["dead invalid_json xyz", "a", "b"]),
        ("@a\n\u{feff}@b", &["a", "dead invalid_json \u{feff}", "b"]),
        ("# comment\n@a\n# comment\n@b", &["dead invalid_json # comment", "a", "dead invalid_json # comment", "b"]),
        ("@a\n{xyz}\n{\"x\":1}\n@b", &["a", "dead invalid_json {xyz}", "dead not_cloudtrail {\"x\":1}", "b"]),
        ("%ff\nW3siZXZlbnROYW1lIjoieCJ9XQ==", &["dead invalid_utf8 %ff", "x"]),
    ]);
}

#[test]
fn lists_that_are_broken() {
    check_all(&[
        ("{\"Records\":[", &["dead truncated {\"Records\":["]),
        ("{\"Records\":[@a", &["a", "dead truncated "]),
        ("{\"Records\":[@a,", &["a", "dead truncated "]),
        ("{\"Records\":[@a]", &["a", "dead truncated ]"]),
        ("{\"Records\":[@a],", &["a", "dead truncated ]"]),
        ("{\"Records\":[@a],\"k\":[", &["a", "dead truncated ],\"k\":["]),
        (
            "{\"Records\":[@a,@b,{\"eventVersion\":\"1\",\"eve",
            &["a", "b", "dead truncated {\"eventVersion\":\"1\",\"eve"],
        ),
        ("{\"Records\":[@a}", &["a", "dead truncated "]),
        ("{\"Records\":[@a}]", &["a", "dead truncated "]),
        ("{\"Records\":[@a]]}", &["a"]),
        ("{\"Records\":[@a] x}", &["a", "dead invalid_json ] x}"]),
        ("{\"Records\":[@a],}", &["a"]),
        ("{\"Records\":[@a],\"k\":NaN}", &["a", "dead invalid_json ],\"k\":NaN}"]),
        ("{\"Records\":[@a],\"Records\":[@b]}", &["a", "dead invalid_json ],\"Records\":[@b]}"]),
        ("{\"Records\":[@a\n{\"Records\":[@b]}", &["a", "b", "dead truncated "]),
        ("{\"Records\":[@a,{\"cut\":\"x\n{\"Records\":[@b]}\n@c", &["a", "dead invalid_json {\"cut\":\"x", "b", "c"]),
        ("{\"k\":1,\"Records\":[@a,@b", &["dead truncated {\"k\":1,\"Records\":[", "a", "b"]),
        ("{\"k\":NaN,\"Records\":[@a,@b]}", &["dead invalid_json {\"k\":NaN,\"Records\":[", "a", "b"]),
        (
            "[{\"Records\":[@a,{\"x\":NaN},{\"x\":1},@b]},@c]",
            &["a", "dead invalid_json {\"x\":NaN}", "dead not_cloudtrail {\"x\":1}", "b", "c"],
        ),
        ("[@a", &["a", "dead truncated "]),
        ("[@a,@b,[", &["a", "b", "dead truncated ["]),
        ("[[@a]", &["a", "dead truncated "]),
        ("[@a\n@b]", &["a", "b"]),
        ("[@a,]", &["a"]),
        ("[,@a]", &["a"]),
        ("[@a]]\n@b", &["a", "b"]),
    ]);
}

#[test]
fn what_an_envelope_leaves_when_it_breaks() {
    check_all(&[
        ("{\"version\":\"0\",\"detail\":@a", &["dead truncated {\"version\":\"0\",\"detail\":", "a"]),
        (
            "{\"version\":\"0\",\"detail\":@a,\"x\":NaN}",
            &["dead invalid_json {\"version\":\"0\",\"detail\":", "a", "dead invalid_json ,\"x\":NaN}"],
        ),
        (
            "{\"version\":\"0\",\"detail\":{\"eventVersion\":NaN}}\n@b",
            &["dead invalid_json {\"version\":\"0\",\"detail\":{\"eventVersion\":NaN}}", "b"],
        ),
        ("@a\n{\"cut\":\n@b", &["a", "dead truncated {\"cut\":", "b"]),
        ("@a{\"cut\":@b", &["a", "dead truncated {\"cut\":", "b"]),
        ("{\"a\":\n@b\n@c", &["dead invalid_json {\"a\":", "b", "c"]),
        ("{\"a\":\n{\"a\":\n@b\n@c", &["dead invalid_json {\"a\":\n{\"a\":", "b", "c"]),
        ("{\"a\":1,\n@b", &["dead invalid_json {\"a\":1", "b"]),
        ("{\"a\":1\n@b", &["dead invalid_json {\"a\":1", "b"]),
        ("{\"a\":\"x\n@b\n@c", &["dead invalid_json {\"a\":\"x", "b", "c"]),
        (
            "{\"a\":{\"b\":[1,{\"c\":\"{\"eventVersion\":\"1\",\"eventID\":\"z\"}",
            &["dead invalid_json {\"a\":{\"b\":[1,{\"c\":\"", "z"],
        ),
        ("{\"a\":\"{ \"eventVersion\":\"1\",\"eventID\":\"z\"}", &["dead invalid_json {\"a\":\"", "z"]),
    ]);
}

#[test]
fn gzip_that_is_broken() {
    let limits = ReadLimits::default();
    let lossy = |bytes: &[u8]| format!("dead gzip_corrupt {}", String::from_utf8_lossy(bytes));
    let whole = gzip(expand("@a\n@b\n@c"));
    let check = |bytes: &[u8], before: &[&str]| {
        let expect: Vec<String> = before.iter().map(|id| (*id).to_owned()).chain([lossy(bytes)]).collect();
        assert_eq!(outcomes(bytes, &limits), expect);
        let mut expect = expect;
        *expect.last_mut().unwrap() = "dead gzip_corrupt ".to_owned();
        assert_eq!(file_outcomes(bytes, &limits), expect);
    };
    check(&[0x1f, 0x8b], &[]);
    check(&whole[..12], &[]);
    check(&whole[..whole.len() - 8], &["a", "b", "c"]);
    check(&whole[..whole.len() - 1], &["a", "b", "c"]);
    let mut bad_sum = whole.clone();
    let sum = bad_sum.len() - 8;
    bad_sum[sum] ^= 1;
    check(&bad_sum, &["a", "b", "c"]);
    check(&[whole.as_slice(), b"tail"].concat(), &["a", "b", "c"]);
    check(&[whole.as_slice(), &whole[..12]].concat(), &["a", "b", "c"]);
    check(&[whole.as_slice(), &[0, 0, 0x1f]].concat(), &["a", "b", "c"]);
    // All that comes out before corrupt data is read.
    let noise = |i: u32| format!(r#"{{"eventName":"{:x}"}}"#, u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut long = gzip((0..3000).map(noise).collect::<String>());
    let at = long.len() * 3 / 4;
    long[at..at + 64].fill(0xff);
    let got = outcomes(&long, &limits);
    assert!(got.len() > 2000 && got.iter().filter(|o| o.starts_with("dead gzip_corrupt")).count() == 1);
    // What is no fault: members in a row, and zeros after them.
    for tail in [&[0_u8; 512][..], &whole, &[]] {
        let bytes = [whole.as_slice(), &[0; 3], tail].concat();
        let ids = outcomes(&bytes, &limits);
        assert!(ids.iter().all(|id| id.len() == 1), "{ids:?}");
        assert_eq!(ids, file_outcomes(&bytes[..], &limits));
    }
}
