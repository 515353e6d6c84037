//! Pipelines that only carry, beside one that detects in the same process: they wait for no rule, and yet what is wrong is
//! told before anything is read.

use harness::firehose::{Connection, KEY, Request, post};
use harness::guest::Guest;
use harness::kafka::{Client, Kafka, free_port};
use harness::siem::finding;
use harness::trailhound::{Config, STOP, Trailhound};
use serde_json::Value;

use crate::program;

/// A pipeline that detects with the rules of a topic, and two that carry: from an endpoint on `port` to the records' topic,
/// and from the topic `NAME.findings` to `NAME.copy`.
fn setup(kafka: &Kafka, name: &str, port: u16) -> Config {
    let client = kafka.client();
    client.create_topics(name, 4, &[]);
    client.create_topic(&format!("{name}.copy"), 4, &[]);
    let mut config = Config::new(&kafka.bootstrap(), name);
    config.rules = format!("topic = \"{name}.rules\"\ncreate = {{ replication = 1 }}");
    config.more = format!(
        r#"
[pipelines.ingest]
workers = 2
source = {{ firehose = {{ listen = "127.0.0.1:{port}", access_keys = ["{KEY}"] }} }}
sink = {{ kafka = {{ topic = "{name}.cloudtrail" }} }}
dead_letters = {{ kafka = {{ topic = "{name}.dead" }} }}
[pipelines.copy]
workers = 1
source = {{ kafka = {{ topics = ["{name}.findings"], group = "{name}-copy" }} }}
sink = {{ kafka = {{ topic = "{name}.copy" }} }}
dead_letters = {{ kafka = {{ topic = "{name}.dead" }} }}
"#
    );
    client.produce(&format!("{name}.findings"), &(0..10).map(finding).collect::<Vec<_>>(), &[]);
    config
}

/// Whether the group of the pipeline `copy` has committed anything.
fn has_copied(client: &Client, name: &str) -> bool {
    client.committed(&format!("{name}-copy"), &format!("{name}.findings")).iter().any(Option::is_some)
}

#[test]
fn what_only_carries_waits_for_no_rule() {
    let Some(kafka) = Kafka::shared() else { return };
    let (client, name, port) = (kafka.client(), "carry-first", free_port());
    let mut program = Trailhound::start(&setup(kafka, name, port));
    program.until("the program to wait", |program| {
        program.stderr().contains("waiting for the first module").then_some(())
    });
    // No module has come, and both carry.
    client.until_committed(&format!("{name}-copy"), &format!("{name}.findings"));
    assert_eq!(client.read_all(&format!("{name}.copy")).len(), 10);
    let request = Request::new("first", vec![b"{\"eventName\":\"ConsoleLogin\"}".to_vec()]);
    assert_eq!(post(port, &request).expect("an answer").status, 200);
    assert_eq!(client.read_all(&format!("{name}.cloudtrail")).len(), 1);
    // The process is not ready while one waits; its endpoint is well.
    assert_eq!(program.page("/readyz").expect("an answer").0, 503);
    assert_eq!(program.page("/healthz").expect("an answer").0, 200);
    assert_eq!(Connection::plain(port).expect("a connection").health().expect("an answer").status, 200);
    let state = |program: &Trailhound, pipeline: &str| -> Value {
        let (_, body) = program.page("/status").expect("the page");
        let status: Value = serde_json::from_str(&body).expect("JSON");
        status["pipelines"][pipeline]["workers"][0]["state"].clone()
    };
    assert_eq!(["detect", "ingest", "copy"].map(|name| state(&program, name)), ["waiting", "running", "running"]);
    assert_eq!(client.committed(name, &format!("{name}.cloudtrail")), [None; 4]);

    let module = program.folder().join("probe.wasm");
    std::fs::write(&module, Guest::new("P").wasm()).expect("a file");
    program::run(&[&"rule", &"publish", &module, &"--config", &program.config()]).well();
    program.until_ready();
    client.until_committed(name, &format!("{name}.cloudtrail"));
    assert_eq!(program.stop().count("evaluated"), 1);
    assert_eq!(program.summary_of("copy").count("forwarded"), 10);
}

#[test]
fn a_stop_while_rules_are_waited_for_ends_what_carries_in_good_order() {
    let Some(kafka) = Kafka::shared() else { return };
    let (client, name) = (kafka.client(), "carry-stop");
    let mut program = Trailhound::start(&setup(kafka, name, free_port()));
    program.until("the program to wait", |program| {
        program.stderr().contains("waiting for the first module").then_some(())
    });
    client.until_committed(&format!("{name}-copy"), &format!("{name}.findings"));
    program.signal("TERM");
    assert_eq!(program.wait(STOP), 0, "{}", program.stderr());
    assert_eq!(program.summary_of("copy").count("forwarded"), 10);
}

#[test]
fn what_is_wrong_is_told_before_anything_is_carried() {
    let Some(kafka) = Kafka::shared() else { return };
    let (client, name) = (kafka.client(), "carry-wrong");
    let port = free_port();
    let right = setup(kafka, name, port);
    // A module of the folder, a topic of the pipeline that detects, its file for dead letters, an address that is taken.
    let mut folder = Config { modules: vec![("bad".to_owned(), b"no module".to_vec())], ..right.clone() };
    folder.rules = format!("directory = FOLDER\n{}", right.rules);
    let topic = Config { sink: r#"{ kafka = { topic = "carry-wrong.missing" } }"#.to_owned(), ..right.clone() };
    let dead_letters = r#"{ file = { path = "no/such/folder/dead" } }"#.to_owned();
    let file = Config { dead_letters, ..right.clone() };
    for (config, code, words) in [
        (folder, 64, "bad.wasm: refused at step `parse`"),
        (topic, 1, "pipelines.detect.sink.kafka: the topic `carry-wrong.missing` does not exist"),
        (file, 1, "no/such/folder/dead: cannot be written"),
    ] {
        let mut program = Trailhound::start(&config);
        assert_eq!(program.wait(STOP), code, "{}", program.stderr());
        assert!(program.stderr().contains(words), "{words:?} is not in\n{}", program.stderr());
        assert!(!has_copied(&client, name), "{words}");
    }
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let mut program = Trailhound::start(&right);
    assert_eq!(program.wait(STOP), 1, "{}", program.stderr());
    assert!(program.stderr().contains("pipelines.ingest.source.firehose: 127.0.0.1"), "{}", program.stderr());
    assert!(!has_copied(&client, name));
    drop(taken);
}
