//! Objects of a record that was skimmed, taken apart: each once, with all objects within it in one pass, however many
//! paths lead through it and whoever asks, first the rules and then the finding. Level by level, and again for the finding,
//! took 10 % of the instructions of a record on which Sigma rules fire.

use std::ops::Range;

use super::legible::{behind, end, is, key};
use super::skim::{Subtle, spaces};

/// A member of an object. The members of its own value, where that is an object, come right behind it.
#[derive(Clone, Debug)]
pub struct Inner {
    key: Range<u32>,
    value: Range<u32>,
    /// The number of the member behind all that lies in this one.
    next: u32,
}

/// An object that was taken apart: where it begins, and its members' numbers.
#[derive(Clone, Debug)]
pub struct Object {
    start: u32,
    members: Range<u32>,
}

/// Objects that were taken apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opened<'r> {
    /// The objects.
    pub objects: &'r [Object],
    /// The members of all of them.
    pub members: &'r [Inner],
}

/// The same while it is being done.
#[derive(Debug, Default)]
pub(super) struct Opening {
    objects: Vec<Object>,
    members: Vec<Inner>,
}

impl Opening {
    /// Forgets the record before.
    pub(super) fn clear(&mut self) {
        self.objects.clear();
        self.members.clear();
    }

    /// What was taken apart so far.
    pub(super) fn opened(&self) -> Opened<'_> {
        Opened { objects: &self.objects, members: &self.members }
    }

    /// Takes the value at `start` of what was skimmed apart, and gives its members' numbers; none of what is no object.
    pub(super) fn open(&mut self, raw: &[u8], start: u32) -> Result<Range<u32>, Subtle> {
        if let Some(members) = self.opened().members_of(start) {
            return Ok(members);
        }
        let first = self.members.len();
        if raw.get(start as usize) == Some(&b'{') {
            self.object(raw, start as usize).inspect_err(|_| self.members.truncate(first))?;
        }
        let members = first as u32..self.members.len() as u32;
        self.objects.push(Object { start, members: members.clone() });
        Ok(members)
    }

    /// Takes the object at `start` apart, and gives its end. Nothing is proved once more: skimming has seen that it is JSON,
    /// and not deeper than `PLAIN_DEPTH_MAX`. An object in a record is small, and from mark to mark it takes a third less than
    /// in blocks.
    fn object(&mut self, raw: &[u8], start: usize) -> Result<usize, Subtle> {
        let mut at = spaces(raw, start + 1);
        while let Some((key, value)) = key(raw, at)? {
            let number = self.members.len();
            self.members.push(Inner { key: key.start as u32..key.end as u32, value: 0..0, next: 0 });
            let end = match raw.get(value) {
                Some(b'{') => self.object(raw, value)?,
                _ => end(raw, value).ok_or(Subtle)?,
            };
            let next = self.members.len() as u32;
            if let Some(member) = self.members.get_mut(number) {
                (member.value, member.next) = (value as u32..end as u32, next);
            }
            at = behind(raw, end);
        }
        Ok(at + 1)
    }
}

impl<'r> Opened<'r> {
    /// The members' numbers of the object at `start`, where it was taken apart.
    pub(super) fn members_of(self, start: u32) -> Option<Range<u32>> {
        self.objects.iter().find(|object| object.start == start).map(|object| object.members.clone())
    }

    /// The members with these numbers, in the order of the text: where key and value lie, and the numbers of the value's own
    /// members.
    pub(super) fn each(
        self,
        members: Range<u32>,
    ) -> impl Iterator<Item = (&'r Range<u32>, &'r Range<u32>, Range<u32>)> {
        let mut at = members.start;
        std::iter::from_fn(move || {
            let member = self.members.get(at as usize).filter(|_| at < members.end)?;
            let inside = at + 1..member.next;
            at = member.next;
            Some((&member.key, &member.value, inside))
        })
    }

    /// Where the value lies that a path of names leads to, from an object with these members. Of a name that occurs twice
    /// the first counts, as for the parser.
    pub(super) fn find<'n>(
        self,
        raw: &[u8],
        mut members: Range<u32>,
        path: impl Iterator<Item = &'n str>,
    ) -> Option<Range<u32>> {
        let mut value = None;
        for name in path {
            let (_, found, inside) = self.each(members).find(|(key, ..)| is(raw, key, name))?;
            members = inside;
            value = Some(found.clone());
        }
        value
    }
}
