//! Modules that proved themselves and turn on the host at work, on certain events. Each costs itself those events and
//! nothing else: they become dead letters of that module, its neighbours are evaluated, and the next batch is as ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trailhound::counts::total;
use trailhound::rules::{Module, RuleLimits};

use crate::detection::{Outcome, Worker, load};
use harness::guest::{FIRST, Guest, SECOND, record};

/// A module that loops is caught soon, and none that does its work is caught on a loaded machine.
fn limits() -> RuleLimits {
    RuleLimits { call_ms_max: 300, ..RuleLimits::default() }
}

/// A worker with a module under test and a good one beside it, which is selected for the same events.
struct Pair {
    hostile: Arc<Module>,
    worker: Worker,
}

impl Pair {
    fn new(hostile: &Guest, limits: RuleLimits) -> Pair {
        let hostile = load("hostile", &hostile.wasm(), &limits);
        let good = load("good", &Guest::new("GOOD").wasm(), &limits);
        let worker = Worker::new(vec![Arc::clone(&hostile), good], limits);
        Pair { hostile, worker }
    }

    /// Runs a batch of records, one a message. Each is evaluated, and each that the module failed on is a dead letter.
    #[track_caller]
    fn run(&mut self, records: &[String]) -> Outcome {
        let outcome = self.worker.run(records);
        let counts = &outcome.counts;
        assert_eq!((counts.received, counts.evaluated), (records.len() as u64, records.len() as u64));
        assert_eq!(total(&counts.failed), outcome.dead.len() as u64);
        outcome
    }
}

/// Records for the first rule: `id` and what the guests shall do.
fn records(kinds: &[&str]) -> Vec<String> {
    kinds.iter().enumerate().map(|(number, kind)| record(&format!("e{number}"), FIRST, kind)).collect()
}

/// What `rule` must have fired on, of the records that were made of `kinds`; sorted.
fn fires(rule: &str, kinds: &[&str]) -> Vec<(String, String)> {
    let numbers = (0..kinds.len()).filter(|number| kinds[*number].starts_with('f'));
    let mut fires: Vec<(String, String)> = numbers.map(|number| (rule.to_owned(), format!("e{number}"))).collect();
    fires.sort();
    fires
}

/// Runs a module that does `evil` on a poisoned event: that event, wherever it is, is a dead letter for `reason` with
/// `detail`, and everything else is as if the module were a good one.
#[track_caller]
fn check(what: &str, evil: &str, reason: &str, detail: &str) {
    check_guest(what, &Guest::new("H").with("evil", evil), limits(), reason, detail);
}

#[track_caller]
fn check_guest(what: &str, guest: &Guest, limits: RuleLimits, reason: &str, detail: &str) {
    let mut pair = Pair::new(guest, limits);
    let kinds = ["fire", "quiet", "fire", "poison", "fire", "quiet", "fire"];
    let records = records(&kinds);
    let outcome = pair.run(&records);
    let both = [fires("GOOD-1", &kinds), fires("H-1", &kinds)].concat();
    assert_eq!(outcome.fired, both, "{what}: the good module, and the events beside the poison");
    assert_eq!(outcome.counts.failed, BTreeMap::from([("hostile".to_owned(), 1)]), "{what}");
    let [letter] = outcome.dead.as_slice() else { panic!("{what}: {} dead letters", outcome.dead.len()) };
    assert_eq!(letter.reason, reason, "{what}: {}", letter.detail);
    assert!(letter.detail.contains(detail), "{what}: {}", letter.detail);
    assert!(letter.detail.len() < 1_024, "{what}: {} bytes of detail", letter.detail.len());
    assert_eq!((letter.origin.offset, letter.origin.partition), (3, 1), "{what}");
    assert_eq!(letter.original, records[3].as_bytes(), "{what}: the original bytes");
    let failed = letter.failed.as_ref().expect("the module's name");
    assert_eq!((failed.module.as_str(), failed.rules.as_str()), ("hostile", "H-1"), "{what}");
    assert_eq!(failed.digest, pair.hostile.digest, "{what}");

    // The instance was replaced: nothing of it is left in the next batch.
    let kinds = ["fire", "quiet", "fire"];
    let outcome = pair.run(&self::records(&kinds));
    assert_eq!(outcome.fired, [fires("GOOD-1", &kinds), fires("H-1", &kinds)].concat(), "{what}: the next batch");
    // Alone in its batch, there is nothing to be tried again.
    let outcome = pair.run(&self::records(&["poison"]));
    assert_eq!((outcome.fired.len(), outcome.dead.len()), (0, 1), "{what}: alone");
    assert_eq!(outcome.dead[0].reason, reason, "{what}: alone: {}", outcome.dead[0].detail);
}

