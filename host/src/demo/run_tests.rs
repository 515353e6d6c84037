//! The demo from end to end, into a buffer.

use std::time::Duration;

use super::fleet::Offered;
use super::run::{Settings, run};
use super::show::Look;
use crate::rules::Engine;

/// The modules that `make rules` builds into the folder `rules` of cargo's target folder.
fn modules(engine: &Engine) -> Option<Vec<Offered>> {
    let folder = std::env::current_exe().ok()?.parent()?.parent()?.parent()?.join("rules");
    let files = ["root_login.wasm", "root_no_mfa.wasm"].map(|name| folder.join(name));
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        eprintln!("skipped: {} is not there; `make rules` builds it", missing.display());
        return None;
    }
    Some(files.iter().map(|file| Offered::open(engine, file).unwrap()).collect())
}

fn shown(engine: &Engine, modules: Vec<Offered>, records: usize) -> (bool, String) {
    let settings = Settings { seed: 7, records, pace: Duration::from_millis(500), look: Look::default() };
    let mut out = Vec::new();
    let agrees = run(&settings, engine, modules, &mut out).unwrap();
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
fn every_entry_of_the_demo_is_accounted_for_and_every_swap_is_seen() {
    let engine = Engine::new().unwrap();
    let Some(modules) = modules(&engine) else { return };
    let (agrees, text) = shown(&engine, modules, 4_000);
    assert!(agrees, "{text}");
    check_lines(
        &text,
        &[
            "received 4000 entries in",
            "+ skipped 6 control_message 2, digest 2, tombstone 2",
            "+ dead-lettered 2 invalid_json 2",
            "read from the topic rules: generation 1, set ",
            "SWAP 1/5 trailhound rule publish root_no_mfa.wasm --wait",
            "LIVE 1/5 root_no_mfa sha256 ",
            "generation 1 -> 2, set ",
            "SWAP 2/5 trailhound rule publish root_login.wasm --shadow --wait",
            "SWAP 3/5 trailhound rule promote root_login --wait",
            "REFUSED 4/5 by instance demo: module root_no_mfa: rules partition 0 offset 5: refused at step `parse`:",
            "REFUSED 5/5 by instance demo: module root_login: rules partition 0 offset 6: refused at step `read`:",
            "generation 5, set ",
            "of generation 1 ",
            "of generation 2 ",
            "of generation 5 ",
            "Every entry is accounted for",
            "Each sign-in has exactly the findings of the one generation",
        ],
    );
    assert!(text.contains(" CRITICAL  RTM-002 "), "{text}");
    assert!(text.contains(" SHADOW    RTM-001 "), "{text}");
    assert_eq!(text.matches("hint: ").count(), 2, "{text}");
    assert_eq!(text.matches("DEAD LETTER").count(), 2, "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn one_module_is_enough() {
    let engine = Engine::new().unwrap();
    let Some(mut modules) = modules(&engine) else { return };
    modules.truncate(1);
    let (agrees, text) = shown(&engine, modules, 300);
    assert!(agrees, "{text}");
    check_lines(&text, &["SWAP 4/4 another tool", "findings 5 RTM-001 5; 1 with the id of an earlier one"]);
}

#[test]
fn a_module_that_is_another_than_was_said_is_noticed() {
    let engine = Engine::new().unwrap();
    let Some(mut modules) = modules(&engine) else { return };
    // The demo believes that the second module is another rule than it is.
    let [first, second] = modules.as_mut_slice() else { panic!("two modules") };
    second.module.described.rules[0].id.clone_from(&first.module.described.rules[0].id);
    let (agrees, text) = shown(&engine, modules, 4_000);
    assert!(!agrees, "{text}");
    check_lines(&text, &["This does not agree with what the traffic was made of."]);
    assert!(text.contains("had RTM-001 (live), and its finding is missing"), "{text}");
    assert!(text.contains("RTM-002 has a finding that was not to be"), "{text}");
}

#[test]
fn without_rules_everything_is_read_and_nothing_found() {
    let (agrees, text) = shown(&Engine::new().unwrap(), Vec::new(), 200);
    assert!(agrees, "{text}");
    check_lines(&text, &["findings 0", "latency - no finding"]);
}
