//! Whole pipelines on a real Apache Kafka, one after the other in alternating rounds: `make bench-pipeline`.
//!
//! All read the same topic of the same broker on the same cores: a bare consumer that only counts, Trailhound, Benthos,
//! Kafka Streams. Then what only ours is asked: memory and start with 60 modules, latency from append to finding.
//!
//! `--records N` (5,000,000), `--rounds N` (5), `--only PART,PART` (names or beginnings of rows; `memory`, `start`, `latency`).

#![forbid(unsafe_code)]

mod bare;
mod contender;
mod fill;
mod latency;
#[path = "../../src/machine.rs"]
mod machine;
mod modules;
mod ours;
mod peers;
mod progress;
#[path = "../../src/random.rs"]
mod random;
#[path = "../../src/records.rs"]
mod records;
mod report;
#[path = "../../src/spread.rs"]
mod spread;
#[path = "../../module/src/table.rs"]
#[allow(dead_code, reason = "records are made of it; its rules are the modules' affair")]
mod table;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use harness::kafka::Kafka;

use crate::contender::{Bench, Contender};
use crate::machine::Machine;
use crate::report::Report;

/// The product's, so that the bare consumer has it too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the command line says.
struct Options {
    records: u64,
    rounds: usize,
    only: Vec<String>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let ["--bare", bootstrap, topic, records] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return bare::count(bootstrap, topic, records.parse()?);
    }
    let options = options(&arguments)?;
    let target = repository().join("target/bench");
    std::fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
    let wants = |part: &str| options.only.is_empty() || options.only.iter().any(|only| part.starts_with(only.as_str()));
    let kafka = Kafka::start().context("no real Kafka")?;
    let mut report = Report::new(Machine::new(&repository(), &["rdkafka", "rdkafka-sys"]), peers::versions());
    print(&report.describe())?;

    let mut contenders = vec![Contender::Bare];
    contenders.extend(ours::contenders());
    contenders.extend(peers::contenders(&repository(), &target)?);
    contenders.retain(|contender| wants(contender.name()));
    let memory = wants("memory");
    if !contenders.is_empty() || memory {
        let topic = fill::topic(&kafka, "records", options.records)?;
        report.topic = Some(topic.clone());
        let bench = Bench { kafka: &kafka, topic: &topic };
        for round in 1..=options.rounds {
            for contender in &contenders {
                let run = contender::run(&bench, contender, round).with_context(|| contender.name())?;
                print(&format!("round {round}: {}\n", run.describe()))?;
                report.add(run);
            }
        }
        if memory {
            report.memory = modules::memory(&bench, &repository())?;
        }
    }
    if wants("start") {
        report.start = modules::start(&kafka, &repository(), options.rounds)?;
    }
    if wants("latency") {
        report.latency = latency::measure(&kafka, options.rounds)?;
    }
    report.compare();
    print(&report.table())?;
    let file = target.join("pipeline.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&report)?).with_context(|| file.display().to_string())?;
    print(&format!("\nevery figure: {}\n", file.display()))
}

fn options(arguments: &[String]) -> Result<Options> {
    let mut options = Options { records: 5_000_000, rounds: 5, only: Vec::new() };
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--records" => options.records = value.parse().context("--records")?,
            [name, value] if name == "--rounds" => options.rounds = value.parse().context("--rounds")?,
            [name, value] if name == "--only" => options.only = value.split(',').map(str::to_owned).collect(),
            other => bail!("{other:?}: not known; there are --records N, --rounds N and --only PART,PART"),
        }
    }
    ensure!(options.records >= 100_000 && options.rounds > 0, "fewer than 100,000 records or no round say nothing");
    Ok(options)
}

/// The repository's root.
fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
