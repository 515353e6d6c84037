//! Findings that are hard to write down, and the pipeline that forwards them.

use serde_json::{Value, json};

use super::scene::{finding_with, key};
use crate::kafka::{Client, Kafka, Outgoing};
use crate::trailhound::{Config, Trailhound};

/// A finding of our own.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Its id, which is its message's key.
    pub id: String,
    /// The OCSF event.
    pub event: Value,
    message: Outgoing,
}

impl Finding {
    /// Findings number `first` and on. Titles hold what must be escaped somewhere; every severity is there.
    pub fn some(first: usize, count: usize) -> Vec<Finding> {
        (first..first + count).map(Finding::number).collect()
    }

    fn number(number: usize) -> Finding {
        let title = match number % 5 {
            0 => "Root signed in".to_owned(),
            1 => "a|b\\c=d \"quoted\" [x] ]".to_owned(),
            2 => "two\nlines\r\nand a\ttab".to_owned(),
            3 => "é𝄞 <!channel> & more".to_owned(),
            _ => format!("number {number}"),
        };
        let message = finding_with(number, |event| {
            event["severity_id"] = (number % 6 + 1).into();
            event["message"] = format!("{title}: account 111122223333").into();
            event["finding_info"]["title"] = title.into();
            event["finding_info"]["related_events"] = json!([{ "uid": format!("event-{number}") }]);
            event["actor"] = json!({ "user": { "name": "ann", "uid": "arn:aws:iam::111122223333:user/ann" } });
            event["api"] = json!({ "operation": "ConsoleLogin", "service": { "name": "signin.amazonaws.com" } });
            event["remediation"] = json!({ "references": ["https://example.com/runbook"] });
            event["evidences"][0]["data"]["padding"] = "x".repeat(number % 700).into();
        });
        let event = serde_json::from_slice(message.value.as_deref().unwrap_or_default()).expect("an event");
        Finding { id: key(&message), event, message }
    }
}

/// A pipeline from the topic `NAME.findings` to a target, with `NAME.dead` for what it refuses.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Its configuration.
    pub config: Config,
    name: String,
}

impl Forward {
    /// Makes the topics. `sink` is the inline table of the target; `more` are lines of the pipeline, and tables after it.
    pub fn new(kafka: &Kafka, name: &str, partitions: i32, sink: &str, more: &str) -> Forward {
        for topic in ["findings", "dead"] {
            kafka.client().create_topic(&format!("{name}.{topic}"), partitions, &[]);
        }
        let mut config = Config::forward(&kafka.bootstrap(), name, sink);
        config.workers = u32::try_from(partitions).unwrap_or(1);
        config.more = more.to_owned();
        Forward { config, name: name.to_owned() }
    }

    /// Starts the program and waits until each of its workers has its partition: nothing is received twice because of a
    /// rebalance.
    #[track_caller]
    pub fn ready(&self) -> Trailhound {
        let mut program = Trailhound::ready(&self.config);
        program.until_joined(self.config.workers as usize);
        program
    }

    /// Produces findings, to one partition or spread over all.
    pub fn produce(&self, client: &Client, findings: &[Finding], partition: Option<i32>) {
        let message = |finding: &Finding| Outgoing {
            partition,
            value: Some(finding.event.to_string().into_bytes()),
            ..finding.message.clone()
        };
        let messages: Vec<Outgoing> = findings.iter().map(message).collect();
        client.produce(&format!("{}.findings", self.name), &messages, &[]);
    }

    /// Waits until all that was produced is acknowledged by the target or a dead letter.
    #[track_caller]
    pub fn until_done(&self, client: &Client) {
        client.until_committed(&self.name, &format!("{}.findings", self.name));
    }

    /// How many messages the target has acknowledged, or refused.
    pub fn committed(&self, client: &Client) -> i64 {
        client.committed(&self.name, &format!("{}.findings", self.name)).into_iter().flatten().sum()
    }

    /// The dead letters: the ids of their findings, and the words of the target.
    pub fn dead(&self, client: &Client) -> Vec<(String, String)> {
        let letters = client.read_all(&format!("{}.dead", self.name));
        let one = |key: Option<&[u8]>| String::from_utf8_lossy(key.unwrap_or_default()).into_owned();
        letters
            .into_iter()
            .map(|letter| (one(letter.key.as_deref()), letter.header("trailhound.detail").unwrap_or_default()))
            .collect()
    }
}
