//! From bytes to CloudTrail records: whatever framing, whatever is broken.
//!
//! `unpack` takes the bytes of one Kafka message and visits its entries: records, things that are skipped, and pieces
//! that cannot be read. `Splitter` takes a file of any size apart into pieces that `unpack` reads. A message's way:
//!
//! | file          | step                                                                                         |
//! |---------------|----------------------------------------------------------------------------------------------|
//! | `walk.rs`     | a lone record at once (the hot path); else layer by layer, value by value                    |
//! | `place.rs`    | where bytes lie on that way                                                                  |
//! | `guess.rs`    | where a record ends, guessed                                                                 |
//! | `split.rs`    | a layer's text apart into values: in a row, one a line, in an array, in `{"Records":[`       |
//! | `piece.rs`    | what that gives: values, and broken pieces with the reason                                   |
//! | `scan.rs`     | where one value ends, or where it breaks                                                     |
//! | `resync.rs`   | where a record may begin among bytes that are broken                                         |
//! | `stream.rs`   | the same over a reader, in bounded memory                                                    |
//! | `gzip.rs`     | gzip streams                                                                                 |
//! | `envelope.rs` | which envelope an object is                                                                  |
//! | `text.rs`     | JSON strings and base64 that hold a layer                                                    |
//! | `json.rs`     | parsing; what a record is                                                                    |
//! | `skim.rs`     | the same without making a tree, for records that nobody wants                                |
//! | `legible.rs`  | reading what was skimmed and somebody wants                                                   |
//! | `opened.rs`   | objects in that, taken apart                                                                  |
//! | `sheaf.rs`    | the same of an envelope with all that lies in its lists                                      |
//! | `block.rs`    | text, 64 bytes at a time, for skimming and for `text.rs`                                     |
//! | `limits.rs`   | what is accepted at most                                                                     |
//! | `reason.rs`   | what an entry can be that is no record                                                       |
//!
//! Invariants: a message gives at least one entry. What is not visited as a record or skipped is in a dead letter. A
//! broken record takes none of its neighbours along. Time is linear in the bytes of each layer, and recursion is
//! bounded by the limits.

mod block;
mod envelope;
mod guess;
mod gzip;
mod json;
mod legible;
mod limits;
mod opened;
mod piece;
mod place;
mod quotes;
mod reason;
mod resync;
mod scan;
mod sheaf;
mod skim;
mod split;
mod stream;
mod text;
mod walk;

use std::cell::{OnceCell, RefCell};

use sonic_rs::Value;

pub use legible::{Inside, Legible, Part, Values};
pub use limits::ReadLimits;
use opened::Opening;
pub use opened::{Inner, Object, Opened};
pub use reason::{DeadReason, SkipKind};
pub use skim::{Look, MemberAt, PLAIN_DEPTH_MAX, Skimmed, Subtle};
pub use stream::{Item, ItemKind, Splitter};

/// What a message holds, one thing at a time.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A CloudTrail record.
    Record(Record<'a>),
    /// A CloudTrail record that the caller does not want: read, and not made into a tree.
    Passed,
    /// Nothing to evaluate, and nothing wrong.
    Skipped(SkipKind),
    /// A piece that cannot be read.
    Dead(Dead<'a>),
}

/// A CloudTrail record: a JSON object that carries CloudTrail's own names at its top.
#[derive(Debug)]
pub struct Record<'a> {
    /// The record's JSON, exactly, without white space around it.
    pub raw: &'a str,
    /// Where it lies.
    pub position: Position,
    content: Content<'a>,
}

/// How far a record was read.
#[derive(Debug)]
enum Content<'a> {
    /// It was skimmed: JSON that every reader reads alike, with brackets [`PLAIN_DEPTH_MAX`] deep at most. A tree is made
    /// when somebody asks for what only the parser can tell.
    Skimmed {
        record: Legible<'a>,
        opening: &'a RefCell<Opening>,
        tree: OnceCell<Value>,
    },
    Parsed(Value),
}

