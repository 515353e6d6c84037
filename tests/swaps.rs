//! Rules that are swapped while the program runs, on a real broker: from the rules topic and from the watched folder.
//! What is good goes live everywhere, what is bad is refused and leaves the running set alone, and both are shown.

use std::path::{Path, PathBuf};

use serde_json::Value;

use harness::kafka::{Client, Kafka, Outgoing, Received};
use harness::trailhound::{Config, Trailhound};

use crate::program::{self, Done};
use harness::guest::{FIRST, Guest, record};

/// A pipeline whose rules come from the topic `NAME.rules` and that reports on `NAME.status`.
fn config(kafka: &Kafka, name: &str) -> Config {
    let mut config = Config::new(&kafka.bootstrap(), name);
    config.rules =
        format!("topic = \"{name}.rules\"\nstatus_topic = \"{name}.status\"\ncreate = {{ replication = 1 }}");
    config.more = format!(r#"shadow = {{ kafka = {{ topic = "{name}.shadow" }} }}"#);
    config
}

fn create_topics(client: &Client, name: &str) {
    client.create_topics(name, 4, &[]);
    client.create_topic(&format!("{name}.shadow"), 4, &[]);
}

/// Starts the program, whose rules topic is empty, and waits until it waits for a module.
fn waiting(config: &Config) -> Trailhound {
    let mut program = Trailhound::start(config);
    program.until("the program to wait", |program| {
        program.stderr().contains("waiting for the first module").then_some(())
    });
    program
}

/// Writes a module into the folder of a program.
fn write(program: &Trailhound, name: &str, guest: &Guest) -> PathBuf {
    let file = program.folder().join(format!("{name}.wasm"));
    std::fs::write(&file, guest.wasm()).expect("a file");
    file
}

/// Runs `trailhound rule WORDS --config` of that program.
fn rule(program: &Trailhound, words: &[&str]) -> Done {
    let config = program.folder().join("pipeline.toml");
    let mut command = program::trailhound();
    command.arg("rule").args(words).arg("--config").arg(config).output().expect("the program starts").into()
}

fn publish(program: &Trailhound, name: &str, guest: &Guest, more: &[&str]) -> Done {
    let file = write(program, name, guest);
    rule(program, &[&["publish", file.to_str().expect("a path in UTF-8"), "--wait"], more].concat())
}

/// A guest whose first rule has a version of its own.
fn versioned(id: &str, version: &str) -> Guest {
    Guest::new(id).rule(|rule| rule.version = version.to_owned())
}

/// Sends one record that fires, `event` its eventID.
fn fire(client: &Client, name: &str, event: &str) {
    client.produce(&format!("{name}.cloudtrail"), &[Outgoing::value(record(event, FIRST, "fire"))], &[]);
}

/// The findings of a topic as `eventID rule version`, sorted.
fn found(client: &Client, topic: &str) -> Vec<String> {
    let word =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let line = |message: &Received| {
        let value: Value = serde_json::from_slice(message.value.as_deref().unwrap_or_default()).expect("a finding");
        let [event, rule, version] =
            ["/finding_info/related_events/0/uid", "/finding_info/analytic/uid", "/unmapped/trailhound/rule_version"]
                .map(|pointer| word(&value, pointer));
        format!("{event} {rule} {version}")
    };
    let mut lines: Vec<String> = client.read_all(topic).iter().map(line).collect();
    lines.sort();
    lines
}

fn list(program: &Trailhound) -> Value {
    serde_json::from_str(&rule(program, &["list", "--json"]).well().stdout).expect("JSON")
}

#[test]
fn a_module_is_published_to_three_processes_replaced_and_retracted() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    create_topics(&client, "fleet");
    let config = config(kafka, "fleet");
    // Without a module there is nothing to detect with, so nothing is received yet.
    fire(&client, "fleet", "e1");
    let mut first = waiting(&config);
    assert_eq!(client.committed("fleet", "fleet.cloudtrail"), [None; 4]);
    publish(&first, "probe", &versioned("P", "1.0.0"), &[]).well();
    client.until_committed("fleet", "fleet.cloudtrail");
    assert_eq!(found(&client, "fleet.findings"), ["e1 P-1 1.0.0"]);

    let mut others = [Trailhound::ready(&config), Trailhound::ready(&config)];
    let done = publish(&first, "probe", &versioned("P", "2.0.0"), &["--note", "better", "--author", "ann"]).well();
    assert!(done.stdout.contains("3 instances have it"), "{}", done.stdout);
    fire(&client, "fleet", "e2");
    client.until_committed("fleet", "fleet.cloudtrail");
    assert_eq!(found(&client, "fleet.findings"), ["e1 P-1 1.0.0", "e2 P-1 2.0.0"]);
    let shown = rule(&first, &["list"]).well().stdout;
    for words in ["topic fleet.rules: 1 modules", "by ann", "better", "3 of 3 instances run generation 2"] {
        assert!(shown.contains(words), "{words:?} is not in\n{shown}");
    }

    // A second module, then the first is taken away; who starts anew has the same set and the same generation.
    publish(&first, "other", &versioned("Q", "1.0.0"), &[]).well();
    rule(&first, &["retract", "probe", "--wait"]).well();
    fire(&client, "fleet", "e3");
    client.until_committed("fleet", "fleet.cloudtrail");
    assert_eq!(found(&client, "fleet.findings"), ["e1 P-1 1.0.0", "e2 P-1 2.0.0", "e3 Q-1 1.0.0"]);
    others[0].stop().assert_balanced();
    let again = Trailhound::ready(&config);
    again_has_joined(&first, 3);
    let listing = list(&first);
    let instances = listing["instances"].as_array().expect("instances");
    for instance in instances {
        assert_eq!((&instance["generation"], &instance["set"]), (&Value::from(4), &instances[0]["set"]), "{instance}");
        assert_eq!(instance["modules"][0]["name"], "other");
    }
    assert_eq!(rule(&first, &["retract", "probe"]).code, 64);
    drop(again);
    first.stop().assert_balanced();
    others[1].stop().assert_balanced();
}

