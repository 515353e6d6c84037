//! Reading a record that was skimmed and that somebody wants.
//!
//! Its bytes are proved to be text once: to prove each value when it is looked at took a tenth of what a finding costs. And an
//! object is taken apart once, however many paths lead through it.

use std::cell::RefCell;
use std::ops::Range;

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16};
use memchr::memchr;

use super::skim::{Look, MemberAt, Skimmed, Subtle, spaces};

/// A record that was skimmed, as text.
#[derive(Clone, Copy, Debug)]
pub struct Legible<'r> {
    text: &'r str,
    members: &'r [MemberAt],
    escapes: bool,
}

/// A value within a record that was skimmed.
#[derive(Clone, Copy, Debug)]
pub struct Part<'r> {
    record: &'r str,
    /// Where its JSON lies.
    at: (u32, u32),
    escapes: bool,
}

/// The objects in a record that were taken apart, and where their members lie.
#[derive(Debug, Default)]
pub(super) struct Opened {
    objects: Vec<(Range<u32>, Range<usize>)>,
    members: Vec<MemberAt>,
}

impl<'r> Legible<'r> {
    /// What was skimmed, as text; it always is some.
    pub(super) fn new(skimmed: Skimmed<'r>) -> Option<Legible<'r>> {
        let text = simdutf8::basic::from_utf8(skimmed.raw()).ok()?;
        Some(Legible::again(text, skimmed.places(), skimmed.escapes()))
    }

    /// The same record once more, from what was kept of it: its text, [`Legible::places`] and [`Legible::escapes`].
    pub fn again(text: &'r str, members: &'r [MemberAt], escapes: bool) -> Legible<'r> {
        Legible { text, members, escapes }
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
    pub(super) fn look<'n>(&self, mut path: impl Iterator<Item = &'n str>, opened: &RefCell<Opened>) -> Look<'r> {
        let mut found = path.next().and_then(|name| self.first(self.members, name));
        for name in path {
            let Some(part) = found else { return Look::Missing };
            let mut opened = opened.borrow_mut();
            let Ok(members) = opened.open(part) else { return Look::Unsure };
            found = self.first(members, name);
        }
        found.map_or(Look::Missing, Part::look)
    }

    /// The first of the members that is called `name`.
    fn first(&self, members: &[MemberAt], name: &str) -> Option<Part<'r>> {
        let (_, value) = members.iter().find(|(key, _)| is(self.text.as_bytes(), key, name))?;
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

impl Opened {
    /// Forgets the record before.
    pub(super) fn clear(&mut self) {
        self.objects.clear();
        self.members.clear();
    }

    /// The members of a value; none of what is no object.
    fn open(&mut self, value: Part<'_>) -> Result<&[MemberAt], Subtle> {
        let at = value.at.0..value.at.1;
        let known = self.objects.iter().find(|(object, _)| *object == at).map(|(_, members)| members.clone());
        let members = match known {
            Some(members) => members,
            None => {
                let before = self.members.len();
                value.each(|key, value| self.members.push((key, value)))?;
                let members = before..self.members.len();
                self.objects.push((at, members.clone()));
                members
            }
        };
        Ok(self.members.get(members).unwrap_or_default())
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

    /// Visits the value's members, in the order of the text; none of what is no object.
    pub fn members(self, mut visit: impl FnMut(&'r [u8], Part<'r>)) -> Result<(), Subtle> {
        let key = |at: Range<u32>| Part { at: (at.start, at.end), ..self }.json();
        self.each(|name, value| visit(key(name), Part { at: (value.start, value.end), ..self }))
    }

    /// The first member called `name`.
    pub fn member(self, name: &str) -> Result<Option<Part<'r>>, Subtle> {
        let found = first(self.record.as_bytes(), self.at.0 as usize, name)?;
        Ok(found.map(|value| Part { at: (value.start as u32, value.end as u32), ..self }))
    }

    /// Visits the places of the value's members in the record.
    fn each(self, mut visit: impl FnMut(Range<u32>, Range<u32>)) -> Result<(), Subtle> {
        let short = |at: Range<usize>| at.start as u32..at.end as u32;
        members(self.record.as_bytes(), self.at.0 as usize, |key, value| visit(short(key), short(value)))
    }
}

/// Visits the members of the value at `start` of what was skimmed, in the order of the text: where keys, without quotes, and
/// values lie. None of what is no object.
///
/// Nothing is proved once more. An object in a record is small, and from mark to mark it takes a third less than in blocks.
pub(super) fn members(
    raw: &[u8],
    start: usize,
    mut visit: impl FnMut(Range<usize>, Range<usize>),
) -> Result<(), Subtle> {
    if raw.get(start) != Some(&b'{') {
        return Ok(());
    }
    let mut at = spaces(raw, start + 1);
    while raw.get(at) == Some(&b'"') {
        let key = at + 1..mark(raw, at + 1).ok_or(Subtle)?;
        if raw.get(key.end) != Some(&b'"') {
            // An escape.
            return Err(Subtle);
        }
        let value = spaces(raw, spaces(raw, key.end + 1) + 1);
        let end = end(raw, value).ok_or(Subtle)?;
        visit(key, value..end);
        at = spaces(raw, end);
        if raw.get(at) == Some(&b',') {
            at = spaces(raw, at + 1);
        }
    }
    Ok(())
}

/// Where the first member called `name` of the value at `start` lies.
pub(super) fn first(raw: &[u8], start: usize, name: &str) -> Result<Option<Range<usize>>, Subtle> {
    let mut found = None;
    members(raw, start, |key, value| {
        if found.is_none() && raw.get(key) == Some(name.as_bytes()) {
            found = Some(value);
        }
    })?;
    Ok(found)
}

/// The end of the value at `at`.
fn end(raw: &[u8], mut at: usize) -> Option<usize> {
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