impl<'a> Record<'a> {
    fn skimmed(record: Legible<'a>, opening: &'a RefCell<Opening>, position: Position) -> Record<'a> {
        opening.borrow_mut().clear();
        Record { raw: record.text(), position, content: Content::Skimmed { record, opening, tree: OnceCell::new() } }
    }

    /// The record as a tree, made now unless it was made before.
    pub fn tree(&self) -> &Value {
        match &self.content {
            // What was skimmed is JSON.
            Content::Skimmed { tree, .. } => tree.get_or_init(|| sonic_rs::from_str(self.raw).unwrap_or_default()),
            Content::Parsed(tree) => tree,
        }
    }

    /// The record as it was skimmed; None where it was not.
    pub fn legible(&self) -> Option<Legible<'a>> {
        match &self.content {
            Content::Skimmed { record, .. } => Some(*record),
            Content::Parsed(_) => None,
        }
    }

    /// What lies at a path of names, as far as skimming tells.
    pub fn look<'n>(&self, path: impl Iterator<Item = &'n str>) -> Look<'a> {
        match &self.content {
            Content::Skimmed { record, opening, .. } => record.look(path, opening),
            Content::Parsed(_) => Look::Unsure,
        }
    }

    /// Visits the objects of what was skimmed that were taken apart for somebody who has looked into them.
    pub fn opened(&self, visit: impl FnOnce(Opened<'_>)) {
        if let Content::Skimmed { opening, .. } = &self.content {
            visit(opening.borrow().opened());
        }
    }

    /// The tree, where one was made.
    pub fn into_tree(self) -> Option<Value> {
        match self.content {
            Content::Skimmed { tree, .. } => tree.into_inner(),
            Content::Parsed(tree) => Some(tree),
        }
    }
}

/// A piece that cannot be read.
#[derive(Debug)]
pub struct Dead<'a> {
    /// Why.
    pub reason: DeadReason,
    /// What is wrong and a hint, for a person; at most 200 bytes.
    pub detail: String,
    /// The smallest piece of the innermost decoded layer that could not be read; for a gzip stream that is corrupt or
    /// over a limit, the compressed bytes. Empty where a list of records ends early between two elements.
    pub raw: &'a [u8],
    /// Where it lies.
    pub position: Position,
}

/// Where an entry lies in its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The entry's number in the message, from 0.
    pub entry: u32,
    /// Its offset in the innermost decoded layer, in bytes.
    pub byte: u64,
}

/// Visits the entries of one message, in order; at least one. `payload` is None for a tombstone. It takes every step by
/// itself; [`Reader`] gives the same in less time.
pub fn unpack(payload: Option<&[u8]>, limits: &ReadLimits, visit: &mut dyn FnMut(Entry<'_>)) {
    match payload {
        None => visit(Entry::Skipped(SkipKind::Tombstone)),
        Some(message) => {
            let mut scratch = walk::Scratch::default();
            walk::Walk::new(message, limits, &mut scratch, None, visit).step_by_step().run();
        }
    }
}

/// Whether the caller may want a record. A wrong yes costs time, a wrong no would lose it.
pub type Wanted<'w> = &'w dyn Fn(&Skimmed<'_>) -> bool;

/// A reader of many messages.
#[derive(Debug, Default)]
pub struct Reader {
    limits: ReadLimits,
    scratch: walk::Scratch,
}

impl Reader {
    /// A reader with these limits.
    pub fn new(limits: ReadLimits) -> Reader {
        Reader { limits, scratch: walk::Scratch::default() }
    }

    /// As [`unpack`]. A record that `wanted` says no to is visited as [`Entry::Passed`]; it is valid all the same.
    pub fn unpack(&mut self, payload: Option<&[u8]>, wanted: Option<Wanted<'_>>, visit: &mut dyn FnMut(Entry<'_>)) {
        match payload {
            None => visit(Entry::Skipped(SkipKind::Tombstone)),
            Some(message) => walk::Walk::new(message, &self.limits, &mut self.scratch, wanted, visit).run(),
        }
    }
}

/// What unit tests of other rooms read records with.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Shows an object as it is read in each way that it can be read.
    pub(crate) fn each_reading(raw: &(impl AsRef<[u8]> + ?Sized), mut check: impl FnMut(&Record<'_>)) {
        let (raw, position) = (raw.as_ref(), Position::default());
        if let Ok(tree) = json::parse(raw, PLAIN_DEPTH_MAX) {
            check(&Record { raw: str::from_utf8(raw).unwrap(), position, content: Content::Parsed(tree) });
        }
        if let Some(skimmed) = skim::Members::default().skim(raw, PLAIN_DEPTH_MAX, &mut quotes::Places::default()) {
            check(&Record::skimmed(Legible::new(skimmed).unwrap(), skimmed.opening, position));
        }
    }
}

#[cfg(test)]
mod tests;
