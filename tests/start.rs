//! The first rule set: modules of the same bytes are compiled once, and all cores load what is there, in an order that
//! nobody sees.

use trailhound::rules::{Engine, Module, RuleLimits};

use crate::program::{Done, trailhound};
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

/// What `validate` says of a folder with these modules.
fn validate(modules: &[(String, Vec<u8>)]) -> Done {
    let folder = Folder::new("start");
    for (name, wasm) in modules {
        folder.write(&format!("{name}.wasm"), wasm);
    }
    let text = r#"
        rules.directory = "."

        [pipelines.detect]
        source.kafka = { topics = ["cloudtrail"], group = "g", properties = { "bootstrap.servers" = "127.0.0.1:9" } }
        detect = true
        sink.stdout = {}
        dead_letters.file = { path = "dead" }
    "#;
    let file = folder.write("pipeline.toml", text);
    trailhound().arg("validate").arg("--config").arg(file).output().expect("the program starts").into()
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
    let done = validate(&modules).well();
    assert!(done.stdout.contains("16 modules with 32 rules"), "{}", done.stdout);
    let proved: Vec<String> = modules.iter().map(|(name, _)| format!("module {name} has proved itself")).collect();
    assert!(places(&done.stderr, &proved).is_sorted(), "{}", done.stderr);

    // What is refused is told in that order too, beside what is not.
    for number in [3, 9] {
        modules[number].1 = b"no module".to_vec();
    }
    let done = validate(&modules);
    assert_eq!(done.code, 64, "{}", done.stderr);
    let refused = ["m03", "m09"].map(|name| format!("module {name} refused"));
    assert!(places(&done.stderr, &refused).is_sorted(), "{}", done.stderr);
    places(
        &done.stderr,
        &["m03.wasm: refused at step `parse`", "m09.wasm: refused at step `parse`"].map(str::to_owned),
    );
    assert!(done.stderr.contains("module m15 has proved itself"), "{}", done.stderr);
}
