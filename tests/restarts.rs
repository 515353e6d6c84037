//! What comes and goes while records keep arriving: the program, a second program, the broker. No finding is lost,
//! nothing is committed that was not delivered, and a repeat has the id of the first.

use std::collections::BTreeSet;

use serde_json::Value;

use harness::findings;
use harness::kafka::{Client, Kafka};
use harness::load::Load;
use harness::records::finding_of;
use harness::say;
use harness::trailhound::{Config, Trailhound};

/// Small batches, so that whatever happens finds one in hand.
fn config(kafka: &Kafka, name: &str) -> Config {
    let mut config = Config::new(&kafka.bootstrap(), name);
    config.more = "batch = { messages_max = 100 }".to_owned();
    config
}

/// Every record below the committed offsets that must fire has its finding in the topic. Called while no program runs.
#[track_caller]
fn assert_committed_was_delivered(client: &Client, name: &str) {
    let topic = format!("{name}.cloudtrail");
    let committed = client.committed(name, &topic);
    let found = findings::read(&client.read_all(&format!("{name}.findings")));
    let found: BTreeSet<_> = found.into_iter().map(|finding| finding.key).collect();
    for message in client.read_all(&topic) {
        let partition = usize::try_from(message.partition).expect("a partition");
        if message.offset >= committed[partition].unwrap_or(0) {
            continue;
        }
        let value = message.value.as_deref().unwrap_or_default();
        // Parsing every record takes too long; those that fire are few.
        if !String::from_utf8_lossy(value).contains("\"Root\"") {
            continue;
        }
        let record: Value = serde_json::from_slice(value).expect("a record");
        if let Some(key) = finding_of(&record) {
            let place = (message.partition, message.offset);
            assert!(
                found.contains(&key),
                "{place:?} is committed ({committed:?}) but its finding is not there: {key:?}"
            );
        }
    }
}

#[test]
fn a_stop_in_the_middle_and_a_new_start_neither_lose_nor_repeat() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topics("middle", 4, &[]);
    let config = config(kafka, "middle");
    let load = Load::start(client.clone(), "middle.cloudtrail", 21);
    let mut received = 0;
    for _ in 0..3 {
        let mut program = Trailhound::ready(&config);
        program.until_received(1_500);
        let summary = program.stop();
        summary.assert_balanced();
        received += summary.count("received");
        assert_committed_was_delivered(&client, "middle");
    }
    let expected = load.finish();
    let mut program = Trailhound::ready(&config);
    client.until_committed("middle", "middle.cloudtrail");
    received += program.stop().count("received");
    let found = findings::read(&client.read_all("middle.findings"));
    assert_eq!(findings::check(&found, &expected), 0, "repeats");
    let produced: i64 = client.end_offsets("middle.cloudtrail").iter().sum();
    assert_eq!(i64::try_from(received).expect("a count"), produced, "each record was received once");
}

#[test]
fn kill_9_under_load_loses_nothing() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topics("kill", 4, &[]);
    let config = config(kafka, "kill");
    let load = Load::start(client.clone(), "kill.cloudtrail", 22);
    for round in 1..=5 {
        let mut program = Trailhound::ready(&config);
        program.until_received(round * 400);
        program.kill9();
        assert_committed_was_delivered(&client, "kill");
    }
    let expected = load.finish();
    let mut program = Trailhound::ready(&config);
    client.until_committed("kill", "kill.cloudtrail");
    program.stop().assert_balanced();
    let found = findings::read(&client.read_all("kill.findings"));
    let repeats = findings::check(&found, &expected);
    say(&format!("kill -9, five times: {} findings, {repeats} repeats, none lost", expected.len()));
}

