//! The whole way once, on real parts: a client that does what Firehose does, one program with a pipeline for each hop,
//! Kafka between them, and OpenSearch, where a search shows the root sign-ins.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use super::OpenSearch;
use crate::firehose::{Connection, KEY, Request};
use crate::folder::Folder;
use crate::kafka::{Kafka, free_port};
use crate::records::{FindingKey, Records, findings_of};
use crate::trailhound::{Summary, Trailhound, binary, module};

/// Requests, and records in each: one in `ROOT_EVERY` is a successful sign-in of the root user.
const REQUESTS: usize = 6;
const RECORDS: usize = 100;
const ROOT_EVERY: usize = 50;
/// The request that is sent twice, as Firehose does when an answer is lost.
const TWICE: usize = 2;

/// The pipelines, in the order of the way.
const HOPS: [&str; 3] = ["ingest", "detect", "forward"];
/// Partitions of a topic, and workers of a pipeline.
const PARTITIONS: i32 = 4;
const WORKERS: usize = 2;

/// What came out of it.
#[derive(Debug)]
pub struct WholeWay {
    /// The findings that the records must lead to, by an oracle that is no rule.
    pub expected: BTreeSet<FindingKey>,
    /// Records that were sent, those of the request that was sent twice counted twice.
    pub sent: u64,
    /// Findings that the request that was sent twice leads to.
    pub repeated: u64,
    /// All documents of the data stream, by `_id`.
    pub documents: BTreeMap<String, Value>,
    /// What the search for the rule and its severity has found, oldest first.
    pub hits: Vec<Value>,
    /// The counters of each hop, by the name of its pipeline.
    pub hops: Vec<(&'static str, Summary)>,
}

/// Goes the whole way. `name` is the prefix of the topics and groups, and the name of the data stream; `tell` is told what
/// happens.
pub fn whole_way(kafka: &Kafka, node: &OpenSearch, name: &str, tell: impl Fn(&str)) -> WholeWay {
    let client = kafka.client();
    for topic in ["cloudtrail", "findings", "dead"] {
        client.create_topic(&format!("{name}.{topic}"), PARTITIONS, &[]);
    }
    put_template(node, name);
    tell(&format!("OpenSearch {}: data stream {name}, with the template that `siem template` prints", node.url()));
    let (rules, port) = (Folder::new("rules"), free_port());
    rules.write("root_login.wasm", module("root_login"));
    let mut program = Trailhound::start_text(&pipelines(kafka, node, name, port, &rules));
    program.until_ready();
    program.until_joined(2 * WORKERS);
    tell(&format!("trailhound run: {} over Kafka {}", HOPS.join(", "), kafka.bootstrap()));

    let mut supply = Records::new(7);
    let requests: Vec<Vec<Value>> = (0..REQUESTS).map(|_| supply.take(RECORDS, ROOT_EVERY)).collect();
    let sent = send(port, &requests);
    let expected = findings_of(requests.iter().flatten());
    tell(&format!(
        "Firehose: {} records in {REQUESTS} gzip'd requests, all answered 200, one of them sent twice; {} successful \
         root sign-ins and {} that failed are among them",
        REQUESTS * RECORDS,
        expected.len(),
        requests.iter().flatten().filter(|record| is_failed_root_sign_in(record)).count()
    ));

    // An answer of 200 says that the records are in Kafka; offsets say that they, and their findings, went on.
    client.until_committed(&format!("{name}-detect"), &format!("{name}.cloudtrail"));
    client.until_committed(&format!("{name}-forward"), &format!("{name}.findings"));
    program.stop();
    WholeWay {
        repeated: findings_of(&requests[TWICE]).len() as u64,
        expected,
        sent,
        documents: node.documents(name),
        hits: search(node, name, &tell),
        hops: HOPS.map(|hop| (hop, program.summary_of(hop))).to_vec(),
    }
}

/// Puts the template there before the first finding comes, as the README says.
fn put_template(node: &OpenSearch, name: &str) {
    let mut command = Command::new(binary());
    command.args(["siem", "template", "opensearch", "--data-stream", name]);
    let template = command.output().expect("the program starts").stdout;
    let template = String::from_utf8(template).expect("a template in text");
    let (status, answer) = node.request("PUT", &format!("/_index_template/{name}"), &template);
    assert_eq!(status, 200, "{answer}");
}

/// One process holds all three pipelines; the endpoint opens once the rules are loaded.
fn pipelines(kafka: &Kafka, node: &OpenSearch, name: &str, port: u16, rules: &Folder) -> String {
    let (bootstrap, url, rules) = (kafka.bootstrap(), node.url(), rules.path());
    format!(
        r#"
[kafka]
"bootstrap.servers" = "{bootstrap}"
[rules]
directory = {rules:?}
[pipelines.ingest]
workers = {WORKERS}
source = {{ firehose = {{ listen = "127.0.0.1:{port}", access_keys = ["{KEY}"] }} }}
sink = {{ kafka = {{ topic = "{name}.cloudtrail" }} }}
dead_letters = {{ kafka = {{ topic = "{name}.dead" }} }}
[pipelines.detect]
workers = {WORKERS}
source = {{ kafka = {{ topics = ["{name}.cloudtrail"], group = "{name}-detect" }} }}
detect = true
sink = {{ kafka = {{ topic = "{name}.findings" }} }}
dead_letters = {{ kafka = {{ topic = "{name}.dead" }} }}
[pipelines.forward]
workers = {WORKERS}
source = {{ kafka = {{ topics = ["{name}.findings"], group = "{name}-forward" }} }}
sink = {{ opensearch = {{ url = "{url}", data_stream = "{name}" }} }}
dead_letters = {{ kafka = {{ topic = "{name}.dead" }} }}
"#
    )
}

/// Sends the requests as Firehose does, one of them twice. Gives how many records that were.
fn send(port: u16, requests: &[Vec<Value>]) -> u64 {
    let mut connection = Connection::plain(port).expect("a connection");
    let mut sent = 0;
    for (number, records) in requests.iter().enumerate() {
        let records: Vec<Vec<u8>> = records.iter().map(|record| record.to_string().into_bytes()).collect();
        let mut request = Request::new(format!("00000000-0000-4000-8000-{number:012}"), records);
        request.gzip = true;
        for _ in 0..=u8::from(number == TWICE) {
            let answer = connection.post(&request).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.body);
            sent += request.records.len() as u64;
        }
    }
    sent
}

