//! Exactly once, by a reader of committed messages: whatever comes and goes, each finding is there, and none is there
//! twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use harness::findings;
use harness::kafka::{Client, Kafka, Outgoing, Received};
use harness::load::Load;
use harness::records::{FindingKey, Records, finding_of, findings_of};
use harness::say;
use harness::trailhound::{Config, STOP, Trailhound};
use harness::wait::{self, PATIENCE};

/// How the group shares out the partitions; the members of the newer protocol may not name their session's time.
#[derive(Clone, Copy)]
enum Protocol {
    Classic,
    Consumer,
}

/// Small batches, so that whatever happens finds one in hand, and transactions that last no longer than `timeout_ms`.
fn config(kafka: &Kafka, name: &str, protocol: Protocol, timeout_ms: u32) -> Config {
    let mut config = Config::new(&kafka.bootstrap(), name);
    kafka.client().create_topics(name, 4, &[]);
    let options = match protocol {
        Protocol::Classic => {
            r#"properties = { "session.timeout.ms" = "1000", "heartbeat.interval.ms" = "200", "max.poll.interval.ms" = "2000" }"#
        }
        Protocol::Consumer => r#"protocol = "consumer", properties = { "max.poll.interval.ms" = "2000" }"#,
    };
    config.source = format!(r#"{{ kafka = {{ topics = ["{name}.cloudtrail"], group = "{name}", {options} }} }}"#);
    config.more = "delivery = \"exactly-once\"\nbatch = { messages_max = 100 }".to_owned();
    config.property("transaction.timeout.ms", &timeout_ms.to_string())
}

/// The same for another process.
fn as_instance(config: &Config, instance: &str) -> Config {
    let mut config = config.clone();
    config.instance = instance.to_owned();
    config
}

/// Waits until a reader of committed messages sees all that is expected: what was killed may hold its readers up until
/// its transaction's time is over. Then each message of the source that fires has one finding, and nothing else has. (Whoever
/// produces here may append a record twice while a broker goes away: then there are two messages.)
#[track_caller]
fn assert_exact(client: &Client, name: &str, expected: &BTreeSet<FindingKey>) {
    let topic = format!("{name}.findings");
    wait::poll(PATIENCE, || {
        let found = findings::read(&client.read_all(&topic));
        let keys: BTreeSet<_> = found.into_iter().map(|finding| finding.key).collect();
        expected.is_subset(&keys).then_some(())
    });
    let found = findings::read(&client.read_all(&topic));
    findings::check(&found, expected);
    let mut origins: Vec<_> = found.into_iter().map(|finding| (finding.origin, finding.key)).collect();
    let source = client.read_all(&format!("{name}.cloudtrail"));
    let mut fired: Vec<_> = source.iter().filter_map(fired).filter(|(_, key)| expected.contains(key)).collect();
    origins.sort();
    fired.sort();
    assert_eq!(origins, fired, "findings, and what they are of: {} of {}", origins.len(), fired.len());
    assert!(expected.len() > 20, "enough to tell: {}", expected.len());
}

/// Where a message of one record lies, if it must lead to a finding, and to which.
fn fired(message: &Received) -> Option<((i64, i64), FindingKey)> {
    let record: Value = serde_json::from_slice(message.value.as_deref()?).expect("a record");
    Some(((message.partition.into(), message.offset), finding_of(&record)?))
}

/// Stops a program for so long, as a paused machine does. There is nothing to look at meanwhile but the clock.
fn freeze(program: &mut Trailhound, time: Duration) {
    program.signal("STOP");
    let _over = wait::poll(time, || None::<()>);
    program.signal("CONT");
}

#[test]
fn kill_9_under_load_repeats_nothing() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let config = config(kafka, "exact.kill", Protocol::Classic, 2_000);
    let load = Load::start(client.clone(), "exact.kill.cloudtrail", 81);
    // The second leaves its transactions to their time: nobody has its name again.
    for instance in ["one", "", "one"] {
        let mut program = Trailhound::ready(&as_instance(&config, instance));
        program.until_received(1_000);
        program.kill9();
    }
    let expected = load.finish();
    let mut program = Trailhound::ready(&as_instance(&config, "one"));
    client.until_committed("exact.kill", "exact.kill.cloudtrail");
    program.stop().assert_balanced();
    assert_exact(&client, "exact.kill", &expected);
}

