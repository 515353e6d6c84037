//! Paths into a record, and the scalar texts that conditions and cells are made of.

use sonic_rs::{JsonContainerTrait, JsonType, JsonValueTrait, Value};

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

    /// The value at this path. `None` where a name is missing or a step runs into something that is no object: a
    /// null, a scalar, an array. (CloudTrail has `responseElements: null`, and sometimes a string in its place.)
    pub(super) fn get<'v>(&self, record: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(record, |value, name| value.as_object()?.get(name))
    }
}

/// The text of a scalar as conditions compare it: a string itself, a number's JSON text, `true` or `false`.
pub(super) fn scalar_text<'v>(value: &'v Value, number: &'v mut String) -> Option<&'v str> {
    match value.get_type() {
        JsonType::String => value.as_str(),
        JsonType::Boolean => Some(if value.is_true() { "true" } else { "false" }),
        JsonType::Number => {
            *number = sonic_rs::to_string(value).ok()?;
            Some(number)
        }
        JsonType::Null | JsonType::Object | JsonType::Array => None,
    }
}