/// A static member that comes back in time gets its partitions back, and nobody else notices.
#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topics("static", 4, &[]);
    let named = |instance: &str| {
        let mut config = config(kafka, "static");
        config.instance = instance.to_owned();
        config.workers = 1;
        config.source = config.source.replace("properties = {", "static_members = true, properties = {");
        config.source = config.source.replace(r#""session.timeout.ms" = "1000""#, r#""session.timeout.ms" = "30000""#);
        config
    };
    let mut stays = Trailhound::ready(&named("stays"));
    let mut goes = Trailhound::ready(&named("goes"));
    [&mut stays, &mut goes].into_iter().for_each(|program| program.until_joined(1));
    let load = Load::start(client.clone(), "static.cloudtrail", 24);
    let revocations = |program: &Trailhound| program.stderr().matches("partitions revoked").count();
    let before = revocations(&stays);
    for kill in [true, false] {
        goes.until_received(500);
        if kill {
            goes.kill9();
        } else {
            goes.stop().assert_balanced();
        }
        goes = Trailhound::ready(&named("goes"));
        goes.until_joined(1);
    }
    goes.until_received(500);
    let expected = load.finish();
    client.until_committed("static", "static.cloudtrail");
    assert_eq!(revocations(&stays), before, "a rebalance");
    [stays, goes].into_iter().for_each(|mut program| program.stop().assert_balanced());
    findings::check(&findings::read(&client.read_all("static.findings")), &expected);
}

#[test]
fn two_programs_share_a_group_and_one_leaves() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topics("two", 4, &[]);
    let config = config(kafka, "two");
    let mut first = Trailhound::ready(&config);
    let load = Load::start(client.clone(), "two.cloudtrail", 23);
    first.until_received(500);
    let mut second = Trailhound::ready(&config);
    second.until_received(1_000);
    let before = first.received();
    first.until_received(before + 500);
    let left = first.stop();
    left.assert_balanced();
    let before = second.received();
    second.until_received(before + 1_000);
    let expected = load.finish();
    client.until_committed("two", "two.cloudtrail");
    second.stop().assert_balanced();
    let found = findings::read(&client.read_all("two.findings"));
    let repeats = findings::check(&found, &expected);
    say(&format!("two programs, one left: {} findings, {repeats} repeats, none lost", expected.len()));
}

#[test]
fn the_broker_is_killed_and_comes_back_and_the_program_goes_on_by_itself() {
    let Some(mut kafka) = Kafka::start() else { return };
    let client = kafka.client();
    client.create_topics("broker", 4, &[]);
    let config = config(&kafka, "broker");
    let mut program = Trailhound::ready(&config);
    let load = Load::start(client.clone(), "broker.cloudtrail", 24);
    for _ in 0..2 {
        let before = program.received();
        program.until_received(before + 1_000);
        kafka.kill9();
        kafka.restart();
    }
    let before = program.received();
    program.until_received(before + 1_000);
    // In the middle of it all, with the broker just back.
    kafka.kill9();
    program.kill9();
    kafka.restart();
    assert_committed_was_delivered(&client, "broker");
    let mut program = Trailhound::ready(&config);
    program.until_received(1_000);
    let expected = load.finish();
    client.until_committed("broker", "broker.cloudtrail");
    program.stop().assert_balanced();
    let found = findings::read(&client.read_all("broker.findings"));
    let repeats = findings::check(&found, &expected);
    say(&format!("broker killed three times: {} findings, {repeats} repeats, none lost", expected.len()));
}

#[test]
fn an_outage_longer_than_the_session_does_not_stop_the_program_for_good() {
    let Some(mut kafka) = Kafka::start() else { return };
    let client = kafka.client();
    client.create_topics("outage", 4, &[]);
    let mut program = Trailhound::ready(&config(&kafka, "outage"));
    let load = Load::start(client.clone(), "outage.cloudtrail", 25);
    for round in 1..=3 {
        let before = program.received();
        program.until_received(before + 1_000);
        // One that has not joined the group again after the round before has nothing to lose.
        program.until_joined(2);
        kafka.kill9();
        // Both workers give up their partitions, whatever they were doing: waiting for records or for the sink.
        program.until("the partitions to be lost", |program| {
            (program.stderr().matches("lost=true").count() >= 2 * round).then_some(())
        });
        kafka.restart();
    }
    let before = program.received();
    program.until_received(before + 1_000);
    let expected = load.finish();
    client.until_committed("outage", "outage.cloudtrail");
    program.stop().assert_balanced();
    let found = findings::read(&client.read_all("outage.findings"));
    let repeats = findings::check(&found, &expected);
    say(&format!("three outages longer than a session: {} findings, {repeats} repeats, none lost", expected.len()));
}