/// Messages that are there go into the transaction that is open, up to the batch's limit. Each transaction leaves a marker
/// behind its findings, which takes an offset. (How many fewer there are depends on the clock: the benchmark shows it.)
#[test]
fn a_transaction_takes_no_more_than_a_batch() {
    const MESSAGES: usize = 10_000;
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topics("exact.size", 1, &[]);
    let messages: Vec<Outgoing> =
        Records::new(86).take(MESSAGES, 1).iter().map(|record| Outgoing::value(record.to_string())).collect();
    client.produce("exact.size.cloudtrail", &messages, &[]);
    let mut config = Config::new(&kafka.bootstrap(), "exact.size");
    config.more = "delivery = \"exactly-once\"\nbatch = { messages_max = 2500 }".to_owned();
    let mut program = Trailhound::ready(&config);
    client.until_committed("exact.size", "exact.size.cloudtrail");
    program.stop().assert_balanced();
    let findings = client.read_all("exact.size.findings").len();
    let transactions = client.end_offsets("exact.size.findings")[0] - findings as i64;
    assert_eq!(findings, MESSAGES);
    assert!(transactions >= 4, "{transactions} transactions");
}

/// A second program joins and leaves a group, three times.
fn join_and_leave(name: &str, protocol: Protocol) {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let config = config(kafka, name, protocol, 10_000);
    let mut first = Trailhound::ready(&config);
    let load = Load::start(client.clone(), &format!("{name}.cloudtrail"), 82);
    first.until_received(500);
    for _ in 0..3 {
        let mut second = Trailhound::ready(&config);
        second.until_received(500);
        let before = first.received();
        first.until_received(before + 500);
        second.stop().assert_balanced();
        let before = first.received();
        first.until_received(before + 500);
    }
    let expected = load.finish();
    client.until_committed(name, &format!("{name}.cloudtrail"));
    first.stop().assert_balanced();
    assert_exact(&client, name, &expected);
}

#[test]
fn members_come_and_go_and_nothing_is_repeated() {
    join_and_leave("exact.join", Protocol::Classic);
}

#[test]
fn members_come_and_go_under_the_newer_protocol_and_nothing_is_repeated() {
    join_and_leave("exact.join848", Protocol::Consumer);
}

/// A program is frozen for longer than its session and its poll interval, while another takes over its partitions; then
/// it thaws in the middle of whatever it was doing.
fn freeze_and_thaw(name: &str, protocol: Protocol) {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let config = config(kafka, name, protocol, 10_000);
    let mut frozen = Trailhound::ready(&config);
    let mut other = Trailhound::ready(&config);
    let load = Load::start(client.clone(), &format!("{name}.cloudtrail"), 83);
    frozen.until_received(500);
    other.until_received(500);
    for _ in 0..3 {
        freeze(&mut frozen, Duration::from_secs(4));
        // It comes back by itself, and the other gives it its share.
        let before = frozen.received();
        frozen.until_received(before + 500);
        let before = other.received();
        other.until_received(before + 500);
    }
    let expected = load.finish();
    client.until_committed(name, &format!("{name}.cloudtrail"));
    frozen.stop().assert_balanced();
    other.stop().assert_balanced();
    assert_exact(&client, name, &expected);
}

#[test]
fn a_frozen_program_comes_back_and_repeats_nothing() {
    freeze_and_thaw("exact.freeze", Protocol::Classic);
}

#[test]
fn a_frozen_program_comes_back_under_the_newer_protocol_and_repeats_nothing() {
    freeze_and_thaw("exact.freeze848", Protocol::Consumer);
}

