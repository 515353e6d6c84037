//! The findings' cluster goes away while the records' cluster is well: the program waits, keeps its place in its
//! group, commits nothing that was not delivered, and goes on by itself.

use serde_json::Value;

use harness::findings;
use harness::kafka::{Client, Kafka, Outgoing};
use harness::records::{Records, findings_of};
use harness::trailhound::{Config, STOP, Trailhound};

/// What the program logs when a delivery has to be tried again.
const WAITING: &str = "not delivered yet";

/// Topics on the shared broker, but for the findings', which is on `sink`. A delivery fails after a second.
fn setup(records: &Kafka, sink: &Kafka, name: &str) -> Config {
    records.client().create_topic(&format!("{name}.cloudtrail"), 4, &[]);
    records.client().create_topic(&format!("{name}.dead"), 4, &[]);
    sink.client().create_topic(&format!("{name}.findings"), 4, &[]);
    let mut config = Config::new(&records.bootstrap(), name);
    let properties = format!(r#""bootstrap.servers" = "{}", "message.timeout.ms" = "1000""#, sink.bootstrap());
    config.sink = format!(r#"{{ kafka = {{ topic = "{name}.findings", properties = {{ {properties} }} }} }}"#);
    config
}

/// Produces one message for each record, spread over the partitions.
fn produce(client: &Client, topic: &str, records: &[Value]) {
    let messages: Vec<Outgoing> = records.iter().map(|record| Outgoing::value(record.to_string())).collect();
    client.produce(topic, &messages, &[("sticky.partitioning.linger.ms", "0"), ("linger.ms", "0")]);
}

/// Waits until the program has tried in vain to deliver so many times, its two workers together.
#[track_caller]
fn until_waiting(program: &mut Trailhound, times: usize) {
    program.until("deliveries to be tried again", |program| {
        (program.stderr().matches(WAITING).count() >= times).then_some(())
    });
}

/// The targets that are down, for each worker that says so on `/status`.
#[track_caller]
fn down(program: &Trailhound) -> Vec<String> {
    let (_, body) = program.page("/status").expect("the page");
    let status: Value = serde_json::from_str(&body).expect("JSON");
    let workers = status["pipelines"]["detect"]["workers"].as_array().expect("workers").clone();
    workers.iter().filter_map(|worker| worker["target_down"]["target"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_sink_that_comes_back_gets_everything_from_the_same_process() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(mut sink) = Kafka::start() else { return };
    let mut config = setup(kafka, &sink, "back");
    config.more = "batch = { messages_max = 20 }".to_owned();
    let client = kafka.client();
    let mut supply = Records::new(71);
    let mut records = Vec::new();
    let mut program = Trailhound::ready(&config);
    program.until_joined(2);
    for _ in 0..2 {
        sink.kill9();
        let more = supply.take(400, 4);
        produce(&client, "back.cloudtrail", &more);
        records.extend(more);
        let waited = program.stderr().matches(WAITING).count();
        until_waiting(&mut program, waited + 4);
        let targets = down(&program);
        assert!(targets.iter().any(|target| target == "the topic `back.findings`"), "{targets:?}");
        sink.restart();
        client.until_committed("back", "back.cloudtrail");
        assert!(down(&program).is_empty());
    }
    let summary = program.stop();
    summary.assert_balanced();
    assert_eq!(summary.count("received"), 800, "nothing was taken twice");
    findings::check(&findings::read(&sink.client().read_all("back.findings")), &findings_of(&records));
}

#[test]
fn a_rebalance_while_the_sink_is_down_loses_nothing() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(mut sink) = Kafka::start() else { return };
    let mut config = setup(kafka, &sink, "down");
    config.more = "batch = { messages_max = 20 }".to_owned();
    let client = kafka.client();
    let mut supply = Records::new(72);
    let mut records = supply.take(400, 4);
    let mut first = Trailhound::ready(&config);
    sink.kill9();
    produce(&client, "down.cloudtrail", &records);
    until_waiting(&mut first, 2);
    // The second program starts with the sink up, as its check at the start asks for, and joins the group while the
    // first still waits out its back-off or holds what it read before.
    sink.restart();
    let mut second = Trailhound::ready(&config);
    sink.kill9();
    for _ in 0..4 {
        let more = supply.take(100, 4);
        produce(&client, "down.cloudtrail", &more);
        records.extend(more);
    }
    let waited = first.stderr().matches(WAITING).count();
    until_waiting(&mut first, waited + 2);
    until_waiting(&mut second, 2);
    // The partitions of the second are dealt to the first, which cannot deliver either. A member that is killed says
    // nothing, so the first sees the rebalance while it waits for the sink.
    second.kill9();
    let waited = first.stderr().matches(WAITING).count();
    until_waiting(&mut first, waited + 6);
    sink.restart();
    client.until_committed("down", "down.cloudtrail");
    first.stop().assert_balanced();
    findings::check(&findings::read(&sink.client().read_all("down.findings")), &findings_of(&records));
}

#[test]
fn a_stop_while_the_sink_is_down_fails_and_commits_nothing_that_was_not_delivered() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(mut sink) = Kafka::start() else { return };
    let mut config = setup(kafka, &sink, "undelivered");
    config.more = "[limits]\ndrain_ms_max = 500".to_owned();
    let client = kafka.client();
    let mut program = Trailhound::ready(&config);
    program.until_joined(2);
    sink.kill9();
    let records = Records::new(73).take(40, 1);
    produce(&client, "undelivered.cloudtrail", &records);
    until_waiting(&mut program, 1);
    program.signal("TERM");
    assert_eq!(program.wait(STOP), 1);
    assert!(program.stderr().contains("undelivered.findings"));
    let committed = client.committed("undelivered", "undelivered.cloudtrail");
    assert!(committed.iter().all(|offset| offset.unwrap_or(0) == 0), "{committed:?}");

    sink.restart();
    // One worker: what waits for it is there from the start, so a second would take half of it while it is delivered.
    config.workers = 1;
    let mut program = Trailhound::ready(&config);
    client.until_committed("undelivered", "undelivered.cloudtrail");
    assert_eq!(program.stop().count("received"), 40);
    findings::check(&findings::read(&sink.client().read_all("undelivered.findings")), &findings_of(&records));
}

#[test]
fn partitions_lost_while_the_sink_is_down_are_read_when_they_come_back() {
    let Some(mut kafka) = Kafka::start() else { return };
    let Some(mut sink) = Kafka::start() else { return };
    let mut config = setup(&kafka, &sink, "lost");
    config.workers = 1;
    let client = kafka.client();
    let mut supply = Records::new(74);
    let mut records = supply.take(40, 4);
    let mut program = Trailhound::ready(&config);
    program.until_joined(1);
    sink.kill9();
    produce(&client, "lost.cloudtrail", &records);
    until_waiting(&mut program, 1);
    // The source is paused. Its partitions go, then the delivery ends and it is to read on, and only then they return.
    kafka.kill9();
    program.until("the partitions to be lost", |program| program.stderr().contains("lost=true").then_some(()));
    sink.restart();
    program.until_received(1);
    kafka.restart();
    let more = supply.take(40, 4);
    produce(&client, "lost.cloudtrail", &more);
    records.extend(more);
    client.until_committed("lost", "lost.cloudtrail");
    program.stop().assert_balanced();
    findings::check(&findings::read(&sink.client().read_all("lost.findings")), &findings_of(&records));
}
