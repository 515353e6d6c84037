//! An envelope and the objects in its lists, skimmed in one pass: what would be proved, split and parsed one after the
//! other is found at once. In what Firehose and CloudWatch Logs send, records lie as text in such lists, a hundred a
//! message, and every further look at that text costs as much as gzip.

use std::ops::Range;

use super::envelope::{self, Shape};
use super::quotes::Places;
use super::scan::is_space;
use super::skim::{Found, PLAIN_DEPTH_MAX, object};

/// What was found, its key and its value, as places in the envelope.
type Part = (Found, Range<u32>, Range<u32>);

/// Parts that are kept of an envelope; one with more is read step by step. They take 20 bytes each, of which a body of 64 MiB
/// could hold ten millions. A log event has five.
const PARTS_MAX: usize = 1 << 16;

/// The parts of an envelope in the order in which they end: an element after its members, a list after its elements.
#[derive(Debug, Default)]
pub(super) struct Sheaf(Vec<Part>);

impl Sheaf {
    /// Skims the object that fills `raw`. False when only the parser can tell what it is.
    pub(super) fn skim(&mut self, raw: &[u8], places: &mut Places) -> bool {
        self.0.clear();
        let short = |range: Range<usize>| range.start as u32..range.end as u32;
        let parts = &mut self.0;
        let note = |found, key, value| {
            if parts.len() < PARTS_MAX {
                parts.push((found, short(key), short(value)));
            }
        };
        object::<true>(raw, PLAIN_DEPTH_MAX, places, note).is_some() && self.0.len() < PARTS_MAX
    }

    /// The shape of `raw`, which was skimmed.
    pub(super) fn shape<'r>(&self, raw: &'r [u8]) -> Shape<'r> {
        shape(&self.0, Found::Member, raw)
    }

    /// The elements of `list` in `raw`, which was skimmed, with their shapes. None unless there are some, and all of them
    /// are objects.
    pub(super) fn elements<'s, 'r: 's>(
        &'s self,
        raw: &'r [u8],
        list: &[u8],
    ) -> Option<impl Iterator<Item = (&'r [u8], Shape<'r>)> + 's> {
        let start = (list.as_ptr() as usize).checked_sub(raw.as_ptr() as usize)?;
        let end = start + list.len();
        // Each part ends behind the one before. A walk would take the square of their number where there are many lists.
        let after = self.0.binary_search_by_key(&end, |part| part.2.end as usize).ok()?;
        let before = self.0.get(..after)?;
        let member = |part: &Part| part.0 == Found::Member;
        let parts = before.get(before.iter().rposition(member).map_or(0, |at| at + 1)..)?;
        let elements = parts.split_inclusive(|part| part.0 == Found::Element);
        // What lies between objects is known to be JSON. Where it is more than one mark, there are other elements.
        let (mut from, mut mark) = (start, b'[');
        for (_, _, element) in elements.clone().filter_map(<[Part]>::last) {
            if !is_mark(raw.get(from..element.start as usize)?, mark) {
                return None;
            }
            (from, mark) = (element.end as usize, b',');
        }
        is_mark(raw.get(from..end)?, b']').then_some(())?;
        Some(elements.filter_map(move |parts| Some((slice(raw, &parts.last()?.2), shape(parts, Found::Inner, raw)))))
    }
}

/// The shape of an object whose members are called `found`.
fn shape<'r>(parts: &[Part], found: Found, raw: &'r [u8]) -> Shape<'r> {
    let members = parts.iter().filter(|part| part.0 == found);
    envelope::shape_of(members.map(|(_, key, value)| (slice(raw, key), slice(raw, value))))
}

fn slice<'r>(raw: &'r [u8], range: &Range<u32>) -> &'r [u8] {
    raw.get(range.start as usize..range.end as usize).unwrap_or_default()
}

/// Whether `mark` is all that is here, but for white space.
fn is_mark(bytes: &[u8], mark: u8) -> bool {
    bytes.iter().filter(|byte| !is_space(**byte)).eq([&mark])
}