/// The group changes while a transaction waits for its messages: partitions of it go to a member that was away, which
/// reads from where the group stands.
fn change_in_mid_transaction(name: &str, protocol: Protocol) {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let mut config = config(kafka, name, protocol, 60_000);
    config.workers = 1;
    let mut holder = Trailhound::ready(&config);
    let mut other = Trailhound::ready(&config);
    other.until_joined(1);
    other.signal("STOP");
    holder.until("all partitions", |program| all_four(&program.stderr()).then_some(()));
    client.delete_topic(&format!("{name}.findings"));
    let records = Records::new(90).take(400, 4);
    let messages: Vec<Outgoing> = records.iter().map(|record| Outgoing::value(record.to_string())).collect();
    client.produce(&format!("{name}.cloudtrail"), &messages, &[("sticky.partitioning.linger.ms", "0")]);
    holder.until("a transaction that waits", |program| program.stderr().contains("not acknowledged yet").then_some(()));
    let revoked = holder.stderr().matches("partitions revoked").count();
    let assigned = other.stderr().matches("partitions assigned").count();
    other.signal("CONT");
    holder.until("partitions to go", |program| {
        (program.stderr().matches("partitions revoked").count() > revoked).then_some(())
    });
    other.until("partitions to come", |program| {
        (program.stderr().matches("partitions assigned").count() > assigned).then_some(())
    });
    // Time for the other to have records of its own in hand, be they those of the open transaction or others.
    let _ready = wait::poll(Duration::from_secs(3), || other.stderr().contains("not acknowledged yet").then_some(()));
    client.create_topic(&format!("{name}.findings"), 4, &[]);
    client.until_committed(name, &format!("{name}.cloudtrail"));
    holder.stop().assert_balanced();
    other.stop().assert_balanced();
    assert_exact(&client, name, &findings_of(&records));
}

/// Whether all four partitions are held, by the program's log.
fn all_four(log: &str) -> bool {
    let count = |line: &str| line.split("partitions=").nth(1)?.split(' ').next()?.trim().parse::<i64>().ok();
    let mut held = 0;
    for line in log.lines() {
        match count(line) {
            Some(more) if line.contains("partitions assigned") => held += more,
            Some(less) if line.contains("partitions revoked") => held -= less,
            _ => {}
        }
    }
    held == 4
}

#[test]
fn partitions_that_go_in_mid_transaction_are_not_delivered_twice() {
    change_in_mid_transaction("exact.mid", Protocol::Classic);
}

#[test]
fn partitions_that_go_in_mid_transaction_under_the_newer_protocol_are_not_delivered_twice() {
    change_in_mid_transaction("exact.mid848", Protocol::Consumer);
}

#[test]
fn a_transaction_that_timed_out_is_not_taken_for_a_rival() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    // The session outlives the freeze, so that the transaction alone is at stake.
    let mut config = config(kafka, "exact.late", Protocol::Classic, 1_000);
    config.source = r#"{ kafka = { topics = ["exact.late.cloudtrail"], group = "exact.late" } }"#.to_owned();
    let mut program = Trailhound::ready(&config);
    let load = Load::start(client.clone(), "exact.late.cloudtrail", 84);
    program.until_received(500);
    let mut freezes = 0;
    while !program.stderr().contains("not done within transaction.timeout.ms") {
        assert!(freezes < 20, "no freeze has met a transaction");
        freezes += 1;
        freeze(&mut program, Duration::from_millis(2_500));
        let before = program.received();
        program.until_received(before + 500);
    }
    let expected = load.finish();
    client.until_committed("exact.late", "exact.late.cloudtrail");
    program.stop().assert_balanced();
    assert_exact(&client, "exact.late", &expected);
}

/// Another's transaction holds offsets of the group when partitions arrive, and they arrive once more before it ends: until
/// then nobody knows where to begin, and nobody may begin at the beginning.
#[test]
fn offsets_that_a_transaction_still_holds_are_waited_for() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let (name, topic) = ("exact.held", "exact.held.cloudtrail");
    let mut config = config(kafka, name, Protocol::Classic, 10_000);
    config.workers = 1;
    let mut program = Trailhound::ready(&config);
    let load = Load::start(client.clone(), topic, 91);
    program.until_received(1_000);
    let mut expected = load.finish();
    client.until_committed(name, topic);
    program.stop().assert_balanced();
    let held = client.hold_offsets(name, topic, &client.end_offsets(topic));
    let mut programs = vec![Trailhound::ready(&config)];
    programs[0].until_joined(1);
    for _ in 0..2 {
        programs.push(Trailhound::ready(&config));
        programs.iter_mut().for_each(|program| program.until_joined(1));
    }
    held.commit();
    let load = Load::start(client.clone(), topic, 92);
    programs.iter_mut().for_each(|program| program.until_received(100));
    expected.extend(load.finish());
    client.until_committed(name, topic);
    for mut program in programs {
        program.stop().assert_balanced();
    }
    assert_exact(&client, name, &expected);
}

