//! Paths into a record, and the scalar texts that conditions and cells are made of.

use sonic_rs::{JsonContainerTrait, JsonType, JsonValueTrait, Value};

use crate::record::{Look, Record};

/// A path of names joined by dots: `userIdentity.type`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Path(Box<[Box<str>]>);

impl Path {
    /// Parses a path that [`Path::is_valid`].
    pub(super) fn new(path: &str) -> Path {
        Path(path.split('.').map(Box::from).collect())
    }

    /// Whether `path` is names joined by dots, of 1 to 256 bytes in all.
    pub(super) fn is_valid(path: &str) -> bool {
        (1..=256).contains(&path.len()) && path.split('.').all(|name| !name.is_empty())
    }

    /// The names, from the top.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Box::as_ref)
    }

    /// What lies at this path: nothing where a name is missing or a step runs into something that is no object: a
    /// null, a scalar, an array. (CloudTrail has `responseElements: null`, and sometimes a string in its place.)
    pub(super) fn look<'v>(&self, record: &'v Record<'_>) -> Found<'v> {
        match record.look(self.names()) {
            Look::Missing => Found::Missing,
            Look::Null => Found::Null,
            Look::Bool(is) => Found::Bool(is),
            Look::Text(text) => Found::Text(text),
            Look::Nested | Look::Unsure => {
                let value = self.names().try_fold(record.tree(), |value, name| value.as_object()?.get(&name));
                value.map_or(Found::Missing, Found::of)
            }
        }
    }
}

/// What lies at a path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'v> {
    Missing,
    Null,
    Bool(bool),
    Text(&'v str),
    Number(&'v Value),
    Object(&'v Value),
    Array(&'v Value),
}

impl<'v> Found<'v> {
    fn of(value: &'v Value) -> Found<'v> {
        match value.get_type() {
            JsonType::Null => Found::Null,
            JsonType::Boolean => Found::Bool(value.is_true()),
            JsonType::String => Found::Text(value.as_str().unwrap_or_default()),
            JsonType::Number => Found::Number(value),
            JsonType::Object => Found::Object(value),
            JsonType::Array => Found::Array(value),
        }
    }

    /// The text of a scalar as conditions compare it: a string itself, a number's JSON text, `true` or `false`.
    pub(super) fn scalar(self, number: &'v mut String) -> Option<&'v str> {
        match self {
            Found::Text(text) => Some(text),
            Found::Bool(is) => Some(literal(is)),
            Found::Number(value) => {
                *number = sonic_rs::to_string(value).ok()?;
                Some(number)
            }
            Found::Missing | Found::Null | Found::Object(_) | Found::Array(_) => None,
        }
    }
}

/// A bool in JSON.
pub(super) fn literal(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}
