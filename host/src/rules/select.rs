//! Selection: which rules may match a record, by an index over their `select` conditions.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::contract::{Condition, Rule};
use super::path::{Path, literal};
use crate::record::{Look, Record, Skimmed, Subtle};

/// A rule that may match: its module's number in the rule set, and its own number in the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) module: u32,
    pub(super) rule: u32,
}

/// The field that nearly every rule selects by and that tells records apart best; conditions on it are the index's
/// first choice.
const BEST_FIELD: &str = "eventName";

/// Finds candidates with one look-up for each distinct key field, so the cost of a record grows with the rules that
/// may match it and not with the rules that are loaded.
#[derive(Debug, Default)]
pub(super) struct Index {
    keyed: Vec<Keyed>,
    /// Rules without conditions: every record is theirs.
    always: Vec<Candidate>,
}

/// Rules that are found by the value of one field.
#[derive(Debug)]
struct Keyed {
    field: Path,
    /// Only rules' own values are put in, so nobody can make them collide, and the hash need not be a costly one.
    rules: HashMap<Box<str>, Vec<Entry>, RandomState>,
}

/// A rule under one of its key values, with the conditions that are left to check.
#[derive(Clone, Debug)]
struct Entry {
    candidate: Candidate,
    rest: Vec<(Path, Box<[Box<str>]>)>,
}

impl Index {
    /// Adds a rule.
    pub(super) fn add(&mut self, candidate: Candidate, rule: &Rule) {
        let key = rule.select.iter().position(|c| c.field == BEST_FIELD).unwrap_or(0);
        let Some(condition) = rule.select.get(key) else {
            self.always.push(candidate);
            return;
        };
        let rest = rule.select.iter().enumerate().filter(|(i, _)| *i != key).map(|(_, c)| condition_of(c)).collect();
        let (field, values) = condition_of(condition);
        let entry = Entry { candidate, rest };
        let keyed = match self.keyed.iter().position(|keyed| keyed.field == field) {
            Some(at) => &mut self.keyed[at],
            None => {
                self.keyed.push(Keyed { field, rules: HashMap::default() });
                let last = self.keyed.len() - 1;
                &mut self.keyed[last]
            }
        };
        for value in values {
            let entries = keyed.rules.entry(value).or_default();
            // A value that is listed twice must not select the rule twice.
            if !entries.iter().any(|other| other.candidate == candidate) {
                entries.push(entry.clone());
            }
        }
    }

    /// Replaces `candidates` with the rules whose conditions all hold, ascending by module, then rule.
    pub(super) fn select(&self, record: &Record<'_>, candidates: &mut Vec<Candidate>) {
        candidates.clear();
        candidates.extend_from_slice(&self.always);
        for keyed in &self.keyed {
            let mut number = String::new();
            let Some(text) = keyed.field.look(record).scalar(&mut number) else {
                continue;
            };
            let entries = keyed.rules.get(text).map(Vec::as_slice).unwrap_or_default();
            candidates.extend(entries.iter().filter(|e| e.holds(record)).map(|e| e.candidate));
        }
        candidates.sort_unstable();
    }

    /// Whether every record is some rule's.
    pub(super) fn selects_all(&self) -> bool {
        !self.always.is_empty()
    }

    /// Whether a record that was skimmed may have candidates. Says yes where only its tree can tell.
    pub(super) fn may_select(&self, record: &Skimmed<'_>) -> bool {
        self.selects_all()
            || self.keyed.iter().any(|keyed| match scalar(record, &keyed.field) {
                Ok(None) => false,
                Ok(Some(text)) => {
                    let entries = keyed.rules.get(text).map(Vec::as_slice).unwrap_or_default();
                    entries.iter().any(|entry| entry.may_hold(record))
                }
                Err(Subtle) => true,
            })
    }
}

impl Entry {
    fn may_hold(&self, record: &Skimmed<'_>) -> bool {
        self.rest.iter().all(|(field, any_of)| match scalar(record, field) {
            Ok(None) => false,
            Ok(Some(text)) => any_of.iter().any(|value| **value == *text),
            Err(Subtle) => true,
        })
    }

    fn holds(&self, record: &Record<'_>) -> bool {
        self.rest.iter().all(|(field, any_of)| {
            let mut number = String::new();
            let text = field.look(record).scalar(&mut number);
            text.is_some_and(|text| any_of.iter().any(|value| **value == *text))
        })
    }
}

/// The scalar that a condition compares, as far as a record that was skimmed can tell.
fn scalar<'r>(record: &Skimmed<'r>, field: &Path) -> Result<Option<&'r str>, Subtle> {
    match record.look(field.names()) {
        Look::Missing | Look::Null | Look::Nested => Ok(None),
        Look::Bool(is) => Ok(Some(literal(is))),
        Look::Text(text) => Ok(Some(text)),
        Look::Unsure => Err(Subtle),
    }
}

