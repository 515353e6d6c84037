//! Text within JSON strings: unescaping, and base64.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch};

use super::block::{self, BLOCK, Bytes};

/// Padding is taken or left, as writers do.
const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

/// Decodes base64 in either alphabet, with or without padding and line breaks (RFC 4648).
pub(super) fn decode_base64(text: &[u8]) -> Result<Vec<u8>, base64::DecodeError> {
    // What senders write; the rest is looked at more closely.
    if let Ok(bytes) = STANDARD.decode(text) {
        return Ok(bytes);
    }
    let text = if text.iter().any(u8::is_ascii_whitespace) {
        Cow::Owned(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect())
    } else {
        Cow::Borrowed(text)
    };
    let url_safe = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
    if url_safe { URL_SAFE.decode(&*text) } else { STANDARD.decode(&*text) }
}

/// Whether text begins as base64 of gzip, or of a JSON object or array, does. At least eight characters.
pub(super) fn begins_base64(text: &[u8]) -> bool {
    let Some((head, _)) = text.split_first_chunk::<8>() else {
        return false;
    };
    let Ok(bytes) = decode_base64(head) else {
        return false;
    };
    match bytes.as_slice() {
        [0x1f, 0x8b, 8, ..] => true,
        [b'{', next, ..] => matches!(next, b'"' | b'}' | b' ' | b'\t' | b'\r' | b'\n'),
        [b'[', next, ..] => matches!(next, b'{' | b'[' | b'"' | b']' | b' ' | b'\t' | b'\r' | b'\n'),
        _ => false,
    }
}

/// The text of a JSON string, quotes included in `raw`; borrowed when it has no escapes. None when it is no valid
/// JSON string. Lone surrogates become U+FFFD.
pub(super) fn unquote(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if let Some(text) = unescape(inner) {
        return Some(text);
    }
    let text: String = match sonic_rs::from_slice(raw) {
        Ok(text) => text,
        Err(_) => {
            std::str::from_utf8(raw).ok()?;
            let mut lenient = sonic_rs::Deserializer::from_slice(raw).utf8_lossy();
            let text = lenient.deserialize().ok()?;
            lenient.end().ok()?;
            text
        }
    };
    Some(Cow::Owned(text.into_bytes()))
}

/// A run between two escapes is copied as a whole when it is no longer, in bytes: of a record in a log event nearly all.
const RUN: usize = 32;

/// The text of a JSON string without its quotes. None when it is none, or has one half of a surrogate pair: the parser tells
/// them apart.
pub(super) fn unescape(inner: &[u8]) -> Option<Cow<'_, [u8]>> {
    dispatch!(Level::new(), simd => unescape_by(simd, inner))
}

#[inline(always)]
fn unescape_by<S: Simd>(simd: S, inner: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut out = Vec::new();
    let (mut from, mut to) = (0, 0);
    let (mut escaping, mut joined) = (0, Bytes::splat(simd, 0));
    let mut padded = [0; BLOCK];
    for start in (0..inner.len()).step_by(BLOCK) {
        let block = block::load(inner, start, &mut padded);
        let marks = block::marks(simd, block);
        joined |= marks.bytes;
        let slashes = marks.slashes.to_bitmask();
        let escaped = block::escaped(slashes, &mut escaping);
        if marks.controls.any_true() || marks.quotes & !escaped != 0 {
            return None;
        }
        let mut begins = slashes & !escaped;
        if begins != 0 && out.is_empty() {
            out.resize(inner.len() + RUN, 0);
        }
        while begins != 0 {
            let at = start + begins.trailing_zeros() as usize;
            begins &= begins - 1;
            copy(inner, from..at, &mut out, &mut to);
            let byte = match inner.get(at + 1)? {
                // It stands for itself, and begins the next run.
                b'"' | b'\\' | b'/' => {
                    from = at + 1;
                    continue;
                }
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'b' => 8,
                b'f' => 12,
                b'u' => {
                    let character = character(inner.get(at + 2..at + 6)?)?;
                    to += character.encode_utf8(out.get_mut(to..)?).len();
                    from = at + 6;
                    continue;
                }
                _ => return None,
            };
            *out.get_mut(to)? = byte;
            (from, to) = (at + 2, to + 1);
        }
    }
    if !block::are_ascii(simd, joined) {
        std::str::from_utf8(inner).ok()?;
    }
    if out.is_empty() {
        return Some(Cow::Borrowed(inner));
    }
    copy(inner, from..inner.len(), &mut out, &mut to);
    out.truncate(to);
    Some(Cow::Owned(out))
}

/// Copies a run of `inner` to `to`, which it moves on. What comes after it is written over.
#[inline(always)]
fn copy(inner: &[u8], run: Range<usize>, out: &mut [u8], to: &mut usize) {
    let out = out.get_mut(*to..).unwrap_or_default();
    *to += run.len();
    match (inner.get(run.start..).and_then(|rest| rest.first_chunk::<RUN>()), out.first_chunk_mut::<RUN>()) {
        (Some(whole), Some(out)) if run.len() <= RUN => *out = *whole,
        _ => {
            if let (Some(run), Some(out)) = (inner.get(run.clone()), out.get_mut(..run.len())) {
                out.copy_from_slice(run);
            }
        }
    }
}

/// The character with this number of four digits; None for a half of one.
fn character(digits: &[u8]) -> Option<char> {
    let digits = digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?));
    char::from_u32(digits?)
}
