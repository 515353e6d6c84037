//! Text in blocks of 64 bytes, a bit for each byte, so that what lies within strings is not looked at byte by byte. One register holds
//! a block, or two or four do: as wide as the caller's processor has them.

use fearless_simd::prelude::*;
use fearless_simd::{mask8x64, u8x64};

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

/// A block in a register or a few.
pub(super) type Bytes<S> = u8x64<S>;

/// Those of its bytes that are something.
pub(super) type Lanes<S> = mask8x64<S>;

/// What is special in a block.
pub(super) struct Marks<S: Simd> {
    /// The quotes.
    pub(super) quotes: u64,
    /// The backslashes.
    pub(super) slashes: Lanes<S>,
    /// The control characters.
    pub(super) controls: Lanes<S>,
    /// The bytes: whether any is not ASCII is asked of many blocks at once.
    pub(super) bytes: Bytes<S>,
}

/// Looks at a block once.
#[inline(always)]
pub(super) fn marks<S: Simd>(simd: S, block: &[u8; BLOCK]) -> Marks<S> {
    let bytes = u8x64::load_array_ref(simd, block);
    Marks {
        quotes: bytes.simd_eq(u8x64::splat(simd, b'"')).to_bitmask(),
        slashes: bytes.simd_eq(u8x64::splat(simd, b'\\')),
        controls: bytes.simd_lt(u8x64::splat(simd, b' ')),
        bytes,
    }
}

/// Whether all bytes of blocks, joined, are ASCII.
#[inline(always)]
pub(super) fn are_ascii<S: Simd>(simd: S, joined: Bytes<S>) -> bool {
    !joined.simd_ge(u8x64::splat(simd, 0x80)).any_true()
}

/// The bytes in a block that lie within strings, each string's first quote with them and its last one not. `open`: whether
/// the block begins in a string.
pub(super) fn inside(mut quotes: u64, open: bool) -> u64 {
    for width in [1, 2, 4, 8, 16, 32] {
        quotes ^= quotes << width;
    }
    if open { !quotes } else { quotes }
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
