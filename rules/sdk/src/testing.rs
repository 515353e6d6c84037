//! For a rule's own tests, without a host: read a record, prove the examples. Natively only.
//!
//! The host is the judge: it has its own selection and projection, and proves every module again.

use std::sync::Arc;

use serde_json::Value;

use crate::contract::exports::trailhound::rule::detection::{Batch, Condition};
use crate::{Fields, Module, Row};

/// The event that a rule's function would be given for this record.
///
/// # Panics
/// When the record is not JSON.
pub fn event<F: Fields>(record: &str) -> F {
    let columns: Arc<[usize]> = (0..F::PATHS.len()).collect();
    F::over(Row::new(Arc::new(pack(F::PATHS, &[parse(record)])), columns))
}

/// Proves a module as the host does before it goes live: every example alone, then all of them in one batch.
///
/// # Panics
/// When a rule has no example that fires or none that is quiet, and when an example disagrees. The text names each.
pub fn assert_examples(module: &Module) {
    let contract = module.describe("{}").unwrap_or_else(|error| panic!("{error}"));
    let mut records = Vec::new();
    let mut expect = Vec::new();
    let mut wrong = Vec::new();
    for (number, rule) in contract.rules.iter().enumerate() {
        for kind in [true, false] {
            if !rule.examples.iter().any(|example| example.fires == kind) {
                wrong.push(format!("{}: no example with fires = {kind}", rule.id));
            }
        }
        for example in &rule.examples {
            let record = parse(&example.record);
            if fired(module, std::slice::from_ref(&record)).contains(&(0, number)) != example.fires {
                wrong.push(format!("{}, alone: {}", rule.id, example.name));
            }
            expect.push((number, rule, example));
            records.push(record);
        }
    }
    let together = fired(module, &records);
    for (place, (number, rule, example)) in expect.into_iter().enumerate() {
        if together.contains(&(place, number)) != example.fires {
            wrong.push(format!("{}, in one batch: {}", rule.id, example.name));
        }
    }
    assert!(wrong.is_empty(), "examples disagree:\n{}", wrong.join("\n"));
}

/// The (event, rule) pairs that fire when the module is given these records in one batch.
fn fired(module: &Module, records: &[Value]) -> Vec<(usize, usize)> {
    let contract = module.describe("{}").unwrap_or_else(|error| panic!("{error}"));
    let mut batch = pack(&contract.fields, records);
    for (number, rule) in contract.rules.iter().enumerate() {
        let selected = records.iter().enumerate().filter(|(_, record)| selects(&rule.select, record));
        batch.pairs.extend(selected.map(|(event, _)| (number as u64) << 32 | event as u64));
    }
    if batch.pairs.is_empty() {
        return Vec::new();
    }
    module.evaluate(batch).hits.iter().map(|hit| (hit.event as usize, hit.rule as usize)).collect()
}

fn selects(select: &[Condition], record: &Value) -> bool {
    select.iter().all(|condition| {
        let text = match at(record, &condition.field) {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => return false,
        };
        condition.any_of.contains(&text)
    })
}

/// Packs records into a batch without pairs, as `rule.wit` lays it out.
fn pack<P: AsRef<str>>(paths: &[P], records: &[Value]) -> Batch {
    let mut cells = Vec::new();
    let mut text = String::new();
    for record in records {
        for path in paths {
            let (kind, value) = match at(record, path.as_ref()) {
                None => (0, String::new()),
                Some(Value::Null) => (1, String::new()),
                Some(Value::Bool(false)) => (2, "false".to_owned()),
                Some(Value::Bool(true)) => (3, "true".to_owned()),
                Some(number @ Value::Number(_)) => (4, number.to_string()),
                Some(Value::String(string)) => (5, string.clone()),
                Some(object @ Value::Object(_)) => (6, object.to_string()),
                Some(array @ Value::Array(_)) => (7, array.to_string()),
            };
            cells.push(kind << 60 | (value.len() as u64) << 32 | text.len() as u64);
            text.push_str(&value);
        }
    }
    Batch { events: records.len() as u32, cells, pairs: Vec::new(), text }
}

fn at<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(record, |value, name| value.as_object()?.get(name))
}

fn parse(record: &str) -> Value {
    serde_json::from_str(record).unwrap_or_else(|error| panic!("not a record: {error}\n{record}"))
}

#[cfg(test)]
mod tests {
    use crate::Field;
    use crate::prelude::*;

    use super::*;

    fields! { Sample {
        text: "a.text", number: "a.number", yes: "a.yes", no: "a.no", null: "a.null", below_null: "a.null.x",
        below_text: "a.text.x", object: "a.object", array: "a.array", in_array: "a.array.0", absent: "b.x",
    } }

    #[test]
    fn a_record_becomes_an_event() {
        let e: Sample = event(
            r#"{"a": {"text": "caf\u00e9 \"x\"", "number": 1.50, "yes": true, "no": false, "null": null,
                "object": {"k": [1, 2]}, "array": [1]}}"#,
        );
        let check = |field: Field<'_>, expect| assert_eq!(field, expect);
        check(e.text(), Field::Text("café \"x\""));
        check(e.number(), Field::Number("1.5"));
        check(e.yes(), Field::Bool(true));
        check(e.no(), Field::Bool(false));
        check(e.null(), Field::Null);
        check(e.object(), Field::Object(r#"{"k":[1,2]}"#));
        check(e.array(), Field::Array("[1]"));
        for missing in [e.below_null(), e.below_text(), e.in_array(), e.absent()] {
            check(missing, Field::Missing);
        }
    }

    fn on_text(e: &Sample) -> Option<Hit> {
        e.text().is("x").then(Hit::new)
    }

    fn proof(fires: &str, quiet: &str) {
        let rule =
            rule("T-1", "t").select("n", ["1", "true"]).fires("fires", fires).quiet("quiet", quiet).when(on_text);
        assert_examples(&Module::new("t", "1.0.0", vec![rule]));
    }

    #[test]
    fn right_examples_are_proven() {
        proof(r#"{"n": 1, "a": {"text": "x"}}"#, r#"{"n": 1, "a": {"text": "y"}}"#);
        proof(r#"{"n": true, "a": {"text": "x"}}"#, r#"{"n": 2, "a": {"text": "x"}}"#);
    }

    #[test]
    #[should_panic(expected = "T-1, alone: fires\nT-1, in one batch: fires")]
    fn an_example_that_should_fire_and_does_not_is_named() {
        proof(r#"{"n": 2, "a": {"text": "x"}}"#, "{}");
    }

    #[test]
    #[should_panic(expected = "T-1, alone: quiet\nT-1, in one batch: quiet")]
    fn an_example_that_should_be_quiet_and_is_not_is_named() {
        proof(r#"{"n": "1", "a": {"text": "x"}}"#, r#"{"n": "1", "a": {"text": "x"}}"#);
    }

    #[test]
    #[should_panic(expected = "T-1: no example with fires = false")]
    fn a_rule_needs_both_kinds() {
        let rule = rule("T-1", "t").fires("fires", r#"{"a": {"text": "x"}}"#).when(on_text);
        assert_examples(&Module::new("t", "1.0.0", vec![rule]));
    }
}
