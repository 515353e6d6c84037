//! The fields that a rule reads: `fields!`, and the row of a batch behind it.

use std::sync::Arc;

use crate::Field;
use crate::contract::exports::trailhound::rule::detection::Batch;

/// One event of a batch, seen through the columns of one `fields!`. Reading a field unpacks one cell; moving on to
/// another event changes one number.
pub struct Row {
    batch: Arc<Batch>,
    /// For each path of the `fields!`: its place among the module's fields.
    columns: Arc<[usize]>,
    /// Where the event's row begins in `batch.cells`.
    start: usize,
}

impl Row {
    pub(crate) fn new(batch: Arc<Batch>, columns: Arc<[usize]>) -> Self {
        Row { batch, columns, start: 0 }
    }

    /// Moves to an event; false, and no move, where the batch has no such event. `width` is the module's number of
    /// fields.
    #[inline]
    pub(crate) fn go_to(&mut self, event: u32, width: usize) -> bool {
        match (event as usize).checked_mul(width) {
            Some(start) if event < self.batch.events => {
                self.start = start;
                true
            }
            _ => false,
        }
    }

    /// The field of a column of the `fields!`, from 0. Missing where a malformed batch has no such cell.
    #[inline]
    pub fn field(&self, column: usize) -> Field<'_> {
        let cell = self.columns.get(column).and_then(|column| self.batch.cells.get(self.start.checked_add(*column)?));
        cell.map_or(Field::Missing, |cell| Field::unpack(*cell, &self.batch.text))
    }
}

/// What `fields!` writes for a struct. Not for writing by hand.
pub trait Fields: 'static {
    /// The paths, in the order of their columns.
    const PATHS: &'static [&'static str];
    /// The struct over a row.
    fn over(row: Row) -> Self;
    /// The row under the struct.
    fn row(&mut self) -> &mut Row;
}

/// Names the fields that a rule reads, and makes a struct of them with one method a field.
///
/// ```
/// # use trailhound_rule::prelude::*;
/// fields! { SignIn {
///     user_type: "userIdentity.type",
///     outcome:   "responseElements.ConsoleLogin",
/// } }
///
/// fn failed(e: &SignIn) -> Option<Hit> {
///     e.outcome().is("Failure").then(|| Hit::new().label("user_type", e.user_type()))
/// }
/// ```
///
/// A path is the names on the way down, joined by dots; it does not look into arrays.
#[macro_export]
macro_rules! fields {
    ($(#[$meta:meta])* $vis:vis $name:ident { $($(#[$doc:meta])* $field:ident : $path:literal),+ $(,)? }) => {
        $(#[$meta])*
        $vis struct $name {
            row: $crate::Row,
        }

        const _: () = {
            #[allow(non_camel_case_types, reason = "the field's own name, as a number")]
            enum Column { $($field),+ }

            impl $name {
                $(
                    #[doc = ::core::concat!("`", $path, "`")]
                    $(#[$doc])*
                    $vis fn $field(&self) -> $crate::Field<'_> {
                        self.row.field(Column::$field as usize)
                    }
                )+
            }

            impl $crate::Fields for $name {
                const PATHS: &'static [&'static str] = &[$($path),+];
                fn over(row: $crate::Row) -> Self {
                    Self { row }
                }
                fn row(&mut self) -> &mut $crate::Row {
                    &mut self.row
                }
            }
        };
    };
}