#[test]
fn modules_that_behave_fail_on_nothing() {
    let mut pair = Pair::new(&Guest::new("H"), limits());
    let mut records = records(&["fire", "quiet", "poison", ""]);
    records.push(record("e4", SECOND, "fire"));
    records.push(record("e5", "ThirdProbe", "fire"));
    let outcome = pair.run(&records);
    let fired: Vec<(&str, &str)> = outcome.fired.iter().map(|(rule, id)| (rule.as_str(), id.as_str())).collect();
    assert_eq!(fired, [("GOOD-1", "e0"), ("GOOD-2", "e4"), ("H-1", "e0"), ("H-2", "e4")]);
    assert!(outcome.dead.is_empty());
    let finding = outcome.findings.iter().find(|f| f["finding_info"]["analytic"]["uid"] == "H-2").expect("H-2");
    assert_eq!(finding["finding_info"]["title"], "The title of H-2");
    assert_eq!(finding["finding_info"]["analytic"]["version"], "1.2.3");
    assert_eq!(finding["unmapped"]["trailhound"]["module"], "hostile");
    assert_eq!(finding["unmapped"]["trailhound"]["digest"], pair.hostile.digest.as_str());
}

#[test]
fn an_endless_loop_is_interrupted() {
    check("loop", "(loop $again (br $again))", "module_timed_out", "took longer than 300 ms");
    // With calls of the host in it, which could give the guest its time anew.
    let log = "(loop $again (call $log (i32.const 0) (i32.const 0) (i32.const 0)) (br $again))";
    check("log", log, "module_timed_out", "took longer than 300 ms");
}

#[test]
fn a_trap_is_the_guests_own() {
    let trap = |what, evil, detail| check(what, evil, "module_trapped", detail);
    trap("unreachable", "(unreachable)", "unreachable");
    trap("division by zero", "(drop (i32.div_u (i32.const 1) (i32.const 0)))", "divide by zero");
    trap("a load out of bounds", "(drop (i32.load (i32.const -4)))", "out of bounds");
    trap("recursion", "(drop (call $recurse (i64.const 0)))", "stack");
    trap("memory", "(loop $again (drop (memory.grow (i32.const 16))) (br $again))", "growing memory");
    trap("memory at once", "(drop (memory.grow (i32.const 0xffff)))", "growing memory");
}

#[test]
fn a_hit_that_nobody_asked_for_is_a_wrong_answer() {
    let wrong = |what, evil: &str, detail| check(what, evil, "module_wrong_answer", detail);
    wrong("an event beyond the batch", "(drop (call $hit (i32.const 99) (i32.const 0)))", "not asked about");
    wrong("the last event there is", "(drop (call $hit (i32.const -1) (i32.const -1)))", "not asked about");
    wrong(
        "a rule that the module does not have",
        "(drop (call $hit (local.get $event) (i32.const 7)))",
        "not asked about",
    );
    wrong("a rule that was not selected", "(drop (call $hit (local.get $event) (i32.const 1)))", "not asked about");
    let hit = "(drop (call $hit (local.get $event) (local.get $rule)))";
    wrong("a hit too many", &[hit, hit].concat(), "2 hits for 1 pairs");
}

