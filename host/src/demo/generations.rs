//! What each generation of the rules was, told from what the demo has put on the rules topic and not from what the
//! instance says; and whether the findings agree with that, record by record.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use serde_json::Value;

use super::kafka::place_of;
use super::traffic::SignIn;
use super::{ROOT_SIGN_IN, ROOT_WITHOUT_MFA};
use crate::rules::Mode;
use crate::swap::Key;

/// Where a record stood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    partition: i32,
    offset: i64,
    entry: u32,
}

/// What a finding says of its making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rule: String,
    module: String,
    digest: String,
    pub(super) mode: Mode,
    pub(super) generation: u64,
    place: Place,
}

/// A message of the rules topic: its key, and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) key: Key,
    pub(super) change: Change,
}

/// What a message of the rules topic does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It brings a module: its digest, and the ids of its rules.
    Module(String, Vec<String>),
    /// It takes the module away.
    Gone,
    /// Nothing: what it brings is refused.
    Nothing,
}

/// The rules topic, by offset: the set of generation `n` is what its first `n` messages make.
#[derive(Clone, Debug, Default)]
pub(super) struct History(Vec<Put>);

impl Found {
    pub(super) fn of(document: &Value) -> Found {
        let text = |pointer| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |name: &str| document.pointer(&format!("/unmapped/trailhound/{name}")).and_then(Value::as_i64);
        let is_shadow = document.pointer("/unmapped/trailhound/shadow").and_then(Value::as_bool).unwrap_or_default();
        Found {
            rule: text("/finding_info/analytic/uid"),
            module: text("/unmapped/trailhound/module"),
            digest: text("/unmapped/trailhound/digest"),
            mode: if is_shadow { Mode::Shadow } else { Mode::Live },
            generation: number("generation").and_then(|number| number.try_into().ok()).unwrap_or_default(),
            place: Place {
                partition: number("partition").and_then(|number| number.try_into().ok()).unwrap_or(-1),
                offset: number("offset").unwrap_or(-1),
                entry: number("entry").and_then(|number| number.try_into().ok()).unwrap_or_default(),
            },
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "partition {} offset {} entry {}", self.partition, self.offset, self.entry)
    }
}

impl History {
    /// Notes the next message.
    pub(super) fn put(&mut self, put: Put) {
        self.0.push(put);
    }

    /// The generation that the messages so far make: the position after the last that counts.
    pub(super) fn generation(&self) -> u64 {
        let last = self.0.iter().rposition(|put| put.change != Change::Nothing);
        last.map_or(0, |at| at as u64 + 1)
    }

    /// How many messages there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The modules of a generation: digest and rules by key. None where there was no such generation.
    fn set(&self, generation: u64) -> Option<BTreeMap<&Key, (&str, &[String])>> {
        let before = self.0.get(..usize::try_from(generation).ok()?)?;
        if before.last().is_some_and(|put| put.change == Change::Nothing) {
            return None;
        }
        let mut set = BTreeMap::new();
        for Put { key, change } in before {
            match change {
                Change::Module(digest, rules) => drop(set.insert(key, (digest.as_str(), rules.as_slice()))),
                Change::Gone => drop(set.remove(key)),
                Change::Nothing => {}
            }
        }
        Some(set)
    }

