//! Dead letters as the program makes them, listed, and put back to be evaluated again, on the real broker.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use serde_json::{Value, json};

use harness::findings;
use harness::folder::Folder;
use harness::kafka::{Client, Kafka, Outgoing};
use harness::trailhound::{Config, Summary, Trailhound};

use crate::program::{Done, run, trailhound};
use harness::guest::{FIRST, Guest, SECOND, record};

/// Fires on poison, where the other one traps.
const FIRES: &str = "(drop (call $hit (local.get $event) (local.get $rule)))";

const BROKEN: [&str; 2] = [r#"{"eventName": "one", }"#, r#"{"eventName": "two", }"#];

/// A pipeline with a module `probe` of the rules `H-1` and `H-2`, which does `evil` on poison.
fn config(kafka: &Kafka, name: &str, evil: &str) -> Config {
    let mut config = Config::new(&kafka.bootstrap(), name);
    config.modules = vec![("probe".to_owned(), Guest::new("H").with("evil", evil).wasm())];
    config.more = "[limits.rules]\nretries_failed_max = 100".to_owned();
    config
}

/// Three records that rule `H-1` traps on and two that cannot be read in partition 0, two that rule `H-2` traps on and
/// one that is fine in partition 1.
fn produce(client: &Client, topic: &str) {
    let of = |partition: i32, value: String| Outgoing { partition: Some(partition), ..Outgoing::value(value) };
    let mut messages: Vec<Outgoing> = ["f1", "f2", "f3"].iter().map(|id| of(0, record(id, FIRST, "poison"))).collect();
    messages.extend(BROKEN.map(|text| of(0, text.to_owned())));
    messages.extend(["s1", "s2"].map(|id| of(1, record(id, SECOND, "poison"))));
    messages.push(of(1, record("fine", FIRST, "fire")));
    client.produce(topic, &messages, &[]);
}

/// Runs the pipeline until everything is committed. The program is kept for its folder.
fn run_pipeline(client: &Client, name: &str, config: &Config) -> (Trailhound, Summary) {
    let mut program = Trailhound::ready(config);
    client.until_committed(name, &format!("{name}.cloudtrail"));
    let summary = program.stop();
    summary.assert_balanced();
    (program, summary)
}

/// A command over dead letters.
fn command(what: &str, config: &Path, arguments: &[&str]) -> Done {
    let mut all: Vec<&dyn AsRef<OsStr>> = vec![&"dead-letters", &what, &"--config", &config];
    all.extend(arguments.iter().map(|argument| argument as &dyn AsRef<OsStr>));
    run(&all)
}

/// The line of JSON that a replay ends with.
#[track_caller]
fn balance(done: &Done) -> Value {
    let line = done.stdout.lines().last().unwrap_or_else(|| panic!("no line on standard output: {}", done.stderr));
    serde_json::from_str(line).expect("one line of JSON")
}

#[track_caller]
fn replay(config: &Path, arguments: &[&str]) -> Value {
    balance(&command("replay", config, arguments).well())
}

/// How many letters a selection holds.
#[track_caller]
fn selected(config: &Path, arguments: &[&str]) -> u64 {
    let mut all = vec!["--json"];
    all.extend(arguments);
    let done = command("list", config, &all).well();
    let listing: Value = serde_json::from_str(&done.stdout).expect("a listing in JSON");
    listing["selected"].as_u64().expect("a number")
}

#[test]
fn letters_of_a_rule_are_listed_replayed_and_evaluated_by_the_mended_module() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let topic = |part: &str| format!("letters.{part}");
    client.create_topic(&topic("cloudtrail"), 2, &[]);
    client.create_topic(&topic("findings"), 2, &[]);
    client.create_topic(&topic("dead"), 3, &[]);
    produce(&client, &topic("cloudtrail"));
    let (program, summary) = run_pipeline(&client, "letters", &config(kafka, "letters", "(unreachable)"));
    assert_eq!((summary.count("dead_lettered"), summary.count("failed")), (2, 5));
    let file = program.config();

    let done = command("list", &file, &[]).well();
    for text in ["module_trapped", "invalid_json", "probe", "H-1", "H-2", "letters.cloudtrail"] {
        assert!(done.stdout.contains(text), "{text} in\n{}", done.stdout);
    }
    assert_eq!(done.stdout.lines().count(), 1 + 3, "a heading and three groups\n{}", done.stdout);
    assert!(done.stderr.contains("7 of 7 dead letters in the topic `letters.dead`"), "{}", done.stderr);
    let listing: Value = serde_json::from_str(&command("list", &file, &["--json"]).well().stdout).expect("JSON");
    let first = &listing["groups"][0];
    assert_eq!(
        (&first["rules"], &first["letters"], &first["partitions"]),
        (&json!(["H-1"]), &json!(3), &json!({"0": 3}))
    );
    assert!(first["first"].as_str() <= first["last"].as_str() && first["last"].is_string(), "{first}");

    for (arguments, expect) in [
        (&["--reason", "module_trapped"][..], 5),
        (&["--reason", "invalid_json"], 2),
        (&["--module", "probe"], 5),
        (&["--module", "root_login"], 0),
        (&["--rule", "H-2"], 2),
        (&["--rule", "H"], 0),
        (&["--partition", "0"], 5),
        (&["--partition", "1", "--reason", "module_trapped"], 2),
        (&["--topic", "letters.cloudtrail"], 7),
        (&["--topic", "letters"], 0),
        (&["--since", "1h"], 7),
        (&["--until", "1h"], 0),
        (&["--since", "2000-01-01T00:00:00Z", "--until", "2000-01-02T00:00:00Z"], 0),
    ] {
        assert_eq!(selected(&file, arguments), expect, "{arguments:?}");
    }
    let done = command("list", &file, &["--rule", "H-3"]).well();
    assert_eq!(done.stdout, "");
    assert!(done.stderr.contains("nothing selected of 7 dead letters"), "{}", done.stderr);

    let ends = client.end_offsets(&topic("cloudtrail"));
    let dry = replay(&file, &["--rule", "H-1", "--dry-run"]);
    assert_eq!((&dry["selected"], &dry["to_replay"], &dry["replayed"]), (&json!(3), &json!(3), &json!(0)));
    let none = replay(&file, &["--rule", "H-3"]);
    assert_eq!((&none["letters"], &none["selected"], &none["replayed"]), (&json!(7), &json!(0), &json!(0)));
    assert_eq!(client.end_offsets(&topic("cloudtrail")), ends, "nothing was written");

    let done = command("replay", &file, &["--rule", "H-1"]).well();
    assert_eq!(balance(&done)["replayed"], 3);
    assert!(!done.stderr.contains(['\r', '\u{1b}']), "no progress in a pipe: {:?}", done.stderr);
    assert_eq!(client.end_offsets(&topic("cloudtrail")).iter().sum::<i64>(), 8 + 3);
    let again: Vec<_> = client.read_all(&topic("cloudtrail")).into_iter().filter(|m| !m.headers.is_empty()).collect();
    for message in &again {
        assert_eq!(message.key, None);
        let from = message.header("trailhound.replayed").expect("where it was");
        let offset: usize = from.strip_prefix("0/").expect("partition 0").parse().expect("an offset");
        let value = String::from_utf8(message.value.clone().expect("a value")).expect("text");
        assert_eq!(value, record(["f1", "f2", "f3"][offset], FIRST, "poison"), "the original bytes");
    }

    let (_program, summary) = run_pipeline(&client, "letters", &config(kafka, "letters", FIRES));
    assert_eq!((summary.count("received"), summary.count("failed")), (3, 0));
    let found = findings::read(&client.read_all(&topic("findings")));
    let found: Vec<(&str, &str)> = found.iter().map(|f| (f.key.rule.as_str(), f.key.event.as_str())).collect();
    assert_eq!(found.len(), 4);
    let expected = [("H-1", "fine"), ("H-1", "f1"), ("H-1", "f2"), ("H-1", "f3")];
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    assert_eq!(selected(&file, &[]), 7, "letters stay where they are");
}

