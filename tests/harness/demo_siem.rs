//! `make demo-siem`: from a Firehose client over a real Kafka to a search of a real OpenSearch. The talk goes to standard
//! error, the findings that were found to standard output.

use std::io::Write as _;
use std::process::ExitCode;

use harness::kafka::Kafka;
use harness::say;
use harness::siem::{OpenSearch, whole_way};

fn main() -> ExitCode {
    say("starting Apache Kafka and OpenSearch; Maven fetches them the first time, which takes some minutes");
    let parts = Kafka::start().and_then(|kafka| Some((kafka, OpenSearch::start(&[])?)));
    let Some((kafka, node)) = parts else {
        say("make demo-siem needs a JDK and Maven, which bring the real Kafka and OpenSearch; see the line above");
        return ExitCode::FAILURE;
    };
    let way = whole_way(&kafka, &node, "trailhound-findings", say);
    say(&format!("{} documents; the search has found {}:", way.documents.len(), way.hits.len()));
    let told = std::io::stdout().write_all(way.facts().as_bytes());
    say(&format!("\n{}", way.table()));
    way.assert_good();
    say("each root sign-in is one document, also those whose request came twice; the counters balance");
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
