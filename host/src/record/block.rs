//! Text in blocks of 64 bytes, a bit for each byte, so that what lies within strings is not looked at byte by byte.

use wide::u8x16;

/// Bytes that are looked at together.
pub(super) const BLOCK: usize = 64;

/// The block of `text` at `at`, with spaces after its end.
#[inline]
pub(super) fn load<'t>(text: &'t [u8], at: usize, padded: &'t mut [u8; BLOCK]) -> &'t [u8; BLOCK] {
    let rest = text.get(at..).unwrap_or_default();
    if let Some(block) = rest.first_chunk() {
        return block;
    }
    *padded = [b' '; BLOCK];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

/// What is special in a block.
pub(super) struct Marks {
    /// The quotes.
    pub(super) quotes: u64,
    /// Whether there are backslashes.
    pub(super) slashes: bool,
    /// Whether there are control characters.
    pub(super) control: bool,
    /// The bytes, joined by sixteens: whether any is not ASCII.
    pub(super) joined: u8x16,
}

/// Looks at a block once.
#[inline(always)]
pub(super) fn marks(block: &[u8; BLOCK]) -> Marks {
    let (parts, _) = block.as_chunks::<16>();
    let (mut quotes, mut slashes) = (0, u8x16::default());
    let (mut control, mut joined) = (u8x16::default(), u8x16::default());
    for (number, part) in parts.iter().enumerate() {
        let part = u8x16::new(*part);
        quotes |= u64::from(part.simd_eq(u8x16::splat(b'"')).to_bitmask()) << (16 * number);
        slashes |= part.simd_eq(u8x16::splat(b'\\'));
        control |= part.min(u8x16::splat(0x1f)).simd_eq(part);
        joined |= part;
    }
    Marks { quotes, slashes: slashes.to_bitmask() != 0, control: control.to_bitmask() != 0, joined }
}

/// The backslashes in a block.
#[inline(always)]
pub(super) fn slashes(block: &[u8; BLOCK]) -> u64 {
    let (parts, _) = block.as_chunks::<16>();
    let bits = |part: &[u8; 16]| u64::from(u8x16::new(*part).simd_eq(u8x16::splat(b'\\')).to_bitmask());
    parts.iter().rev().fold(0, |slashes, part| slashes << 16 | bits(part))
}

/// The bytes in a block that are escaped: each after a backslash that is not escaped itself. `escaping`: 1 when that is the
/// next block's first byte, else 0; kept between blocks.
///
/// Of a row of backslashes every second one is escaped. An addition carries through the rows that begin at an odd place, and
/// where they end tells odd rows from even ones (Langdale and Lemire, "Parsing Gigabytes of JSON per Second", 2019).
#[inline(always)]
pub(super) fn escaped(slashes: u64, escaping: &mut u64) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let slashes = slashes & !*escaping;
    let after = slashes << 1 | *escaping;
    let odd_starts = slashes & !EVEN & !after;
    let (ends, over) = odd_starts.overflowing_add(slashes);
    *escaping = u64::from(over);
    (EVEN ^ ends << 1) & after
}
