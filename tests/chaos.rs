//! The proof of delivery in short: a few faults of each kind, on a cluster that they share. `make chaos` runs it in full.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use harness::audit::Audit;
use harness::chaos::{self, MODES, Measure, ROWS};
use harness::kafka::{Cluster, Kafka, Outgoing};
use harness::traffic::{Kind, Plan, Traffic};
use harness::wait::{PATIENCE, until_true};

/// Messages a second: other tests run at the same time.
const PER_SECOND: u32 = 3_000;

/// Runs a row in all modes. One row at a time breaks the cluster.
#[track_caller]
fn check(name: &str) {
    static CLUSTER: LazyLock<Mutex<Option<Cluster>>> = LazyLock::new(|| Mutex::new(Cluster::start()));
    let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(cluster) = cluster.as_mut() else { return };
    let row = ROWS.iter().find(|row| row.name == name).expect("a row of the table");
    for delivery in row.modes().filter(|delivery| MODES.contains(delivery)) {
        let measure = Measure { seed: 1, rounds: row.short, per_second: PER_SECOND };
        chaos::run(row, delivery, cluster, measure).assert_good();
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
