//! A value of a record, skimmed or parsed, as findings take it.
//!
//! AWS writes `""` for "none" (`accessKeyId`), so text that is empty is none. What skimming leaves open (escapes, numbers)
//! is [`Subtle`]; a tree leaves nothing open.

use std::borrow::Cow;

use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use crate::record::{Legible, Look, Part, Subtle, Values};

/// A value.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    /// JSON within a record that was skimmed.
    Skimmed(Part<'a>),
    Tree(&'a Value),
}

/// An object that was taken apart.
pub(super) enum Object<'a> {
    Skimmed(Values<'a>),
    Tree(&'a Value),
}

impl<'a> Object<'a> {
    /// What lies at a path of names. Of a name that occurs twice the first counts.
    pub(super) fn get(&self, path: &[&str]) -> Option<Node<'a>> {
        match self {
            Object::Skimmed(values) => values.get(path).map(Node::Skimmed),
            Object::Tree(tree) => {
                path.iter().try_fold(*tree, |value, name| value.as_object()?.get(name)).map(Node::Tree)
            }
        }
    }

    /// A string there that is not empty.
    pub(super) fn text(&self, path: &[&str]) -> Result<Option<&'a str>, Subtle> {
        self.get(path).map_or(Ok(None), Node::text)
    }
}

impl<'a> Node<'a> {
    /// What takes values out of it; nothing is in what is no object. `record` is that which a skimmed value is of.
    pub(super) fn object(self, record: Option<Legible<'a>>) -> Result<Object<'a>, Subtle> {
        match self {
            Node::Skimmed(part) => Ok(Object::Skimmed(record.ok_or(Subtle)?.values(part)?)),
            Node::Tree(tree) => Ok(Object::Tree(tree)),
        }
    }

    /// A string that is not empty.
    #[inline]
    pub(super) fn text(self) -> Result<Option<&'a str>, Subtle> {
        let text = match self {
            Node::Skimmed(part) => match part.look() {
                Look::Text(text) => Some(text),
                Look::Unsure if part.json().starts_with(b"\"") => return Err(Subtle),
                _ => None,
            },
            Node::Tree(tree) => tree.as_str(),
        };
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// A string that is not empty, or a number's text.
    pub(super) fn text_or_number(self) -> Result<Option<Cow<'a, str>>, Subtle> {
        Ok(match (self.text()?, self.number()?) {
            (Some(text), _) => Some(Cow::Borrowed(text)),
            (None, Some(number)) => sonic_rs::to_string(number).ok().map(Cow::Owned),
            (None, None) => None,
        })
    }

    /// An account id. It has twelve digits, so one that came as a number gets back the zeros that the number lost.
    pub(super) fn account(self) -> Result<Option<Cow<'a, str>>, Subtle> {
        Ok(match (self.text()?, self.number()?) {
            (Some(text), _) => Some(Cow::Borrowed(text)),
            (None, Some(number)) => number.as_u64().map(|number| Cow::Owned(format!("{number:012}"))),
            (None, None) => None,
        })
    }

    /// A bool, or one in words.
    pub(super) fn bool_or_text(self) -> Result<Option<bool>, Subtle> {
        let is = match self {
            Node::Skimmed(part) => match part.look() {
                Look::Bool(is) => Some(is),
                _ => None,
            },
            Node::Tree(tree) => tree.as_bool(),
        };
        Ok(match self.text()? {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => is,
        })
    }

    /// The value as a tree.
    pub(super) fn tree(self) -> Cow<'a, Value> {
        match self {
            // It is JSON.
            Node::Skimmed(part) => Cow::Owned(sonic_rs::from_slice(part.json()).unwrap_or_default()),
            Node::Tree(tree) => Cow::Borrowed(tree),
        }
    }

    fn number(self) -> Result<Option<&'a Value>, Subtle> {
        match self {
            Node::Skimmed(part) if matches!(part.json(), [b'-' | b'0'..=b'9', ..]) => Err(Subtle),
            Node::Skimmed(_) => Ok(None),
            Node::Tree(tree) => Ok(Some(tree).filter(|tree| tree.is_number())),
        }
    }
}