/// A letter by hand.
fn letter(reason: &str, topic: &str, value: &str) -> Outgoing {
    let header = |name: &str, value: &str| (format!("trailhound.{name}"), value.as_bytes().to_vec());
    let headers = [("reason", reason), ("topic", topic), ("partition", "0"), ("offset", "7")];
    Outgoing { headers: headers.map(|(name, value)| header(name, value)).to_vec(), ..Outgoing::value(value) }
}

#[test]
fn what_must_not_be_replayed_is_counted_and_said() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topic("picked.cloudtrail", 1, &[("max.message.bytes", "4000")]);
    client.create_topic("picked.other", 1, &[]);
    client.create_topic("picked.findings", 1, &[]);
    client.create_topic("picked.dead", 1, &[]);
    let folder = Folder::new("picked");
    let kafka_part = format!("[kafka]\n\"bootstrap.servers\" = {:?}\n", kafka.bootstrap());
    let pipeline = |name: &str| {
        format!(
            "[pipelines.{name}]\nsource = {{ kafka = {{ topics = [\"picked.cloudtrail\"], group = \"{name}\" }} }}\n\
             detect = true\nsink = {{ kafka = {{ topic = \"picked.findings\" }} }}\n\
             dead_letters = {{ kafka = {{ topic = \"picked.dead\" }} }}\n"
        )
    };
    let file = folder.write("one.toml", kafka_part.clone() + &pipeline("one"));
    assert_eq!(replay(&file, &[])["selected"], 0, "an empty topic");

    let mut state = 7u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b' ' + (state >> 24) as u8 % 90)
    };
    // It does not compress to what the topic takes.
    let noise: String = std::iter::repeat_with(next).take(9_000).collect();
    client.produce(
        "picked.dead",
        &[
            letter("module_trapped", "picked.cloudtrail", "record a"),
            letter("module_timed_out", "picked.cloudtrail", "record a"),
            letter("sink_refused", "picked.cloudtrail", "a finding"),
            letter("module_trapped", "picked.other", "record b"),
            Outgoing::value("no letter"),
            letter("module_trapped", "picked.cloudtrail", &noise),
            letter("module_trapped", "picked.cloudtrail", "record c"),
            letter("module_trapped", "picked.cloudtrail", "record d"),
        ],
        &[],
    );
    let few = replay(&file, &["--limit", "1"]);
    assert_eq!((&few["replayed"], &few["limit_reached"]), (&json!(1), &json!(true)));

    let done = command("replay", &file, &[]);
    assert_eq!(done.code, 1, "{}", done.stderr);
    let all = balance(&done);
    let skipped = json!({"other_topic": 1, "same_bytes": 1, "sink_refused": 1, "too_large": 1});
    assert_eq!((&all["letters"], &all["selected"], &all["unreadable"]), (&json!(7), &json!(7), &json!(1)));
    assert_eq!((&all["replayed"], &all["skipped"]), (&json!(3), &skipped));
    for text in ["hold a finding", "does not read", "too large", "no header `reason`"] {
        assert!(done.stderr.contains(text), "{text} in {}", done.stderr);
    }
    let values: Vec<Vec<u8>> = client.read_all("picked.cloudtrail").into_iter().filter_map(|m| m.value).collect();
    assert_eq!(values, ["record a", "record a", "record c", "record d"].map(|text| text.as_bytes().to_vec()));
    assert_eq!(client.end_offsets("picked.other"), [0]);

    let two = folder.write("two.toml", kafka_part + &pipeline("one") + &pipeline("two"));
    let done = command("list", &two, &[]);
    assert!(done.code == 64 && done.stderr.contains("--pipeline: one, two"), "{}", done.stderr);
    let done = command("list", &two, &["--pipeline", "three"]);
    assert!(done.code == 64 && done.stderr.contains("there are one, two"), "{}", done.stderr);
    command("list", &two, &["--pipeline", "two"]).well();
    let done = command("list", &file, &["--since", "yesterday"]);
    assert!(done.code == 64 && done.stderr.contains("such as 2h"), "{}", done.stderr);
    client.delete_topic("picked.dead");
    let done = command("list", &file, &[]);
    assert!(done.code == 1 && done.stderr.contains("`picked.dead` does not exist"), "{}", done.stderr);
}