#[track_caller]
fn again_has_joined(program: &Trailhound, instances: usize) {
    harness::wait::until_true(harness::wait::PATIENCE, "all instances to report", || {
        list(program)["instances"].as_array().is_some_and(|all| all.len() == instances)
    });
}

/// Writes a message to the rules topic as some other tool would.
fn smuggle(client: &Client, name: &str, key: &str, value: Vec<u8>, headers: &[(&str, &str)]) {
    let headers = headers.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
    let message = Outgoing { key: Some(key.as_bytes().to_vec()), value: Some(value), headers, ..Outgoing::default() };
    client.produce(&format!("{name}.rules"), &[message], &[]);
}

#[test]
fn what_is_bad_is_refused_and_the_running_set_stays() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    create_topics(&client, "bad");
    let config = config(kafka, "bad");
    let mut program = waiting(&config);
    publish(&program, "probe", &versioned("P", "1.0.0"), &[]).well();
    program.until("ready", |program| matches!(program.page("/readyz"), Some((200, _))).then_some(()));

    // Refused before it is published, by the step that says so.
    let lying = || {
        // Each example claims the contrary of what it does.
        versioned("P", "2.0.0").rule(|rule| rule.examples.iter_mut().for_each(|example| example.2 = !example.2))
    };
    let truncated = program.folder().join("truncated.wasm");
    std::fs::write(&truncated, &versioned("P", "2.0.0").wasm()[..900]).expect("a file");
    for (done, step) in [
        (publish(&program, "probe", &lying(), &[]), "examples"),
        (rule(&program, &["publish", truncated.to_str().expect("UTF-8")]), "parse"),
        (publish(&program, "a name", &versioned("P", "2.0.0"), &[]), "is no name"),
    ] {
        assert_eq!(done.code, 64, "{}", done.stderr);
        assert!(done.stderr.contains(step) && done.stderr.contains("hint: "), "{step}: {}", done.stderr);
    }
    assert_eq!(client.end_offsets("bad.rules").iter().sum::<i64>(), 1, "nothing bad is on the topic");

    // On the topic all the same, by another tool.
    smuggle(&client, "bad", "probe", lying().wasm(), &[]);
    smuggle(&client, "bad", "garbage", b"no module at all".to_vec(), &[]);
    smuggle(&client, "bad", "thief", versioned("P", "3.0.0").wasm(), &[]);
    smuggle(&client, "bad", "broken", versioned("B", "1.0.0").wasm(), &[("digest", "00")]);
    let refused = |program: &Trailhound| program.metrics().sum("trailhound_rules_refused_modules", &[]);
    program.until("four refusals", |program| (refused(program) == 4).then_some(()));
    let log = program.stderr();
    for words in [
        "module probe refused",
        "examples disagree",
        "module garbage refused",
        "module thief refused",
        "the rule P-1 is in the module probe already",
        "module broken refused",
        "its SHA-256 is",
    ] {
        assert!(log.contains(words), "{words:?} is not in\n{log}");
    }
    fire(&client, "bad", "e1");
    client.until_committed("bad", "bad.cloudtrail");
    assert_eq!(found(&client, "bad.findings"), ["e1 P-1 1.0.0"]);
    let listing = list(&program);
    let status = &listing["instances"][0];
    assert_eq!((&status["generation"], status["refused"].as_array().map(Vec::len)), (&Value::from(1), Some(4)));

    // Whoever asks whether all is well hears of what the fleet bears with.
    let mut validate = program::trailhound();
    let asked: Done =
        validate.args(["validate", "--connect", "--config"]).arg(program.config()).output().expect("a start").into();
    assert_eq!(asked.code, 64, "{}", asked.stderr);
    for words in ["module probe: bad.rules partition 0 offset 1: refused at step `examples`", "module broken: "] {
        assert!(asked.stderr.contains(words), "{words:?} is not in\n{}", asked.stderr);
    }

    // A restart has the same set: of a key whose last message is refused, the one before it.
    program.stop().assert_balanced();
    let mut program = Trailhound::ready(&config);
    fire(&client, "bad", "e2");
    client.until_committed("bad", "bad.cloudtrail");
    assert_eq!(found(&client, "bad.findings"), ["e1 P-1 1.0.0", "e2 P-1 1.0.0"]);
    // What stood in the way goes, and what was refused for it goes live.
    rule(&program, &["retract", "probe", "--wait"]).well();
    fire(&client, "bad", "e3");
    client.until_committed("bad", "bad.cloudtrail");
    assert_eq!(found(&client, "bad.findings")[2], "e3 P-1 3.0.0");
    program.stop().assert_balanced();
}

