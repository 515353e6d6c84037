//! Forwarders of one findings topic, each a group of its own in one process: a target that is slow or dead holds up nobody
//! but itself, and has everything once it recovers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::kafka::{Client, Kafka};
use harness::siem::{Reply, Scene, Stub, TOKEN, finding};
use harness::trailhound::Trailhound;
use harness::wait::{PATIENCE, until_true};
use serde_json::Value;

/// A forwarder of the scene's findings to a collector, as the group NAME-TARGET. It is impatient, and its batches are small.
fn pipeline(scene: &Scene, target: &str, stub: &Stub) -> String {
    let (name, url) = (&scene.name, stub.url());
    let patience = "request_ms_max = 1000, retry_ms_min = 20, retry_ms_max = 200";
    format!(
        r#"
[pipelines.{target}]
workers = 2
source = {{ kafka = {{ topics = ["{name}.findings"], group = "{name}-{target}" }} }}
sink = {{ splunk = {{ url = "{url}", token = "{TOKEN}", {patience} }} }}
dead_letters = {{ kafka = {{ topic = "{name}.dead" }} }}
batch = {{ messages_max = 200 }}
"#
    )
}

/// The ids of the events that a collector has answered for.
fn ids(stub: &Stub) -> BTreeSet<String> {
    let requests = stub.requests();
    let events = requests.iter().flat_map(|request| request.body.split(|byte| *byte == b'\n'));
    let events = events.filter_map(|event| serde_json::from_slice::<Value>(event).ok());
    events.filter_map(|event| Some(event["fields"]["id"].as_str()?.to_owned())).collect()
}

fn taken() -> Reply {
    Reply::status(200, r#"{"text":"Success","code":0}"#)
}

/// How many messages of the findings' topic the group of a target has not committed.
fn lag(client: &Client, scene: &Scene, target: &str) -> i64 {
    let topic = format!("{}.findings", scene.name);
    let committed = client.committed(&format!("{}-{target}", scene.name), &topic);
    let ends = client.end_offsets(&topic).into_iter();
    ends.zip(committed).map(|(end, committed)| end - committed.unwrap_or(0)).sum()
}

#[test]
fn a_target_that_hangs_or_is_down_keeps_findings_from_no_other() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let mut scene = Scene::new(kafka, "neighbours", 2_000);
    let well = Arc::new(AtomicBool::new(false));
    let recovered = Arc::clone(&well);
    let quick = Stub::start(|_, _| taken());
    let silent = Stub::start(move |_, _| if recovered.load(Ordering::SeqCst) { taken() } else { Reply::Never });
    let mut dead = Stub::start(|_, _| taken());
    dead.down();

    let pipelines: String = [("quick", &quick), ("silent", &silent), ("dead", &dead)]
        .map(|(target, stub)| pipeline(&scene, target, stub))
        .concat();
    let bootstrap = kafka.bootstrap();
    let mut program = Trailhound::start_text(&format!("[kafka]\n\"bootstrap.servers\" = \"{bootstrap}\"\n{pipelines}"));
    program.until_ready();
    program.until("both others to count as down", |program| {
        let down = |target| program.metrics().sum("trailhound_target_down", &[("pipeline", target)]) > 0;
        (down("silent") && down("dead")).then_some(())
    });
    let all_but_none = |scene: &Scene| {
        until_true(PATIENCE, "the lag of the quick one to be zero", || lag(&client, scene, "quick") == 0);
        assert_eq!(ids(&quick), scene.ids);
        for target in ["silent", "dead"] {
            assert_eq!(lag(&client, scene, target), scene.ids.len() as i64, "{target} still stands");
        }
    };
    all_but_none(&scene);
    // What comes while they stand passes them by as well.
    scene.produce(&(2_000..4_000).map(finding).collect::<Vec<_>>());
    all_but_none(&scene);
    // The metrics say the same, of sources that are paused and of groups that have never committed anything.
    program.until("lag as it is", |program| {
        let metrics = program.metrics();
        let lag = |target| metrics.sum("trailhound_consumer_lag_messages", &[("pipeline", target)]);
        (lag("quick") == 0 && lag("silent") == 4_000 && lag("dead") == 4_000).then_some(())
    });

    well.store(true, Ordering::SeqCst);
    dead.up();
    for (target, stub) in [("silent", &silent), ("dead", &dead)] {
        client.until_committed(&format!("{}-{target}", scene.name), &format!("{}.findings", scene.name));
        assert_eq!(ids(stub), scene.ids, "{target} has everything");
    }
    program.signal("TERM");
    assert_eq!(program.wait(harness::trailhound::STOP), 0);
    for target in ["quick", "silent", "dead"] {
        let summary = program.summary_of(target);
        summary.assert_balanced();
        assert!(summary.count("forwarded") >= 4_000 && summary.count("dead_lettered") == 0, "{target}: {summary:?}");
    }
}
