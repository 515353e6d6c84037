//! Modules that must not go live: each is refused at the step where it is at fault, with a cause that helps.

use std::sync::Arc;

use trailhound::rules::{Fault, Module, Refusal, RuleLimits, RuleSet};

use crate::detection::ENGINE;
use harness::guest::{FIRST, Guest, Rule, SECOND, record};

/// A module that loops is caught soon, and none that does its work is caught on a loaded machine.
fn limits() -> RuleLimits {
    RuleLimits { call_ms_max: 300, ..RuleLimits::default() }
}

fn load(wasm: &[u8], settings: &str, limits: &RuleLimits) -> Result<Module, Refusal> {
    Module::load(&ENGINE, "hostile", wasm, settings, limits)
}

/// The module is refused at `step`, and the cause holds `text`.
#[track_caller]
fn check_bytes(what: &str, wasm: &[u8], limits: &RuleLimits, step: &str, text: &str) -> Refusal {
    let refusal = load(wasm, "{}", limits).err().unwrap_or_else(|| panic!("{what}: not refused"));
    let cause = refusal.to_string();
    assert_eq!(refusal.step(), step, "{what}: {cause}");
    assert!(cause.contains(text), "{what}: {cause}");
    assert!(cause.len() < 4_096, "{what}: a cause that nobody reads: {} bytes", cause.len());
    refusal
}

#[track_caller]
fn check(what: &str, guest: &Guest, step: &str, text: &str) -> Refusal {
    check_bytes(what, &guest.wasm(), &limits(), step, text)
}

fn guest() -> Guest {
    Guest::new("H")
}

