//! Skimming: a record's bytes are proved to be JSON, and the members at its top are found, without making a tree.
//!
//! Most records are selected by no rule, and a tree of them would be made for nothing: skimming takes half of its time
//! (BENCHMARKS.md). The bytes are looked at in blocks of 64, which give the places of all quotes, so that what lies within
//! strings is not looked at byte by byte.
//!
//! It says yes only to what the parser accepts too. Of all that is rare or subtle it says that it does not know; then the
//! parser decides, and finds the words for what is wrong. So it knows no reasons, no surrogates and no doubles.

use std::cell::RefCell;
use std::ops::Range;

use wide::u8x16;

use super::block::{self, BLOCK};
use super::legible::{self, Opened, is};

/// The members at the top of an object: where keys, without quotes, and values lie, in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Members {
    at: Vec<MemberAt>,
    /// What is taken apart of a record that somebody reads.
    opened: RefCell<Opened>,
}

impl Members {
    /// Finds the members of the JSON object that fills `raw`. None when it is none, when brackets lie deeper than
    /// `depth_max`, or when only the parser can tell.
    pub(super) fn skim<'r>(&'r mut self, raw: &'r [u8], depth_max: usize) -> Option<Skimmed<'r>> {
        self.at.clear();
        u32::try_from(raw.len()).ok()?;
        let short = |range: Range<usize>| range.start as u32..range.end as u32;
        object::<false>(raw, depth_max, |_, key, value| self.at.push((short(key), short(value))))?;
        Some(Skimmed { raw, members: &self.at, opened: &self.opened })
    }
}

/// A member of an object: where its key, without quotes, and its value lie, in bytes from the object's beginning.
pub type MemberAt = (Range<u32>, Range<u32>);

