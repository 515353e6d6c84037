//! Reading a record that was skimmed and that somebody wants.
//!
//! Its bytes are proved to be text once: to prove each value when it is looked at took a tenth of what a finding costs.

use std::cell::RefCell;
use std::iter::once;
use std::ops::Range;

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16};
use memchr::memchr;

use super::opened::{Opened, Opening};
use super::skim::{Look, MemberAt, Skimmed, Subtle, spaces};

/// A record that was skimmed, as text.
#[derive(Clone, Copy, Debug)]
pub struct Legible<'r> {
    text: &'r str,
    members: &'r [MemberAt],
    escapes: bool,
    /// Objects in it that were taken apart before.
    opened: Opened<'r>,
}

/// A value within a record that was skimmed.
#[derive(Clone, Copy, Debug)]
pub struct Part<'r> {
    record: &'r str,
    /// Where its JSON lies.
    at: (u32, u32),
    escapes: bool,
}

impl<'r> Legible<'r> {
    /// What was skimmed, as text; it always is some.
    pub(super) fn new(skimmed: Skimmed<'r>) -> Option<Legible<'r>> {
        let text = simdutf8::basic::from_utf8(skimmed.raw()).ok()?;
        Some(Legible::again(text, skimmed.places(), skimmed.escapes(), Opened::default()))
    }

    /// The same record once more, from what was kept of it: its text, [`Legible::places`], [`Legible::escapes`], and what was
    /// taken apart.
    pub fn again(text: &'r str, members: &'r [MemberAt], escapes: bool, opened: Opened<'r>) -> Legible<'r> {
        Legible { text, members, escapes, opened }
    }

    /// Its JSON.
    pub fn text(&self) -> &'r str {
        self.text
    }

    /// Whether there is a backslash anywhere in it.
    pub fn escapes(&self) -> bool {
        self.escapes
    }

    /// Where its members lie, in the order of the text.
    pub fn places(&self) -> &'r [MemberAt] {
        self.members
    }

    /// Its members, names and values, in the order of the text.
    pub fn members(&self) -> impl DoubleEndedIterator<Item = (&'r [u8], Part<'r>)> + use<'r> {
        let record = *self;
        self.members.iter().map(move |(key, value)| (record.bytes(key), record.part(value)))
    }

    /// What lies at a path of names. Of a name that occurs twice the first counts, as for the parser.
    pub(super) fn look<'n>(&self, mut path: impl Iterator<Item = &'n str>, opening: &RefCell<Opening>) -> Look<'r> {
        let Some(part) = path.next().and_then(|name| self.first(name)) else { return Look::Missing };
        let Some(name) = path.next() else { return part.look() };
        let mut opening = opening.borrow_mut();
        let Ok(members) = opening.open(self.text.as_bytes(), part.at.0) else { return Look::Unsure };
        let found = opening.opened().find(self.text.as_bytes(), members, once(name).chain(path));
        found.map_or(Look::Missing, |value| self.part(&value).look())
    }

    /// What takes values out of an object of the record by their paths.
    pub fn values(&self, object: Part<'r>) -> Result<Values<'r>, Subtle> {
        let (raw, start) = (self.text.as_bytes(), object.at.0);
        let (members, opening) = match self.opened.members_of(start) {
            Some(members) => (members, Opening::default()),
            None => {
                let mut opening = Opening::default();
                (opening.open(raw, start)?, opening)
            }
        };
        Ok(Values { record: *self, members, opening })
    }

    /// Its first member called `name`.
    fn first(&self, name: &str) -> Option<Part<'r>> {
        let (_, value) = self.members.iter().find(|(key, _)| is(self.text.as_bytes(), key, name))?;
        Some(self.part(value))
    }

    fn bytes(&self, at: &Range<u32>) -> &'r [u8] {
        self.text.as_bytes().get(at.start as usize..at.end as usize).unwrap_or_default()
    }

    fn part(&self, at: &Range<u32>) -> Part<'r> {
        Part { record: self.text, at: (at.start, at.end), escapes: self.escapes }
    }
}

/// Whether `name` lies at `at`. Nearly always its length alone tells that it does not.
#[inline]
pub(super) fn is(raw: &[u8], at: &Range<u32>, name: &str) -> bool {
    (at.end - at.start) as usize == name.len() && raw.get(at.start as usize..at.end as usize) == Some(name.as_bytes())
}

/// An object of a record that was taken apart.
#[derive(Debug)]
pub struct Values<'r> {
    record: Legible<'r>,
    members: Range<u32>,
    /// What was not taken apart before.
    opening: Opening,
}

