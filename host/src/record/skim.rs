//! Skimming: a record's bytes are proved to be JSON, and the members at its top are found, without making a tree.
//!
//! Most records are selected by no rule, and a tree of them would be made for nothing: skimming takes a third of its time
//! (BENCHMARKS.md). The places of all quotes are known beforehand (`quotes.rs`), so the walk looks at no byte within a string,
//! and at two together between strings: nearly always these are `":"` and `","`.
//!
//! It says yes only to what the parser accepts too. Of all that is rare or subtle it says that it does not know; then the
//! parser decides, and finds the words for what is wrong. So it knows no reasons, no surrogates and no doubles.

use std::cell::RefCell;
use std::ops::Range;

use super::legible::{self, is};
use super::opened::Opening;
use super::quotes::{Places, Quotes};

/// The members at the top of an object: where keys, without quotes, and values lie, in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Members {
    at: Vec<MemberAt>,
    /// What is taken apart of a record that somebody reads.
    opening: RefCell<Opening>,
}

impl Members {
    /// Finds the members of the JSON object that fills `raw`. None when it is none, when brackets lie deeper than
    /// `depth_max`, or when only the parser can tell.
    pub(super) fn skim<'r>(&'r mut self, raw: &'r [u8], depth_max: usize, places: &mut Places) -> Option<Skimmed<'r>> {
        self.at.clear();
        let short = |range: Range<usize>| range.start as u32..range.end as u32;
        let note = |_, key, value| self.at.push((short(key), short(value)));
        let escapes = object::<false>(raw, depth_max, places, note)?;
        Some(Skimmed { raw, members: &self.at, escapes, opening: &self.opening })
    }
}

/// A member of an object: where its key, without quotes, and its value lie, in bytes from the object's beginning.
pub type MemberAt = (Range<u32>, Range<u32>);

/// A record that was skimmed.
#[derive(Clone, Copy, Debug)]
pub struct Skimmed<'r> {
    raw: &'r [u8],
    members: &'r [MemberAt],
    escapes: bool,
    pub(super) opening: &'r RefCell<Opening>,
}

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<'r> {
    /// Nothing: a name is missing, or a step runs into something that is no object.
    Missing,
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A string.
    Text(&'r str),
    /// An object or an array.
    Nested,
    /// Something that only the parser can read: a number, an escape.
    Unsure,
}

impl<'r> Look<'r> {
    /// What a value that was skimmed says. `read` gives the text between quotes, unless only the parser can.
    #[inline(always)]
    pub(super) fn of(value: &'r [u8], read: impl FnOnce(&'r [u8]) -> Option<&'r str>) -> Look<'r> {
        match value {
            [b'"', text @ .., b'"'] => read(text).map_or(Look::Unsure, Look::Text),
            b"true" => Look::Bool(true),
            b"false" => Look::Bool(false),
            b"null" => Look::Null,
            [b'{' | b'[', ..] => Look::Nested,
            _ => Look::Unsure,
        }
    }
}

impl<'r> Skimmed<'r> {
    /// Its bytes.
    pub(super) fn raw(&self) -> &'r [u8] {
        self.raw
    }

    /// Whether there is a backslash anywhere in it. Most records have none, and then none is looked for in values.
    pub(super) fn escapes(&self) -> bool {
        self.escapes
    }

    /// Where its members lie, in the order of the text.
    pub(super) fn places(&self) -> &'r [MemberAt] {
        self.members
    }

    /// The JSON of the first member called `name`.
    pub(super) fn member(&self, name: &str) -> Option<&'r [u8]> {
        let (_, value) = self.members.iter().find(|(key, _)| is(self.raw, key, name))?;
        self.raw.get(value.start as usize..value.end as usize)
    }

    /// What lies at a path of names. Of a name that occurs twice the first counts, as for the parser.
    pub fn look<'n>(&self, mut path: impl Iterator<Item = &'n str>) -> Look<'r> {
        let Some(mut value) = path.next().and_then(|name| self.member(name)) else { return Look::Missing };
        for name in path {
            match legible::first(value, 0, name) {
                Ok(Some(found)) => value = value.get(found).unwrap_or_default(),
                Ok(None) => return Look::Missing,
                Err(Subtle) => return Look::Unsure,
            }
        }
        Look::of(value, |text| std::str::from_utf8(text).ok().filter(|_| !self.escapes || !text.contains(&b'\\')))
    }
}

