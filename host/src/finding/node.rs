//! A value of a record, skimmed or parsed, as findings take it.
//!
//! AWS writes `""` for "none" (`accessKeyId`), so text that is empty is none. What skimming leaves open (escapes, numbers)
//! is [`Subtle`]; a tree leaves nothing open.

use std::borrow::Cow;

use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use crate::record::{Inside, Legible, Look, Part, Subtle, Values};

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

/// The members of an object.
#[derive(Clone)]
pub(super) enum Members<'a, 'v> {
    Skimmed(Inside<'a, 'v>),
    Tree(&'a Value),
}

impl<'a> Object<'a> {
    /// Its members; what is no object has none.
    pub(super) fn members(&self) -> Members<'a, '_> {
        match self {
            Object::Skimmed(values) => Members::Skimmed(values.members()),
            Object::Tree(tree) => Members::Tree(tree),
        }
    }
}

impl<'a, 'v> Members<'a, 'v> {
    /// Visits them in the order of the text: the name, the value, and the members of that.
    #[inline(always)]
    pub(super) fn each(self, mut visit: impl FnMut(&[u8], Node<'a>, Members<'a, 'v>)) {
        match self {
            Members::Skimmed(inside) => {
                inside
                    .each()
                    .for_each(|(name, part, inside)| visit(name, Node::Skimmed(part), Members::Skimmed(inside)));
            }
            Members::Tree(tree) => {
                let members = tree.as_object().into_iter().flatten();
                members.for_each(|(name, value)| visit(name.as_bytes(), Node::Tree(value), Members::Tree(value)));
            }
        }
    }
}

/// The first of the nodes that are called the same: of a name that occurs twice the first counts.
#[derive(Clone, Copy, Default)]
pub(super) struct First<'a>(Option<Node<'a>>);

impl<'a> First<'a> {
    /// Takes the node, unless there is one. Whether it has.
    #[inline]
    pub(super) fn take(&mut self, node: Node<'a>) -> bool {
        let is_first = self.0.is_none();
        self.0.get_or_insert(node);
        is_first
    }

    /// What `read` makes of the node; nothing of none.
    #[inline]
    pub(super) fn read<T>(self, read: impl FnOnce(Node<'a>) -> Result<Option<T>, Subtle>) -> Result<Option<T>, Subtle> {
        self.0.map_or(Ok(None), read)
    }

    /// Its text.
    #[inline]
    pub(super) fn text(self) -> Result<Option<&'a str>, Subtle> {
        self.read(Node::text)
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
