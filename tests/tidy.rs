//! The house's invariants, held by reading the repository: who may name what, and what no file may hold.

use std::collections::BTreeSet;
use std::path::Path;

use crate::program::repository;

/// A file of the repository: its path from the root, and its text (empty where it is no text).
struct File {
    path: String,
    text: String,
}

/// All files but what is built and what git keeps.
fn files() -> Vec<File> {
    fn walk(folder: &Path, prefix: &str, files: &mut Vec<File>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            let path = format!("{prefix}{name}");
            // `.git` is a file where the repository is one of several work trees.
            if ["target", ".git", "corpus", "artifacts"].contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().expect("a type").is_dir() {
                walk(&entry.path(), &format!("{path}/"), files);
            } else {
                let bytes = std::fs::read(entry.path()).expect("a readable file");
                files.push(File { path, text: String::from_utf8(bytes).unwrap_or_default() });
            }
        }
    }
    let mut files = Vec::new();
    walk(repository(), "", &mut files);
    assert!(files.iter().any(|file| file.path == "host/src/lib.rs") && files.len() > 50, "the repository");
    files
}

fn rust_files() -> Vec<File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// The lines that are neither comments nor part of a unit test, with their numbers.
fn code(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let product = file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    product.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.trim().starts_with("//"))
}

/// Whether `word` stands in `line`, not as a part of another word.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = line.get(at + word.len()..).unwrap_or_default();
        !line.get(..at).unwrap_or_default().ends_with(part) && !after.starts_with(part)
    })
}

/// A unit test in a file of its own.
fn is_test(path: &str) -> bool {
    path.ends_with("_tests.rs") || path.ends_with("testing.rs") || path.contains("/tests/")
}

/// Files of host/src whose code names one of `words`.
fn naming(words: &[&str]) -> BTreeSet<String> {
    let host = rust_files().into_iter().filter(|file| file.path.starts_with("host/src/") && !is_test(&file.path));
    host.filter(|file| code(file).any(|(_, line)| words.iter().any(|word| names(line, word))))
        .map(|file| file.path)
        .collect()
}

#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn only_the_rules_know_webassembly() {
    let found = naming(&["wasmtime", "wasmparser", "wit_component"]);
    assert!(found.contains("host/src/rules/engine.rs"), "the search finds what is there: {found:?}");
    let outside: Vec<String> = found.into_iter().filter(|path| !path.starts_with("host/src/rules/")).collect();
    assert_none("files outside host/src/rules that name the engine", &outside);
}

#[test]
fn only_sources_and_sinks_know_librdkafka() {
    // The two errors carry librdkafka's own as their source. The demo brings its cluster along.
    let known = [
        "host/src/kafka/check.rs",
        "host/src/kafka/context.rs",
        "host/src/kafka/message.rs",
        "host/src/kafka/mod.rs",
        "host/src/kafka/offsets.rs",
        "host/src/kafka/producer.rs",
        "host/src/kafka/properties.rs",
        "host/src/kafka/reader.rs",
        "host/src/kafka/reports.rs",
        "host/src/kafka/transaction.rs",
        "host/src/kafka/writer.rs",
        "host/src/sink/kafka.rs",
        "host/src/sink/mod.rs",
        "host/src/source/begin.rs",
        "host/src/source/consumer.rs",
        "host/src/source/group.rs",
        "host/src/source/kafka.rs",
        "host/src/source/mod.rs",
    ];
    let is_demo = |path: &String| path.starts_with("host/src/demo/") || path.starts_with("host/src/cli/demo");
    let found: BTreeSet<String> = naming(&["rdkafka"]).into_iter().filter(|path| !is_demo(path)).collect();
    let known: BTreeSet<String> = known.map(str::to_owned).into();
    assert_eq!(found, known, "exactly these files name rdkafka");
}

#[test]
fn only_the_two_ends_know_http_and_tls() {
    let found = naming(&["reqwest", "rustls", "hyper"]);
    assert!(found.contains("host/src/sink/http/client.rs"), "the search finds what is there: {found:?}");
    let known = ["host/src/sink/http/", "host/src/sink/syslog/link.rs", "host/src/source/firehose/"];
    let outside: Vec<String> =
        found.into_iter().filter(|path| !known.iter().any(|known| path.starts_with(known))).collect();
    assert_none("files that name an HTTP client or TLS", &outside);
}

#[test]
fn the_host_names_no_rule() {
    let mut found = Vec::new();
    for file in rust_files().iter().filter(|file| file.path.starts_with("host/src/") && !is_test(&file.path)) {
        if file.path.contains("demo") {
            continue;
        }
        // Names of the rules' crates, and the prefix of their ids.
        let words = ["RTM-", "root_login"];
        let lines = file.text.split("#[cfg(test)]").next().unwrap_or_default().lines().enumerate();
        let named = lines.filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        found.extend(named.map(|(at, line)| format!("{}:{}: {line}", file.path, at + 1)));
    }
    assert_none("the host names a rule", &found);
}