/// Something that is left to the parser.
#[derive(Clone, Copy, Debug)]
pub struct Subtle;

/// Brackets that may lie within each other in what is plain, in levels: a bit each.
pub const PLAIN_DEPTH_MAX: usize = 64;

/// What skimming has found, by what lies around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A member at the top.
    Member,
    /// An object in a list at the top, without a key.
    Element,
    /// A member of such an object.
    Inner,
}

/// Visits the members of the object that fills `raw`, which has some: the key without its quotes, and the value. None when
/// that is not what it is, or when only the parser can tell; then some members may have been visited. `LISTS`: visits the
/// objects in lists at the top too, each after its members and before the list. Gives whether there is a backslash.
pub(super) fn object<const LISTS: bool>(
    raw: &[u8],
    depth_max: usize,
    places: &mut Places,
    mut found: impl FnMut(Found, Range<usize>, Range<usize>),
) -> Option<bool> {
    let mut steps = Steps { raw, quotes: Quotes::new(raw, places)? };
    let depth = depth_max.min(PLAIN_DEPTH_MAX).checked_sub(1)?;
    if raw.first() != Some(&b'{') {
        return None;
    }
    let end = steps.members(spaces(raw, 1), |steps, key, begin, text| {
        let end = match text {
            Some(end) => end,
            None if LISTS && raw.get(begin) == Some(&b'[') => steps.list(begin, depth, &mut found)?,
            None => steps.value(begin, depth)?,
        };
        found(Found::Member, steps.quotes.plain(key)?, begin..end);
        Some(end)
    })?;
    (spaces(raw, end) == raw.len() && steps.quotes.valid()).then(|| steps.quotes.escapes_seen())
}

/// A walk through a text. A step begins at a place, and says where what must lie there ends: none when it does not, or when only
/// the parser can tell. `depth`: brackets that may still open within each other.
struct Steps<'r, 'p> {
    raw: &'r [u8],
    quotes: Quotes<'r, 'p>,
}

impl Steps<'_, '_> {
    /// An object, from its first key on. `visit` is given a key without its quotes, where the value begins and, of a text, where it
    /// ends; it says where the value ends.
    #[inline(always)]
    fn members(
        &mut self,
        mut at: usize,
        mut visit: impl FnMut(&mut Self, Range<usize>, usize, Option<usize>) -> Option<usize>,
    ) -> Option<usize> {
        let raw = self.raw;
        loop {
            let [open, close, _, text] = self.quotes.ahead()?;
            if open as usize != at {
                return None;
            }
            let (close, behind) = (close as usize, text as usize + 1);
            let key = at + 1..close;
            // Nearly every value is a text right behind its key, and the next key is right behind it.
            let end = if raw.get(close + 1..close + 3) == Some(b":\"") {
                self.quotes.pass(4);
                let end = visit(self, key, close + 2, Some(behind))?;
                if raw.get(behind..behind + 2) == Some(b",\"") {
                    at = behind + 1;
                    continue;
                }
                end
            } else {
                self.quotes.pass(2);
                let begin = colon(raw, close + 1)?;
                visit(self, key, begin, None)?
            };
            let mark = spaces(raw, end);
            at = match raw.get(mark)? {
                b',' => spaces(raw, mark + 1),
                b'}' => return Some(mark + 1),
                _ => return None,
            };
        }
    }

