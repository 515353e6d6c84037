//! The quotes of a text, found ahead of whoever walks through its strings, and what lies between them proved on the way.
//!
//! They are noted as places, some hundred at a time. So a walk goes from string to string without a look at what is in
//! them, and has the next four places, of a member's key and text, at one stroke. Blocks are looked at with the widest
//! registers that the processor has: with those of 512 bits a record that no rule wants takes a fifth less time than with
//! those of 128, which is what the program is compiled for.

use std::ops::Range;

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch};

use super::block::{self, BLOCK, Bytes, Lanes};

/// Places that are noted at a time, at most.
const PLACES: usize = 1024;

/// How many places a walk sees at once.
const SHOWN: usize = 4;

/// Quotes that a block has in nearly all cases, and in most cases. To write always as many places costs less than to guess
/// wrong when to stop.
const NEARLY_ALL: usize = 16;
const MOST: usize = 8;

/// A place behind the end of every text.
const NOWHERE: u32 = u32::MAX;

/// The memory of [`Quotes`], which is used again from text to text.
#[derive(Debug)]
pub(super) struct Places {
    places: Box<[u32; PLACES + SHOWN]>,
    /// What this processor can do.
    level: Level,
}

impl Default for Places {
    fn default() -> Places {
        Places::at(Level::new())
    }
}

impl Places {
    /// For a processor that can do this much.
    pub(super) fn at(level: Level) -> Places {
        Places { places: Box::new([NOWHERE; PLACES + SHOWN]), level }
    }
}

/// The quotes of a text that are not escaped, from the first to the last.
pub(super) struct Quotes<'r, 'p> {
    raw: &'r [u8],
    places: &'p mut [u32; PLACES + SHOWN],
    /// How many places are noted, and how many of these are passed. Behind them lie some that are nowhere.
    noted: usize,
    passed: usize,
    /// Where the next block begins.
    next: usize,
    /// Where the first block with a backslash begins, and where the last one ends.
    slashed: (usize, usize),
    /// 1 when the first byte of the next block is escaped.
    escaping: u64,
    /// Whether every escape is one that every reader understands alike, and no control character lies within a string.
    good: bool,
    /// Whether every byte is ASCII.
    ascii: bool,
    level: Level,
}

impl<'r, 'p> Quotes<'r, 'p> {
    /// None of a text that is too long for its places to be noted.
    #[inline(always)]
    pub(super) fn new(raw: &'r [u8], places: &'p mut Places) -> Option<Quotes<'r, 'p>> {
        u32::try_from(raw.len()).ok()?;
        let (places, level, slashed) = (&mut *places.places, places.level, (usize::MAX, 0));
        let (noted, passed, next, escaping, good, ascii) = (0, 0, 0, 0, true, true);
        // The first look at them notes the first.
        *places.first_chunk_mut()? = [NOWHERE; SHOWN];
        Some(Quotes { raw, places, noted, passed, next, slashed, escaping, good, ascii, level })
    }

    /// The next four; where there are fewer, the others are nowhere.
    #[inline(always)]
    pub(super) fn ahead(&mut self) -> Option<[u32; SHOWN]> {
        let mut ahead = self.shown()?;
        if ahead[SHOWN - 1] == NOWHERE {
            self.note();
            ahead = self.shown()?;
        }
        Some(ahead)
    }

    #[inline(always)]
    fn shown(&self) -> Option<[u32; SHOWN]> {
        self.places.get(self.passed..)?.first_chunk().copied()
    }

    /// Passes a string, or a key and the string behind it.
    #[inline(always)]
    pub(super) fn pass(&mut self, quotes: usize) {
        self.passed += quotes;
    }

    /// `range`, when no escape is in it.
    #[inline(always)]
    pub(super) fn plain(&self, range: Range<usize>) -> Option<Range<usize>> {
        let perhaps = self.slashed.0 < range.end && range.start < self.slashed.1;
        let escaped = perhaps && self.raw.get(range.clone())?.contains(&b'\\');
        (!escaped).then_some(range)
    }

    /// Whether what lies within strings is valid, once all are passed.
    pub(super) fn valid(&self) -> bool {
        self.good && (self.ascii || std::str::from_utf8(self.raw).is_ok())
    }