#[test]
fn every_file_says_what_it_is_about_and_is_short() {
    const LINES_MAX: usize = 500;
    let mut found = Vec::new();
    for file in rust_files() {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{}: {lines} lines, over the limit of {LINES_MAX}", file.path));
        }
        if !file.text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 10) {
            found.push(format!("{}: does not open with `//!` and its subject", file.path));
        }
    }
    assert_none("files", &found);
}

#[test]
fn unsafe_code_is_the_affair_of_one_small_crate() {
    for path in ["host/src/lib.rs", "host/src/main.rs"] {
        let text = std::fs::read_to_string(repository().join(path)).expect("a readable file");
        assert!(text.lines().any(|line| line == "#![forbid(unsafe_code)]"), "{path}");
    }
    // In two parts, so that this file does not hold them.
    let words = ["{", "fn ", "impl", "extern"].map(|after| ["unsafe", " ", after].concat());
    let has = |file: &&File| file.text.lines().any(|line| words.iter().any(|word| line.contains(word.as_str())));
    let files = rust_files();
    let found: BTreeSet<&str> = files.iter().filter(has).map(|file| file.path.as_str()).collect();
    assert_eq!(found, BTreeSet::from(["fetch/src/kept.rs", "fetch/src/lib.rs", "fetch/src/message.rs"]));
}

/// It compiles the reader's source into itself, and nothing else compiles it from day to day.
#[test]
fn the_fuzzer_has_the_crates_that_the_reader_uses() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).expect("a readable file");
    let names_of = |manifest: &str| -> BTreeSet<String> {
        let (_, dependencies) = manifest.split_once("[dependencies]").expect("dependencies");
        let lines = dependencies.lines().skip(1).take_while(|line| !line.starts_with('['));
        lines.filter_map(|line| line.split(['.', ' ']).next()).map(|name| name.replace('-', "_")).collect()
    };
    let mut found = Vec::new();
    let has = names_of(&read("fuzz/Cargo.toml"));
    for name in names_of(&read("host/Cargo.toml")).difference(&has).filter(|name| !name.is_empty()) {
        let reader = naming(&[name]).into_iter().filter(|path| path.starts_with("host/src/record/"));
        found.extend(reader.map(|path| format!("{path} uses {name}, which fuzz/Cargo.toml lacks")));
    }
    assert_none("crates", &found);
}

#[test]
fn nothing_unfinished_is_left() {
    // In two parts, so that this file does not hold them.
    let words =
        [["to", "do!("], ["unimple", "mented!("], ["db", "g!("], ["FIX", "ME"], ["TO", "DO:"]].map(|w| w.concat());
    let mut found = Vec::new();
    for file in files() {
        for (at, line) in file.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {line}", file.path, at + 1));
            }
        }
    }
    assert_none("unfinished", &found);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let folders = [["/wo", "rk/"], ["/ro", "ot/"]].map(|parts| parts.concat());
    let mut found = Vec::new();
    for file in files() {
        for (at, line) in file.text.lines().enumerate() {
            let absolute = |folder: &String| {
                let places = line.match_indices(folder.as_str());
                // `a/work/b` is a path below something.
                places.into_iter().any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.'))
            };
            if folders.iter().any(absolute) {
                found.push(format!("{}:{}: {line}", file.path, at + 1));
            }
        }
    }
    assert_none("paths of a machine", &found);
}

#[test]
fn only_hosts_that_are_known_are_named() {
    // A mirror of a registry, or a server of somebody's network, is none of them.
    let known = [
        "127.0.0.1",
        "console.aws.amazon.com",
        "docs.aws.amazon.com",
        "events.pagerduty.com",
        "github.com",
        "help.splunk.com",
        "maven.apache.org",
        "no-color.org",
        "schema.ocsf.io",
        "www.apache.org",
    ];
    let mut found = Vec::new();
    for file in files() {
        for (at, line) in file.text.lines().enumerate() {
            let urls = line.split("://").skip(1);
            for rest in urls {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'));
                let host = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                let example = host == "example.com" || host.ends_with(".example.com") || host.ends_with(".example");
                if host.contains('.') && !known.contains(&host) && !example {
                    found.push(format!("{}:{}: {host}", file.path, at + 1));
                }
            }
        }
    }
    assert_none("hosts", &found);
    let lock = std::fs::read_to_string(repository().join("Cargo.lock")).expect("Cargo.lock");
    let sources: BTreeSet<&str> = lock.lines().filter(|line| line.starts_with("source = ")).collect();
    let registry = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    assert_eq!(sources, BTreeSet::from([registry]), "every crate comes from the public registry");
}

#[test]
fn tests_wait_in_one_place() {
    let mut found = Vec::new();
    for file in rust_files().iter().filter(|file| file.path.starts_with("tests/") || is_test(&file.path)) {
        let sleeps = file.text.lines().enumerate().filter(|(_, line)| {
            let word = ["sle", "ep("].concat();
            line.contains(&word)
        });
        found.extend(sleeps.map(|(at, line)| format!("{}:{}: {}", file.path, at + 1, line.trim())));
    }
    assert_eq!(found.len(), 1, "one pause, in `until`'s loop: {found:#?}");
    assert!(found[0].starts_with("tests/harness/wait.rs:"), "{found:?}");
}
