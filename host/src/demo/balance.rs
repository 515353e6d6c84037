//! The end of the demo: all counters, and whether they agree with what the traffic was made of.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::ROOT_SIGN_IN;
use super::generations;
use super::show::Tally;
use super::traffic::Expected;
use crate::counts::{Counts, total};

/// The balance as a table: a name, a number, and what it is made of.
pub(super) fn table(counts: &Counts, tally: &Tally, messages: usize) -> Vec<String> {
    let of_findings = match parts(&counts.findings) {
        none if none.is_empty() => none,
        rules => format!("{rules}; {} with the id of an earlier one", tally.repeats),
    };
    let rows = [
        ("  received", counts.received, format!("entries in {messages} messages")),
        ("= evaluated", counts.evaluated, "records".to_owned()),
        ("+ skipped", total(&counts.skipped), parts(&counts.skipped)),
        ("+ dead-lettered", total(&counts.dead_lettered), parts(&counts.dead_lettered)),
        ("  failed in a module", total(&counts.failed), parts(&counts.failed)),
        ("  findings in shadow", total(&counts.shadow_findings), parts(&counts.shadow_findings)),
        ("  findings", total(&counts.findings), of_findings),
    ];
    let row = |(name, number, made_of): &(&str, u64, String)| {
        format!("{name:<21}{number:>7}  {made_of}").trim_end().to_owned()
    };
    rows.iter().map(row).chain(generations::table(&tally.found)).collect()
}

/// The latency from append to finding, in words.
pub(super) fn latency(tally: &Tally) -> String {
    let mut sorted = tally.latencies_ms.clone();
    sorted.sort_unstable();
    // Nearest rank: the smallest value that `percent` of all do not exceed.
    let percentile = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1);
    match (percentile(50), percentile(99)) {
        (Some(p50), Some(p99)) => {
            format!(
                "  latency              p50 {p50} ms, p99 {p99} ms, from the append of a record to that of its finding"
            )
        }
        _ => "  latency                    -  no finding".to_owned(),
    }
}

fn parts<K: Display>(map: &BTreeMap<K, u64>) -> String {
    map.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// Where counters, topics and the maker of the traffic disagree: nothing when all is well. `rule_is_live`: whether the
/// rule that finds root sign-ins is in the rule set.
pub(super) fn disagreements(expected: &Expected, counts: &Counts, tally: &Tally, rule_is_live: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, expected: u64, found: u64| {
        if expected != found {
            wrong.push(format!("{what}: {expected} expected, {found} found"));
        }
    };
    let if_live = |count: u64| if rule_is_live { count } else { 0 };
    compare("entries received", expected.entries, counts.received);
    compare("records evaluated", expected.records, counts.evaluated);
    for (kind, found) in keys(&expected.skipped, &counts.skipped) {
        compare(&format!("skipped as {kind}"), found.0, found.1);
    }
    for (reason, found) in keys(&expected.dead_lettered, &counts.dead_lettered) {
        compare(&format!("dead-lettered as {reason}"), found.0, found.1);
    }
    compare("events that a module failed on", 0, total(&counts.failed));
    compare("findings refused by Kafka", 0, total(&counts.refused));
    let found = counts.findings.get(ROOT_SIGN_IN).copied().unwrap_or_default();
    compare("findings of root sign-ins", if_live(expected.root_sign_ins), found);
    compare("findings of root sign-ins on the topic", if_live(expected.root_sign_ins), tally.root_sign_ins);
    compare("their ids", if_live(expected.root_sign_ins_distinct), tally.root_sign_ins_distinct);
    compare("findings on the topic", total(&counts.findings), tally.findings);
    compare("findings in shadow on the topic", total(&counts.shadow_findings), tally.shadow);
    compare("events that a module in shadow failed on", 0, total(&counts.shadow_failed));
    compare("dead letters on the topic", total(&counts.dead_lettered) + total(&counts.failed), tally.dead_letters);
    if !counts.balanced() {
        wrong.push("received is not evaluated + skipped + dead-lettered".to_owned());
    }
    wrong
}

/// Both maps' values by all their keys.
fn keys(
    expected: &BTreeMap<&'static str, u64>,
    found: &BTreeMap<&'static str, u64>,
) -> BTreeMap<&'static str, (u64, u64)> {
    let of = |map: &BTreeMap<&'static str, u64>, key| map.get(key).copied().unwrap_or_default();
    expected.keys().chain(found.keys()).map(|key| (*key, (of(expected, key), of(found, key)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counters of traffic that agree with it.
    fn agreeing() -> (Expected, Counts, Tally) {
        let expected = Expected {
            entries: 4,
            records: 2,
            event_ids: 2,
            root_sign_ins: 2,
            root_sign_ins_distinct: 1,
            skipped: BTreeMap::from([("digest", 1)]),
            dead_lettered: BTreeMap::from([("truncated", 1)]),
        };
        let counts = Counts {
            received: 4,
            evaluated: 2,
            skipped: BTreeMap::from([("digest", 1)]),
            dead_lettered: BTreeMap::from([("truncated", 1)]),
            findings: BTreeMap::from([(ROOT_SIGN_IN.to_owned(), 2)]),
            ..Counts::default()
        };
        let tally = Tally {
            findings: 2,
            repeats: 1,
            root_sign_ins: 2,
            root_sign_ins_distinct: 1,
            dead_letters: 1,
            latencies_ms: vec![30, 10],
            ..Tally::default()
        };
        (expected, counts, tally)
    }

    fn check(change: impl Fn(&mut Counts, &mut Tally), expect: &[&str]) {
        let (expected, mut counts, mut tally) = agreeing();
        change(&mut counts, &mut tally);
        let found = disagreements(&expected, &counts, &tally, true);
        assert_eq!(found, expect);
    }

    #[test]
    fn every_disagreement_is_told() {
        check(|_, _| {}, &[]);
        check(
            |counts, _| counts.received = 3,
            &["entries received: 4 expected, 3 found", "received is not evaluated + skipped + dead-lettered"],
        );
        check(
            |counts, _| counts.skipped = BTreeMap::from([("empty", 1)]),
            &["skipped as digest: 1 expected, 0 found", "skipped as empty: 0 expected, 1 found"],
        );
        check(|_, tally| tally.root_sign_ins_distinct = 2, &["their ids: 1 expected, 2 found"]);
        check(|_, tally| tally.shadow = 1, &["findings in shadow on the topic: 0 expected, 1 found"]);
        check(|_, tally| tally.dead_letters = 0, &["dead letters on the topic: 1 expected, 0 found"]);
        check(
            |counts, _| crate::counts::bump(&mut counts.failed, "m", 1),
            &["events that a module failed on: 0 expected, 1 found", "dead letters on the topic: 2 expected, 1 found"],
        );
    }

    #[test]
    fn without_the_rule_no_finding_is_expected() {
        let (expected, mut counts, tally) = agreeing();
        counts.findings.clear();
        let tally = Tally { dead_letters: tally.dead_letters, ..Tally::default() };
        assert_eq!(disagreements(&expected, &counts, &tally, false), Vec::<String>::new());
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let (_, _, tally) = agreeing();
        assert!(latency(&tally).contains("p50 10 ms, p99 30 ms"), "{}", latency(&tally));
        let hundred = Tally { latencies_ms: (1..=100).collect(), ..Tally::default() };
        assert!(latency(&hundred).contains("p50 50 ms, p99 99 ms"), "{}", latency(&hundred));
        assert!(latency(&Tally::default()).contains("no finding"));
    }
}