#[test]
fn an_event_has_each_rule_once_and_few_in_all() {
    let hit = "(drop (call $hit (local.get $event) (local.get $rule)))";
    // Both rules are selected for the same events.
    let both = |evil: &str| {
        let mut guest = Guest::new("H").with("evil", evil);
        guest.rules[1].select = guest.rules[0].select.clone();
        guest.rules[1].examples = guest.rules[0].examples.clone();
        guest
    };
    let once = Pair::new(&both(hit), limits()).run(&records(&["poison"]));
    assert_eq!(once.fired, [("H-1".to_owned(), "e0".to_owned()), ("H-2".to_owned(), "e0".to_owned())]);

    let twice = format!("(if (i32.eqz (local.get $rule)) (then {hit} {hit}))");
    let outcome = Pair::new(&both(&twice), limits()).run(&records(&["poison"]));
    assert!(outcome.fired.is_empty());
    assert!(outcome.dead[0].detail.contains("two hits of event 0 and rule 0"), "{}", outcome.dead[0].detail);
    assert_eq!(outcome.dead[0].failed.as_ref().map(|failed| failed.rules.as_str()), Some("H-1,H-2"));

    let mut few = Pair::new(&both(hit), limits());
    let rules = RuleLimits { event_findings_max: 1, ..limits() };
    few.worker.limit(rules);
    let outcome = few.run(&records(&["poison", "quiet"]));
    assert!(outcome.dead[0].detail.contains("more than 1 findings of event 0"), "{}", outcome.dead[0].detail);
    assert_eq!(outcome.dead.len(), 1);
}

#[test]
fn an_answer_of_any_size_costs_the_host_no_memory() {
    let wrong = |what, evil: &str, detail| check(what, evil, "module_wrong_answer", detail);
    wrong("2^28 hits", "(global.set $hits_len (i32.const 0x10000000))", "");
    wrong("nearly 2^32 hits", "(global.set $hits_len (i32.const -64))", "");
    // Memory of 8 MB, in which 100,000 hits without labels are all right but for their number.
    let grow = "(drop (memory.grow (i32.const 128)))";
    let many = format!("{grow} (global.set $hits (i32.const 0x40000)) (global.set $hits_len (i32.const 100000))");
    wrong("100,000 hits", &many, "");
    wrong("2^28 labels", "(global.set $labels_len (i32.const 0x10000000))", "");
    wrong("nearly 2^32 labels", "(global.set $labels_len (i32.const -64))", "");
    wrong("2 GB of text", "(global.set $texts_len (i32.const 0x7fffffff))", "");
    wrong("nearly 4 GB of text", "(global.set $texts_len (i32.const -64))", "");
    // Sizes of what is not there.
    let hit = "(local.set $at (call $hit (local.get $event) (local.get $rule)))";
    let title = format!("{hit} (i32.store offset=8 (local.get $at) (i32.const -1))");
    wrong("4 GB of title", &title, "texts of more than the 0 bytes that there are");
    let labels = format!("{hit} (i32.store offset=12 (local.get $at) (i32.const -1))");
    wrong("2^32 labels of a hit", &labels, "4294967295 labels, over the limit of 32");
    let labels = format!("{hit} (i32.store offset=12 (local.get $at) (i32.const 1))");
    wrong("a label that is not there", &labels, "hits with more labels than there are");
    let value = format!(
        "{hit} (call $label (local.get $at) (i32.const {{{{key}}}}) (i32.const 3) (i32.const 0) (i32.const 0))
         (i32.store offset=4 (global.get $labels) (i32.const -1))"
    );
    wrong("4 GB of value", &value, "texts of more than the 3 bytes that there are");
    // And what belongs to nobody.
    wrong(
        "a label too many",
        "(global.set $labels_len (i32.const 1))",
        "1 labels and 0 bytes of text that belong to no hit",
    );
    wrong(
        "a text too many",
        "(global.set $texts_len (i32.const 1))",
        "0 labels and 1 bytes of text that belong to no hit",
    );
}

/// What gives a hit a title of this size, of `A`s.
fn title(bytes: usize) -> String {
    format!(
        "(drop (memory.grow (i32.const 64))) (memory.fill (i32.const 0x20000) (i32.const 65) (i32.const {bytes}))
         (global.set $texts (i32.const 0x200000))
         (local.set $at (call $hit (local.get $event) (local.get $rule)))
         (call $title (local.get $at) (i32.const 0x20000) (i32.const {bytes}))"
    )
}

