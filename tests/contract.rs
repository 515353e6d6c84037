//! The contract from both sides: what the host hands over, what the shipped module makes of it, and that nothing but
//! the event decides.

use std::collections::BTreeSet;
use std::sync::Arc;

use harness::framing::Framing;
use harness::records::{Records, findings_of};
use serde_json::{Value, json};
use trailhound::rules::{Module, RuleLimits, prove};

use crate::detection::{ENGINE, Worker, load};
use crate::program;
use harness::guest::{FIRST, Guest, record};

/// The module that is shipped, as `make rules` builds it.
fn root_login() -> Arc<Module> {
    let file = program::root_login();
    let wasm = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    load("root_login", &wasm, &RuleLimits::default())
}

#[test]
fn the_shipped_module_says_what_it_is() {
    let module = root_login();
    assert_eq!((module.name.as_str(), module.described.name.as_str()), ("root_login", "root_login"));
    assert_eq!(
        module.described.fields,
        [
            "userIdentity.type",
            "responseElements.ConsoleLogin",
            "userIdentity.sessionContext.assumedRoot",
            "additionalEventData.MFAUsed",
            "sourceIPAddress",
            "awsRegion",
            "userAgent",
            "recipientAccountId",
            "userIdentity.accountId",
        ]
    );
    let [rule] = module.described.rules.as_slice() else { panic!("{} rules", module.described.rules.len()) };
    assert_eq!((rule.id.as_str(), rule.severity.as_str()), ("RTM-001", "high"));
    let [condition] = rule.select.as_slice() else { panic!("{:?}", rule.select) };
    assert_eq!(
        (condition.field.as_str(), condition.any_of.as_slice()),
        ("eventName", &["ConsoleLogin".to_owned()][..])
    );
    let attack = &rule.attacks[0];
    assert_eq!((attack.technique.as_str(), attack.tactic.as_str()), ("T1078.004", "TA0001"));
    for standard in ["PCI", "HIPAA", "APRA", "MAS", "NIST4"] {
        assert!(rule.compliance.iter().any(|one| one == standard), "{standard}");
    }
    for text in [&rule.title, &rule.version, &rule.description, &rule.rationale, &rule.remediation] {
        assert!(!text.is_empty());
    }
    assert!(
        rule.references.iter().all(|url| url.starts_with("https://docs.aws.amazon.com/")),
        "the vendor's own pages"
    );
    assert_eq!(module.digest.len(), 64);
    assert!(module.bytes < 256 << 10, "a small rule is a small module: {} bytes", module.bytes);
}

#[test]
fn the_shipped_modules_examples_agree() {
    let module = root_login();
    let outcomes = prove(&module, &RuleLimits::default()).expect("it starts");
    assert_eq!(outcomes.len(), 34);
    let fires = outcomes.iter().filter(|outcome| outcome.expected).count();
    assert!(fires >= 10 && outcomes.len() - fires >= 10, "both kinds of them: {fires} fire");
    for outcome in &outcomes {
        assert!(outcome.agrees(), "{outcome}");
        assert_eq!((&outcome.alone, &outcome.in_batch), (&Ok(outcome.expected), &Ok(outcome.expected)));
    }
    let names: BTreeSet<&str> = outcomes.iter().map(|outcome| outcome.example.as_str()).collect();
    assert_eq!(names.len(), outcomes.len(), "each has a name of its own");
}