#[test]
fn a_file_of_letters_is_replayed_too() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topic("filed.cloudtrail", 2, &[]);
    client.create_topic("filed.findings", 1, &[]);
    produce(&client, "filed.cloudtrail");
    let mut config = config(kafka, "filed", "(unreachable)");
    config.dead_letters = r#"{ file = { path = "dead.ndjson" } }"#.to_owned();
    let (program, summary) = run_pipeline(&client, "filed", &config);
    assert_eq!((summary.count("dead_lettered"), summary.count("failed")), (2, 5));

    let (file, letters) = (program.config(), program.folder().join("dead.ndjson"));
    let text = std::fs::read_to_string(&letters).expect("letters");
    std::fs::write(&letters, format!("{text}\n{{}}\nno JSON")).expect("letters with lines that are none");
    let done = command("list", &file, &[]).well();
    assert!(
        done.stdout.contains("module_trapped") && done.stderr.contains("7 of 7"),
        "{}\n{}",
        done.stdout,
        done.stderr
    );
    let done = command("replay", &file, &["--since", "1h"]);
    assert!(done.code == 64 && done.stderr.contains("hint:"), "{}", done.stderr);
    let replayed = replay(&file, &["--reason", "invalid_json"]);
    assert_eq!((&replayed["replayed"], &replayed["unreadable"]), (&json!(2), &json!(2)));
    let again = client.read_all("filed.cloudtrail").into_iter().filter(|message| !message.headers.is_empty());
    let again: BTreeSet<Vec<u8>> = again.filter_map(|message| message.value).collect();
    assert_eq!(again, BROKEN.map(|text| text.as_bytes().to_vec()).into());
    std::fs::remove_file(&letters).expect("the file");
    let done = command("list", &file, &[]);
    assert!(done.code == 1 && done.stderr.contains("dead.ndjson"), "{}", done.stderr);
}

#[test]
fn the_help_says_that_repeats_are_harmless() {
    let done: Done = trailhound().args(["dead-letters", "replay", "--help"]).output().expect("it starts").into();
    let text = done.well().stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("repeats are harmless") && text.contains("sink_refused"), "{text}");
}