#[test]
fn the_older_of_two_with_one_name_ends_and_says_why() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let config = as_instance(&config(kafka, "exact.rivals", Protocol::Classic, 10_000), "rival");
    let mut older = Trailhound::ready(&config);
    let load = Load::start(client.clone(), "exact.rivals.cloudtrail", 85);
    older.until_received(500);
    let mut newer = Trailhound::ready(&config);
    assert_eq!(older.wait(STOP), 1);
    for said in ["fenced", "rival-detect-", "`instance`", "hint:"] {
        assert!(older.stderr().contains(said), "{said}");
    }
    newer.until_received(1_000);
    let expected = load.finish();
    client.until_committed("exact.rivals", "exact.rivals.cloudtrail");
    newer.stop().assert_balanced();
    assert_exact(&client, "exact.rivals", &expected);
}

#[test]
fn the_broker_is_killed_and_comes_back_and_nothing_is_repeated() {
    let Some(mut kafka) = Kafka::start() else { return };
    let client = kafka.client();
    let config = config(&kafka, "broker", Protocol::Classic, 10_000);
    let mut program = Trailhound::ready(&config);
    let load = Load::start(client.clone(), "broker.cloudtrail", 86);
    for _ in 0..3 {
        let before = program.received();
        program.until_received(before + 1_000);
        kafka.kill9();
        kafka.restart();
    }
    let before = program.received();
    program.until_received(before + 1_000);
    let expected = load.finish();
    client.until_committed("broker", "broker.cloudtrail");
    program.stop().assert_balanced();
    assert_exact(&client, "broker", &expected);
}

#[test]
fn findings_that_are_too_large_become_dead_letters_and_the_rest_is_exact() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let mut config = config(kafka, "exact.large", Protocol::Classic, 10_000);
    // One worker meets all that are too large, in one batch.
    config.workers = 1;
    config.more = "delivery = \"exactly-once\"".to_owned();
    client.configure_topic("exact.large.findings", &[("max.message.bytes", "20000")]);
    let mut supply = Records::new(87);
    let mut records = supply.take(1_000, 10);
    let large: Vec<Value> = records
        .iter_mut()
        .filter(|record| finding_of(record).is_some())
        .step_by(10)
        .map(|record| {
            record["requestParameters"] = json!({"padding": supply.incompressible(30_000)});
            record.clone()
        })
        .collect();
    let messages: Vec<Outgoing> = records.iter().map(|record| Outgoing::value(record.to_string())).collect();
    client.produce("exact.large.cloudtrail", &messages, &[("sticky.partitioning.linger.ms", "0")]);
    let mut program = Trailhound::ready(&config);
    client.until_committed("exact.large", "exact.large.cloudtrail");
    let summary = program.stop();
    summary.assert_balanced();
    assert_eq!(summary.count("received"), 1_000, "what was done again counts once");
    assert_eq!(summary.of("refused", "RTM-001"), large.len() as u64, "{}", summary.0);

    let (too_large, mut expected) = (findings_of(&large), findings_of(&records));
    expected.retain(|key| !too_large.contains(key));
    assert_exact(&client, "exact.large", &expected);
    let letters = client.read_all("exact.large.dead");
    assert_eq!(letters.len(), large.len());
    assert!(letters.iter().all(|letter| letter.header("trailhound.reason").as_deref() == Some("sink_refused")));
}

#[test]
fn a_topic_that_takes_nothing_for_a_while_costs_no_place_in_the_group() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let mut config = config(kafka, "exact.slow", Protocol::Classic, 2_000);
    let times = r#""session.timeout.ms" = "3000", "heartbeat.interval.ms" = "200", "max.poll.interval.ms" = "3000""#;
    config.source = format!(
        r#"{{ kafka = {{ topics = ["exact.slow.cloudtrail"], group = "exact.slow", properties = {{ {times} }} }} }}"#
    );
    let mut program = Trailhound::ready(&config);
    program.until_joined(2);
    let mut supply = Records::new(88);
    let mut produce = || {
        let records = supply.take(400, 4);
        let messages: Vec<Outgoing> = records.iter().map(|record| Outgoing::value(record.to_string())).collect();
        client.produce("exact.slow.cloudtrail", &messages, &[("sticky.partitioning.linger.ms", "0")]);
        findings_of(&records)
    };
    let before = produce();
    client.until_committed("exact.slow", "exact.slow.cloudtrail");
    assert_exact(&client, "exact.slow", &before);
    let revoked = program.stderr().matches("partitions revoked").count();
    client.delete_topic("exact.slow.findings");
    let after = produce();
    // A message waits for its transaction's time: this is far longer than a poll may be late.
    program.until("batches to be done again", |program| {
        (program.stderr().matches("the batch is done again").count() >= 8).then_some(())
    });
    client.create_topic("exact.slow.findings", 4, &[]);
    client.until_committed("exact.slow", "exact.slow.cloudtrail");
    assert_eq!(program.stderr().matches("partitions revoked").count(), revoked, "it has kept its partitions");
    assert_eq!(program.stop().count("received"), 800, "nothing was taken twice");
    assert_exact(&client, "exact.slow", &after);
}