    /// Whether there was a backslash so far.
    pub(super) fn escapes_seen(&self) -> bool {
        self.slashed.1 > 0
    }

    /// Notes the quotes of the next blocks, as many as there is room for.
    #[inline(never)]
    fn note(&mut self) {
        if self.next >= self.raw.len() {
            return;
        }
        let left = self.passed.min(self.noted)..self.noted;
        (self.noted, self.passed) = (left.len(), 0);
        self.places.copy_within(left, 0);
        dispatch!(self.level, simd => self.note_by(simd));
        if let Some(behind) = self.places.get_mut(self.noted..).and_then(<[u32]>::first_chunk_mut) {
            *behind = [NOWHERE; SHOWN];
        }
    }

    #[inline(always)]
    fn note_by<S: Simd>(&mut self, simd: S) {
        let (mut next, mut noted, mut joined) = (self.next, self.noted, Bytes::splat(simd, 0));
        let mut padded = [0; BLOCK];
        while next < self.raw.len() && noted + BLOCK <= PLACES {
            let block = block::load(self.raw, next, &mut padded);
            let marks = block::marks(simd, block);
            let mut quotes = marks.quotes;
            // Both are rare. An escape may reach over from the block before.
            if (marks.slashes | marks.controls).any_true() || self.escaping != 0 {
                quotes = self.escapes(next, quotes, marks.slashes.to_bitmask());
                // Strings are passed as a whole, so what is noted are pairs, but for one that is open.
                let inside = block::inside(quotes, noted % 2 == 1);
                self.good &= marks.controls.to_bitmask() & inside == 0;
            }
            if let Some(room) = self.places.get_mut(noted..).and_then(<[u32]>::first_chunk_mut) {
                noted += spread(simd, quotes, next as u32, room);
            }
            joined |= marks.bytes;
            next += BLOCK;
        }
        (self.next, self.noted) = (next, noted);
        self.ascii &= block::are_ascii(simd, joined);
    }

    /// Takes the escaped quotes out of those of the block at `from`. That every other escape is good is checked on the way.
    #[inline(never)]
    fn escapes(&mut self, from: usize, quotes: u64, slashes: u64) -> u64 {
        let after = block::escaped(slashes, &mut self.escaping);
        let mut others = after & !quotes & !slashes;
        if slashes != 0 {
            self.slashed = (self.slashed.0.min(from), from + BLOCK);
        }
        while others != 0 {
            let at = from + others.trailing_zeros() as usize;
            others &= others - 1;
            self.good &= match self.raw.get(at) {
                Some(b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
                Some(b'u') => self.raw.get(at + 1..at + 5).is_some_and(plain_unit),
                _ => false,
            };
        }
        quotes & !after
    }
}

/// Writes the places of the bits, counted from `from`, and says how many they are. What lies behind them is overwritten.
#[inline(always)]
fn spread<S: Simd>(simd: S, mut bits: u64, from: u32, places: &mut [u32; BLOCK]) -> usize {
    let count = bits.count_ones() as usize;
    // A processor that holds a block in one register can also pack its bits.
    if S::u8s::LEN == BLOCK {
        let all = Bytes::from_fn(simd, |at| at as u8);
        let packed = all.compress(Lanes::from_bitmask(simd, bits)).to_array();
        let (some, many) = places.split_at_mut(NEARLY_ALL);
        let write = |(place, at): (&mut u32, &u8)| *place = from + u32::from(*at);
        some.iter_mut().zip(&packed[..NEARLY_ALL]).for_each(write);
        if count > NEARLY_ALL {
            many.iter_mut().zip(&packed[NEARLY_ALL..]).for_each(write);
        }
        return count;
    }
    let (few, rest) = places.split_at_mut(MOST);
    let mut write = |place: &mut u32| {
        *place = from + bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
    };
    few.iter_mut().for_each(&mut write);
    if count > MOST {
        let (some, many) = rest.split_at_mut(NEARLY_ALL - MOST);
        some.iter_mut().for_each(&mut write);
        if count > NEARLY_ALL {
            many.iter_mut().take(count - NEARLY_ALL).for_each(&mut write);
        }
    }
    count
}

/// Whether four digits of an escape name a character and not half of one.
fn plain_unit(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
        && !matches!(digits, [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..])
}