/// Looks for the rule's findings of its severity, in one request.
fn search(node: &OpenSearch, name: &str, tell: impl Fn(&str)) -> Vec<Value> {
    let query = json!({
        "size": 100, "sort": [{ "start_time": "asc" }],
        "query": { "bool": { "filter": [
            { "term": { "finding_info.analytic.uid": "RTM-001" } },
            { "term": { "severity": "High" } },
        ] } },
    });
    tell(&format!("POST /{name}/_search {query}"));
    let (status, answer) = node.request("POST", &format!("/{name}/_search"), &query.to_string());
    assert_eq!(status, 200, "{answer}");
    answer["hits"]["hits"].as_array().cloned().unwrap_or_default()
}

fn is_failed_root_sign_in(record: &Value) -> bool {
    record["userIdentity"]["type"] == "Root" && record["responseElements"]["ConsoleLogin"] == "Failure"
}

impl WholeWay {
    /// Fails unless each root sign-in is one document that the search finds, there is no other, and what one hop has passed
    /// on is what the next one has received.
    #[track_caller]
    pub fn assert_good(&self) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = |document: &Value| FindingKey {
            rule: text(&document["finding_info"]["analytic"]["uid"]),
            event: text(&document["finding_info"]["related_events"][0]["uid"]),
            account: text(&document["cloud"]["account"]["uid"]),
        };
        let found: BTreeSet<FindingKey> = self.documents.values().map(key).collect();
        assert_eq!(found, self.expected, "root sign-ins that were sent");
        assert_eq!(self.documents.len(), found.len(), "one document for each");
        let hits: BTreeSet<String> = self.hits.iter().map(|hit| text(&hit["_id"])).collect();
        assert_eq!(hits, self.documents.keys().cloned().collect(), "what the search has found");
        for (id, document) in &self.documents {
            assert_eq!(document["finding_info"]["uid"], id.as_str());
        }

        // The repeats go all the way too, as the same findings; only OpenSearch can tell that it has them.
        let findings = self.expected.len() as u64 + self.repeated;
        let passed = [("forwarded", self.sent), ("findings", findings), ("forwarded", findings)];
        let received = [self.sent, self.sent, findings];
        for (((hop, summary), (counter, passed)), received) in self.hops.iter().zip(passed).zip(received) {
            summary.assert_balanced();
            let counts = ["received", counter, "dead_lettered"].map(|counter| summary.count(counter));
            assert_eq!(counts, [received, passed, 0], "{hop}: received, {counter}, dead letters: {}", summary.0);
        }
    }

    /// The counters of each hop, as a table.
    pub fn table(&self) -> String {
        const COUNTERS: [&str; 6] = ["received", "evaluated", "skipped", "findings", "forwarded", "dead_lettered"];
        let head = COUNTERS.map(|counter| format!("{counter:>14}")).concat();
        let row = |(hop, summary): &(&str, Summary)| {
            let counts = COUNTERS.map(|counter| format!("{:>14}", summary.count(counter))).concat();
            format!("{hop:<8}{counts}\n")
        };
        format!("hop     {head}\n{}", self.hops.iter().map(row).collect::<String>())
    }

    /// The main facts of each hit, one a line: when, title, account, source address, id.
    pub fn facts(&self) -> String {
        let fact = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let line = |hit: &Value| {
            let finding = &hit["_source"];
            let source = &finding["evidences"][0]["src_endpoint"];
            format!(
                "{}  {}  account {}  from {:<20}  id {}\n",
                fact(&finding["metadata"]["original_time"]),
                fact(&finding["finding_info"]["title"]),
                fact(&finding["cloud"]["account"]["uid"]),
                // AWS's own services have a name in place of an address.
                source["ip"].as_str().or(source["domain"].as_str()).unwrap_or("-"),
                fact(&hit["_id"]),
            )
        };
        self.hits.iter().map(line).collect()
    }
}