#[test]
fn the_size_of_an_answer_has_a_limit_of_its_own() {
    let answer_bytes_max = 64 << 10;
    let limits = RuleLimits { answer_bytes_max, ..limits() };
    let over = Guest::new("H").with("evil", title(answer_bytes_max + 1));
    check_guest("over", &over, limits.clone(), "module_wrong_answer", "");
    let within = Guest::new("H").with("evil", title(answer_bytes_max / 2));
    let outcome = Pair::new(&within, limits).run(&records(&["poison"]));
    assert_eq!((outcome.fired.len(), outcome.dead.len()), (1, 0));
}

#[test]
fn an_answer_that_breaks_the_canonical_abi_is_a_wrong_answer() {
    let wrong = |what, evil: &str| check(what, evil, "module_wrong_answer", "");
    wrong("the answer out of bounds", "(global.set $answer (i32.const -16))");
    wrong("the answer at an odd address", "(global.set $answer (i32.add (global.get $answer) (i32.const 1)))");
    wrong("the hits out of bounds", "(global.set $hits (i32.const -64)) (global.set $hits_len (i32.const 1))");
    wrong("the hits at an odd address", "(global.set $hits (i32.const 1025)) (global.set $hits_len (i32.const 1))");
    wrong("the labels out of bounds", "(global.set $labels (i32.const -64)) (global.set $labels_len (i32.const 1))");
    wrong(
        "the labels at an odd address",
        "(global.set $labels (i32.const 1025)) (global.set $labels_len (i32.const 1))",
    );
    wrong("the texts out of bounds", "(global.set $texts (i32.const -8)) (global.set $texts_len (i32.const 4))");
    wrong("the texts' end out of bounds", "(global.set $texts_len (i32.const 0x7ffffff))");
    let bad = "(i32.store8 (i32.const 0x10008) (i32.const 0xff))";
    let hit = "(local.set $at (call $hit (local.get $event) (local.get $rule)))";
    let title = "(call $title (local.get $at) (i32.const 0x10008) (i32.const 1))";
    wrong("a text that is not UTF-8", &format!("{bad} {hit} {title}"));
    wrong(
        "a log text that is not UTF-8",
        &format!("{bad} (call $log (i32.const 0) (i32.const 0x10008) (i32.const 1))"),
    );
    wrong("a log text out of bounds", "(call $log (i32.const 0) (i32.const -8) (i32.const 64))");
    wrong("a log level that there is not", "(call $log (i32.const 4) (i32.const 0) (i32.const 0))");
}

/// A hit with `count` labels of a key and a value of the same text, the n-th of which begins with the n-th letter.
fn labels(count: u32, key_bytes: u32) -> String {
    format!(
        "(local.set $at (call $hit (local.get $event) (local.get $rule)))
         (local.set $value (call $alloc (i32.const {key_bytes})))
         (memory.fill (local.get $value) (i32.const 97) (i32.const {key_bytes}))
         (loop $next
           (i32.store8 (local.get $value) (i32.add (i32.const 65) (local.get $i)))
           (call $label (local.get $at) (local.get $value) (i32.const {key_bytes})
             (local.get $value) (i32.const {key_bytes}))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $next (i32.lt_u (local.get $i) (i32.const {count}))))"
    )
}

#[test]
fn labels_have_a_number_and_a_length() {
    let wrong = |what, evil: &str, detail| check(what, evil, "module_wrong_answer", detail);
    wrong("33 labels", &labels(33, 3), "33 labels, over the limit of 32");
    wrong("a long key", &labels(1, 65), "key of 65 bytes; 1 to 64 are allowed");
    wrong("an empty key", &labels(1, 0), "key of 0 bytes");
    let again = "(call $label (local.get $at) (local.get $value) (i32.const 3) (i32.const 0) (i32.const 0))";
    wrong("a key twice", &format!("{} {again}", labels(1, 3)), "the label `Aaa` twice");

    let outcome = Pair::new(&Guest::new("H").with("evil", labels(32, 64)), limits()).run(&records(&["poison"]));
    assert_eq!((outcome.fired.len(), outcome.dead.len()), (1, 0), "as many and as long as may be");
}

