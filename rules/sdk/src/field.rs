//! One field of one event: what a cell of a batch unpacks to.

use std::borrow::Cow;

/// The value of a field. It borrows the batch's text, so reading one allocates nothing.
///
/// The *text* of a field is what `select` compares too: a string itself, a number as it stands in the JSON, a bool as
/// `true` or `false`. The other kinds have no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// The record has no such field, or the path runs into a null, a scalar or an array.
    Missing,
    /// JSON `null`.
    Null,
    /// JSON `true` or `false`.
    Bool(bool),
    /// A number, as JSON text.
    Number(&'a str),
    /// A string, unescaped.
    Text(&'a str),
    /// An object, as JSON text.
    Object(&'a str),
    /// An array, as JSON text.
    Array(&'a str),
}

impl<'a> Field<'a> {
    /// Unpacks a cell (the layout is in `rule.wit`, record `batch`). A cell that breaks the contract (a reserved kind,
    /// a place outside of `text`) reads as missing: a rule never traps on it.
    #[inline]
    pub(crate) fn unpack(cell: u64, text: &'a str) -> Self {
        let offset = cell as u32 as usize;
        let length = (cell >> 32) as usize & 0x0fff_ffff;
        let place = || text.get(offset..offset.checked_add(length)?);
        match cell >> 60 {
            1 => Field::Null,
            2 => Field::Bool(false),
            3 => Field::Bool(true),
            4 => place().map_or(Field::Missing, Field::Number),
            5 => place().map_or(Field::Missing, Field::Text),
            6 => place().map_or(Field::Missing, Field::Object),
            7 => place().map_or(Field::Missing, Field::Array),
            _ => Field::Missing,
        }
    }

    /// The text of a string, a number or a bool.
    #[inline]
    pub fn text(self) -> Option<&'a str> {
        match self {
            Field::Text(text) | Field::Number(text) => Some(text),
            Field::Bool(true) => Some("true"),
            Field::Bool(false) => Some("false"),
            Field::Missing | Field::Null | Field::Object(_) | Field::Array(_) => None,
        }
    }

    /// The text, or `other` where there is none or it is empty.
    pub fn text_or(self, other: &'a str) -> &'a str {
        self.text().filter(|text| !text.is_empty()).unwrap_or(other)
    }

    /// Whether the text equals `value`, to the letter.
    #[inline]
    pub fn is(self, value: &str) -> bool {
        self.text() == Some(value)
    }

    /// Whether the field is `true` or the string `"true"` in any case: AWS writes both.
    pub fn is_true(self) -> bool {
        self.text().is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// Whether the field is missing or null.
    pub fn is_absent(self) -> bool {
        matches!(self, Field::Missing | Field::Null)
    }

    /// This field, or `other` where this one has no text or an empty one.
    pub fn or(self, other: Field<'a>) -> Field<'a> {
        if self.text_or("").is_empty() { other } else { self }
    }

    /// `yes` or `no` where the text says so in any case, otherwise `unknown`: what is not there is not a no.
    pub fn yes_no_unknown(self) -> &'static str {
        match self.text() {
            Some(text) if text.eq_ignore_ascii_case("yes") => "yes",
            Some(text) if text.eq_ignore_ascii_case("no") => "no",
            _ => "unknown",
        }
    }
}

/// The text of the field; empty where it has none.
impl<'a> From<Field<'a>> for Cow<'a, str> {
    fn from(field: Field<'a>) -> Cow<'a, str> {
        Cow::Borrowed(field.text_or(""))
    }
}

/// The text of the field; empty where it has none.
impl From<Field<'_>> for String {
    fn from(field: Field<'_>) -> String {
        field.text_or("").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(kind: u64, length: u64, offset: u64) -> u64 {
        kind << 60 | length << 32 | offset
    }

    #[test]
    fn every_kind_unpacks() {
        let text = "xRoot{}[]12";
        let check = |cell, expect| assert_eq!(Field::unpack(cell, text), expect);
        check(cell(0, 0, 0), Field::Missing);
        check(cell(1, 0, 0), Field::Null);
        check(cell(2, 0, 0), Field::Bool(false));
        check(cell(3, 0, 0), Field::Bool(true));
        check(cell(4, 2, 9), Field::Number("12"));
        check(cell(5, 4, 1), Field::Text("Root"));
        check(cell(5, 0, 11), Field::Text(""));
        check(cell(6, 2, 5), Field::Object("{}"));
        check(cell(7, 2, 7), Field::Array("[]"));
    }

    #[test]
    fn a_broken_cell_reads_as_missing() {
        let check = |cell| assert_eq!(Field::unpack(cell, "aé"), Field::Missing, "{cell:#x}");
        (8..=15).for_each(|kind| check(cell(kind, 1, 0)));
        check(cell(5, 4, 0)); // too long
        check(cell(5, 1, 4)); // begins outside
        check(cell(5, 1, 1)); // ends within a character
        check(cell(5, 1, 2)); // begins within a character
        check(cell(7, 0x0fff_ffff, 0xffff_ffff)); // the greatest offset and length
    }

    #[test]
    fn text_is_that_of_a_scalar() {
        let check = |field: Field<'_>, expect: Option<&str>| assert_eq!(field.text(), expect, "{field:?}");
        check(Field::Text("a"), Some("a"));
        check(Field::Number("1e3"), Some("1e3"));
        check(Field::Bool(true), Some("true"));
        check(Field::Bool(false), Some("false"));
        for none in [Field::Missing, Field::Null, Field::Object("{}"), Field::Array("[]")] {
            check(none, None);
            assert_eq!(String::from(none), "");
            assert_eq!(none.text_or("-"), "-");
        }
        assert_eq!(Field::Text("").text_or("-"), "-");
    }

    #[test]
    fn is_compares_to_the_letter() {
        assert!(Field::Text("Root").is("Root"));
        assert!(Field::Number("12").is("12"));
        for other in [Field::Text("root"), Field::Text("Root "), Field::Object("Root"), Field::Missing] {
            assert!(!other.is("Root"), "{other:?}");
        }
        assert!(!Field::Missing.is(""));
    }

    #[test]
    fn is_true_takes_the_bool_and_the_string() {
        for yes in [Field::Bool(true), Field::Text("true"), Field::Text("True"), Field::Text("TRUE")] {
            assert!(yes.is_true(), "{yes:?}");
        }
        for no in [Field::Bool(false), Field::Text("false"), Field::Text("1"), Field::Null, Field::Missing] {
            assert!(!no.is_true(), "{no:?}");
        }
    }

    #[test]
    fn yes_no_unknown_has_three_values() {
        let check = |field: Field<'_>, expect| assert_eq!(field.yes_no_unknown(), expect, "{field:?}");
        for text in ["Yes", "YES", "yes"] {
            check(Field::Text(text), "yes");
        }
        for text in ["No", "NO", "no"] {
            check(Field::Text(text), "no");
        }
        for unknown in [Field::Text(""), Field::Text("yes "), Field::Missing, Field::Null, Field::Bool(true)] {
            check(unknown, "unknown");
        }
    }

    #[test]
    fn or_takes_the_first_with_text() {
        let other = Field::Text("other");
        for none in [Field::Missing, Field::Null, Field::Text(""), Field::Object("{}")] {
            assert_eq!(none.or(other), other);
        }
        assert_eq!(Field::Number("1").or(other), Field::Number("1"));
        assert_eq!(Field::Bool(false).or(other), Field::Bool(false));
    }
}
