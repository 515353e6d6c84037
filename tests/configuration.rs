//! The configuration as a user meets it: the file that is shipped, the table in the README, and all mistakes at once.

use std::collections::{BTreeMap, BTreeSet};

use harness::folder::Folder;
use trailhound::config;

use crate::program::{self, Done, repository, trailhound};

/// What `validate` says of a file with this text. The folder is gone when the test is done with the answer.
fn validate(text: &str, variables: &[(&str, &str)]) -> (Done, Folder) {
    let folder = Folder::new("configuration");
    let file = folder.write("pipeline.toml", text);
    let mut command = trailhound();
    command.arg("validate").arg("--config").arg(file).envs(variables.iter().copied());
    (command.output().expect("the program starts").into(), folder)
}

/// The configuration that is shipped, with the modules where the build has them.
fn shipped() -> String {
    let text = std::fs::read_to_string(repository().join("pipeline.toml")).expect("pipeline.toml");
    let rules = format!("directory = {:?}", program::rules());
    let changed = text.replace(r#"directory = "target/rules""#, &rules);
    assert_ne!(text, changed, "it names the build's folder of modules");
    changed
}

#[test]
fn the_shipped_configuration_is_valid() {
    let config = config::load(&repository().join("pipeline.toml")).expect("a valid configuration");
    let names: Vec<&str> = config.pipelines.keys().map(String::as_str).collect();
    assert_eq!(names, ["detect"]);
    assert!(config.rules.directory.is_some_and(|directory| directory.ends_with("target/rules")));
    assert!(config.admin.is_some_and(|address| address.ip().is_loopback()), "the admin page has no login");
    let (done, _folder) = validate(&shipped(), &[]);
    let done = done.well();
    assert!(done.stdout.contains("valid: pipelines detect; 2 modules with 2 rules"), "{}", done.stdout);
}

#[test]
fn the_examples_are_valid() {
    let mut examples = 0;
    for entry in std::fs::read_dir(repository().join("examples")).expect("a folder of examples") {
        let file = entry.expect("an entry").path();
        if file.ends_with("ingest.toml") {
            // It names a certificate, which `ingest.rs` makes for it.
            continue;
        }
        let mut command = trailhound();
        command.arg("validate").arg("--config").arg(&file);
        for secret in
            ["SPLUNK_TOKEN", "OPENSEARCH_PASSWORD", "SLACK_WEBHOOK", "PAGERDUTY_ROUTING_KEY", "WEBHOOK_SECRET"]
        {
            command.env(secret, if secret == "SLACK_WEBHOOK" { "https://hooks.example/s3cret" } else { "s3cret" });
        }
        let done = Done::from(command.output().expect("the program starts")).well();
        assert!(done.stdout.contains("valid: pipelines "), "{}", done.stdout);
        examples += 1;
    }
    assert!(examples >= 5);
}

#[test]
fn the_readme_lists_every_key_with_its_default() {
    let readme = std::fs::read_to_string(repository().join("README.md")).expect("README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("Configuration\n")).expect("a section");
    // | `key` | `default` | meaning |
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').splitn(3, '|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let mut table = BTreeMap::new();
    for row in &rows {
        let [key, default, meaning] = row.as_slice() else { panic!("three cells: {row:?}") };
        assert!(!meaning.is_empty(), "{key} has no meaning");
        assert!(table.insert(*key, *default).is_none(), "{key} twice");
    }
    let reference = config::reference();
    let wrong: Vec<String> = reference
        .iter()
        .filter(|(key, default)| table.get(key.as_str()) != Some(&default.as_str()))
        .map(|(key, default)| format!("| `{key}` | `{default}` | … |"))
        .collect();
    assert!(wrong.is_empty(), "rows that the README lacks, or has otherwise:\n{}", wrong.join("\n"));
    // Rows beyond that are for what an operator names: a property, a module's settings.
    let known: BTreeSet<&str> = reference.iter().map(|(key, _)| key.as_str()).collect();
    for key in ["source.kafka.topics", "sink.kafka.topic", "dead_letters.kafka.topic", "dead_letters.file.path"] {
        assert!(known.contains(format!("pipelines.NAME.{key}").as_str()), "{key} is a key that is not listed");
    }
    let free = |key: &str| key.contains('…') || key.starts_with("rules.settings.");
    let stale: Vec<&&str> = table.keys().filter(|key| !known.contains(**key) && !free(key)).collect();
    assert!(stale.is_empty(), "keys that there are not: {stale:?}");
}

/// Every line with a mistake says so at its end: the key, a part of what is wrong, a part of the hint.
const MISTAKES: &str = r#"
[kafka]
"bootstrap.servers" = "127.0.0.1:9092"
"acks" = "1"                                        #! kafka."acks" / may not be set / -
"compresion.type" = "s3cret-1"                      #! kafka."compresion.type" / no such property / CONFIGURATION.md
"security.protocol" = "s3cret-2"                    #! kafka."security.protocol" / does not take this value / -
"sasl.password" = "${TRAILHOUND_TEST_NOT_THERE}"    #! kafka."sasl.password" / no variable TRAILHOUND_TEST_NOT_THERE / export
"ssl.key.password" = "${file:/does/not/exist}"      #! kafka."ssl.key.password" / /does/not/exist / check the path
"sasl.username" = ["s3cret-3"]                      #! kafka."sasl.username" / must be a text, not a list / quotes
"enable.auto.commit" = true                         #! kafka."enable.auto.commit" / may not be set / -
[rules]
directroy = "modules"                               #! rules.directroy / is no key / did you mean `directory`?
cache = 5                                           #! rules.cache / must be a text / quotes
cache_bytes_max = 1024                              #! rules.cache_bytes_max / from 1048576 to 1099511627776 / -
[admin]
listen = "${TRAILHOUND_TEST_SECRET}"                #! admin.listen / ADDRESS:PORT / 127.0.0.1:9464
[limits]
drain_ms_max = 3.5                                  #! limits.drain_ms_max / whole number from 0 to 3600000 / -
[limits.read]
message_bytes_max = "${TRAILHOUND_TEST_SECRET}"     #! limits.read.message_bytes_max / must be a whole number / -
[limits.rules]
call_ms_max = 0                                     #! limits.rules.call_ms_max / from 1 to 60000 / -
memory_byte_max = 1                                 #! limits.rules.memory_byte_max / is no key / memory_bytes_max
[pipelines.detect]                                  #! pipelines.detect.dead_letters / is missing / dead_letters = {
workers = 1_000                                     #! pipelines.detect.workers / from 1 to 256 / -
detect = "yes"                                      #! pipelines.detect.detect / must be true or false, not a text / -
source = { kafka = { topics = "cloudtrail", group = "g" } } #! pipelines.detect.source.kafka.topics / must be a list / ["one"
sink = { kafka = { topic = "findings", create = { partitions = -1 } } } #! pipelines.detect.sink.kafka.create.partitions / from 1 / -
[pipelines.second]
detect = true
source = { kafka = { topics = ["cloudtrail"] } }    #! pipelines.second.source.kafka.group / is missing / group = "trailhound"
sink = { stdout = {}, kafka = { topic = "t" } }     #! pipelines.second.sink / either `kafka` or `stdout` / topic
dead_letters = { file = { path = 3 } }              #! pipelines.second.dead_letters.file.path / must be a text / quotes
[pipelines."th ird"]                                #! pipelines.th ird / no name for a pipeline / a-z
[sniks]                                             #! sniks / is no key / known here: kafka, rules, limits
"#;

#[test]
fn all_mistakes_come_in_one_report() {
    let (done, folder) = validate(MISTAKES, &[("TRAILHOUND_TEST_SECRET", "s3cret-4")]);
    assert_eq!(done.code, 64, "{}", done.stderr);
    assert!(!done.stderr.contains("s3cret") && !done.stdout.contains("s3cret"), "a secret: {}", done.stderr);
    let file = folder.path().join("pipeline.toml").display().to_string();
    let mut expected = 0;
    for (at, line) in MISTAKES.lines().enumerate() {
        let Some((_, mark)) = line.split_once("#! ") else { continue };
        expected += 1;
        let parts: Vec<&str> = mark.splitn(3, " / ").collect();
        let [key, what, hint] = parts.as_slice() else { panic!("{mark}") };
        let head = format!("{file}:{}: {key}", at + 1);
        let paragraphs: Vec<&str> = done.stderr.split("\n\n").filter(|text| text.starts_with(&head)).collect();
        assert!(!paragraphs.is_empty(), "nothing of {head} in\n{}", done.stderr);
        let told = paragraphs.iter().any(|text| {
            let (first, rest) = text.split_once("\n  hint: ").unwrap_or((text, ""));
            first.contains(what) && (*hint == "-" || rest.contains(hint))
        });
        assert!(told, "{mark}: {paragraphs:#?}");
    }
    assert!(expected > 20);
    let keys: Vec<&str> =
        done.stderr.split(&format!("{file}:")).skip(2).filter_map(|text| text.split(": ").nth(1)).collect();
    let twice: Vec<&&str> = keys.iter().filter(|key| keys.iter().filter(|other| other == key).count() > 1).collect();
    assert!(twice.is_empty(), "one thing that is wrong is one mistake: {twice:?}");
    let lines: Vec<usize> = done.stderr.split(&format!("{file}:")).skip(1).filter_map(line_number).collect();
    assert!(lines.is_sorted(), "in the order of the lines: {lines:?}");
    let marked: BTreeSet<usize> =
        MISTAKES.lines().enumerate().filter(|(_, line)| line.contains("#! ")).map(|(at, _)| at + 1).collect();
    let reported: BTreeSet<usize> = lines.into_iter().collect();
    assert_eq!(reported, marked, "no line is blamed that is right:\n{}", done.stderr);
}

/// The number that a text begins with.
fn line_number(text: &str) -> Option<usize> {
    text.split(':').next()?.parse().ok()
}

#[test]
fn a_secret_stays_one_whatever_is_wrong_with_it() {
    let base = "[pipelines.detect]\ndetect = true\nsink.stdout = {}\ndead_letters.file.path = \"d\"\n\
                source.kafka = { topics = [\"t\"], group = \"g\" }\n[kafka]\n\"bootstrap.servers\" = \"h:1\"\n";
    for line in [
        "\"sasl.password\" = \"s3cret",
        "\"sasl.password\" = s3cret",
        "\"sasl.password\" = \"s3cret\" \"s3cret\"",
        "\"sasl.password\" = '''s3cret",
        "\"sasl.password\" = \"s3cret\\q\"",
        "\"sasl.password\" = \"s3cret$\"",
        "\"sasl.pasword\" = \"s3cret\"",
        "\"linger.ms\" = \"s3cret\"",
        "\"sasl.password\" = \"a\"\n\"sasl.password\" = \"s3cret\"",
        "\"ssl.ca.location\" = \"${TRAILHOUND_TEST_SECRET}\"\nunknown = 1",
        "[limits.read]\nmessage_bytes_max = \"s3cret\"",
        "[admin]\nlisten = \"s3cret\"",
        "\"ssl.key.pem\" = \"${TRAILHOUND_TEST_SECRET}\"",
    ] {
        let (done, _folder) = validate(&format!("{base}{line}\n"), &[("TRAILHOUND_TEST_SECRET", "s3cret")]);
        assert_eq!(done.code, 64, "{line}: {}", done.stderr);
        assert!(!done.stderr.contains("s3cret") && !done.stdout.contains("s3cret"), "{line}: {}", done.stderr);
        assert!(!done.stderr.contains("panicked"), "{line}: {}", done.stderr);
    }
}

#[test]
fn what_the_modules_do_not_agree_with_is_a_mistake_too() {
    let check = |change: &dyn Fn(String) -> String, texts: &[&str]| {
        let (done, _folder) = validate(&change(shipped()), &[]);
        assert_eq!(done.code, 64, "{}", done.stderr);
        for text in texts {
            assert!(done.stderr.contains(text), "{text} in {}", done.stderr);
        }
    };
    check(&|text| text + "\n[rules.settings.no_such_module]\na = 1\n", &["rules.settings.no_such_module", "hint:"]);
    check(&|text| text + "\n[limits.rules]\nmodule_bytes_max = 1024\n", &["refused at step `size`", "hint:"]);
    let folder = Folder::new("modules");
    let elsewhere = |text: String| text.replace(&format!("{:?}", program::rules()), &format!("{:?}", folder.path()));
    check(&elsewhere, &["holds no module", "hint:"]);
    folder.write("bad.wasm", "no module");
    folder.write("empty.wasm", "");
    check(&elsewhere, &["bad.wasm: refused at step `parse`", "empty.wasm: refused at step `parse`"]);

    let done = program::run(&[&"validate", &"--config", &"no-such-file.toml"]);
    assert_eq!(done.code, 64);
    assert!(done.stderr.contains("no-such-file.toml") && done.stderr.contains("hint:"), "{}", done.stderr);
}