fn condition_of(condition: &Condition) -> (Path, Box<[Box<str>]>) {
    (Path::new(&condition.field), condition.any_of.iter().map(|value| Box::from(value.as_str())).collect())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::contract::Severity;
    use super::*;
    use crate::record::testing::each_reading;
    use crate::record::{Entry, Reader};

    fn rule(select: &[(&str, &[&str])]) -> Rule {
        let select = select
            .iter()
            .map(|(field, any_of)| Condition {
                field: (*field).to_owned(),
                any_of: any_of.iter().map(|value| (*value).to_owned()).collect(),
            })
            .collect();
        Rule {
            id: "R".to_owned(),
            version: "1".to_owned(),
            title: "t".to_owned(),
            severity: Severity::Low,
            description: String::new(),
            rationale: String::new(),
            remediation: String::new(),
            references: Vec::new(),
            compliance: Vec::new(),
            attacks: Vec::new(),
            select,
            examples: Vec::new(),
        }
    }

    fn check(rules: &[Rule], record: &str, expect: &[u32]) {
        let mut index = Index::default();
        for (number, rule) in rules.iter().enumerate() {
            index.add(Candidate { module: 0, rule: number as u32 }, rule);
        }
        each_reading(record, |record| {
            let mut candidates = vec![Candidate { module: 9, rule: 9 }];
            index.select(record, &mut candidates);
            let found: Vec<u32> = candidates.iter().map(|c| c.rule).collect();
            assert_eq!(found, expect, "{record:?}");
        });
    }

    #[test]
    fn all_conditions_must_hold() {
        let rules = [
            rule(&[("eventName", &["A", "B", "A"])]),
            rule(&[("userIdentity.type", &["Root"]), ("eventName", &["A"])]),
            rule(&[("readOnly", &["true"])]),
            rule(&[("count", &["12"])]),
            rule(&[]),
        ];
        check(&rules, r#"{"eventName":"A"}"#, &[0, 4]);
        check(&rules, r#"{"eventName":"a"}"#, &[4]);
        check(&rules, r#"{"eventName":"\u0041","userIdentity":{"type":"Root"}}"#, &[0, 1, 4]);
        check(&rules, r#"{"eventName":"B","userIdentity":{"type":"Root"}}"#, &[0, 4]);
        check(&rules, r#"{"eventName":"A","userIdentity":"Root"}"#, &[0, 4]);
        check(&rules, r#"{"eventName":null,"readOnly":true}"#, &[2, 4]);
        check(&rules, r#"{"eventName":["A"],"readOnly":"true"}"#, &[2, 4]);
        check(&rules, r#"{"eventName":{"A":1},"count":12}"#, &[3, 4]);
        check(&rules, r#"{}"#, &[4]);
    }

    #[test]
    fn a_tree_is_made_only_of_what_may_have_candidates() {
        let mut index = Index::default();
        let rules = [
            rule(&[("eventName", &["A", "B"]), ("userIdentity.type", &["Root"]), ("readOnly", &["true"])]),
            rule(&[("count", &["12"])]),
        ];
        for (number, rule) in rules.iter().enumerate() {
            index.add(Candidate { module: 0, rule: number as u32 }, rule);
        }
        let check = |members: &str, expect: bool| {
            let record = format!(r#"{{"eventVersion":"1",{members}}}"#);
            let mut may = None;
            let seen = Cell::new(None);
            let wanted = |record: &Skimmed<'_>| {
                seen.set(Some(index.may_select(record)));
                true
            };
            Reader::default().unpack(Some(record.as_bytes()), Some(&wanted), &mut |entry| {
                let Entry::Record(record) = entry else { return };
                let mut candidates = Vec::new();
                index.select(&record, &mut candidates);
                may = Some(!candidates.is_empty());
            });
            assert_eq!(seen.get().unwrap_or(true), expect, "{record}");
            assert!(expect || may == Some(false), "{record}");
        };
        let both = r#""userIdentity":{"x":{"type":"User"},"type":"Root"},"readOnly":true"#;
        check(&format!(r#""eventName":"A",{both}"#), true);
        check(&format!(r#""eventName":"C",{both}"#), false);
        check(&format!(r#""eventName":"a",{both}"#), false);
        check(&format!(r#""eventName":null,"eventName":"A",{both}"#), false);
        check(r#""eventName":"A","readOnly":true"#, false);
        check(r#""eventName":"A","readOnly":true,"userIdentity":{"type":"User"}"#, false);
        check(r#""eventName":"A","readOnly":false,"userIdentity":{"type":"Root"}"#, false);
        check(r#""eventName":"A","readOnly":"true","userIdentity":{"type":"Root"}"#, true);
        // What only the tree can tell: escapes in values, escapes in names, numbers.
        check(&format!(r#""eventName":"\u0041",{both}"#), true);
        check(&format!(r#""event\u004eame":"A",{both}"#), true);
        check(r#""eventName":"A","readOnly":true,"userIdentity":{"t\u0079pe":"Root"}"#, true);
        check(r#""eventName":"C","count":12"#, true);
        check(r#""eventName":"C","count":{"a":12}"#, false);
    }
}