#[test]
fn a_long_value_is_cut_so_that_nobody_hides_behind_it() {
    let label =
        "(call $label (local.get $at) (i32.const {{key}}) (i32.const 3) (i32.const 0x20000) (i32.const 0x100000))";
    let mut pair = Pair::new(&Guest::new("H").with("evil", format!("{} {label}", title(0x10_0000))), limits());
    let outcome = pair.run(&records(&["quiet", "poison"]));
    assert!(outcome.dead.is_empty(), "{}", outcome.dead[0].detail);
    assert_eq!(outcome.fired, [("H-1".to_owned(), "e1".to_owned())]);
    let info = &outcome.findings[0]["finding_info"];
    let tags = info["tags"].as_array().expect("tags");
    let value = tags.iter().find(|tag| tag["name"] == "key").expect("the label")["value"].as_str().expect("a text");
    for (what, text) in [("label", value), ("title", info["title"].as_str().expect("a title"))] {
        assert!(text.len() <= 1_024 && text.len() > 1_000, "{what}: {} bytes", text.len());
        assert!(text.starts_with("AAAA") && text.ends_with('…'), "{what}: {text}");
    }
}

#[test]
fn a_module_that_always_fails_is_given_up_after_a_few_tries() {
    let kinds = ["poison", "fire", "poison", "fire", "poison", "fire", "poison", "fire", "poison", "quiet", "fire"];
    let limits = RuleLimits { retries_failed_max: 3, ..limits() };
    let mut pair = Pair::new(&Guest::new("H").with("evil", "unreachable"), limits);
    let outcome = pair.run(&records(&kinds));
    // Of the poisoned ones three were tried; what came before the third was evaluated, what comes after it was not.
    let mut expected = fires("GOOD-1", &kinds);
    expected.extend(fires("H-1", &kinds[..5]));
    assert_eq!(outcome.fired, expected);
    let lost: BTreeSet<i64> = outcome.dead.iter().map(|letter| letter.origin.offset).collect();
    assert_eq!(lost, BTreeSet::from([0, 2, 4, 5, 6, 7, 8, 9, 10]));
    assert_eq!(outcome.counts.failed["hostile"], 9);
    assert!(outcome.dead.iter().all(|letter| letter.reason == "module_trapped"));
    assert_eq!(pair.run(&records(&["fire"])).fired.len(), 2, "and the next batch is as ever");
}

#[test]
fn poison_in_many_calls_and_batches_costs_only_itself() {
    let small = RuleLimits { call_events_max: 16, ..limits() };
    let mut pair = Pair::new(&Guest::new("H").with("evil", "unreachable"), small);
    for round in 0..5 {
        let kinds: Vec<&str> = (0..200)
            .map(|number| match (number + round) % 20 {
                7 => "poison",
                3 | 12 => "fire",
                _ => "quiet",
            })
            .collect();
        let outcome = pair.run(&records(&kinds));
        let sorted = |rule: &str| fires(rule, &kinds).into_iter().collect::<BTreeSet<_>>();
        let expected: BTreeSet<_> = sorted("GOOD-1").union(&sorted("H-1")).cloned().collect();
        assert_eq!(outcome.fired.into_iter().collect::<BTreeSet<_>>(), expected, "round {round}");
        assert_eq!(outcome.counts.failed["hostile"], 10, "round {round}");
    }
}

#[test]
fn what_is_selected_by_no_rule_costs_no_call() {
    // Whatever is handed over traps, in either module: so nothing was handed over.
    let mut pair = Pair::new(&Guest::new("H").with("evil", "unreachable"), limits());
    let records: Vec<String> = (0..100).map(|number| record(&format!("e{number}"), "ThirdProbe", "poison")).collect();
    let outcome = pair.run(&records);
    assert!(outcome.dead.is_empty() && outcome.fired.is_empty());
    assert!(outcome.counts.module_nanos.is_empty(), "no time was spent in a module: {:?}", outcome.counts.module_nanos);
    assert_eq!(pair.run(&self::records(&["poison"])).dead.len(), 1, "the trap is there");
}