#[test]
fn a_module_whose_examples_are_turned_round_is_refused() {
    // The module that is shipped, with `Success` in its code and examples replaced by a word as long.
    let file = program::root_login();
    let mut wasm = std::fs::read(file).expect("the module");
    let (from, to) = (b"\"Failure\"", b"\"Success\"");
    let places: Vec<usize> = (0..wasm.len() - from.len()).filter(|at| wasm[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "an example of a failed sign-in");
    for at in places {
        wasm[at..at + to.len()].copy_from_slice(to);
    }
    let refusal = Module::load(&ENGINE, "root_login", &wasm, "{}", &RuleLimits::default()).expect_err("refused");
    assert_eq!(refusal.step(), "examples", "{refusal}");
    assert!(refusal.to_string().contains("RTM-001 `a failed sign-in`: expected that it stays quiet"), "{refusal}");
}

#[test]
fn a_finding_names_the_module_that_made_it() {
    let module = root_login();
    let mut worker = Worker::new(vec![Arc::clone(&module)], RuleLimits::default());
    let sign_in = Records::new(1).root_sign_in();
    let outcome = worker.run(&["{}".to_owned(), sign_in.to_string()]);
    let [finding] = outcome.findings.as_slice() else { panic!("{} findings", outcome.findings.len()) };
    let rule = &module.described.rules[0];
    for (pointer, expected) in [
        ("/unmapped/trailhound/module", json!("root_login")),
        ("/unmapped/trailhound/digest", json!(module.digest)),
        ("/unmapped/trailhound/rule_version", json!(rule.version)),
        ("/unmapped/trailhound/generation", json!(1)),
        ("/unmapped/trailhound/topic", json!("topic")),
        ("/unmapped/trailhound/partition", json!(1)),
        ("/unmapped/trailhound/offset", json!(1)),
        ("/finding_info/analytic/uid", json!(rule.id)),
        ("/finding_info/analytic/version", json!(rule.version)),
        ("/finding_info/title", json!(rule.title)),
        ("/finding_info/desc", json!(rule.description)),
        ("/risk_details", json!(rule.rationale)),
        ("/remediation/desc", json!(rule.remediation)),
        ("/finding_info/attacks/0/technique/uid", json!("T1078")),
        ("/finding_info/attacks/0/sub_technique/uid", json!("T1078.004")),
        ("/severity", json!("High")),
        ("/evidences/0/uid", sign_in["eventID"].clone()),
        ("/evidences/0/data", sign_in.clone()),
    ] {
        assert_eq!(finding.pointer(pointer), Some(&expected), "{pointer}");
    }
}

/// A guest that answers a poisoned event with one label a field: its cell as `kind:text`. The n-th label's key is the
/// n-th letter.
fn echo(fields: &[&str]) -> Guest {
    let code = format!(
        "(local.set $at (call $hit (local.get $event) (local.get $rule)))
         (loop $next
           (local.set $len (i32.and (i32.load offset=4 (local.get $row)) (i32.const 0xfffffff)))
           (local.set $value (call $alloc (i32.add (local.get $len) (i32.const 3))))
           (i32.store8 (local.get $value) (i32.add (i32.const 65) (local.get $i)))
           (i32.store8 offset=1 (local.get $value)
             (i32.add (i32.const 48) (i32.shr_u (i32.load offset=4 (local.get $row)) (i32.const 28))))
           (i32.store8 offset=2 (local.get $value) (i32.const 58))
           (memory.copy (i32.add (local.get $value) (i32.const 3))
             (i32.add (local.get $text) (i32.load (local.get $row))) (local.get $len))
           (call $label (local.get $at) (local.get $value) (i32.const 1)
             (i32.add (local.get $value) (i32.const 1)) (i32.add (local.get $len) (i32.const 2)))
           (local.set $row (i32.add (local.get $row) (i32.const 8)))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $next (i32.lt_u (local.get $i) (i32.const {}))))",
        fields.len() + 1
    );
    let mut guest = Guest::new("ECHO").with("evil", code);
    guest.fields.extend(fields.iter().map(|field| (*field).to_owned()));
    guest
}

/// Each field's cell is as expected, of an event alone and of one among others.
#[track_caller]
fn check_cells(values: &str, expected: &[(&str, &str)]) {
    let fields: Vec<&str> = expected.iter().map(|(field, _)| *field).collect();
    let module = load("echo", &echo(&fields).wasm(), &RuleLimits::default());
    let mut worker = Worker::new(vec![module], RuleLimits::default());
    let plain = record("e", FIRST, "poison");
    let record = plain.strip_suffix('}').map(|open| format!("{open}, {values}}}")).expect("an object");
    for messages in [vec![record.clone()], vec![plain.clone(), record.clone(), plain.clone()]] {
        let outcome = worker.run(&messages);
        assert!(outcome.dead.is_empty(), "{}", outcome.dead[0].detail);
        let at = messages.len() / 2;
        let tags = outcome.findings[at]["finding_info"]["tags"].as_array().expect("tags");
        let label = |number: usize| {
            let key = char::from(b'A' + u8::try_from(number).expect("a few fields")).to_string();
            tags.iter().find(|tag| tag["name"] == key.as_str()).map(|tag| tag["value"].clone())
        };
        assert_eq!(label(0), Some(json!("5:poison")));
        for (number, (field, cell)) in expected.iter().enumerate() {
            assert_eq!(label(number + 1), Some(json!(cell)), "{field}, event {at} of {}", messages.len());
        }
    }
}

#[test]
fn a_cell_says_what_the_field_is() {
    check_cells(
        r#""n": null, "f": false, "t": true, "i": 12, "m": -7, "z": 0, "d": 0.5, "a": 111122223333,
           "s": "plain", "e": "", "x": "a\"b\\c\/d\u0041\n\u00e9\ud83d\udd12 é🔒""#,
        &[
            ("absent", "0:"),
            ("n", "1:"),
            ("f", "2:false"),
            ("t", "3:true"),
            ("i", "4:12"),
            ("m", "4:-7"),
            ("z", "4:0"),
            ("d", "4:0.5"),
            ("a", "4:111122223333"),
            ("s", "5:plain"),
            ("e", "5:"),
            ("x", "5:a\"b\\c/dA\né🔒 é🔒"),
            ("eventVersion", "5:1.11"),
        ],
    );
}

#[test]
fn a_whole_number_keeps_its_digits() {
    check_cells(
        r#""a": 9007199254740993, "b": 18446744073709551615, "c": -9223372036854775808, "d": 1.5, "e": -0.25"#,
        &[
            ("a", "4:9007199254740993"),
            ("b", "4:18446744073709551615"),
            ("c", "4:-9223372036854775808"),
            ("d", "4:1.5"),
            ("e", "4:-0.25"),
        ],
    );
}

