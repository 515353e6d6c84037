//! The quotes of a text, by registers of every width, against a look at byte after byte.

use fearless_simd::Level;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::quotes::{Places, Quotes};
use super::skimming::cases;

/// What this processor can do, and less.
fn levels() -> Vec<Level> {
    let best = Level::new();
    let mut levels = vec![Level::baseline(), best];
    #[cfg(target_arch = "x86_64")]
    {
        use fearless_simd::Simd;
        levels.extend(best.as_sse4_2().map(Simd::level));
        levels.extend(best.as_avx2().map(Simd::level));
    }
    levels
}

/// All quotes, whether what lies between them is valid, and whether there is a backslash.
type Found = (Vec<usize>, bool, bool);

/// By the registers of a level. `passes`: quotes that are passed at a time.
fn by_blocks(level: Level, text: &[u8], passes: usize) -> Found {
    let mut places = Places::at(level);
    let mut quotes = Quotes::new(text, &mut places).unwrap();
    let mut found = Vec::new();
    loop {
        let ahead = quotes.ahead().unwrap();
        let near = ahead.iter().take(passes).map(|at| *at as usize).take_while(|at| *at < text.len());
        found.extend(near);
        if ahead[passes - 1] == u32::MAX {
            return (found, quotes.valid(), quotes.escapes_seen());
        }
        quotes.pass(passes);
    }
}

/// Byte after byte. As where a string begins depends on the quotes alone, backslashes outside of strings count too.
fn by_bytes(text: &[u8]) -> Found {
    let (mut found, mut good, mut escaped) = (Vec::new(), std::str::from_utf8(text).is_ok(), false);
    for (at, byte) in text.iter().enumerate() {
        let within = found.len() % 2 == 1;
        good &= !(within && *byte < 0x20);
        if escaped {
            escaped = false;
            let plain = |digits: &[u8]| {
                std::str::from_utf8(digits).is_ok_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                    && !matches!(digits, [b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', ..])
            };
            good &= match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => true,
                b'u' => text.get(at + 1..at + 5).is_some_and(plain),
                _ => false,
            };
        } else if *byte == b'"' {
            found.push(at);
        } else {
            escaped = *byte == b'\\';
        }
    }
    (found, good, text.contains(&b'\\'))
}

fn check(text: &[u8]) -> Result<(), TestCaseError> {
    // A backslash is never the last.
    let text = &*[text, b" "].concat();
    let expect = by_bytes(text);
    for level in levels() {
        for passes in [2, 4] {
            let found = by_blocks(level, text, passes);
            prop_assert_eq!(&found, &expect, "{:?}, {}", level, String::from_utf8_lossy(text));
        }
    }
    Ok(())
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let long = "0123456789abcdef".repeat(5);
    prop_oneof![
        6 => Just(b"\"".to_vec()),
        3 => (0..80_usize).prop_map(move |length| long.as_bytes()[..length].to_vec()),
        2 => prop::sample::select(vec!["\\\"", "\\\\", "\\n", "\\u00e9", "\\u12", "\\ud83d", "\\x", "\\", "é", "\n", "\0", " "])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases() / 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_quote_is_found_whatever_the_registers(parts in vec(piece(), 0..40), times in prop_oneof![9 => Just(1), 1 => 1..80_usize]) {
        check(&parts.concat().repeat(times))?;
    }
}

#[test]
fn more_quotes_than_are_noted_at_a_time() {
    for length in [509, 510, 511, 512, 513, 1023, 1024, 1025, 5000] {
        check(&b"\"".repeat(length)).unwrap();
        check(&b"\"\\\"\"".repeat(length)).unwrap();
        check(&b"\"a\",".repeat(length)).unwrap();
    }
}