impl<'r> Values<'r> {
    /// Its members.
    pub fn members(&self) -> Inside<'r, '_> {
        let own = self.opening.opened();
        let opened = if own.objects.is_empty() { self.record.opened } else { own };
        Inside { record: self.record, opened, members: self.members.clone() }
    }
}

/// The members of an object that was taken apart, or of one within it.
#[derive(Clone, Debug)]
pub struct Inside<'r, 'v> {
    record: Legible<'r>,
    opened: Opened<'v>,
    members: Range<u32>,
}

impl<'r, 'v> Inside<'r, 'v> {
    /// Names and values, in the order of the text, and the members of each value; it has none where it is no object.
    pub fn each(self) -> impl Iterator<Item = (&'r [u8], Part<'r>, Inside<'r, 'v>)> {
        let Inside { record, opened, members } = self;
        opened.each(members).map(move |(key, value, members)| {
            (record.bytes(key), record.part(value), Inside { record, opened, members })
        })
    }
}

impl<'r> Part<'r> {
    /// What the value says. A text is as it stands there: nothing in it needs to be escaped in JSON.
    #[inline]
    pub fn look(self) -> Look<'r> {
        let (start, end) = self.at;
        Look::of(self.json(), |text| {
            let plain = !self.escapes || memchr(b'\\', text).is_none();
            plain.then(|| self.record.get(start as usize + 1..end as usize - 1).unwrap_or_default())
        })
    }

    /// The value's JSON.
    #[inline]
    pub fn json(self) -> &'r [u8] {
        let (start, end) = self.at;
        self.record.as_bytes().get(start as usize..end as usize).unwrap_or_default()
    }
}

/// Where the first member called `name` of the value at `start` of what was skimmed lies: none of what is no object. What
/// stands behind it is not looked at.
pub(super) fn first(raw: &[u8], start: usize, name: &str) -> Result<Option<Range<usize>>, Subtle> {
    if raw.get(start) != Some(&b'{') {
        return Ok(None);
    }
    let mut at = spaces(raw, start + 1);
    while let Some((key, value)) = key(raw, at)? {
        let end = end(raw, value).ok_or(Subtle)?;
        if raw.get(key) == Some(name.as_bytes()) {
            return Ok(Some(value..end));
        }
        at = behind(raw, end);
    }
    Ok(None)
}

/// The key of the member at `at`, without quotes, and where its value begins. None where there is no more member.
#[inline]
pub(super) fn key(raw: &[u8], at: usize) -> Result<Option<(Range<usize>, usize)>, Subtle> {
    if raw.get(at) != Some(&b'"') {
        return Ok(None);
    }
    let key = at + 1..mark(raw, at + 1).ok_or(Subtle)?;
    if raw.get(key.end) != Some(&b'"') {
        // An escape.
        return Err(Subtle);
    }
    let value = spaces(raw, spaces(raw, key.end + 1) + 1);
    Ok(Some((key, value)))
}

/// Where the next member may begin, behind the value that ends at `end`.
#[inline]
pub(super) fn behind(raw: &[u8], end: usize) -> usize {
    let at = spaces(raw, end);
    if raw.get(at) == Some(&b',') { spaces(raw, at + 1) } else { at }
}

/// The end of the value at `at`.
pub(super) fn end(raw: &[u8], mut at: usize) -> Option<usize> {
    match raw.get(at)? {
        b'"' => string_end(raw, at + 1),
        b'{' | b'[' => {
            let mut depth = 0_usize;
            loop {
                match raw.get(at)? {
                    b'"' => at = string_end(raw, at + 1)? - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' if depth == 1 => return Some(at + 1),
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
            }
        }
        _ => {
            let is_part = |byte: &&u8| !matches!(byte, b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
            Some(at + raw.get(at..)?.iter().take_while(is_part).count())
        }
    }
}

/// Behind the string whose text begins at `at`.
#[inline]
fn string_end(raw: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = mark(raw, at)?;
        if raw.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The first quote or backslash from `at` on. It is mostly so near that to choose wider registers costs more than they gain.
#[inline]
fn mark(raw: &[u8], at: usize) -> Option<usize> {
    dispatch!(Level::baseline(), simd => mark_by(simd, raw, at))
}

#[inline(always)]
fn mark_by<S: Simd>(simd: S, raw: &[u8], mut at: usize) -> Option<usize> {
    let mut rest = raw.get(at..)?;
    while let Some((block, behind)) = rest.split_first_chunk::<16>() {
        let block = u8x16::load_array_ref(simd, block);
        let marks = block.simd_eq(u8x16::splat(simd, b'"')) | block.simd_eq(u8x16::splat(simd, b'\\'));
        let marks = marks.to_bitmask();
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize);
        }
        (rest, at) = (behind, at + 16);
    }
    rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|found| at + found)
}
