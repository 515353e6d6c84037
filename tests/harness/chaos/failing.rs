//! Modules that proved themselves and fail at work: it costs them their own events and nothing else, they are set aside
//! and come back, and what they have not seen is replayed once they are mended.

use std::collections::BTreeSet;
use std::process::Command;

use super::Scene;
use super::rules::{config, publish};
use crate::guest::{FIRST, Guest, record};
use crate::kafka::Outgoing;
use crate::trailhound::{Trailhound, binary, module};
use crate::wait::{self, PATIENCE};

/// What a module does on a poisoned event, and the reason of its dead letters.
const EVILS: [(&str, &str, &str); 4] = [
    ("a trap", "unreachable", "module_trapped"),
    ("a loop without end", "(loop $again (br $again))", "module_timed_out"),
    ("memory without end", "(loop $again (drop (memory.grow (i32.const 16))) (br $again))", "module_trapped"),
    ("an answer nobody asked for", "(drop (call $hit (i32.const 77) (i32.const 0)))", "module_wrong_answer"),
];

/// Events that are poison, enough to be set aside, and events that fire.
const POISON: usize = 6;
const FIRING: usize = 40;

/// Probes arrive on a topic of their own beside the traffic.
pub(super) fn modules(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    let name = scene.name.clone();
    let probes = format!("{name}.probes");
    scene.client.create_topic(&probes, 1, &[]);
    let mut config = config(scene);
    config.source =
        config.source.replace(&format!("[\"{name}.cloudtrail\"]"), &format!("[\"{name}.cloudtrail\", \"{probes}\"]"));
    config.more += "\n[limits.rules]\ncall_ms_max = 200\nfailures_in_row_max = 3\nquarantine_ms_min = 60000";
    let mut program = Trailhound::start(&config);
    program.until("the rules topic", |_| (scene.client.partitions(&format!("{name}.rules")) > 0).then_some(()));
    publish(scene, "root_login", Some(module("root_login")));
    program.until_ready();
    scene.traffic();
    for round in 0..scene.rounds() {
        let (what, evil, reason) = EVILS[(round as usize) % EVILS.len()];
        let id = format!("F{round}");
        let rule = format!("{id}-1");
        scene.audit.pass_over(&rule);
        publish(scene, "probe", Some(Guest::new(&id).with("evil", evil).wasm()));
        live(&mut program, 2 + 2 * u64::from(round));
        let event = |number: usize, kind: &str| {
            let id = format!("{round:03}-{number:03}");
            Outgoing::value(record(&id, FIRST, kind))
        };
        let events = (0..POISON).map(|number| event(number, "poison"));
        let events: Vec<Outgoing> = events.chain((0..FIRING).map(|number| event(POISON + number, "fire"))).collect();
        scene.client.produce(&probes, &events, &[]);
        scene.client.until_committed(&name, &probes);
        let aside = program.metrics().sum("trailhound_rules_quarantined_workers", &[("module", "probe")]);
        // A transaction shows in the group's offsets a moment before it shows in the topics.
        let mut reasons = Vec::new();
        wait::until_true(PATIENCE, &format!("{what}: each event to be a finding or a dead letter"), || {
            reasons = reasons_of(scene, &rule);
            reasons.len() + firing(scene, &rule).len() == POISON + FIRING
        });
        assert!(reasons.iter().any(|one| one == reason), "{what}: {reasons:?}");
        assert!(reasons.iter().any(|one| one == "module_quarantined") || aside == 0, "{what}: {reasons:?}");

        // The mended module sees what the broken one did not.
        publish(scene, "probe", Some(Guest::new(&id).wasm()));
        live(&mut program, 3 + 2 * u64::from(round));
        let mut replay = Command::new(binary());
        replay.args(["dead-letters", "replay", "--rule", &rule, "--config"]).arg(program.config());
        let replayed = replay.output().expect("the program starts");
        assert!(replayed.status.success(), "{what}: {}", String::from_utf8_lossy(&replayed.stderr));
        scene.client.until_committed(&name, &probes);
        wait::until_true(PATIENCE, &format!("{what}: every event that fires to have its finding"), || {
            firing(scene, &rule).len() == FIRING
        });
        scene.round_done(round, what);
    }
    vec![program]
}

fn live(program: &mut Trailhound, generation: u64) {
    program.until("the module to be live", |program| {
        (program.metrics().sum("trailhound_rules_generation", &[]) >= generation).then_some(())
    });
}

/// The reasons of a rule's dead letters.
fn reasons_of(scene: &Scene<'_>, rule: &str) -> Vec<String> {
    let all = scene.client.read_all(&format!("{}.dead", scene.name)).into_iter();
    let of_rule = all.filter(|letter| letter.header("trailhound.rules").as_deref() == Some(rule));
    of_rule.filter_map(|letter| letter.header("trailhound.reason")).collect()
}

/// The ids of a rule's findings.
fn firing(scene: &Scene<'_>, rule: &str) -> BTreeSet<Vec<u8>> {
    let all = scene.client.read_all(&scene.findings());
    all.into_iter().filter(|one| one.header("rule").as_deref() == Some(rule)).filter_map(|one| one.key).collect()
}