/// Whoever may write to the rules topic can write names without end; a program keeps a few.
#[test]
fn names_have_a_number() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    create_topics(&client, "names");
    let mut config = config(kafka, "names");
    config.more += "\n[limits.rules]\nmodules_max = 2";
    let mut program = waiting(&config);
    for number in 0..6 {
        smuggle(&client, "names", &format!("garbage{number}"), b"no module".to_vec(), &[]);
    }
    let over = "over the limit of 4 names in one place";
    program.until("two names too many", |program| (program.stderr().matches(over).count() == 2).then_some(()));
    assert_eq!(program.metrics().sum("trailhound_rules_refused_modules", &[]), 4);
    // A name that it knows is as good as ever.
    publish(&program, "garbage0", &versioned("P", "1.0.0"), &[]).well();
    program.until_ready();
    program.stop().assert_balanced();
}

#[test]
fn a_module_runs_in_shadow_beside_the_live_one_until_it_is_promoted() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    create_topics(&client, "shade");
    let mut program = waiting(&config(kafka, "shade"));
    publish(&program, "probe", &versioned("P", "1.0.0"), &[]).well();
    let trapping = versioned("P", "2.0.0").with("evil", "unreachable");
    publish(&program, "probe", &trapping, &["--shadow"]).well();
    fire(&client, "shade", "e1");
    client.produce("shade.cloudtrail", &[Outgoing::value(record("e2", FIRST, "poison"))], &[]);
    client.until_committed("shade", "shade.cloudtrail");
    assert_eq!(found(&client, "shade.findings"), ["e1 P-1 1.0.0"]);
    assert_eq!(found(&client, "shade.shadow"), ["e1 P-1 2.0.0"]);
    let message = &client.read_all("shade.shadow")[0];
    assert_eq!(message.header("mode").as_deref(), Some("shadow"));
    assert!(String::from_utf8_lossy(message.value.as_deref().unwrap_or_default()).contains(r#""shadow":true"#));
    assert!(client.read_all("shade.dead").is_empty(), "nothing is lost where a module in shadow fails");
    let metrics = program.metrics();
    assert_eq!(metrics.sum("trailhound_shadow_findings_total", &[("rule", "P-1")]), 1);
    assert_eq!(metrics.sum("trailhound_shadow_failed_total", &[("module", "probe")]), 1);

    rule(&program, &["promote", "probe", "--wait"]).well();
    fire(&client, "shade", "e3");
    client.until_committed("shade", "shade.cloudtrail");
    assert_eq!(found(&client, "shade.findings"), ["e1 P-1 1.0.0", "e3 P-1 2.0.0"]);
    assert_eq!(found(&client, "shade.shadow").len(), 1);
    assert_eq!(rule(&program, &["promote", "probe"]).code, 64, "there is none in shadow any more");
    program.stop().assert_balanced();
}

/// Puts a module into the watched folder as a careful tool does.
fn install(folder: &Path, name: &str, guest: &Guest) {
    let half = folder.join("half");
    std::fs::write(&half, guest.wasm()).expect("a file");
    std::fs::rename(half, folder.join(format!("{name}.wasm"))).expect("a rename");
}

#[test]
fn the_watched_folder_is_followed_and_the_topic_goes_first() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    create_topics(&client, "folder");
    let mut config = config(kafka, "folder");
    config.rules += "\ndirectory = FOLDER";
    let mut program = Trailhound::ready(&config);
    let folder = program.folder().join("rules");
    let swaps = |program: &Trailhound| program.metrics().sum("trailhound_rules_swaps_total", &[]);
    let until_swaps = |program: &mut Trailhound, count: u64| {
        program.until(&format!("{count} swaps"), |program| (swaps(program) >= count).then_some(()));
    };
    let generation = |program: &Trailhound| program.metrics().sum("trailhound_rules_generation", &[]);
    let before = generation(&program);
    install(&folder, "probe", &versioned("P", "1.0.0"));
    until_swaps(&mut program, 1);
    assert!(generation(&program) > before);
    fire(&client, "folder", "e1");
    client.until_committed("folder", "folder.cloudtrail");
    // A broken file leaves the set alone, and is said.
    std::fs::write(folder.join("probe.wasm"), b"half a modu").expect("a file");
    program.until("a refusal", |program| {
        (program.metrics().sum("trailhound_rules_refusals_total", &[]) == 1).then_some(())
    });
    fire(&client, "folder", "e2");
    client.until_committed("folder", "folder.cloudtrail");
    // It is tried again when somebody asks for it.
    program.signal("HUP");
    program.until("a refusal", |program| {
        (program.metrics().sum("trailhound_rules_refusals_total", &[]) == 2).then_some(())
    });
    assert_eq!(swaps(&program), 1);
    install(&folder, "probe", &versioned("P", "3.0.0"));
    until_swaps(&mut program, 2);
    // The topic's module of the same name is live in its place, and gives it back.
    publish(&program, "probe", &versioned("P", "4.0.0"), &[]).well();
    fire(&client, "folder", "e4");
    client.until_committed("folder", "folder.cloudtrail");
    rule(&program, &["retract", "probe", "--wait"]).well();
    fire(&client, "folder", "e5");
    client.until_committed("folder", "folder.cloudtrail");
    std::fs::remove_file(folder.join("probe.wasm")).expect("a file");
    until_swaps(&mut program, 5);
    fire(&client, "folder", "e6");
    client.until_committed("folder", "folder.cloudtrail");
    assert_eq!(found(&client, "folder.findings"), ["e1 P-1 1.0.0", "e2 P-1 1.0.0", "e4 P-1 4.0.0", "e5 P-1 3.0.0"]);
    program.stop().assert_balanced();
}

