//! A module as a source hands it over.

use std::fmt::{Display, Formatter};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::rules::{Mode, Refusal, SHADOW_MARK};

/// What a module goes by in a source: its name, and its mode, so that a new version can run in shadow beside the live
/// one. Written `NAME` or `NAME@shadow`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The module's name: settings, metrics and dead letters go by it.
    pub name: String,
    /// Live or in shadow.
    pub mode: Mode,
}

/// A module that a source offers.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) key: Key,
    /// The module's bytes, or why there are none.
    pub(super) bytes: Result<Vec<u8>, Refusal>,
    /// A JSON object; None leaves it to `pipeline.toml`.
    pub(super) settings: Option<String>,
    pub(super) place: Place,
    /// Who published it and why; empty where nobody said.
    pub(super) author: String,
    pub(super) note: String,
    /// What the same source had under this key before: taken where this one is refused and nothing else is there.
    pub(super) earlier: Option<Box<Offer>>,
}

/// Where a module came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    Topic { topic: String, partition: i32, offset: i64 },
}

/// What a source has to say.
#[derive(Debug)]
pub(super) enum Change {
    Offered(Offer),
    Gone { key: Key, place: Place },
}

impl Key {
    /// The longest name, in bytes.
    pub const NAME_BYTES_MAX: usize = 128;

    /// Reads `NAME` or `NAME@shadow`.
    pub fn parse(text: &str) -> Key {
        match text.strip_suffix(SHADOW_MARK) {
            Some(name) => Key { name: name.to_owned(), mode: Mode::Shadow },
            None => Key { name: text.to_owned(), mode: Mode::Live },
        }
    }

    /// Whether the name can be published: it becomes a message's key, a metric's label and a part of `pipeline.toml`.
    pub fn is_plain(&self) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        (1..=Key::NAME_BYTES_MAX).contains(&self.name.len()) && self.name.bytes().all(plain)
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.mode {
            Mode::Live => f.write_str(&self.name),
            Mode::Shadow => write!(f, "{}{SHADOW_MARK}", self.name),
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::File(path) => path.display().fmt(f),
            Place::Topic { topic, partition, offset } => write!(f, "{topic} partition {partition} offset {offset}"),
        }
    }
}

impl Change {
    /// The module, where one is offered.
    pub(super) fn offered(&self) -> Option<&Offer> {
        match self {
            Change::Offered(offer) => Some(offer),
            Change::Gone { .. } => None,
        }
    }

    pub(super) fn place(&self) -> &Place {
        let (Change::Offered(Offer { place, .. }) | Change::Gone { place, .. }) = self;
        place
    }

    pub(super) fn key(&self) -> &Key {
        match self {
            Change::Offered(offer) => &offer.key,
            Change::Gone { key, .. } => key,
        }
    }
}