#[test]
fn offsets_of_records_without_findings_move_too() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let config = config(kafka, "exact.quiet", Protocol::Classic, 10_000);
    let quiet: Vec<Value> =
        Records::new(89).take(400, 4).into_iter().filter(|record| finding_of(record).is_none()).collect();
    let messages: Vec<Outgoing> = quiet.iter().map(|record| Outgoing::value(record.to_string())).collect();
    client.produce("exact.quiet.cloudtrail", &messages, &[("sticky.partitioning.linger.ms", "0")]);
    let mut program = Trailhound::ready(&config);
    client.until_committed("exact.quiet", "exact.quiet.cloudtrail");
    assert_eq!(program.stop().count("received"), quiet.len() as u64);
    // Those that come just before a stop are committed by it.
    let mut program = Trailhound::ready(&config);
    client.produce("exact.quiet.cloudtrail", &messages, &[("sticky.partitioning.linger.ms", "0")]);
    program.until_received(quiet.len() as u64);
    program.stop().assert_balanced();
    client.until_committed("exact.quiet", "exact.quiet.cloudtrail");
}

/// Records a second, of those that lie in the topic when the program starts: the whole of them, from the first that is
/// received to the last that is committed.
fn throughput(client: &Client, config: &Config, group: &str, topic: &str, count: u64) -> f64 {
    let mut program = Trailhound::ready(config);
    program.until_received(1);
    let (started, already) = (Instant::now(), program.received());
    program.until_received(count);
    client.until_committed(group, topic);
    let took = started.elapsed();
    program.stop().assert_balanced();
    (count - already) as f64 / took.as_secs_f64()
}

#[test]
#[ignore = "a measurement: what a transaction costs, on one broker on this machine"]
fn the_cost_of_exactly_once() {
    const COUNT: u64 = 400_000;
    let Some(kafka) = Kafka::start() else { return };
    let client = kafka.client();
    let topic = "cost.cloudtrail";
    let base = config(&kafka, "cost", Protocol::Classic, 10_000);
    let settings = [("sticky.partitioning.linger.ms", "0"), ("compression.type", "zstd")];
    let (producer, mut supply) = (client.producer(topic, &settings), Records::new(91));
    for _ in 0..COUNT / 10_000 {
        let records = supply.take(10_000, 100);
        let messages: Vec<Outgoing> = records.iter().map(|record| Outgoing::value(record.to_string())).collect();
        producer.send_all(&messages);
    }
    // The same batches too, since exactly-once has larger ones by default.
    let ways = [
        ("least", "delivery = \"at-least-once\""),
        ("least.large", "batch = { messages_max = 20000, bytes_max = 33554432 }"),
        ("exactly", "delivery = \"exactly-once\""),
    ];
    let mut rates = ways.map(|_| Vec::new());
    for round in 0..3 {
        for (rates, (name, more)) in rates.iter_mut().zip(ways) {
            let mut config = base.clone();
            let group = format!("cost.{name}.{round}");
            config.source = format!(r#"{{ kafka = {{ topics = ["{topic}"], group = "{group}" }} }}"#);
            config.more = more.to_owned();
            rates.push(throughput(&client, &config, &group, topic, COUNT));
        }
    }
    for ((name, _), mut rates) in ways.iter().zip(rates) {
        say(&format!("{name}: {rates:.0?} records/s"));
        rates.sort_by(f64::total_cmp);
        say(&format!("{name}: median {:.0}", rates[rates.len() / 2]));
    }
}
