//! What the host's index can decide of a rule's condition, and what is left for the module.
//!
//! Sigma compares in any case, `select` to the letter. So what an author of rules for Trailhound knows of CloudTrail
//! decides what becomes a `select`:
//!
//! - Some fields hold words that AWS itself writes, always in the same way. For these `select` takes the rule's own
//!   spelling; the check against the list of hits shows that nothing is lost by it.
//! - An ARN says what its principal is, so a pattern with `:assumed-role/` implies a type.
//! - What a caller writes (a user agent, a parameter) may come in any case, and whoever calls would hide behind another
//!   one. A rule that has nothing else is selected by every spelling of its word, where that is short enough, which is as
//!   exact as Sigma; else it would meet every event.
//!
//! All other conditions are the module's.

use super::table::{Condition, Field, Pattern, Piece};

/// Fields whose values are AWS's own words; the index looks at the first of them first.
const OWN: [&str; 3] = ["eventName", "eventSource", TYPE];

/// Fields whose values the caller writes: for rules that have nothing else.
const WRITTEN: [&str; 1] = ["userAgent"];

/// Letters of a word that is spelled out: so many, and there are a thousand spellings.
const LETTERS_MAX: usize = 10;

const TYPE: &str = "userIdentity.type";
const ARN: &str = "userIdentity.arn";

/// What stands in the ARN of a principal, by its type.
const PRINCIPALS: [(&str, &str); 3] =
    [(":assumed-role/", "AssumedRole"), (":federated-user/", "FederatedUser"), (":user/", "IAMUser")];

/// What is selected by: a field and its values.
pub(super) type Select = Vec<(String, Vec<String>)>;

/// Splits a condition.
pub(super) fn split(condition: Condition) -> (Select, Condition) {
    let by = |field: &&str| Some(((*field).to_owned(), values(&condition, field)?));
    let mut select: Select = OWN.iter().filter_map(by).collect();
    if select.is_empty() {
        select = WRITTEN.iter().filter_map(by).filter_map(|(field, values)| Some((field, spelled(&values)?))).collect();
    }
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
        Condition::Like(Field { path, .. }, pattern) if path == ARN && field == TYPE => principal(pattern),
        Condition::Like(..) | Condition::Not(_) | Condition::Absent(_) | Condition::Same(..) => None,
    }
}

/// Every spelling of these words; None where one is too long.
fn spelled(words: &[String]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for word in words {
        let letters: Vec<usize> =
            word.bytes().enumerate().filter(|(_, b)| b.is_ascii_alphabetic()).map(|(at, _)| at).collect();
        if letters.len() > LETTERS_MAX || !word.is_ascii() {
            return None;
        }
        for bits in 0..1_u32 << letters.len() {
            let upper =
                |at: usize| letters.iter().position(|letter| *letter == at).is_some_and(|bit| bits >> bit & 1 == 1);
            let letter = |(at, letter): (usize, char)| if upper(at) { letter.to_ascii_uppercase() } else { letter };
            all.push(word.to_ascii_lowercase().chars().enumerate().map(letter).collect());
        }
    }
    Some(all)
}

/// The type of a principal with such an ARN.
fn principal(pattern: &Pattern) -> Option<Vec<String>> {
    let has = |part: &str| pattern.pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains(part)));
    PRINCIPALS.iter().find(|(part, _)| has(part)).map(|(_, kind)| vec![(*kind).to_owned()])
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
