//! What the host's index can decide of a rule's condition, and what is left for the module.
//!
//! Sigma compares in any case, `select` to the letter. Three fields hold words that AWS itself writes, always in the same
//! way: for these `select` takes the rule's own spelling, and the check against the list of hits shows that nothing is
//! lost by it. What a caller may write (a user agent, an ARN, a parameter) is no `select`, since whoever calls could
//! write it in another case: such conditions are left to the module, and a rule that has no others meets every event.

use super::table::{Condition, Field, Pattern, Piece};

/// Fields whose values are AWS's own words; the index looks at the first of them first.
const FIELDS: [&str; 3] = ["eventName", "eventSource", "userIdentity.type"];

/// What is selected by: a field and its values.
pub(super) type Select = Vec<(String, Vec<String>)>;

/// Splits a condition.
pub(super) fn split(condition: Condition) -> (Select, Condition) {
    let select: Select =
        FIELDS.iter().filter_map(|field| Some(((*field).to_owned(), values(&condition, field)?))).collect();
    let rest = without(condition, &select);
    (select, rest)
}

/// The values of which the field has one whenever the condition holds; None where it may have any.
fn values(condition: &Condition, field: &str) -> Option<Vec<String>> {
    match condition {
        Condition::All(all) => all.iter().filter_map(|condition| values(condition, field)).min_by_key(Vec::len),
        Condition::Any(any) => {
            let mut union: Vec<String> = any.iter().map(|one| values(one, field)).collect::<Option<Vec<_>>>()?.concat();
            let mut seen = std::collections::BTreeSet::new();
            union.retain(|value| seen.insert(value.clone()));
            Some(union)
        }
        Condition::Like(Field { path, .. }, pattern) if path == field => value(pattern).map(|value| vec![value]),
        Condition::Like(..) | Condition::Not(_) | Condition::Absent(_) | Condition::Same(..) => None,
    }
}

fn value(pattern: &Pattern) -> Option<String> {
    match pattern.pieces.as_slice() {
        [Piece::Text(value)] => Some(value.clone()),
        _ => None,
    }
}

/// The condition without those parts that hold whenever the select does.
fn without(condition: Condition, select: &Select) -> Condition {
    match condition {
        Condition::All(all) => {
            let rest: Vec<Condition> = all.into_iter().map(|one| without(one, select)).collect();
            match <[Condition; 1]>::try_from(rest.into_iter().filter(|one| !is_true(one)).collect::<Vec<_>>()) {
                Ok([one]) => one,
                Err(rest) => Condition::All(rest),
            }
        }
        other if decided(&other, select) => Condition::All(Vec::new()),
        other => other,
    }
}

fn is_true(condition: &Condition) -> bool {
    matches!(condition, Condition::All(all) if all.is_empty())
}

/// Whether a condition is nothing but a list of a selected field's values, and holds for all that are selected.
fn decided(condition: &Condition, select: &Select) -> bool {
    let any = match condition {
        Condition::Any(any) => any.as_slice(),
        one => std::slice::from_ref(one),
    };
    select.iter().any(|(field, selected)| {
        let taken = |one: &Condition| match one {
            Condition::Like(Field { path, .. }, pattern) if path == field => value(pattern),
            _ => None,
        };
        any.iter()
            .map(taken)
            .collect::<Option<Vec<_>>>()
            .is_some_and(|taken| selected.iter().all(|value| taken.contains(value)))
    })
}