    /// Where findings and generations disagree. Each record meets one generation. Which, the finding of
    /// [`ROOT_SIGN_IN`] tells, where that is live in all of them; then every other finding of the record is either
    /// there, of that generation, or was not to be made by it.
    pub(super) fn disagreements(&self, found: &[Found], sign_ins: &[SignIn]) -> Vec<String> {
        let mut wrong = Vec::new();
        for Found { rule, module, digest, mode, generation, place } in found {
            let key = Key { name: module.clone(), mode: *mode };
            match self.set(*generation).map(|set| set.get(&key).is_some_and(|(known, _)| known == digest)) {
                None => wrong.push(format!("{rule}, {place}: there was no generation {generation}")),
                Some(false) => {
                    wrong.push(format!("{rule}, {place}: generation {generation} had no module {key} of its digest"))
                }
                Some(true) => {}
            }
        }
        let mut by_place: BTreeMap<Place, Vec<&Found>> = BTreeMap::new();
        for one in found.iter().filter(|one| one.rule == ROOT_SIGN_IN || one.rule == ROOT_WITHOUT_MFA) {
            by_place.entry(one.place).or_default().push(one);
        }
        let mut last = Found::default();
        for (place, all) in &by_place {
            for one in all {
                if last.place.partition == place.partition && last.generation > one.generation {
                    let (before, after) = (last.generation, one.generation);
                    wrong.push(format!("{place}: generation {after} behind one of generation {before}"));
                }
                last = (*one).clone();
            }
        }
        if !self.always_live() {
            return wrong;
        }
        for sign_in in sign_ins {
            let (partition, offset) = place_of(sign_in.message);
            let place = Place { partition, offset, entry: sign_in.entry };
            let mut all = by_place.remove(&place).unwrap_or_default();
            let is_anchor = |one: &&Found| one.rule == ROOT_SIGN_IN && one.mode == Mode::Live;
            let Some(generation) = all.iter().copied().find(is_anchor).map(|one| one.generation) else {
                wrong.push(format!("{place}: a sign-in of root without a finding of {ROOT_SIGN_IN}"));
                continue;
            };
            for (key, (_, rules)) in self.set(generation).unwrap_or_default() {
                let fires = |rule: &&String| *rule == ROOT_SIGN_IN || *rule == ROOT_WITHOUT_MFA && sign_in.without_mfa;
                for rule in rules.iter().filter(fires) {
                    let same =
                        |one: &&Found| (one.rule == *rule, one.mode, one.generation) == (true, key.mode, generation);
                    match all.iter().position(same) {
                        Some(at) => drop(all.swap_remove(at)),
                        None => wrong.push(format!(
                            "{place}: generation {generation} had {rule} ({}), and its finding is missing",
                            key.mode.as_str()
                        )),
                    }
                }
            }
            by_place.insert(place, all);
        }
        for (place, all) in by_place {
            let extra = all.iter().map(|one| format!("{place}: {} has a finding that was not to be", one.rule));
            wrong.extend(extra);
        }
        wrong
    }

    /// Whether every generation that has a module at all has [`ROOT_SIGN_IN`] live.
    fn always_live(&self) -> bool {
        let generations = 1..=self.0.len() as u64;
        !self.0.is_empty()
            && generations.filter_map(|generation| self.set(generation)).all(|set| {
                let mut live = set.iter().filter(|(key, _)| key.mode == Mode::Live);
                live.any(|(_, (_, rules))| rules.iter().any(|rule| rule == ROOT_SIGN_IN))
            })
    }
}

