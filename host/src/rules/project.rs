//! Projection: the fields that a module reads, packed into the cells of a batch (`rule.wit`, record `batch`).

use sonic_rs::Value;

use super::contract::Batch;
use super::path::{Found, Path, literal};
use crate::record::Record;

const KIND_MISSING: u64 = 0;
const KIND_NULL: u64 = 1;
const KIND_FALSE: u64 = 2;
const KIND_TRUE: u64 = 3;
const KIND_NUMBER: u64 = 4;
const KIND_STRING: u64 = 5;
const KIND_OBJECT: u64 = 6;
const KIND_ARRAY: u64 = 7;

/// A cell's length has 28 bits. The reader's limit on a record is far below; a longer text is handed over as missing.
const LENGTH_MAX: usize = (1 << 28) - 1;

/// Appends one row of cells: `record`'s values at `fields`, in order.
pub(super) fn push_row(batch: &mut Batch, fields: &[Path], record: &Record<'_>) {
    for field in fields {
        let cell = match field.look(record) {
            Found::Missing => KIND_MISSING << 60,
            Found::Null => KIND_NULL << 60,
            Found::Bool(is) => push_text(&mut batch.text, if is { KIND_TRUE } else { KIND_FALSE }, literal(is)),
            Found::Text(text) => push_text(&mut batch.text, KIND_STRING, text),
            Found::Number(value) => push_json(&mut batch.text, KIND_NUMBER, value),
            Found::Object(value) => push_json(&mut batch.text, KIND_OBJECT, value),
            Found::Array(value) => push_json(&mut batch.text, KIND_ARRAY, value),
        };
        batch.cells.push(cell);
    }
    batch.events += 1;
}

fn push_json(text: &mut String, kind: u64, value: &Value) -> u64 {
    match sonic_rs::to_string(value) {
        Ok(json) => push_text(text, kind, &json),
        Err(_) => KIND_MISSING << 60,
    }
}

fn push_text(text: &mut String, kind: u64, value: &str) -> u64 {
    match u32::try_from(text.len()) {
        Ok(offset) if value.len() <= LENGTH_MAX => {
            text.push_str(value);
            u64::from(offset) | (value.len() as u64) << 32 | kind << 60
        }
        _ => KIND_MISSING << 60,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::each_reading;

    fn check(record: &str, field: &str, kind: u64, text: &str) {
        each_reading(record, |record| {
            let mut batch = Batch { events: 0, cells: Vec::new(), pairs: Vec::new(), text: "before".to_owned() };
            push_row(&mut batch, &[Path::new(field)], record);
            let cell = batch.cells[0];
            let (offset, length) = ((cell & 0xffff_ffff) as usize, (cell >> 32 & 0xfff_ffff) as usize);
            assert_eq!((cell >> 60, &batch.text[offset..offset + length]), (kind, text), "{field} of {record:?}");
        });
    }

    #[test]
    fn a_cell_says_kind_and_text() {
        let record = r#"{"n":null,"t":true,"f":false,"i":12,"x":-1.5e3,"s":"a\u0041\"","o":{"a": [1, "b"]},"l":[ 1 ]}"#;
        check(record, "absent", KIND_MISSING, "");
        check(record, "n", KIND_NULL, "");
        check(record, "t", KIND_TRUE, "true");
        check(record, "f", KIND_FALSE, "false");
        check(record, "i", KIND_NUMBER, "12");
        check(record, "s", KIND_STRING, "aA\"");
        check(record, "o", KIND_OBJECT, r#"{"a":[1,"b"]}"#);
        check(record, "l", KIND_ARRAY, "[1]");
    }

    #[test]
    fn a_path_through_something_else_than_an_object_is_missing() {
        let record = r#"{"n":null,"s":"{\"a\":1}","l":[{"a":1}],"o":{"a":{"b":"c"}}}"#;
        check(record, "n.a", KIND_MISSING, "");
        check(record, "s.a", KIND_MISSING, "");
        check(record, "l.a", KIND_MISSING, "");
        check(record, "o.a.b", KIND_STRING, "c");
        check(record, "o.a.b.c", KIND_MISSING, "");
    }
}
