//! The proof of delivery in short: a few faults of each kind, on a cluster that they share. `make chaos` runs it in full.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use harness::audit::Audit;
use harness::chaos::{self, MODES, Measure, ROWS};
use harness::findings;
use harness::kafka::{BROKERS, Cluster, Kafka, Outgoing};
use harness::proxy::Network;
use harness::records::{Records, findings_of};
use harness::traffic::{Kind, Plan, Traffic};
use harness::trailhound::{Config, Delivery, Trailhound};
use harness::wait::{PATIENCE, until_true};

/// Messages a second: other tests run at the same time.
const PER_SECOND: u32 = 3_000;

/// Runs a row in all modes.
#[track_caller]
fn check(name: &str) {
    let row = ROWS.iter().find(|row| row.name == name).expect("a row of the table");
    with_cluster(|cluster| {
        for delivery in row.modes().filter(|delivery| MODES.contains(delivery)) {
            let measure = Measure { seed: 1, rounds: row.short, per_second: PER_SECOND };
            chaos::run(row, delivery, cluster, measure).assert_good();
        }
    });
}

/// One test at a time breaks the cluster.
#[track_caller]
fn with_cluster(test: impl FnOnce(&mut Cluster)) {
    static CLUSTER: LazyLock<Mutex<Option<Cluster>>> = LazyLock::new(|| Mutex::new(Cluster::start()));
    let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = cluster.as_mut() {
        test(cluster);
    }
}

#[test]
fn programs_that_are_killed_lose_nothing() {
    check("kill9-worker");
}

#[test]
fn brokers_that_are_killed_lose_nothing() {
    check("brokers");
}

#[test]
fn members_that_come_go_and_freeze_lose_nothing() {
    check("members");
}

#[test]
fn a_network_that_breaks_loses_nothing() {
    check("network");
}

#[test]
fn findings_that_are_refused_are_dead_letters_or_waited_for() {
    check("sink-refuses");
}

#[test]
fn a_file_of_dead_letters_that_cannot_be_written_stops_the_program() {
    check("dead-letter-file");
}

#[test]
fn a_record_has_the_findings_of_exactly_one_generation() {
    check("swaps");
}

#[test]
fn rules_are_swapped_while_a_broker_is_down() {
    check("swaps-broker-down");
}

#[test]
fn bad_modules_are_refused_with_a_cause_and_the_running_set_stays() {
    check("bad-modules");
}

#[test]
fn modules_that_fail_at_work_cost_only_themselves_and_are_replayed() {
    check("failing-modules");
}

#[test]
fn swaps_leave_memory_threads_and_files_where_they_were() {
    check("soak");
}

/// A group reads a topic for the first time while one broker does not answer: where the partition begins that it leads is
/// known last, when others are read already, and each transaction holds the source up.
#[test]
fn partitions_whose_beginning_is_known_late_are_read_once() {
    const SLOW: Network = Network::Slow { bytes_per_second: 10_000_000, delay: Duration::from_millis(200) };
    with_cluster(|cluster| {
        cluster.heal();
        let client = cluster.client();
        let program = |topic: &str| {
            let mut config = Config::new(&cluster.proxied(), "late");
            config.instance = "late".to_owned();
            config.source = format!(r#"{{ kafka = {{ topics = ["late.{topic}"], group = "late" }} }}"#);
            config.workers = 1;
            config.delivery = Delivery::ExactlyOnce;
            config.more = "batch = { messages_max = 100 }".to_owned();
            Trailhound::ready(&config)
        };
        let produce = |topic: &str, count| {
            let records = Records::new(7).take(count, 4);
            let messages: Vec<Outgoing> = records.iter().map(|record| Outgoing::value(record.to_string())).collect();
            client.produce(&format!("late.{topic}"), &messages, &[("sticky.partitioning.linger.ms", "0")]);
            findings_of(&records)
        };
        client.create_topics("late", 1, &[]);
        produce("cloudtrail", 10);
        let mut first = program("cloudtrail");
        client.until_committed("late", "late.cloudtrail");
        first.stop().assert_balanced();

        // Everything would wait for one that coordinates the group or its transactions.
        let coordinators = [("__consumer_offsets", "late"), ("__transaction_state", "late-detect-0")]
            .map(|(topic, id)| cluster.coordinator(topic, id));
        let late = (0..BROKERS).find(|broker| !coordinators.contains(broker)).expect("three are more than two");
        let (slow, fast) = ((late + 1) % BROKERS, (late + 2) % BROKERS);
        client.create_topic_led_by("late.new", &[fast, late]);
        client.delete_topic("late.findings");
        client.create_topic_led_by("late.findings", &[slow]);
        let expected = produce("new", 1_000);
        cluster.proxy(late).set(Network::Stalls);
        cluster.proxy(slow).set(SLOW);
        let mut program = program("new");
        let read = |partition: usize| client.committed("late", "late.new")[partition].is_some();
        until_true(PATIENCE, "the first partition to be read", || read(0));
        assert!(!read(1), "nobody knows yet where the second begins");
        cluster.proxy(late).pass();
        until_true(PATIENCE, "the second partition to be read", || read(1));
        cluster.proxy(slow).pass();
        client.until_committed("late", "late.new");
        program.stop().assert_balanced();
        let found = findings::read(&client.read_all("late.findings"));
        assert_eq!(findings::check(&found, &expected), 0, "repeats among {} findings", found.len());
    });
}

/// An audit that finds nothing wrong proves something only if it finds what is wrong.
#[test]
fn the_audit_sees_what_is_missing_what_is_wrong_and_what_was_committed_too_early() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topics("audit", 2, &[]);
    let plan = Arc::new(Plan::new(1));
    let traffic = Traffic::start(&client, "audit.cloudtrail", Arc::clone(&plan), 0, 1_000);
    until_true(PATIENCE, "some messages", || traffic.next() >= 400);
    let sent = traffic.finish();
    client.produce("audit.findings", &[Outgoing::value("{}")], &[]);
    client.produce("audit.dead", &[Outgoing::value("no dead letter")], &[]);
    let ends = client.end_offsets("audit.cloudtrail");
    client.commit("audit", "audit.cloudtrail", &[ends[0], 0]);

    let verdict = Audit::new(&client, "audit", Arc::clone(&plan)).verdict(sent);
    let firing = (0..sent).map(|message| plan.firing(message).count() as u64).sum::<u64>();
    let broken = (0..sent).filter(|message| matches!(Plan::kind(*message), Kind::Broken(_))).count() as u64;
    assert!(firing > 5 && broken > 2, "{firing} {broken}");
    assert_eq!((verdict.lost.count, verdict.expected, verdict.found), (firing, firing, 0));
    assert_eq!((verdict.dead_missing.count, verdict.dead_expected), (broken, broken));
    assert_eq!((verdict.wrong.count, verdict.dead_unexpected.count, verdict.uncommitted.count), (1, 1, 1));
    let early = verdict.committed_undelivered.count;
    assert!(early > 0 && early < firing + broken, "those of one partition of two: {early}");
    assert_eq!((verdict.input_faults.count, verdict.unbalanced.count), (0, 0));
    assert!(!verdict.is_good());
}