#[test]
fn a_container_is_compact_json_and_nothing_but_objects_is_entered() {
    check_cells(
        r#""o": {"b" : [ 1 , {"c": "x y"} ] , "a":null}, "l": [ 1, "two" , {"k": 3 } ], "eo": { }, "el": [ ]"#,
        &[
            ("o", r#"6:{"b":[1,{"c":"x y"}],"a":null}"#),
            ("l", r#"7:[1,"two",{"k":3}]"#),
            ("eo", "6:{}"),
            ("el", "7:[]"),
        ],
    );
    check_cells(
        r#""o": {"b": [1, {"c": 2}]}, "l": [1, "two", {"k": 3}], "n": null, "s": "{\"k\": 1}", "u": 5, "t": true,
           "deep": {"one": {"two": {"three": "here", "four": null}}}"#,
        &[
            ("o.b", r#"7:[1,{"c":2}]"#),
            ("o.b.c", "0:"),
            ("l.k", "0:"),
            ("l.2.k", "0:"),
            ("n.k", "0:"),
            ("s.k", "0:"),
            ("u.k", "0:"),
            ("t.k", "0:"),
            ("deep.one.two.three", "5:here"),
            ("deep.one.two.four", "1:"),
            ("deep.one.two.four.five", "0:"),
            ("deep.one.three", "0:"),
        ],
    );
}

#[test]
fn the_same_records_give_the_same_findings_however_they_are_handed_over() {
    let module = root_login();
    let records = Records::new(77).take(1_000, 8);
    let expected: BTreeSet<String> = findings_of(&records).into_iter().map(|key| key.event).collect();
    assert!(expected.len() > 100);
    let messages: Vec<Vec<u8>> = records.iter().map(|record| record.to_string().into_bytes()).collect();
    let (mut reversed, mut shuffled) = (messages.clone(), messages.clone());
    reversed.reverse();
    // Steps that have no factor in common with 1,000 visit every place once.
    for (at, place) in shuffled.iter_mut().enumerate() {
        place.clone_from(&messages[at * 619 % messages.len()]);
    }
    let one_message = Framing::RecordsGzip.frame(&records);
    let mut ids: Option<BTreeSet<String>> = None;
    for call_events_max in [1, 3, 256] {
        let limits = RuleLimits { call_events_max, ..RuleLimits::default() };
        for (order, messages) in
            [("given", &messages), ("reversed", &reversed), ("shuffled", &shuffled), ("one", &one_message)]
        {
            for size in [1, 7, 1_000] {
                let mut worker = Worker::new(vec![Arc::clone(&module)], limits.clone());
                let (mut came, mut events) = (BTreeSet::new(), BTreeSet::new());
                for batch in messages.chunks(size) {
                    let outcome = worker.run(batch);
                    assert!(outcome.dead.is_empty());
                    let uid = |finding: &Value| finding["finding_info"]["uid"].as_str().expect("an id").to_owned();
                    came.extend(outcome.findings.iter().map(uid));
                    events.extend(outcome.fired.into_iter().map(|(_, event)| event));
                }
                let how = format!("{order}, batches of {size}, calls of {call_events_max}");
                assert_eq!(events, expected, "{how}");
                assert_eq!(&came, ids.get_or_insert_with(|| came.clone()), "{how}");
            }
        }
    }
}

#[test]
fn the_tools_of_a_rule_author_tell_the_same() {
    let file = program::root_login();
    let tested = program::run(&[&"rule", &"test", &file]).well();
    assert!(tested.stdout.trim_end().ends_with("34 examples, 0 failed"), "{}", tested.stdout);
    let inspected = program::run(&[&"rule", &"inspect", &"--json", &file]).well();
    let inspected: Value = serde_json::from_str(&inspected.stdout).expect("JSON");
    let module = root_login();
    assert_eq!(inspected["digest"], module.digest.as_str());
    assert_eq!(inspected["contract"], "2.0.0");
    assert_eq!(inspected["module"]["rules"][0]["id"], "RTM-001");

    let folder = harness::folder::Folder::new("rule");
    let also = ("it is quiet, too".to_owned(), record("also", FIRST, "quiet"), false);
    let wrong = Guest::new("H").rule(|rule| rule.examples[1].2 = true).rule(|rule| rule.examples.push(also));
    let file = folder.write("wrong.wasm", wrong.wasm());
    let tested = program::run(&[&"rule", &"test", &file]);
    assert_eq!(tested.code, 1, "{tested:?}");
    assert!(tested.stdout.contains("FAIL  H-1 `it is quiet`: expected that it fires"), "{}", tested.stdout);
    let file = folder.write("broken.wasm", "no module");
    for command in ["test", "inspect"] {
        let done = program::run(&[&"rule", &command, &file]);
        assert_eq!(done.code, 64, "{done:?}");
        assert!(done.stderr.contains("refused at step `parse`") && done.stderr.contains("hint:"), "{}", done.stderr);
    }
}