#[test]
fn a_module_by_hand_that_behaves_is_taken() {
    // The control: what the other tests spoil is all right before.
    let module = load(&guest().wasm(), r#"{"any": "settings"}"#, &RuleLimits::default()).expect("a good module");
    assert_eq!(module.name, "hostile");
    assert_eq!((module.described.name.as_str(), module.described.version.as_str()), ("a guest", "4.5.6"));
    assert_eq!(module.described.fields, ["requestParameters.kind"]);
    let rules: Vec<&str> = module.described.rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(rules, ["H-1", "H-2"]);
    let rule = &module.described.rules[1];
    assert_eq!((rule.title.as_str(), rule.severity.as_str()), ("The title of H-2", "high"));
    assert_eq!(
        (rule.select[0].field.as_str(), rule.select[0].any_of.as_slice()),
        ("eventName", &[SECOND.to_owned()][..])
    );
    assert_eq!((rule.references.len(), rule.compliance.as_slice()), (1, &["PCI".to_owned()][..]));
    assert!(rule.attacks.is_empty());
}

#[test]
fn what_runs_without_end_is_interrupted() {
    const LOOP: &str = "(loop $again (br $again))";
    for (slot, step) in [("start", "start"), ("describe", "describe"), ("realloc", "describe")] {
        let code = if slot == "realloc" { format!("{LOOP} (unreachable)") } else { LOOP.to_owned() };
        let refusal = check(slot, &guest().with(slot, code), step, "took longer than 300 ms");
        assert!(matches!(refusal, Refusal::Start(Fault::TimedOut(300)) | Refusal::Describe(Fault::TimedOut(300))));
    }
    check("in an example", &guest().with("finish", LOOP), "examples", "took longer than 300 ms");
}

#[test]
fn memory_stays_within_its_limit() {
    const GROW: &str = "(loop $again (drop (memory.grow (i32.const 16))) (br $again))";
    for (slot, step) in [("start", "start"), ("describe", "describe"), ("finish", "examples")] {
        check(slot, &guest().with(slot, GROW), step, "trapped: forcing trap when growing memory");
    }
    // 2,000 pages are 125 MiB.
    check("from the beginning", &guest().with("pages", "2000"), "start", "memory");
    let small = RuleLimits { memory_bytes_max: 1 << 20, ..limits() };
    check_bytes("a smaller limit", &guest().with("pages", "17").wasm(), &small, "start", "memory");
    check_bytes(
        "just within",
        &guest().with("pages", "16").with("start", "unreachable").wasm(),
        &small,
        "start",
        "unreach",
    );
}

#[test]
fn tables_instances_and_memories_are_limited() {
    let more = |count: usize, content: &str| {
        let module = format!("(core module $more {content})");
        guest().with("imports", module + &"(core instance (instantiate $more))".repeat(count))
    };
    // With the two instances that a guest has anyway.
    load(&more(14, "").wasm(), "{}", &limits()).expect("16 instances");
    check("17 instances", &more(15, ""), "start", "instance");
    check("a large table", &more(1, "(table 200000 funcref)"), "start", "table");
    check("five memories", &more(4, "(memory 1)"), "start", "memor");
    check("memories that are too large together", &more(2, "(memory 600)"), "start", "memory");
}

#[test]
fn a_trap_says_what_it_is() {
    for (slot, step) in [("start", "start"), ("describe", "describe"), ("realloc", "describe"), ("finish", "examples")]
    {
        check(slot, &guest().with(slot, "unreachable"), step, "unreachable");
    }
    let recursion = "(drop (call $recurse (i64.const 0)))";
    check("recursion", &guest().with("describe", recursion), "describe", "stack");
    let far = "(drop (i32.load (i32.const -4)))";
    check("a load out of bounds", &guest().with("describe", far), "describe", "out of bounds");
}

#[test]
fn an_answer_of_describe_is_not_believed() {
    let title = "(i32.load offset=16 (call $first_rule))";
    for (what, spoil) in [
        ("a text that is not UTF-8", format!("(i32.store8 {title} (i32.const 0xff))")),
        ("a severity of 99", "(i32.store8 offset=24 (call $first_rule) (i32.const 99))".to_owned()),
        ("a title out of bounds", "(i32.store offset=16 (call $first_rule) (i32.const -8))".to_owned()),
        ("a title of 4 GB", "(i32.store offset=20 (call $first_rule) (i32.const -1))".to_owned()),
        ("2^28 rules", "(i32.store offset=32 (i32.const {{description}}) (i32.const 0x10000000))".to_owned()),
        ("rules at an odd address", "(i32.store offset=28 (i32.const {{description}}) (i32.const 1025))".to_owned()),
        ("neither ok nor error", "(i32.store8 (i32.const {{description}}) (i32.const 2))".to_owned()),
        ("an answer out of bounds", "(return (i32.const -16))".to_owned()),
        ("an answer at an odd address", "(return (i32.const 1025))".to_owned()),
    ] {
        let refusal = check(what, &guest().with("describe", spoil), "describe", "wrong answer");
        assert!(matches!(refusal, Refusal::Describe(Fault::WrongAnswer(_))), "{what}: {refusal:?}");
    }
    check("memory out of bounds", &guest().with("realloc", "(i32.const -16)"), "describe", "wrong answer");
    // The settings are a string, which may lie anywhere; the cells of the examples are not.
    let odd = "(i32.or (call $alloc (local.get $bytes)) (i32.const 1))";
    check("memory at an odd address", &guest().with("realloc", odd), "examples", "wrong answer");
}

#[test]
fn an_answer_of_describe_is_limited_in_size() {
    // Rules that lie over each other: each has 1 MB of title, all in the same place.
    let grow =
        "(drop (memory.grow (i32.const 20))) (memory.fill (i32.const 0x20000) (i32.const 65) (i32.const 0x100000))";
    let title = "(i32.store offset=16 (call $first_rule) (i32.const 0x20000))
        (i32.store offset=20 (call $first_rule) (i32.const 0x100000))";
    let once = guest().with("describe", format!("{grow} {title}"));
    let small = RuleLimits { answer_bytes_max: 1 << 20, ..limits() };
    check_bytes("1 MB", &once.wasm(), &small, "describe", "wrong answer");
    load(&once.wasm(), "{}", &limits()).expect("within the limit");
    // 40 MB, of a module that has 2.
    let mut many = once;
    many.rules = (0..40).map(|number| Rule::new(&format!("H-{number}"), FIRST)).collect();
    let all = format!(
        "{grow} (local.set $at (call $first_rule))
         (loop $next
           (i32.store offset=16 (local.get $at) (i32.const 0x20000))
           (i32.store offset=20 (local.get $at) (i32.const 0x100000))
           (local.set $at (i32.add (local.get $at) (i32.const 92)))
           (br_if $next (i32.lt_u (local.get $at) (i32.add (call $first_rule) (i32.const 3680)))))"
    );
    check("40 MB", &many.with("describe", all), "describe", "wrong answer");
}

#[test]
fn imports_other_than_the_contracts_are_refused() {
    for name in [
        "wasi:clocks/monotonic-clock@0.2.0",
        "wasi:random/random@0.2.0",
        "wasi:cli/environment@0.2.0",
        "trailhound:rule/hostile@2.0.0",
        "trailhound:rules/host@2.0.0",
    ] {
        let import = format!(r#"(import "{name}" (instance (export "now" (func (result u64)))))"#);
        let refusal = check(name, &guest().with("imports", import), "imports", name);
        assert!(matches!(refusal, Refusal::ForeignImport { name: ref named } if named == name), "{refusal:?}");
    }
    check("env", &guest().with("imports", r#"(import "env" (func))"#), "imports", "`env`");
    // The right name with something else behind it.
    let more = r#"(import "trailhound:rule/host" (func (param "command" string)))"#;
    check("the host without a version", &guest().with("imports", more), "contract", "2.0.0");
}

#[test]
fn another_version_of_the_contract_is_named() {
    for version in ["2.1.0", "3.0.0", "1.0.0", "2.0.0-rc.1"] {
        let export = format!(r#"(export "trailhound:rule/detection@{version}" (instance $detection))"#);
        let refusal = check(version, &guest().with("exports", export), "contract", version);
        assert!(refusal.to_string().contains("2.0.0"), "both versions: {refusal}");
        assert!(matches!(refusal, Refusal::OtherVersion { theirs } if theirs == version));
        let refusal = check(version, &guest().with("host_version", version), "contract", version);
        assert!(matches!(refusal, Refusal::OtherVersion { theirs } if theirs == version));
    }
    let refusal = check("no export", &guest().with("exports", ""), "contract", "trailhound:rule/detection@2.0.0");
    assert!(matches!(refusal, Refusal::NoContract));
    let other = r#"(export "other:rule/detection@2.0.0" (instance $detection))"#;
    check("somebody else's export", &guest().with("exports", other), "contract", "does not export");
    let empty = r#"(instance $none) (export "trailhound:rule/detection@2.0.0" (instance $none))"#;
    check("the name without the functions", &guest().with("exports", empty), "compile", "describe");
    let other = r#"(func $other (param "settings" string) (result string)
          (canon lift (core func $guest "describe") (memory $memory) (realloc $realloc)))
        (instance $wrong (export "describe" (func $other)) (export "evaluate" (func $other)))
        (export "trailhound:rule/detection@2.0.0" (instance $wrong))"#;
    check("functions of other types", &guest().with("exports", other), "start", "expected `result` found `string`");
}

#[test]
fn a_module_that_speaks_this_version_and_a_newer_one_is_taken() {
    let exports = ["2.0.0", "3.0.0"]
        .map(|version| format!(r#"(export "trailhound:rule/detection@{version}" (instance $detection))"#));
    for order in [[0, 1], [1, 0]] {
        let guest = guest().with("exports", order.map(|at| exports[at].as_str()).concat());
        let module = load(&guest.wasm(), "{}", &limits());
        assert!(module.is_ok(), "{order:?}: {}", module.unwrap_err());
    }
}

#[test]
fn bytes_that_are_no_component_are_refused() {
    let core = wat::parse_str(r#"(module (func (export "evaluate")))"#).expect("a core module");
    assert!(matches!(check_bytes("a core module", &core, &limits(), "parse", "core"), Refusal::CoreModule));
    for (what, bytes) in [
        ("nothing", &b""[..]),
        ("a byte", b"\0"),
        ("the magic alone", b"\0asm"),
        ("a text", b"(component)"),
        ("HTML", b"<html><body>404 Not Found</body></html>"),
        ("an archive", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        ("a component of another layer", b"\0asm\x0d\0\x02\0"),
    ] {
        check_bytes(what, bytes, &limits(), "parse", "not a WebAssembly component");
    }
    check_bytes("an empty component", b"\0asm\x0d\0\x01\0", &limits(), "contract", "does not export");
    let huge = vec![0; 60 << 20];
    let refusal = check_bytes("60 MiB", &huge, &limits(), "size", "62914560 bytes, over the limit of 16777216");
    assert!(matches!(refusal, Refusal::TooLarge { bytes: 62_914_560, bytes_max: 16_777_216 }));
}

#[test]
fn a_file_that_was_cut_off_is_refused_wherever_the_cut_is() {
    let wasm = guest().wasm();
    let mut taken = 0;
    for length in 0..wasm.len() {
        match load(&wasm[..length], "{}", &limits()) {
            // A cut between two sections leaves a component that is whole, but for the export at its end.
            Err(refusal) => {
                assert!(matches!(refusal.step(), "parse" | "contract"), "{length} bytes: {} {refusal}", refusal.step());
            }
            Ok(_) => {
                const CUSTOM: u8 = 0;
                assert_eq!(wasm[length], CUSTOM, "all that is missing of {length} bytes is names");
                taken += 1;
            }
        }
    }
    assert!(taken <= 1);
}

/// A generator of bytes that are the same in every run (splitmix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn random_and_damaged_bytes_do_no_harm() {
    let mut state = 1;
    for number in 0..300 {
        let length = random(&mut state) % 4_096;
        let mut bytes: Vec<u8> = (0..length).map(|_| random(&mut state).to_le_bytes()[0]).collect();
        if number % 2 == 0 {
            // Past the magic, so that sections are read.
            bytes.splice(0..0, *b"\0asm\x0d\0\x01\0");
        }
        assert!(load(&bytes, "{}", &limits()).is_err(), "{number}");
    }
    let wasm = guest().wasm();
    for number in 0..300 {
        let mut bytes = wasm.clone();
        for _ in 0..=random(&mut state) % 3 {
            let at = usize::try_from(random(&mut state)).expect("64 bits") % bytes.len();
            bytes[at] = random(&mut state).to_le_bytes()[0];
        }
        // Damage in a text goes unnoticed; whatever else it is has a step and a cause.
        if let Err(refusal) = load(&bytes, "{}", &limits()) {
            assert!(!refusal.to_string().is_empty() && !refusal.hint().is_empty(), "{number}");
        }
    }
}

#[test]
fn a_description_that_breaks_the_contract_lists_every_mistake() {
    let check = |what: &str, guest: Guest, text: &str| {
        let refusal = check(what, &guest, "describe", text);
        assert!(matches!(refusal, Refusal::Description(_)), "{what}: {refusal:?}");
    };
    let mut none = guest();
    none.rules.clear();
    check("no rules", none, "it has no rules");
    let mut twice = guest();
    twice.rules[1].id = "H-1".to_owned();
    check("an id twice", twice, "H-1: the id occurs twice");
    for id in ["", "H 1", "H\n1", "H/1", "H-1é", &"H".repeat(129)] {
        check(id, guest().rule(|rule| rule.id = id.to_owned()), "must be 1 to 128 of");
    }
    check("no title", guest().rule(|rule| rule.title.clear()), "H-1: no title");
    check("no version", guest().rule(|rule| rule.version.clear()), "H-1: no version");
    check("no values", guest().rule(|rule| rule.select[0].1.clear()), "H-1: select: no values for `eventName`");
    for path in ["", ".", "a..b", ".a", "a.", &"a".repeat(257)] {
        check(path, guest().rule(|rule| rule.select[0].0 = path.to_owned()), "is not a path");
        let mut guest = guest();
        guest.fields.push(path.to_owned());
        check(path, guest, "is not a path");
    }
    check("nothing fires", guest().rule(|rule| rule.examples.retain(|example| !example.2)), "one that stays quiet");
    check("nothing is quiet", guest().rule(|rule| rule.examples.retain(|example| example.2)), "one that stays quiet");
    let mut several = guest().rule(|rule| rule.title.clear());
    several.fields.push("a..b".to_owned());
    several.rules[1].version.clear();
    check("three mistakes", several, "the field `a..b` is not a path; H-1: no title; H-2: no version");
}

#[test]
fn rules_and_fields_are_limited() {
    let small = RuleLimits { rules_max: 1, ..limits() };
    check_bytes("rules", &guest().wasm(), &small, "describe", "2 rules, over the limit of 1");
    let small = RuleLimits { examples_max: 3, ..limits() };
    check_bytes("examples", &guest().wasm(), &small, "describe", "4 examples, over the limit of 3");
    load(&guest().wasm(), "{}", &RuleLimits { examples_max: 4, ..limits() }).expect("4 examples");
    let mut wide = guest();
    wide.fields.extend((0..512).map(|number| format!("a.b{number}")));
    check("fields", &wide, "describe", "513 fields, over the limit of 512");
    wide.fields.pop();
    load(&wide.wasm(), "{}", &limits()).expect("512 fields");
}

#[test]
fn settings_that_the_module_does_not_take_are_shown() {
    // `{}` is 2 bytes long. The error's text is the description's first: the rule's title.
    let refuse = "(if (i32.ne (local.get $settings_len) (i32.const 2)) (then
        (i32.store8 (i32.const {{description}}) (i32.const 1))
        (i64.store offset=4 align=4 (i32.const {{description}}) (i64.load offset=16 align=4 (call $first_rule)))))";
    let wasm = guest().rule(|rule| rule.title = "`accounts` must be a list".to_owned()).with("describe", refuse).wasm();
    load(&wasm, "{}", &limits()).expect("no settings");
    let refusal = load(&wasm, r#"{"accounts": 1}"#, &limits()).expect_err("wrong settings");
    assert_eq!(refusal.step(), "settings");
    assert!(matches!(&refusal, Refusal::Settings(text) if text == "`accounts` must be a list"));
    assert!(refusal.to_string().contains("`accounts` must be a list"));
    assert!(refusal.hint().contains("[rules.settings."));
}

#[test]
fn examples_must_agree_alone_and_together() {
    let wrong = guest().rule(|rule| rule.examples[1].2 = true).rule(|rule| rule.examples[0].2 = false);
    let refusal =
        check("exchanged", &wrong, "examples", "H-1 `it is quiet`: expected that it fires, but alone it stays");
    assert!(matches!(&refusal, Refusal::Examples(all) if all.len() == 2), "{refusal:?}");
    assert!(refusal.to_string().contains("H-1 `it fires`: expected that it stays quiet, but alone it fires"));

    // Right for each alone, wrong for all together.
    let timid = "(if (i32.gt_u (global.get $events) (i32.const 1)) (then (global.set $hits_len (i32.const 0))))";
    let refusal = check("only alone", &guest().with("finish", timid), "examples", "but in a batch it stays quiet");
    assert!(!refusal.to_string().contains("alone"), "{refusal}");
    // Right for the first call of an instance only.
    let tired = "(if (i32.gt_u (global.get $calls) (i32.const 1)) (then (global.set $hits_len (i32.const 0))))";
    check("a module that remembers", &guest().with("finish", tired), "examples", "stays quiet");
    // Fires on whatever lies in the batch beside an event that fires.
    let eager =
        "(if (i32.and (i32.gt_u (global.get $events) (i32.const 1)) (i32.eq (global.get $hits_len) (i32.const 2)))
        (then (drop (call $hit (i32.const 1) (i32.const 0)))))";
    check("its neighbours' fault", &guest().with("finish", eager), "examples", "but in a batch it fires");
}

#[test]
fn an_example_is_one_record() {
    let first = |text: &str| guest().rule(|rule| rule.examples[0].1 = text.to_owned());
    let two = [record("a", FIRST, "fire"), record("b", FIRST, "fire")].join("\n");
    check("two records", &first(&two), "examples", "not one record, but 2");
    check("an object", &first(r#"{"a": 1}"#), "examples", "not_cloudtrail");
    check("no JSON", &first("{"), "examples", "cannot be read");
    check("nothing", &first(""), "examples", "skipped as `empty`");
    check(
        "a text that traps",
        &first(&record("a", FIRST, "poison")).with("evil", "unreachable"),
        "examples",
        "trapped",
    );
    // A record that the rule is not selected for cannot fire.
    check("another record", &first(&record("a", SECOND, "fire")), "examples", "expected that it fires");
}

#[test]
fn a_rule_id_belongs_to_one_module() {
    let module = |name: &str, guest: &Guest| {
        Arc::new(Module::load(&ENGINE, name, &guest.wasm(), "{}", &limits()).expect("a good module"))
    };
    let (one, two) = (module("one", &guest()), module("two", &guest()));
    RuleSet::new(1, vec![Arc::clone(&one).into()]).expect("one of them");
    let refused = RuleSet::new(1, vec![one.into(), two.into()]).expect_err("the same rules twice");
    assert_eq!((refused.name.as_str(), refused.refusal.step()), ("two", "set"));
    assert!(refused.to_string().contains("the rule H-1 is in the module one already"), "{refused}");
}
