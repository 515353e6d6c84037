//! A value of a record, skimmed or parsed, as findings take it.
//!
//! AWS writes `""` for "none" (`accessKeyId`), so text that is empty is none. What skimming leaves open (escapes, numbers)
//! is [`Subtle`]; a tree leaves nothing open.

use std::borrow::Cow;

use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use crate::record::{Look, Part, Subtle};

/// A value.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    /// JSON within a record that was skimmed.
    Skimmed(Part<'a>),
    Tree(&'a Value),
}

impl<'a> Node<'a> {
    /// An object's members, the last one first; none of what is no object.
    pub(super) fn members(self) -> Result<Vec<(&'a [u8], Node<'a>)>, Subtle> {
        // AWS's own objects have fewer.
        let mut members = Vec::with_capacity(16);
        match self {
            Node::Skimmed(part) => part.members(|name, value| members.push((name, Node::Skimmed(value))))?,
            Node::Tree(tree) => {
                let all = tree.as_object().into_iter().flatten();
                members.extend(all.map(|(name, value)| (name.as_bytes(), Node::Tree(value))));
            }
        }
        members.reverse();
        Ok(members)
    }

    /// The first member called `name`.
    pub(super) fn get(self, name: &str) -> Result<Option<Node<'a>>, Subtle> {
        Ok(match self {
            Node::Skimmed(part) => part.member(name)?.map(Node::Skimmed),
            Node::Tree(tree) => tree.as_object().and_then(|object| object.get(&name)).map(Node::Tree),
        })
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
