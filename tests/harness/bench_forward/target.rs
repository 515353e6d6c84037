//! What findings are forwarded to, and what a receiver in its place would answer.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::siem::{Hec, HecOptions, OpenSearch, Reply, Request, Stub, TOKEN};
use harness::trailhound::binary;
use serde_json::json;

/// The data stream.
const STREAM: &str = "bench-forward";

/// A receiver.
pub(crate) enum Target {
    /// A real OpenSearch, with the index template that the program prints.
    OpenSearch(Box<OpenSearch>),
    /// OpenTelemetry's receiver of Splunk's HTTP Event Collector.
    Hec(Hec),
    /// A HEC that reads a request and answers, and counts requests.
    Stub(Stub, Arc<AtomicUsize>),
}

impl Target {
    /// One of each. None where one cannot be had.
    pub(crate) fn all() -> Option<[Target; 3]> {
        let node = OpenSearch::start_large()?;
        let mut template = Command::new(binary());
        template.args(["siem", "template", "opensearch", "--data-stream", STREAM]);
        let template = String::from_utf8(template.output().expect("the program starts").stdout).expect("a template");
        let (status, answer) = node.request("PUT", &format!("/_index_template/{STREAM}"), &template);
        assert_eq!(status, 200, "{answer}");
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let stub = Stub::start_light(move |_, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            hec_answer()
        });
        Some([
            Target::OpenSearch(Box::new(node)),
            Target::Hec(Hec::start(HecOptions::default())?),
            Target::Stub(stub, requests),
        ])
    }

    /// Its name in the table.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Target::OpenSearch(_) => "OpenSearch",
            Target::Hec(_) => "HEC, OpenTelemetry",
            Target::Stub(..) => "HEC, stub",
        }
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        match self {
            Target::OpenSearch(node) => node.url(),
            Target::Hec(hec) => hec.url(),
            Target::Stub(stub, _) => stub.url(),
        }
    }

    /// The sink of a forwarder to something like it at `url`.
    pub(crate) fn sink(&self, url: &str) -> String {
        match self {
            Target::OpenSearch(_) => format!(r#"{{ opensearch = {{ url = "{url}", data_stream = "{STREAM}" }} }}"#),
            Target::Hec(_) | Target::Stub(..) => hec_sink(url),
        }
    }

    /// What it answers when all is well, for a stub in its place.
    pub(crate) fn answer(&self) -> fn(&Request) -> Reply {
        let Target::OpenSearch(_) = self else { return |_| hec_answer() };
        |request| {
            let documents = request.text().lines().count() / 2;
            let items = vec![json!({ "create": { "status": 201 } }); documents];
            Reply::status(200, &json!({ "errors": false, "items": items }).to_string())
        }
    }

    /// Forgets all findings.
    pub(crate) fn clear(&self) {
        match self {
            Target::OpenSearch(node) => {
                let (status, answer) = node.request("DELETE", &format!("/_data_stream/{STREAM}"), "");
                assert!([200, 404].contains(&status), "{answer}");
            }
            Target::Hec(hec) => hec.forget(),
            Target::Stub(_, requests) => requests.store(0, Ordering::Relaxed),
        }
    }

    /// How many findings it has; None where it does not know.
    pub(crate) fn stored(&self) -> Option<usize> {
        match self {
            Target::OpenSearch(node) => {
                node.request("POST", &format!("/{STREAM}/_refresh"), "");
                let (_, answer) = node.request("GET", &format!("/{STREAM}/_count"), "");
                answer["count"].as_u64().and_then(|count| usize::try_from(count).ok())
            }
            Target::Hec(hec) => Some(hec.count()),
            Target::Stub(..) => None,
        }
    }
}

/// The sink of a forwarder to a HEC.
pub(crate) fn hec_sink(url: &str) -> String {
    let about = r#"index = "security", source = "trailhound", sourcetype = "ocsf:detection_finding""#;
    format!(r#"{{ splunk = {{ url = "{url}", token = "{TOKEN}", {about} }} }}"#)
}

/// What a HEC answers when all is well.
pub(crate) fn hec_answer() -> Reply {
    Reply::status(200, r#"{"text":"Success","code":0}"#)
}
