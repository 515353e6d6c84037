//! Rules that are swapped under load, and modules that are no good.
//!
//! The module of the traffic's rule and a twin of it, which fires on the same records under another id, are published
//! again and again with bytes that differ. So every record that fires has two findings; both say which generation and
//! which module made them, and that must be what was published.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Scene;
use super::bad::{Bad, bad};
use crate::kafka::{BROKERS, Outgoing, Tail};
use crate::process::{Process, assert_flat};
use crate::trailhound::{Config, Delivery, Trailhound, module};
use crate::wait;

/// The id of the twin's rule: as long as the original's, since it is put in its place in the module's bytes.
pub(super) const TWIN: &str = "RTM-00T";
const ORIGINAL: &str = "RTM-001";

/// A pipeline whose rules come from a topic.
pub(super) fn config(scene: &Scene<'_>) -> Config {
    let mut config = scene.config();
    let name = &scene.name;
    config.rules =
        format!("topic = \"{name}.rules\"\nstatus_topic = \"{name}.status\"\ncreate = {{ replication = 3 }}");
    config
}

/// Writes to the rules topic.
pub(super) fn publish(scene: &Scene<'_>, key: &str, value: Option<Vec<u8>>) {
    let settings = [("message.max.bytes", "100000000"), ("partitioner", "murmur2_random")];
    let message = Outgoing { key: Some(key.as_bytes().to_vec()), value, ..Outgoing::default() };
    scene.client.produce(&format!("{}.rules", scene.name), &[message], &settings);
}

/// Both modules with bytes of their own for every number.
struct Versions {
    original: Vec<u8>,
    twin: Vec<u8>,
    /// Messages on the rules topic so far.
    published: u64,
    /// By key: the generations from which on a digest is live.
    live: [BTreeMap<u64, String>; 2],
}

impl Versions {
    fn new() -> Versions {
        let original = module("root_login");
        let mut twin = original.clone();
        let places: Vec<usize> =
            (0..twin.len().saturating_sub(7)).filter(|at| twin[*at..].starts_with(ORIGINAL.as_bytes())).collect();
        assert!(!places.is_empty(), "the module names its rule");
        for at in places {
            twin[at..at + TWIN.len()].copy_from_slice(TWIN.as_bytes());
        }
        Versions { original, twin, published: 0, live: [BTreeMap::new(), BTreeMap::new()] }
    }

    /// Publishes the next version of one of the two.
    fn publish(&mut self, scene: &Scene<'_>) {
        let which = usize::from(self.published % 2 == 1);
        let (key, base) = [("root_login", &self.original), ("twin", &self.twin)][which];
        let bytes = stamped(base, self.published);
        self.published += 1;
        self.live[which].insert(self.published, sha256(&bytes));
        publish(scene, key, Some(bytes));
    }

    /// The digest that is live in a generation.
    fn of(&self, which: usize, generation: u64) -> Option<&String> {
        self.live[which].range(..=generation).next_back().map(|(_, digest)| digest)
    }

