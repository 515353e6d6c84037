//! `make bench-forward`: `trailhound run` as a forwarder, from a real Kafka to a real OpenSearch, to OpenTelemetry's HEC
//! receiver, and to a stub that answers at once; each beside a bare client that sends the same bodies to the same receiver.
//! Then what it takes of memory while very many findings wait for a target that is down.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on panics")]

mod backlog;
mod speed;
mod supply;
mod target;

use std::process::ExitCode;

use harness::kafka::Kafka;
use harness::measure::report;
use harness::say;
use serde_json::json;

/// What is measured, and how often.
#[derive(Debug)]
struct Options {
    /// Rounds in which every contender has its turn.
    rounds: usize,
    /// Findings in the topic that every turn forwards.
    findings: usize,
    /// Findings that wait for a target that is down.
    waiting: usize,
    /// `speed` or `backlog`; both where it is empty.
    only: String,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        say("bench-forward [--rounds N] [--findings N] [--waiting N] [--only speed|backlog]");
        return ExitCode::FAILURE;
    };
    let Some(kafka) = Kafka::start() else { return ExitCode::FAILURE };
    let (mut table, mut figures) = (String::new(), serde_json::Map::new());
    if options.only != "backlog" {
        let Some(rows) = speed::measure(&kafka, options.findings, options.rounds) else { return ExitCode::FAILURE };
        table += &speed::table(&rows);
        figures.insert("speed".to_owned(), json!(rows.iter().map(speed::Row::json).collect::<Vec<_>>()));
    }
    if options.only != "speed" {
        let rows = [1, 4].map(|workers| backlog::measure(&kafka, options.waiting, workers));
        table += &backlog::table(&rows);
        figures.insert("backlog".to_owned(), json!(rows.map(|row| row.json())));
    }
    report("forward", &table, &figures.into());
    ExitCode::SUCCESS
}

fn options() -> Option<Options> {
    let mut options = Options { rounds: 5, findings: 40_000, waiting: 1_000_000, only: String::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--rounds" => options.rounds = value.parse().ok()?,
            "--findings" => options.findings = value.parse().ok()?,
            "--waiting" => options.waiting = value.parse().ok()?,
            "--only" if ["speed", "backlog"].contains(&value.as_str()) => options.only = value,
            _ => return None,
        }
    }
    Some(options)
}
