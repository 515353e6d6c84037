//! Findings in a topic, to be forwarded: made-up ones in the form of the product's, each with an id of its own.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kafka::{Client, Kafka, Outgoing, Received};
use crate::trailhound::{Summary, Trailhound};

/// The time of the first finding; each is a second after the one before.
const FIRST_MS: i64 = 1_748_736_000_000;

/// A topic of findings and one of dead letters.
#[derive(Debug)]
pub struct Scene {
    /// The prefix of the topics and of what is at the receiver.
    pub name: String,
    /// The ids of the findings that a receiver must take.
    pub ids: BTreeSet<String>,
    client: Client,
}

impl Scene {
    /// Makes the topics, with four partitions each, and produces `count` findings.
    pub fn new(kafka: &Kafka, name: &str, count: usize) -> Scene {
        let client = kafka.client();
        client.create_topic(&format!("{name}.findings"), 4, &[]);
        client.create_topic(&format!("{name}.dead"), 4, &[]);
        let mut scene = Scene { name: name.to_owned(), ids: BTreeSet::new(), client };
        scene.produce(&(0..count).map(finding).collect::<Vec<_>>());
        scene
    }

    /// Produces findings that a receiver must take.
    pub fn produce(&mut self, findings: &[Outgoing]) {
        self.ids.extend(findings.iter().map(key));
        self.produce_bad(findings);
    }

    /// Produces messages that a receiver must refuse.
    pub fn produce_bad(&self, messages: &[Outgoing]) {
        self.client.produce(&format!("{}.findings", self.name), messages, &[]);
    }

    /// Waits until all findings are delivered and committed, stops the program, and holds its counters against what
    /// was refused. Gives the dead letters.
    #[track_caller]
    pub fn finish(&self, program: &mut Trailhound, refused: usize) -> Vec<Received> {
        self.client.until_committed(&self.name, &format!("{}.findings", self.name));
        let summary = program.stop();
        self.check(&summary, refused)
    }

    /// The same of a program that was stopped. What a rebalance has handed over while a target kept somebody waiting was
    /// received once more, and so was refused once more: each message's first letter counts.
    #[track_caller]
    pub fn check(&self, summary: &Summary, refused: usize) -> Vec<Received> {
        summary.assert_balanced();
        assert!(summary.count("forwarded") + summary.count("skipped") >= self.ids.len() as u64, "{summary:?}");
        let mut letters = self.client.read_all(&format!("{}.dead", self.name));
        assert!(summary.count("dead_lettered") >= refused as u64, "{summary:?}");
        assert_eq!(summary.count("dead_lettered"), letters.len() as u64, "each that was refused has its letter");
        let mut origins = BTreeSet::new();
        letters.retain(|letter| {
            origins.insert((letter.header("trailhound.partition"), letter.header("trailhound.offset")))
        });
        assert_eq!(letters.len(), refused, "messages that were refused");
        letters
    }

    /// The messages of the findings' topic.
    pub fn findings(&self) -> Vec<Received> {
        self.client.read_all(&format!("{}.findings", self.name))
    }
}

/// A finding's id, which is its key.
pub fn key(message: &Outgoing) -> String {
    String::from_utf8(message.key.clone().expect("a key")).expect("a key in text")
}

/// Finding `number` as the product writes it, shortened.
pub fn finding(number: usize) -> Outgoing {
    finding_with(number, |_| {})
}

/// The same with something about it changed.
pub fn finding_with(number: usize, change: impl FnOnce(&mut Value)) -> Outgoing {
    let (id, rule) = (format!("{number:032x}"), format!("TST-{:03}", number % 7));
    let (severity, severity_id) = [("low", 2), ("medium", 3), ("high", 4)][number % 3];
    let account = format!("1111222233{:02}", number % 5);
    let time = FIRST_MS + number as i64 * 1_000;
    let mut value = json!({
        "class_uid": 2004, "category_uid": 2, "activity_id": 1, "type_uid": 200_401, "severity_id": severity_id,
        "time": time, "start_time": time - 60_000, "message": format!("A made-up finding: account {account}"),
        "metadata": { "uid": id, "version": "1.6.0", "product": { "name": "Trailhound" }, "profiles": ["cloud"] },
        "finding_info": { "uid": id, "title": "A made-up finding", "analytic": { "uid": rule, "type_id": 1 } },
        "cloud": { "provider": "AWS", "region": "eu-west-1", "account": { "uid": account } },
        "evidences": [{
            "src_endpoint": { "ip": format!("198.51.100.{}", number % 250) },
            "data": { "eventID": format!("event-{number}"), "requestParameters": { "a": { "b": "x".repeat(300) } } },
        }],
        "unmapped": { "trailhound": { "module": "made_up", "partition": 0, "offset": number } },
    });
    change(&mut value);
    let headers = [("content-type", "application/json"), ("rule", &rule), ("severity", severity)];
    Outgoing {
        key: Some(id.into_bytes()),
        value: Some(value.to_string().into_bytes()),
        headers: headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).to_vec(),
        ..Outgoing::default()
    }
}