/// Which findings were made by generation.
pub(super) fn table(found: &[Found]) -> Vec<String> {
    let mut counts: BTreeMap<u64, BTreeMap<(Mode, &str), u64>> = BTreeMap::new();
    for one in found {
        *counts.entry(one.generation).or_default().entry((one.mode, &one.rule)).or_default() += 1;
    }
    let words = |((mode, rule), count): (&(Mode, &str), &u64)| match mode {
        Mode::Live => format!("{rule} {count}"),
        Mode::Shadow => format!("in shadow {rule} {count}"),
    };
    counts
        .iter()
        .map(|(generation, rules)| {
            let all: u64 = rules.iter().filter(|((mode, _), _)| *mode == Mode::Live).map(|(_, count)| count).sum();
            let name = format!("    of generation {generation}");
            format!("{name:<21}{all:>7}  {}", rules.iter().map(words).collect::<Vec<_>>().join(", "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, digest: &str, rule: &str) -> Put {
        Put { key: Key::parse(key), change: Change::Module(digest.to_owned(), vec![rule.to_owned()]) }
    }

    /// RTM-001, then RTM-002, then something refused, then RTM-001 anew: generations 1, 2 and 4.
    fn history() -> History {
        let refused = Put { key: Key::parse("b"), change: Change::Nothing };
        History(vec![
            put("a", "a1", ROOT_SIGN_IN),
            put("b", "b1", ROOT_WITHOUT_MFA),
            refused,
            put("a", "a2", ROOT_SIGN_IN),
        ])
    }

    fn found(rule: &str, module: &str, digest: &str, generation: u64, message: usize) -> Found {
        let (partition, offset) = place_of(message);
        Found {
            rule: rule.to_owned(),
            module: module.to_owned(),
            digest: digest.to_owned(),
            mode: Mode::Live,
            generation,
            place: Place { partition, offset, entry: 0 },
        }
    }

    /// Three sign-ins without MFA in one partition, one a generation, and one with MFA.
    fn agreeing() -> (Vec<SignIn>, Vec<Found>) {
        let sign_in = |message, without_mfa| SignIn { message, entry: 0, without_mfa };
        let sign_ins = vec![sign_in(0, true), sign_in(3, true), sign_in(4, false), sign_in(6, true)];
        let found = vec![
            found(ROOT_SIGN_IN, "a", "a1", 1, 0),
            found(ROOT_SIGN_IN, "a", "a1", 2, 3),
            found(ROOT_WITHOUT_MFA, "b", "b1", 2, 3),
            found(ROOT_SIGN_IN, "a", "a1", 2, 4),
            found(ROOT_SIGN_IN, "a", "a2", 4, 6),
            found(ROOT_WITHOUT_MFA, "b", "b1", 4, 6),
        ];
        (sign_ins, found)
    }

    fn check(change: impl Fn(&mut Vec<Found>), expect: &[&str]) {
        let (sign_ins, mut all) = agreeing();
        change(&mut all);
        assert_eq!(history().disagreements(&all, &sign_ins), expect);
    }

    #[test]
    fn every_finding_is_held_against_its_generation() {
        check(|_| {}, &[]);
        check(
            |all| drop(all.remove(2)),
            &["partition 0 offset 1 entry 0: generation 2 had RTM-002 (live), and its finding is missing"],
        );
        check(
            |all| drop(all.remove(3)),
            &["partition 1 offset 1 entry 0: a sign-in of root without a finding of RTM-001"],
        );
        check(
            |all| all.push(found(ROOT_WITHOUT_MFA, "b", "b1", 1, 0)),
            &[
                "RTM-002, partition 0 offset 0 entry 0: generation 1 had no module b of its digest",
                "partition 0 offset 0 entry 0: RTM-002 has a finding that was not to be",
            ],
        );
        check(
            |all| all.push(found(ROOT_WITHOUT_MFA, "b", "b1", 2, 4)),
            &["partition 1 offset 1 entry 0: RTM-002 has a finding that was not to be"],
        );
        check(
            |all| all[4].digest = "a1".to_owned(),
            &["RTM-001, partition 0 offset 2 entry 0: generation 4 had no module a of its digest"],
        );
        check(
            |all| all[5].generation = 3,
            &[
                "RTM-002, partition 0 offset 2 entry 0: there was no generation 3",
                "partition 0 offset 2 entry 0: generation 3 behind one of generation 4",
                "partition 0 offset 2 entry 0: generation 4 had RTM-002 (live), and its finding is missing",
                "partition 0 offset 2 entry 0: RTM-002 has a finding that was not to be",
            ],
        );
    }

    #[test]
    fn the_generation_is_the_position_after_what_counts() {
        let mut history = history();
        assert_eq!((history.generation(), history.len()), (4, 4));
        history.put(Put { key: Key::parse("a"), change: Change::Nothing });
        assert_eq!((history.generation(), history.len()), (4, 5));
        let words = table(&[Found { mode: Mode::Shadow, ..found("R", "a", "a1", 2, 0) }, found("R", "a", "a1", 2, 1)]);
        assert_eq!(words, ["    of generation 2        1  R 1, in shadow R 1"]);
    }
}
