//! JSON text as bytes: how deep it nests, and how it looks without white space.
//!
//! Neither needs a parser, and a parser must not see text before its depth is known: sonic-rs recurses without a limit
//! (cloudwego/sonic-rs issues 232 and 239), so that 100,000 brackets end the process.

/// How many levels of objects and arrays JSON text has. An upper bound is given instead where that is within `enough`.
///
/// In text that is not JSON all the way, this is no less than what a parser sees before it stops.
pub(super) fn depth(json: &[u8], enough: usize) -> usize {
    // Most records end here. `{` and `[` differ in one bit.
    let opened = count(json, |byte| byte | 0x20 == b'{');
    if opened <= enough {
        return opened;
    }
    let (mut level, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for &byte in json {
        match byte {
            b'{' | b'[' if !quoted => {
                level += 1;
                deepest = deepest.max(level);
            }
            b'}' | b']' if !quoted => level = level.saturating_sub(1),
            _ => {}
        }
        (quoted, escaped) = step(byte, quoted, escaped);
    }
    deepest
}

/// JSON text without the white space between its tokens.
pub(super) fn compact(json: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for &byte in json {
        if !quoted && matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            continue;
        }
        kept.push(byte);
        (quoted, escaped) = step(byte, quoted, escaped);
    }
    kept
}

/// How many bytes `is` picks. In pieces whose sum fits a byte, so that it compiles to vector code.
fn count(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.chunks(255).map(|piece| usize::from(piece.iter().map(|byte| u8::from(is(*byte))).sum::<u8>())).sum()
}

/// Whether the byte after this one is inside a string, and whether it is escaped there.
fn step(byte: u8, quoted: bool, escaped: bool) -> (bool, bool) {
    match byte {
        _ if escaped => (true, false),
        b'\\' if quoted => (true, true),
        b'"' => (!quoted, false),
        _ => (quoted, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_are_no_nesting() {
        let check = |json: &str, expect: usize| assert_eq!(depth(json.as_bytes(), 0), expect, "{json}");
        check("", 0);
        check("7", 0);
        check("[]", 1);
        check(r#"{"a":[{}],"b":[[],[]]}"#, 3);
        check(r#"{"a[[[[":"{{\"[[","b\\":[1]}"#, 2);
        check("]]]][[", 2);
        check(&"[".repeat(100_000), 100_000);
    }

    #[test]
    fn every_byte_is_counted() {
        for len in [0, 1, 254, 255, 256, 1000] {
            assert_eq!(depth(&vec![b'['; len], usize::MAX), len);
            assert_eq!(depth(&vec![b'{'; len], usize::MAX), len);
        }
        assert_eq!(depth(b"\x1b\x3b;]}zZ", usize::MAX), 0);
    }

    #[test]
    fn a_bound_is_enough_for_a_flat_record() {
        assert_eq!(depth(b"[[],[],[]]", 4), 4);
        assert_eq!(depth(b"[[],[],[]]", 3), 2);
    }

    #[test]
    fn only_white_space_between_tokens_goes() {
        let check = |json: &str, expect: &str| assert_eq!(compact(json.as_bytes()), expect.as_bytes(), "{json}");
        check(" { \"a b\" :\t[ 1 ,\r\n 2 ] } \n", r#"{"a b":[1,2]}"#);
        check(r#"{"\" x": "y \\" , "z":  1.50}"#, r#"{"\" x":"y \\","z":1.50}"#);
    }
}
