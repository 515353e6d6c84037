//! Findings as detection leaves them in their topic, and the pipeline that forwards them.

use serde_json::{Value, json};

use crate::kafka::{Client, Kafka, Outgoing};
use crate::trailhound::Trailhound;

/// A finding of our own.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Its id, which is its message's key.
    pub id: String,
    /// The OCSF event.
    pub event: Value,
}

impl Finding {
    /// Findings number `first` and on. Titles hold what must be escaped somewhere; every severity is there.
    pub fn some(first: usize, count: usize) -> Vec<Finding> {
        (first..first + count).map(Finding::number).collect()
    }

    fn number(number: usize) -> Finding {
        let id = format!("{number:032x}");
        let title = match number % 5 {
            0 => "Root signed in".to_owned(),
            1 => "a|b\\c=d \"quoted\" [x] ]".to_owned(),
            2 => "two\nlines\r\nand a\ttab".to_owned(),
            3 => "é𝄞 <!channel> & more".to_owned(),
            _ => format!("number {number}"),
        };
        let severity = number % 6 + 1;
        let event = json!({
            "class_uid": 2004, "time": 1_767_323_045_000_u64 + number as u64, "severity_id": severity,
            "message": format!("{title}: account 111122223333"),
            "metadata": {"version": "1.6.0", "original_time": "2023-07-19T21:35:03Z"},
            "finding_info": {
                "uid": id, "title": title, "analytic": {"uid": format!("TEST-00{}", number % 3)},
                "related_events": [{"uid": format!("event-{number}")}],
            },
            "cloud": {"provider": "AWS", "region": "us-east-1", "account": {"uid": "111122223333"}},
            "actor": {"user": {"name": "ann", "uid": "arn:aws:iam::111122223333:user/ann"}},
            "api": {"operation": "ConsoleLogin", "service": {"name": "signin.amazonaws.com"}},
            "evidences": [{
                "src_endpoint": {"ip": "192.0.2.7"},
                "data": {"eventID": format!("event-{number}"), "padding": "x".repeat(number % 700)},
            }],
            "remediation": {"references": ["https://example.com/runbook"]},
        });
        Finding { id, event }
    }

    /// The message that holds it.
    pub fn message(&self, partition: Option<i32>) -> Outgoing {
        let headers = [("content-type", "application/json"), ("rule", "TEST-001")];
        Outgoing {
            partition,
            key: Some(self.id.clone().into_bytes()),
            value: Some(self.event.to_string().into_bytes()),
            headers: headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).to_vec(),
        }
    }
}

/// A pipeline `siem` from the topic `NAME.findings` to a target, with `NAME.dead` for what it refuses.
#[derive(Debug, Clone)]
pub struct Forward {
    name: String,
    text: String,
}

impl Forward {
    /// Makes the topics. `sink` is the inline table of the target; `more` are lines of the pipeline.
    pub fn new(kafka: &Kafka, name: &str, partitions: i32, sink: &str, more: &str) -> Forward {
        for topic in ["findings", "dead"] {
            kafka.client().create_topic(&format!("{name}.{topic}"), partitions, &[]);
        }
        let quick = r#"properties = { "session.timeout.ms" = "1000", "heartbeat.interval.ms" = "200" }"#;
        let text = format!(
            "[kafka]\n\"bootstrap.servers\" = \"{}\"\n\"reconnect.backoff.max.ms\" = \"200\"\n[pipelines.siem]\n\
             source = {{ kafka = {{ topics = [\"{name}.findings\"], group = \"{name}\", {quick} }} }}\n\
             sink = {sink}\ndead_letters = {{ kafka = {{ topic = \"{name}.dead\" }} }}\n{more}\n",
            kafka.bootstrap()
        );
        Forward { name: name.to_owned(), text }
    }

    /// Adds tables to `pipeline.toml`.
    pub fn append(&mut self, tables: &str) {
        self.text.push_str(tables);
    }

    /// The whole `pipeline.toml`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Starts the program and waits until it is ready.
    #[track_caller]
    pub fn ready(&self) -> Trailhound {
        let mut program = Trailhound::start_text(&self.text);
        program.until_ready();
        program
    }

    /// Produces findings, to one partition or spread over all.
    pub fn produce(&self, client: &Client, findings: &[Finding], partition: Option<i32>) {
        let messages: Vec<Outgoing> = findings.iter().map(|finding| finding.message(partition)).collect();
        client.produce(&format!("{}.findings", self.name), &messages, &[]);
    }

    /// Waits until all that was produced is acknowledged by the target or a dead letter.
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
        letters
            .into_iter()
            .map(|letter| {
                let key = letter.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
                (key, letter.header("trailhound.detail").unwrap_or_default())
            })
            .collect()
    }
}
