//! Text within JSON strings: unescaping, and base64.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding is taken or left, as writers do.
const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

/// Decodes base64 in either alphabet, with or without padding and line breaks (RFC 4648).
pub(super) fn decode_base64(text: &[u8]) -> Result<Vec<u8>, base64::DecodeError> {
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
    let plain = !inner.iter().any(|byte| matches!(byte, b'\\' | b'"') || *byte < 0x20);
    if plain {
        return std::str::from_utf8(inner).is_ok().then_some(Cow::Borrowed(inner));
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
