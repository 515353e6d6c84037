//! Where a record may begin among bytes that are broken.

use std::ops::Range;

use super::scan::is_space;
use super::text::begins_base64;

/// Keys that a CloudTrail record begins with: AWS writes `eventVersion` first; the others lead when a writer sorts the
/// keys or a test leaves some out. Used only to find records again after something broken.
const RECORD_KEYS: [&[u8]; 8] = [
    b"eventVersion",
    b"eventTime",
    b"eventID",
    b"eventName",
    b"eventCategory",
    b"userIdentity",
    b"awsRegion",
    b"additionalEventData",
];

/// Length of the longest record key, in bytes.
const KEY_BYTES_MAX: usize = 19;

/// White space that may stand between `{` and the first key, in bytes.
const GAP_BYTES_MAX: usize = 64;

/// Length of a base64 text's beginning that tells what it holds, in bytes.
const BASE64_HEAD_BYTES: usize = 8;

/// Whether a CloudTrail record begins with this key.
pub(super) fn is_record_key(key: &[u8]) -> bool {
    RECORD_KEYS.contains(&key)
}

/// Whether a line begins at `at`; `before` is the byte before the window.
pub(super) fn line_starts(window: &[u8], at: usize, before: u8) -> bool {
    let byte = at.checked_sub(1).map_or(Some(&before), |last| window.get(last));
    matches!(byte, Some(b'\n' | b'\r'))
}

/// A record's `{` may be the end of the string before it, when the record before was cut within that string:
/// `"userAgent":"Mozi{"eventVersion":…`. Where it is, if `string` (quotes included) ends so.
pub(super) fn brace_at_end(window: &[u8], string: &Range<usize>) -> Option<usize> {
    let text = window.get(string.start + 1..string.end.checked_sub(1)?)?;
    let gap = text.iter().rev().take(GAP_BYTES_MAX).take_while(|byte| is_space(**byte)).count();
    let brace = text.len().checked_sub(gap + 1)?;
    (text.get(brace) == Some(&b'{')).then_some(string.start + 1 + brace)
}

/// Whether a value begins at a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// It begins at this position.
    At(usize),
    /// It does not.
    No,
    /// It does not as far as the window goes.
    Unknown,
}

/// Whether a value begins at `pos`, which holds `{`, `[` or a newline. `strict`: a value broke before, so that not
/// every brace can be trusted.
pub(super) fn begins(window: &[u8], pos: usize, before: u8, strict: bool) -> Begins {
    let rest = window.get(pos..).unwrap_or_default();
    let Some((first, tail)) = rest.split_first() else {
        return Begins::Unknown;
    };
    let gap = tail.iter().take(GAP_BYTES_MAX).take_while(|byte| is_space(**byte)).count();
    let next = tail.get(gap..).unwrap_or_default();
    let record_key = || {
        let key = next.strip_prefix(b"\"").unwrap_or_default();
        let end = key.iter().take(KEY_BYTES_MAX + 1).position(|byte| *byte == b'"');
        end.and_then(|end| key.get(..end)).is_some_and(is_record_key)
    };
    let begins = match first {
        b'{' if !strict => matches!(next.first(), Some(b'"' | b'}')),
        b'{' => next.first() == Some(&b'"') && (line_starts(window, pos, before) || record_key()),
        b'[' => line_starts(window, pos, before),
        _ => begins_base64(tail.get(..BASE64_HEAD_BYTES).unwrap_or_default()),
    };
    if begins {
        Begins::At(pos + usize::from(*first == b'\n'))
    } else if tail.len() < GAP_BYTES_MAX + KEY_BYTES_MAX + 2 {
        Begins::Unknown
    } else {
        Begins::No
    }
}
