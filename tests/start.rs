//! The first rule set: modules of the same bytes are compiled once.

use trailhound::rules::{Engine, Module, RuleLimits};

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
