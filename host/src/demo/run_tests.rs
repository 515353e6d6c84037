//! The demo from end to end, into a buffer.

use std::time::Duration;

use super::run::{Settings, run};
use super::show::Look;
use crate::rules::{Engine, RuleLimits, RuleSet};

/// The modules that `make rules` builds into the folder `rules` of cargo's target folder.
fn rules() -> Option<RuleSet> {
    let module = std::env::current_exe().ok()?.parent()?.parent()?.parent()?.join("rules/root_login.wasm");
    if !module.is_file() {
        eprintln!("skipped: {} is not there; `make rules` builds it", module.display());
        return None;
    }
    let engine = Engine::new().unwrap();
    Some(RuleSet::load(&engine, &[&module], &|_| "{}".to_owned(), &RuleLimits::default()).unwrap())
}

fn shown(rules: RuleSet, records: usize) -> (bool, String) {
    let settings = Settings { seed: 7, records, pace: Duration::from_millis(500), look: Look::default() };
    let mut out = Vec::new();
    let agrees = run(&settings, rules, &mut out).unwrap();
    (agrees, String::from_utf8(out).unwrap())
}

/// Whether lines of `text` begin so; runs of spaces count as one.
fn check_lines(text: &str, expect: &[&str]) {
    let lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for begin in expect {
        assert!(lines.iter().any(|line| line.starts_with(begin)), "no `{begin}` in\n{text}");
    }
}

#[test]
fn every_entry_of_the_demo_is_accounted_for() {
    let Some(rules) = rules() else { return };
    let (agrees, text) = shown(rules, 500);
    assert!(agrees, "{text}");
    check_lines(
        &text,
        &[
            "received 500 entries in",
            "+ skipped 3 control_message 1, digest 1, tombstone 1",
            "+ dead-lettered 1 invalid_json 1",
            "findings 5 RTM-001 5; 1 with the id of an earlier one",
            "Every entry is accounted for",
        ],
    );
    assert_eq!(text.matches(" HIGH ").count(), 4, "{text}");
    assert_eq!(text.matches(" REPEAT ").count(), 1, "{text}");
    assert_eq!(text.matches("DEAD LETTER").count(), 1, "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn without_rules_everything_is_read_and_nothing_found() {
    let (agrees, text) = shown(RuleSet::default(), 200);
    assert!(agrees, "{text}");
    check_lines(&text, &["findings 0", "latency - no finding"]);
}
