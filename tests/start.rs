//! The first rule set: modules of the same bytes are compiled once, all cores load what is there, in an order that nobody
//! sees, and what an earlier process has compiled need not be compiled again.

use trailhound::rules::{Engine, Module, RuleLimits};

use crate::program::{self, Done};
use harness::folder::Folder;
use harness::guest::Guest;

#[test]
fn modules_of_the_same_bytes_share_their_code() {
    let engine = Engine::new().expect("an engine");
    let limits = RuleLimits::default();
    let load = |name: &str, guest: &Guest, settings: &str| {
        Module::load(&engine, name, &guest.wasm(), settings, &limits).expect("a good module")
    };
    let guest = Guest::new("S");
    let one = load("one", &guest, "{}");
    let two = load("two", &guest, r#"{"other": "settings"}"#);
    assert_eq!((one.digest.as_str(), one.settings.as_str()), (two.digest.as_str(), "{}"));
    assert_eq!(two.settings, r#"{"other": "settings"}"#);
    assert_eq!(format!("{engine:?}"), "Engine(1 compiled)");
    let three = load("three", &Guest::new("T"), "{}");
    assert_eq!(format!("{engine:?}"), "Engine(2 compiled)");
    drop(one);
    assert_eq!(format!("{engine:?}"), "Engine(2 compiled)");
    drop((two, three));
    assert_eq!(format!("{engine:?}"), "Engine(0 compiled)");
}

/// A pipeline and a folder with these modules.
fn start(modules: &[(String, Vec<u8>)], more: &str) -> Folder {
    let folder = Folder::new("start");
    for (name, wasm) in modules {
        folder.write(&format!("{name}.wasm"), wasm);
    }
    let text = r#"
        [pipelines.detect]
        source.kafka = { topics = ["cloudtrail"], group = "g", properties = { "bootstrap.servers" = "127.0.0.1:9" } }
        detect = true
        sink.stdout = {}
        dead_letters.file = { path = "dead" }
    "#;
    folder.write("pipeline.toml", format!("[rules]\ndirectory = \".\"\n{more}\n{text}"));
    folder
}

/// What `validate` says of it.
fn validate(folder: &Folder) -> Done {
    let config = folder.path().join("pipeline.toml");
    program::run(&[&"validate", &"--config", &config, &"--log", &"info,trailhound::rules=debug"])
}

/// Where each of `texts` stands for the first time.
#[track_caller]
fn places(said: &str, texts: &[String]) -> Vec<usize> {
    texts.iter().map(|text| said.find(text.as_str()).unwrap_or_else(|| panic!("{text} in {said}"))).collect()
}

#[test]
fn what_all_cores_load_is_told_in_the_order_of_names() {
    let module = |number: usize| (format!("m{number:02}"), Guest::new(&format!("M{number:02}")).wasm());
    let mut modules: Vec<(String, Vec<u8>)> = (0..16).map(module).collect();
    let done = validate(&start(&modules, "")).well();
    assert!(done.stdout.contains("16 modules with 32 rules"), "{}", done.stdout);
    let proved: Vec<String> = modules.iter().map(|(name, _)| format!("module {name} has proved itself")).collect();
    assert!(places(&done.stderr, &proved).is_sorted(), "{}", done.stderr);

    // What is refused is told in that order too, beside what is not.
    for number in [3, 9] {
        modules[number].1 = b"no module".to_vec();
    }
    let done = validate(&start(&modules, ""));
    assert_eq!(done.code, 64, "{}", done.stderr);
    let refused = ["m03", "m09"].map(|name| format!("module {name} refused"));
    assert!(places(&done.stderr, &refused).is_sorted(), "{}", done.stderr);
    places(
        &done.stderr,
        &["m03.wasm: refused at step `parse`", "m09.wasm: refused at step `parse`"].map(str::to_owned),
    );
    assert!(done.stderr.contains("module m15 has proved itself"), "{}", done.stderr);
}

/// How many modules had most of their functions in the cache. The keys of some depend on what the process has compiled
/// before, and so on which of its threads was faster.
fn from_cache(done: &Done) -> usize {
    let number = |line: &str, name: &str| -> usize {
        line.split_once(name).and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).expect("a number")
    };
    let lines = done.stderr.lines().filter(|line| line.contains("module compiled"));
    lines.filter(|line| number(line, " compiled=") * 2 < number(line, " functions=")).count()
}

#[test]
fn what_was_compiled_before_is_not_compiled_again() {
    let module = |number: usize| (format!("m{number}"), Guest::new(&format!("M{number}")).wasm());
    let modules: Vec<(String, Vec<u8>)> = (0..4).map(module).collect();
    let folder = start(&modules, "cache = \"compiled\"");
    assert_eq!(from_cache(&validate(&folder).well()), 0);
    let again = validate(&folder).well();
    assert_eq!(from_cache(&again), 4, "{}", again.stderr);
    assert!(!again.stderr.contains("WARN"), "{}", again.stderr);

    // One is damaged, one is cut off, and one is in another's place: each is said once, and mended.
    let entry = |name: &str| {
        let wasm = &modules.iter().find(|(other, _)| other == name).expect("a module").1;
        folder.path().join("compiled").join(trailhound::rules::module_digest(wasm))
    };
    let mut bytes = std::fs::read(entry("m0")).expect("an entry");
    *bytes.last_mut().expect("a byte") ^= 1;
    std::fs::write(entry("m0"), &bytes).expect("a file");
    std::fs::write(entry("m1"), &bytes[..bytes.len() / 2]).expect("a file");
    std::fs::copy(entry("m3"), entry("m2")).expect("a file");
    let damaged = validate(&folder).well();
    assert_eq!(from_cache(&damaged), 1, "{}", damaged.stderr);
    assert_eq!(damaged.stderr.matches("it is damaged; its module is compiled again").count(), 3, "{}", damaged.stderr);
    let mended = validate(&folder).well();
    assert_eq!(from_cache(&mended), 4, "{}", mended.stderr);
    assert!(!mended.stderr.contains("WARN"), "{}", mended.stderr);
}

#[test]
fn a_cache_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = start(&[("m".to_owned(), Guest::new("M").wasm())], "cache = \"compiled\"");
    validate(&folder).well();
    let wide = std::fs::Permissions::from_mode(0o770);
    std::fs::set_permissions(folder.path().join("compiled"), wide).expect("its permissions");
    for command in ["validate", "run"] {
        let config = folder.path().join("pipeline.toml");
        let done = program::run(&[&command, &"--config", &config]);
        assert_eq!(done.code, 64, "{}", done.stderr);
        for text in ["rules.cache: ", "others may write in it (mode 770)", "hint: "] {
            assert!(done.stderr.contains(text), "{}", done.stderr);
        }
    }
}
