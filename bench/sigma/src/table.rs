//! Sigma rules as a table: what the benchmark makes of the rules' files at run time, and hands to the module as its
//! settings. Shared by both.

use serde::{Deserialize, Serialize};

/// The rules of one module. Rules that read the same fields share one, so that no event is projected for nothing.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Table {
    /// The paths that the conditions read.
    pub(crate) fields: Vec<String>,
    pub(crate) rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) title: String,
    /// Sigma's word: `medium`.
    pub(crate) level: String,
    /// Whom the rule is by, which its licence wants to see in findings.
    pub(crate) author: String,
    /// For the host's index: a field, and the values of which it has one.
    pub(crate) select: Vec<(String, Vec<String>)>,
    /// A record on which it fires, as JSON.
    pub(crate) fires: String,
    /// What `select` leaves to be asked.
    pub(crate) condition: Condition,
}

/// A rule's conditions.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// The field is missing or null.
    Absent(Field),
    /// The field, or a member of it if it is an array, has a text like this.
    Like(Field, Pattern),
    /// Both have the same text, in any case.
    Same(Field, Field),
}

/// A field of the event: where in a row of cells it stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Field {
    /// Its path, names joined by dots.
    pub(crate) path: String,
    /// The cell of the whole path.
    pub(crate) cell: usize,
    /// Where the path may cross an array, whose members a cell does not look into: the array's cell, and the names below.
    pub(crate) within: Vec<(usize, Vec<String>)>,
}

/// A pattern for a whole text.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Pattern {
    /// Whether case matters.
    pub(crate) cased: bool,
    pub(crate) pieces: Vec<Piece>,
}

/// A piece of a pattern.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Piece {
    Text(String),
    /// One character.
    One,
    /// Any characters, or none.
    Run,
}
