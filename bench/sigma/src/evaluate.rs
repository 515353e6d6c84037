//! Conditions over one event's row of cells.
//!
//! Texts compare as Sigma says: in any case, unless the pattern is cased; numbers and bools by their text; of an array
//! any member. An object has no text.

use std::borrow::Cow;

use serde_json::Value;

use crate::table::{Condition, Field, Pattern, Piece};

const KIND_NULL: u64 = 1;
const KIND_FALSE: u64 = 2;
const KIND_STRING: u64 = 5;
const KIND_ARRAY: u64 = 7;

/// One event.
pub(crate) struct Row<'a> {
    pub(crate) cells: &'a [u64],
    pub(crate) text: &'a str,
}

impl Row<'_> {
    /// Whether a condition holds.
    pub(crate) fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::All(all) => all.iter().all(|condition| self.holds(condition)),
            Condition::Any(any) => any.iter().any(|condition| self.holds(condition)),
            Condition::Not(condition) => !self.holds(condition),
            Condition::Absent(field) => self.kind(field.cell) <= KIND_NULL && !self.any_text(field, &mut |_| true),
            Condition::Like(field, pattern) => self.any_text(field, &mut |text| pattern.matches(text)),
            Condition::Same(one, other) => self.any_text(one, &mut |one| {
                self.any_text(other, &mut |other| one.to_lowercase() == other.to_lowercase())
            }),
        }
    }

    fn kind(&self, cell: usize) -> u64 {
        self.cells.get(cell).map_or(0, |cell| cell >> 60)
    }

    /// The text of a cell (the layout is in `rule.wit`, record `batch`).
    fn place(&self, cell: usize) -> &str {
        let cell = self.cells.get(cell).copied().unwrap_or_default();
        let (offset, length) = (cell as u32 as usize, (cell >> 32) as usize & 0x0fff_ffff);
        self.text.get(offset..offset.saturating_add(length)).unwrap_or_default()
    }

    /// Whether any text of a field is what is asked for.
    fn any_text(&self, field: &Field, ask: &mut dyn FnMut(&str) -> bool) -> bool {
        match self.kind(field.cell) {
            KIND_FALSE..=KIND_STRING => ask(self.place(field.cell)),
            KIND_ARRAY => any_member(&parse(self.place(field.cell)), &[], ask),
            _ => field.within.iter().any(|(cell, names)| {
                self.kind(*cell) == KIND_ARRAY && any_member(&parse(self.place(*cell)), names, ask)
            }),
        }
    }
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// The same in a tree: below these names, whatever arrays are in between.
fn any_member(value: &Value, names: &[String], ask: &mut dyn FnMut(&str) -> bool) -> bool {
    match (value, names.split_first()) {
        (Value::Array(members), _) => members.iter().any(|member| any_member(member, names, ask)),
        (Value::Object(object), Some((name, below))) => {
            object.get(name).is_some_and(|value| any_member(value, below, ask))
        }
        (Value::String(text), None) => ask(text),
        (Value::Number(number), None) => ask(&number.to_string()),
        (Value::Bool(bool), None) => ask(if *bool { "true" } else { "false" }),
        _ => false,
    }
}

impl Pattern {
    /// Prepared for [`Pattern::matches`], once.
    pub(crate) fn prepare(&mut self) {
        if !self.cased {
            for piece in &mut self.pieces {
                if let Piece::Text(text) = piece {
                    *text = text.to_lowercase();
                }
            }
        }
    }

    fn matches(&self, text: &str) -> bool {
        // The commonest: a value and nothing else.
        if let [Piece::Text(value)] = self.pieces.as_slice()
            && text.is_ascii()
        {
            return if self.cased { text == value } else { text.eq_ignore_ascii_case(value) };
        }
        let folds = !self.cased && (!text.is_ascii() || text.bytes().any(|byte| byte.is_ascii_uppercase()));
        like(&self.pieces, &if folds { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) })
    }
}

fn like(pieces: &[Piece], text: &str) -> bool {
    match pieces.split_first() {
        None => text.is_empty(),
        Some((Piece::Text(piece), rest)) => text.strip_prefix(piece.as_str()).is_some_and(|text| like(rest, text)),
        Some((Piece::One, rest)) => {
            let mut characters = text.chars();
            characters.next().is_some() && like(rest, characters.as_str())
        }
        Some((Piece::Run, [])) => true,
        Some((Piece::Run, rest @ [Piece::Text(piece), ..])) => {
            let mut left = text;
            while let Some(at) = left.find(piece.as_str()) {
                if like(rest, left.get(at..).unwrap_or_default()) {
                    return true;
                }
                // A place further on may overlap this one.
                let mut next = left.get(at..).unwrap_or_default().chars();
                next.next();
                left = next.as_str();
            }
            false
        }
        Some((Piece::Run, rest)) => {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| like(rest, text.get(at..).unwrap_or("")))
        }
    }
}