#[test]
fn a_module_that_keeps_failing_is_set_aside_and_comes_back() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    create_topics(&client, "aside");
    let mut config = config(kafka, "aside");
    config.more += "\n[limits.rules]\nfailures_in_row_max = 3\nquarantine_ms_min = 1000";
    let mut program = waiting(&config);
    publish(&program, "probe", &versioned("P", "1.0.0").with("evil", "unreachable"), &[]).well();
    publish(&program, "good", &Guest::new("GOOD"), &[]).well();
    let send = |kinds: &[(&str, &str)]| {
        let messages: Vec<Outgoing> = kinds
            .iter()
            .map(|(event, kind)| Outgoing { partition: Some(0), ..Outgoing::value(record(event, FIRST, kind)) })
            .collect();
        client.produce("aside.cloudtrail", &messages, &[]);
        client.until_committed("aside", "aside.cloudtrail");
    };
    send(&[("e1", "poison"), ("e2", "poison"), ("e3", "poison"), ("e4", "fire")]);
    program.until("it to be set aside", |program| {
        (program.metrics().sum("trailhound_rules_quarantined_workers", &[("module", "probe")]) == 1).then_some(())
    });
    let reasons = |client: &Client| -> Vec<String> {
        client.read_all("aside.dead").iter().filter_map(|message| message.header("trailhound.reason")).collect()
    };
    let dead = reasons(&client);
    assert_eq!(dead.iter().filter(|reason| *reason == "module_trapped").count(), 3, "{dead:?}");
    assert_eq!(dead.iter().filter(|reason| *reason == "module_quarantined").count(), 1, "{dead:?}");
    assert_eq!(list(&program)["instances"][0]["modules"][1]["quarantined"], 1);
    // Its time passes; the next event is the trial, and it works.
    let mut round = 0;
    program.until("it to be tried again", |program| {
        round += 1;
        send(&[(&format!("t{round}"), "fire")]);
        (program.metrics().sum("trailhound_rules_quarantined_workers", &[("module", "probe")]) == 0).then_some(())
    });
    send(&[("e9", "fire")]);
    let all = found(&client, "aside.findings");
    assert!(all.contains(&"e9 P-1 1.0.0".to_owned()), "{all:?}");
    // Its neighbour has seen everything.
    let count = all.iter().filter(|line| line.contains("GOOD-1")).count();
    assert_eq!(count, 2 + round, "{all:?}");
    program.stop().assert_balanced();
}
