//! What Kafka refuses: at the start with a clear error, later without losing anything.

use std::time::Duration;

use serde_json::{Value, json};

use harness::child::tail;
use harness::findings;
use harness::kafka::{Kafka, Outgoing, PASSWORD, USER, free_port};
use harness::records::{Records, finding_of, findings_of};
use harness::trailhound::{Config, Trailhound};

/// How long the program may take to see that it cannot start.
const REFUSE: Duration = Duration::from_secs(60);

/// Runs the program, which must refuse to start with `code`, and say all of `expect` and a hint.
#[track_caller]
fn check_refused(config: &Config, code: i32, expect: &[&str]) -> String {
    let mut program = Trailhound::start(config);
    let got = program.wait(REFUSE);
    let log = program.stderr();
    assert_eq!(got, code, "{}", tail(&log));
    for text in expect.iter().chain(&["hint:"]) {
        assert!(log.contains(text), "no `{text}` in\n{}", tail(&log));
    }
    log
}

/// One message for each record.
fn messages(records: &[Value]) -> Vec<Outgoing> {
    records.iter().map(|record| Outgoing::value(record.to_string())).collect()
}

#[test]
fn a_wrong_configuration_is_exit_code_64() {
    let mut config = Config::new("127.0.0.1:1", "wrong").property("bootstrap.server", "127.0.0.1:1");
    config.more = "worker = 3".to_owned();
    check_refused(&config, 64, &["bootstrap.server", "did you mean `workers`"]);
}

#[test]
fn topics_that_do_not_exist_are_all_named() {
    let Some(kafka) = Kafka::shared() else { return };
    let config = Config::new(&kafka.bootstrap(), "missing");
    check_refused(&config, 1, &["missing.cloudtrail", "missing.findings", "missing.dead", "does not exist"]);
    for part in ["cloudtrail", "findings", "dead"] {
        assert_eq!(kafka.client().partitions(&format!("missing.{part}")), 0, "a look at a topic does not make it");
    }
}

#[test]
fn a_findings_topic_that_was_deleted_is_named() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topics("deleted", 4, &[]);
    let config = Config::new(&kafka.bootstrap(), "deleted");
    Trailhound::ready(&config).stop();
    client.delete_topic("deleted.findings");
    let log = check_refused(&config, 1, &["deleted.findings", "pipelines.detect.sink.kafka"]);
    assert!(!log.contains("topic `deleted.cloudtrail`"), "{}", tail(&log));
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let servers = format!("127.0.0.1:{}", free_port());
    check_refused(&Config::new(&servers, "nowhere"), 1, &[&servers, "bootstrap.servers"]);
}

#[test]
fn a_login_that_is_refused_says_so_and_the_right_one_works() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    client.create_topics("login", 4, &[]);
    let config = Config::new(&kafka.bootstrap_sasl(), "login")
        .property("security.protocol", "SASL_PLAINTEXT")
        .property("sasl.mechanism", "PLAIN")
        .property("sasl.username", USER);
    let log = check_refused(&config.clone().property("sasl.password", "a wrong one"), 1, &["login", "sasl.password"]);
    assert!(!log.contains("a wrong one"), "the password is not shown");

    let mut program = Trailhound::ready(&config.property("sasl.password", PASSWORD));
    let records = Records::new(31).take(10, 5);
    client.produce("login.cloudtrail", &messages(&records), &[]);
    client.until_committed("login", "login.cloudtrail");
    let summary = program.stop();
    assert_eq!(summary.count("received"), 10);
    findings::check(&findings::read(&client.read_all("login.findings")), &findings_of(&records));
}

#[test]
fn topics_are_created_where_the_configuration_says_so() {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let mut config = Config::new(&kafka.bootstrap(), "create");
    let create = |partitions| format!("create = {{ partitions = {partitions}, replication = 1 }}");
    config.source = format!(r#"{{ kafka = {{ topics = ["create.cloudtrail"], group = "create", {} }} }}"#, create(3));
    config.sink = format!(r#"{{ kafka = {{ topic = "create.findings", {} }} }}"#, create(2));
    config.dead_letters = format!(r#"{{ kafka = {{ topic = "create.dead", {} }} }}"#, create(1));
    for expect in [10, 20] {
        // The second time the topics are there, and that is no error.
        let mut program = Trailhound::ready(&config);
        let partitions = ["cloudtrail", "findings", "dead"].map(|part| client.partitions(&format!("create.{part}")));
        assert_eq!(partitions, [3, 2, 1]);
        let records = Records::new(expect).take(10, 5);
        client.produce("create.cloudtrail", &messages(&records), &[]);
        client.until_committed("create", "create.cloudtrail");
        assert_eq!(program.stop().count("received"), 10);
    }
    config.sink = r#"{ kafka = { topic = "create.other", create = { partitions = 1, replication = 3 } } }"#.to_owned();
    check_refused(&config, 1, &["create.other", "replication"]);
}

/// Of so many records, of which one in `every` fires, some findings are too large for their topic.
fn too_large(name: &str, count: usize, every: usize) {
    let Some(kafka) = Kafka::shared() else { return };
    let client = kafka.client();
    let topic = |kind: &str| format!("{name}.{kind}");
    client.create_topic(&topic("cloudtrail"), 1, &[]);
    client.create_topic(&topic("findings"), 1, &[("max.message.bytes", "20000")]);
    client.create_topic(&topic("dead"), 1, &[]);
    let mut supply = Records::new(41);
    let mut records = supply.take(count, every);
    let large: Vec<Value> = records
        .iter_mut()
        .filter(|record| finding_of(record).is_some())
        .step_by(count / every / 5 + 1)
        .map(|record| {
            record["requestParameters"] = json!({"padding": supply.incompressible(30_000)});
            record.clone()
        })
        .collect();
    assert_eq!(large.len(), 5);
    client.produce(&topic("cloudtrail"), &messages(&records), &[]);
    let mut program = Trailhound::ready(&Config::new(&kafka.bootstrap(), name));
    client.until_committed(name, &topic("cloudtrail"));
    let summary = program.stop();
    summary.assert_balanced();
    assert_eq!(summary.count("received"), count as u64);
    assert_eq!(summary.of("refused", "RTM-001"), 5, "{}", summary.0);

    let (too_large, mut expected) = (findings_of(&large), findings_of(&records));
    expected.retain(|key| !too_large.contains(key));
    findings::check(&findings::read(&client.read_all(&topic("findings"))), &expected);
    let letters = client.read_all(&topic("dead"));
    assert_eq!(letters.len(), 5);
    for letter in &letters {
        let header = |name: &str| letter.header(name).unwrap_or_default();
        assert_eq!(header("trailhound.reason"), "sink_refused");
        assert_eq!(header("trailhound.topic"), topic("cloudtrail"));
        let finding: Value = serde_json::from_slice(letter.value.as_deref().unwrap_or_default()).expect("the finding");
        let event = finding["finding_info"]["related_events"][0]["uid"].as_str().unwrap_or_default();
        assert!(too_large.iter().any(|key| key.event == event), "{event}");
        assert_eq!(header("trailhound.offset"), finding["unmapped"]["trailhound"]["offset"].to_string());
    }
}

#[test]
fn a_finding_that_is_too_large_for_its_topic_becomes_a_dead_letter_and_the_rest_goes_on() {
    too_large("large", 300, 10);
}

#[test]
fn of_findings_in_many_pieces_those_that_are_too_large_become_the_dead_letters_of_their_own_records() {
    // 12 MB of findings: more than is sent at most before it is acknowledged.
    too_large("pieces", 4_000, 2);
}