/// A record that was skimmed.
#[derive(Clone, Copy, Debug)]
pub struct Skimmed<'r> {
    raw: &'r [u8],
    members: &'r [MemberAt],
    pub(super) opened: &'r RefCell<Opened>,
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
        Look::of(value, |text| std::str::from_utf8(text).ok().filter(|_| !text.contains(&b'\\')))
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
/// objects in lists at the top too, each after its members and before the list.
pub(super) fn object<const LISTS: bool>(
    raw: &[u8],
    depth_max: usize,
    mut found: impl FnMut(Found, Range<usize>, Range<usize>),
) -> Option<()> {
    let mut strings = Strings::new(raw);
    let depth_max = depth_max.min(PLAIN_DEPTH_MAX);
    // The brackets around: 1 for an object, the innermost in the lowest bit.
    let (mut around, mut depth) = (0u64, 0usize);
    // The member at the top that is being read.
    let (mut name, mut value) = (0..0, 0);
    // The object in a list, and the member in it; no value begins at 0.
    let (mut element, mut inner_name, mut inner_value) = (0, 0..0, 0);
    let in_element = |depth: usize, around: u64| LISTS && depth == 3 && around & 0b111 == 0b101;
    if raw.first() != Some(&b'{') {
        return None;
    }
    let (mut at, mut is_key) = (0, false);
    loop {
        if is_key {
            let end = strings.end(at)?;
            let begin = colon(raw, end)?;
            if depth == 1 {
                (name, value) = (strings.plain(at + 1..end - 1)?, begin);
            } else if in_element(depth, around) {
                (inner_name, inner_value) = (strings.plain(at + 1..end - 1)?, begin);
            }
            at = begin;
        }
        at = match *raw.get(at)? {
            b'"' => strings.end(at)?,
            bracket @ (b'{' | b'[') => {
                depth += 1;
                is_key = bracket == b'{';
                around = around << 1 | u64::from(is_key);
                if depth > depth_max {
                    return None;
                }
                if LISTS && depth == 3 {
                    (element, inner_value) = (at, 0);
                }
                at = spaces(raw, at + 1);
                match *raw.get(at)? {
                    // Nothing in it: it closes like any other. At the top that is no record.
                    b'}' | b']' if depth > 1 => at,
                    _ => continue,
                }
            }
            _ => scalar(raw, at)?,
        };
        // After a value, and after each bracket that closes then.
        loop {
            let end = at;
            at = spaces(raw, at);
            match (*raw.get(at)?, around & 1) {
                (b',', object) => {
                    if depth == 1 {
                        found(Found::Member, name.clone(), value..end);
                    } else if in_element(depth, around) {
                        found(Found::Inner, inner_name.clone(), inner_value..end);
                    }
                    is_key = object == 1;
                    at = spaces(raw, at + 1);
                    break;
                }
                (b'}', 1) | (b']', 0) => {
                    if depth == 1 {
                        found(Found::Member, name.clone(), value..end);
                        return (spaces(raw, at + 1) == raw.len() && strings.valid()).then_some(());
                    }
                    if in_element(depth, around) {
                        if inner_value > 0 {
                            found(Found::Inner, inner_name.clone(), inner_value..end);
                        }
                        found(Found::Element, 0..0, element..at + 1);
                    }
                    around >>= 1;
                    depth -= 1;
                    at += 1;
                }
                _ => return None,
            }
        }
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

/// The strings of a text, from the first to the last.
struct Strings<'r> {
    raw: &'r [u8],
    /// Where the next block begins.
    next: usize,
    /// The quotes of this block that are not escaped and not yet passed.
    quotes: u64,
    /// Whether a control character is in this block, or was in one since a string began.
    control: bool,
    /// The end of the last block with a backslash.
    slashed: usize,
    /// 1 when the first byte of the next block is escaped.
    escaping: u64,
    /// Whether every escape is one that every reader understands alike.
    escapes_good: bool,
    /// All bytes joined: whether any is not ASCII.
    joined: u8x16,
}

impl<'r> Strings<'r> {
    fn new(raw: &'r [u8]) -> Strings<'r> {
        let joined = u8x16::default();
        Strings { raw, next: 0, quotes: 0, control: false, slashed: 0, escaping: 0, escapes_good: true, joined }
    }

    /// The end of the string that begins at `at`; None when none does.
    #[inline(always)]
    fn end(&mut self, at: usize) -> Option<usize> {
        if self.quote()? != at {
            return None;
        }
        let control = self.control;
        let close = self.quote()?;
        if (control || self.control) && self.raw.get(at..close)?.iter().any(|byte| *byte < 0x20) {
            return None;
        }
        Some(close + 1)
    }

    /// `range`, when no escape is in it.
    #[inline]
    fn plain(&self, range: Range<usize>) -> Option<Range<usize>> {
        let escaped = self.slashed > range.start && self.raw.get(range.clone())?.contains(&b'\\');
        (!escaped).then_some(range)
    }

    /// The next quote.
    #[inline(always)]
    fn quote(&mut self) -> Option<usize> {
        if self.quotes == 0 {
            self.control = false;
            while self.quotes == 0 {
                if self.next >= self.raw.len() {
                    return None;
                }
                self.block();
            }
        }
        let at = self.next - BLOCK + self.quotes.trailing_zeros() as usize;
        self.quotes &= self.quotes - 1;
        Some(at)
    }

    #[inline(always)]
    fn block(&mut self) {
        let mut padded = [0; BLOCK];
        let block = block::load(self.raw, self.next, &mut padded);
        let marks = block::marks(block);
        self.quotes = marks.quotes;
        self.control |= marks.control;
        self.joined |= marks.joined;
        self.next += BLOCK;
        // An escape may reach over from the block before.
        if marks.slashes || self.escaping != 0 {
            self.escapes(block);
        }
    }

    /// Takes the escaped quotes out of `block`, the last one. That every other escape is good is checked on the way.
    #[inline(never)]
    fn escapes(&mut self, block: &[u8; BLOCK]) {
        let slashes = block::slashes(block);
        let after = block::escaped(slashes, &mut self.escaping);
        let mut others = after & !self.quotes & !slashes;
        self.quotes &= !after;
        self.slashed = self.next;
        while others != 0 {
            let at = self.next - BLOCK + others.trailing_zeros() as usize;
            others &= others - 1;
            self.escapes_good &= match self.raw.get(at) {
                Some(b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
                Some(b'u') => self.raw.get(at + 1..at + 5).is_some_and(plain_unit),
                _ => false,
            };
        }
    }

    /// Whether what lies within strings is valid, once all are passed.
    fn valid(&self) -> bool {
        let ascii = self.joined.to_bitmask() == 0;
        self.escapes_good && (ascii || std::str::from_utf8(self.raw).is_ok())
    }
}

/// Whether four digits of an escape name a character and not half of one.
fn plain_unit(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
        && !matches!(digits, [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..])
}