    fn until_live(&self, program: &mut Trailhound) {
        // To ask more often would take the time from the worker whose pauses are looked at.
        const LOOK: Duration = Duration::from_millis(100);
        let published = self.published;
        program.until("the last version to be live", |program| {
            wait::pause(LOOK);
            (program.metrics().sum("trailhound_rules_generation", &[]) >= published).then_some(())
        });
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A component with one more custom section, which means nothing: other bytes, another digest, the same rule.
fn stamped(component: &[u8], number: u64) -> Vec<u8> {
    let mut bytes = component.to_vec();
    let text = format!("\x05stamp{number:020}");
    bytes.push(0);
    bytes.push(u8::try_from(text.len()).expect("a short section"));
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Swap after swap at full rate: each record has the findings of exactly one generation, and they come from the modules
/// that were live in it.
pub(super) fn swaps(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    let mut versions = Versions::new();
    let mut program = started(scene, &mut versions);
    scene.audit.pass_over(TWIN);
    scene.traffic();
    program.until_received(1_000);
    let mut samples = Vec::new();
    for round in 0..scene.rounds() {
        versions.publish(scene);
        versions.until_live(&mut program);
        samples.push(Process::of(program.pid()));
        if round % 100 == 99 {
            scene.round_done(round, "swapped");
        }
    }
    scene.note(assert_flat(&samples));
    scene.stop_traffic();
    scene.until_all_committed();
    let records = check_generations(scene, &versions, true);
    let pauses = program.metrics();
    let pauses = pauses.by_label("trailhound_rules_swap_pause_seconds_bucket", "le");
    let (within, all) = (pauses.get("0.001").copied().unwrap_or_default(), pauses.values().max().copied().unwrap_or(1));
    scene.note(format!("{records} records with two findings of one generation; {within} of {all} pauses within 1 ms"));
    assert!(all > 0, "a swap reaches a worker");
    // Of a few pauses the longest says how busy the machine is, and nothing of the swap.
    assert!(
        all < PAUSES_MIN || within * 100 >= all * 99,
        "99 of 100 pauses of the data path are within 1 ms: {pauses:?}"
    );
    vec![program]
}

/// Modules are swapped while a broker is down: the rules topic is as available as all others.
pub(super) fn swaps_broker_down(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    const SWAPS: usize = 10;
    let mut versions = Versions::new();
    let mut program = started(scene, &mut versions);
    scene.audit.pass_over(TWIN);
    scene.traffic();
    program.until_received(1_000);
    for round in 0..scene.rounds() {
        let broker = round as usize % BROKERS;
        scene.cluster.kill9(broker);
        scene.cluster.until_missed(1);
        for _ in 0..SWAPS {
            versions.publish(scene);
            versions.until_live(&mut program);
        }
        let before = program.received();
        program.until_received(before + 1_000);
        scene.cluster.restart(broker);
        scene.cluster.until_in_sync();
        scene.round_done(round, "swapped with a broker down");
    }
    scene.stop_traffic();
    scene.until_all_committed();
    let records = check_generations(scene, &versions, scene.delivery() == Delivery::ExactlyOnce);
    scene.note(format!("{records} records with the findings of one generation"));
    vec![program]
}

/// So many pauses have a 99th part that is not one or two of them.
const PAUSES_MIN: u64 = 500;

fn started(scene: &Scene<'_>, versions: &mut Versions) -> Trailhound {
    let mut program = Trailhound::start(&config(scene));
    program.until("the rules topic", |_| (scene.client.partitions(&format!("{}.rules", scene.name)) > 0).then_some(()));
    versions.publish(scene);
    versions.publish(scene);
    program.until_ready();
    versions.until_live(&mut program);
    program
}

/// Of each record both findings say the same generation, and the digests that were live in it; each is there `once`, or
/// may be repeated. Gives the number of records.
#[track_caller]
fn check_generations(scene: &Scene<'_>, versions: &Versions, once: bool) -> usize {
    let mut findings: HashMap<String, [Vec<u64>; 2]> = HashMap::new();
    let mut wrong = Vec::new();
    let mut tail = Tail::new(&scene.client, &scene.findings());
    // The two findings of a record lie in two partitions, and the last commit may have reached one of them only.
    tail.until_settled();
    tail.catch_up(|message| {
        let value: Value = serde_json::from_slice(message.value.as_deref().unwrap_or_default()).expect("a finding");
        let event = value["finding_info"]["related_events"][0]["uid"].as_str().unwrap_or_default().to_owned();
        let which = usize::from(value["finding_info"]["analytic"]["uid"] == TWIN);
        let origin = &value["unmapped"]["trailhound"];
        let generation = origin["generation"].as_u64().unwrap_or_default();
        if versions.of(which, generation).map(String::as_str) != origin["digest"].as_str() {
            wrong.push(format!("{event}: generation {generation} has no module {}", origin["digest"]));
        }
        findings.entry(event).or_default()[which].push(generation);
    });
    for (event, [original, twin]) in &findings {
        // What is read again may be of another generation, and half of it may have been delivered before.
        let whole = match once {
            true => original.len() == 1 && original == twin,
            false => original.iter().any(|generation| twin.contains(generation)),
        };
        if !whole {
            wrong.push(format!("{event}: of generations {original:?} and {twin:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} records have findings of other rules than one set's: {:?}",
        wrong.len(),
        wrong.first()
    );
    findings.len()
}

/// What is no module, or none that may go live, is refused with its cause, and the running set stays as it is.
pub(super) fn bad_modules(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    let mut versions = Versions::new();
    let mut config = config(scene);
    config.rules += "\ndirectory = FOLDER";
    config.more += "\n[limits.rules]\ncall_ms_max = 300";
    let mut program = Trailhound::ready(&config);
    scene.traffic();
    program.until_received(1_000);
    versions.publish(scene);
    program.until("a swap", |program| (program.metrics().sum("trailhound_rules_swaps_total", &[]) == 1).then_some(()));
    let generation = |program: &Trailhound| program.metrics().sum("trailhound_rules_generation", &[]);
    let before = generation(&program);
    for round in 0..scene.rounds() {
        let Bad { what, bytes, in_folder, step, cause } = bad(round, &versions.original);
        let refusals =
            |program: &Trailhound| program.metrics().sum("trailhound_rules_refusals_total", &[("step", step)]);
        let seen = refusals(&program);
        if in_folder {
            let folder = program.folder().join("rules");
            std::fs::write(folder.join("half"), bytes).expect("a file");
            std::fs::rename(folder.join("half"), folder.join(format!("bad{round}.wasm"))).expect("a rename");
        } else {
            publish(scene, &format!("bad{round}"), Some(bytes));
        }
        program.until(&format!("{what} to be refused at {step}"), |program| (refusals(program) > seen).then_some(()));
        let log = program.stderr();
        let told = log.lines().any(|line| line.contains(&format!("module bad{round} refused")) && line.contains(cause));
        assert!(told, "{what}: the log does not say {cause:?}");
        assert_eq!(generation(&program), before, "{what}: the running set stays");
        scene.round_done(round, what);
    }
    vec![program]
}

/// What a swap a second costs: the time that a program needs for what lies ready, with swaps and without, in turn. It is
/// a measurement, told in the report, and no condition.
pub(super) fn cost(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    const MESSAGES: i64 = 800_000;
    let mut versions = Versions::new();
    drop(started(scene, &mut versions));
    scene.audit.pass_over(TWIN);
    scene.traffic_of(60_000);
    let topic = format!("{}.cloudtrail", scene.name);
    let sent = |scene: &Scene<'_>| scene.client.end_offsets(&topic).iter().sum::<i64>();
    wait::until_true(PRELOAD, "records to lie ready", || sent(scene) >= MESSAGES);
    scene.stop_traffic();
    let all = u64::try_from(sent(scene)).unwrap_or_default();
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..scene.rounds() {
        let mut config = config(scene);
        let group = format!("group = {:?}", scene.name);
        config.source = config.source.replace(&group, &format!("group = \"{}.{round}\"", scene.name));
        config.more = String::new();
        let swapping = round % 2 == 1;
        let mut program = Trailhound::ready(&config);
        program.until_received(1);
        let (begun, first) = (Instant::now(), program.received());
        while program.received() < all {
            let next = Instant::now() + Duration::from_secs(1);
            if swapping {
                versions.publish(scene);
            }
            while Instant::now() < next && program.received() < all {
                wait::pause(Duration::from_millis(10));
            }
        }
        rates[usize::from(swapping)].push((all - first) as f64 / begun.elapsed().as_secs_f64());
        scene.round_done(round, if swapping { "with a swap a second" } else { "without swaps" });
        drop(program.stop());
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let [without, with] = rates.each_mut().map(median);
    scene.note(format!("{without:.0} entries/s without swaps, {with:.0} with one a second: {:.3}", with / without));
    vec![Trailhound::ready(&config(scene))]
}

/// How long it may take until the records of a measurement lie ready.
const PRELOAD: Duration = Duration::from_secs(180);

/// A tenth of the full rate for a long time, with a swap a second: memory, threads and open files stay where they were.
pub(super) fn soak(scene: &mut Scene<'_>) -> Vec<Trailhound> {
    let mut versions = Versions::new();
    let mut program = started(scene, &mut versions);
    scene.audit.pass_over(TWIN);
    scene.traffic_at(10);
    let mut samples = Vec::new();
    for round in 0..scene.rounds() {
        let next = Instant::now() + Duration::from_secs(1);
        versions.publish(scene);
        versions.until_live(&mut program);
        let sample = Process::of(program.pid());
        samples.push(sample);
        if round % 60 == 59 {
            scene.round_done(round, &sample.to_string());
        }
        wait::pause(next.saturating_duration_since(Instant::now()));
    }
    scene.note(assert_flat(&samples));
    scene.stop_traffic();
    scene.until_all_committed();
    check_generations(scene, &versions, true);
    vec![program]
}