    /// A list, from its first element on.
    #[inline(always)]
    fn elements(&mut self, mut at: usize, mut visit: impl FnMut(&mut Self, usize) -> Option<usize>) -> Option<usize> {
        let raw = self.raw;
        loop {
            let end = visit(self, at)?;
            let mark = spaces(raw, end);
            at = match raw.get(mark)? {
                b',' => spaces(raw, mark + 1),
                b']' => return Some(mark + 1),
                _ => return None,
            };
        }
    }

    /// Any value.
    #[inline(always)]
    fn value(&mut self, at: usize, depth: usize) -> Option<usize> {
        match *self.raw.get(at)? {
            b'"' => {
                let [open, close, ..] = self.quotes.ahead()?;
                self.quotes.pass(2);
                (open as usize == at).then_some(close as usize + 1)
            }
            bracket @ (b'{' | b'[') => self.nested(at, bracket, depth.checked_sub(1)?),
            _ => scalar(self.raw, at),
        }
    }

    /// What lies between brackets.
    fn nested(&mut self, at: usize, bracket: u8, depth: usize) -> Option<usize> {
        let first = spaces(self.raw, at + 1);
        match (bracket, self.raw.get(first)?) {
            (b'{', b'}') | (b'[', b']') => Some(first + 1),
            (b'{', _) => self.members(first, |steps, _, begin, text| match text {
                None => steps.value(begin, depth),
                end => end,
            }),
            _ => self.elements(first, |steps, begin| steps.value(begin, depth)),
        }
    }

    /// A list at the top, whose objects are told.
    fn list(
        &mut self,
        at: usize,
        depth: usize,
        found: &mut impl FnMut(Found, Range<usize>, Range<usize>),
    ) -> Option<usize> {
        let first = spaces(self.raw, at + 1);
        let (Some(b'{'), Some(within)) = (self.raw.get(first), depth.checked_sub(2)) else {
            return self.value(at, depth);
        };
        self.elements(first, |steps, at| {
            if steps.raw.get(at) != Some(&b'{') {
                return steps.value(at, within + 1);
            }
            let first = spaces(steps.raw, at + 1);
            let end = match steps.raw.get(first)? {
                b'}' => first + 1,
                _ => steps.members(first, |steps, key, begin, text| {
                    let end = match text {
                        None => steps.value(begin, within)?,
                        Some(end) => end,
                    };
                    found(Found::Inner, steps.quotes.plain(key)?, begin..end);
                    Some(end)
                })?,
            };
            found(Found::Element, 0..0, at..end);
            Some(end)
        })
    }
}

/// Where the value of a key begins that ends at `at`.
#[inline]
fn colon(raw: &[u8], at: usize) -> Option<usize> {
    let at = spaces(raw, at);
    (*raw.get(at)? == b':').then(|| spaces(raw, at + 1))
}

/// The next byte from `at` on that is no white space.
#[inline]
pub(super) fn spaces(raw: &[u8], mut at: usize) -> usize {
    while raw.get(at).is_some_and(|byte| *byte <= b' ' && matches!(byte, b' ' | b'\n' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

/// The end of the literal or plain number at `at`. Numbers with many digits or with an exponent, which may be beyond a
/// double, are left to the parser; before an exponent no value can end.
fn scalar(raw: &[u8], at: usize) -> Option<usize> {
    let rest = raw.get(at..)?;
    for literal in ["true", "false", "null"] {
        if rest.starts_with(literal.as_bytes()) {
            return Some(at + literal.len());
        }
    }
    let digits = |from: usize| rest.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(rest.first() == Some(&b'-'));
    let whole = digits(sign);
    if !(1..=18).contains(&whole) || whole > 1 && rest.get(sign) == Some(&b'0') {
        return None;
    }
    let mut end = sign + whole;
    if rest.get(end) == Some(&b'.') {
        let part = digits(end + 1);
        if !(1..=18).contains(&part) {
            return None;
        }
        end += 1 + part;
    }
    Some(at + end)
}
