//! Ours with 60 modules: the memory that it takes at full rate, and the time until it has done its first records.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::kafka::Kafka;
use harness::trailhound::{Config, Delivery, Trailhound, binary};
use serde::Serialize;

use crate::contender::{Bench, Names, Process, succeeds};
use crate::progress::{self, Committed};
use crate::spread::Spread;
use crate::{fill, ours};

/// Modules of the table beside the root rule's, one rule each.
const TABLE: usize = 59;

/// Records of the topic that starts are measured on.
const FEW: u64 = 10_000;

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(120);

/// What it takes with 60 modules, in MiB.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) workers: u32,
    /// Resident while records flow, looked at every 20 ms.
    pub(crate) resident: Spread,
    /// The most since its start, when modules are compiled.
    pub(crate) most: f64,
    pub(crate) per_second: f64,
}

/// Over the whole topic, with one worker and with two.
pub(crate) fn memory(bench: &Bench<'_>, repository: &Path) -> Result<Vec<Memory>> {
    let wasm = build(repository)?;
    let one = |workers: u32| -> Result<Memory> {
        let names = names(bench.kafka, &format!("memory.{workers}"));
        let config = with_modules(ours::config(bench, &names, Delivery::AtLeastOnce, workers), &wasm);
        let mut process = Process::Ours(Box::new(Trailhound::start(&config)));
        let committed = Committed::new(&bench.kafka.bootstrap(), &names.group, bench.topic)?;
        let (pid, mut resident) = (process.pid(), Vec::new());
        let progress = progress::watch(&mut process, bench.topic.records, || {
            let records = committed.records()?;
            if records > 0 {
                resident.extend(progress::memory_mib(pid, "VmRSS"));
            }
            Some(records)
        })?;
        let most = progress::memory_mib(pid, "VmHWM")?;
        Ok(Memory { workers, resident: Spread::of(resident.into_iter()), most, per_second: progress.per_second() })
    };
    [1, 2].into_iter().map(one).collect()
}

/// Starts of one kind.
#[derive(Debug, Serialize)]
pub(crate) struct Start {
    pub(crate) modules: &'static str,
    /// Seconds from the start of the process until its first records are done, start by start.
    pub(crate) seconds: Vec<f64>,
}

/// Starts with modules of the same bytes, and of bytes of their own: without a cache, and with what an earlier start has
/// put there.
pub(crate) fn start(kafka: &Kafka, repository: &Path, rounds: usize) -> Result<Vec<Start>> {
    let wasm = build(repository)?;
    let topic = fill::topic(kafka, "few", FEW)?;
    let bench = Bench { kafka, topic: &topic };
    let cache = repository.join("target/bench/cache");
    if cache.exists() {
        std::fs::remove_dir_all(&cache)?;
    }
    let one = |name: &str, change: &dyn Fn(&mut Config)| -> Result<f64> {
        let names = names(kafka, &format!("start.{name}"));
        let mut config = with_modules(ours::config(&bench, &names, Delivery::AtLeastOnce, 1), &wasm);
        change(&mut config);
        let begin = Instant::now();
        let mut program = Trailhound::start(&config);
        while program.received() == 0 {
            ensure!(!program.has_ended() && begin.elapsed() < START_MAX, "no start:\n{}", program.stderr());
            std::thread::sleep(Duration::from_millis(2));
        }
        let seconds = begin.elapsed().as_secs_f64();
        program.stop();
        Ok(seconds)
    };
    let cached = |config: &mut Config| {
        distinct(config);
        config.rules.push_str(&format!("\ncache = {cache:?}"));
    };
    // The first one fills the cache.
    one("cache", &cached)?;
    let starts = |modules, kind: &str, change: &dyn Fn(&mut Config)| -> Result<Start> {
        let seconds = (1..=rounds).map(|round| one(&format!("{kind}.{round}"), change)).collect::<Result<_>>()?;
        Ok(Start { modules, seconds })
    };
    Ok(vec![
        starts("of the same bytes", "same", &|_| {})?,
        starts("of bytes of their own", "own", &distinct)?,
        starts("of bytes of their own, cached", "cached", &cached)?,
    ])
}

/// Gives each module a custom section of its own, so that no two have the same bytes.
fn distinct(config: &mut Config) {
    for (number, (_, wasm)) in (0_u8..).zip(&mut config.modules) {
        // Kind, length, length of the name, name, a byte.
        wasm.extend_from_slice(&[0, 3, 1, b'n', number]);
    }
}

/// Builds the module of the table with the program under test.
fn build(repository: &Path) -> Result<Vec<u8>> {
    let out = repository.join("target/bench/rules");
    let mut command = Command::new(binary());
    command.args(["rule", "build", "bench/module", "--out"]).arg(&out);
    succeeds(&mut command, repository)?;
    Ok(std::fs::read(out.join("bench_module.wasm"))?)
}

fn with_modules(mut config: Config, wasm: &[u8]) -> Config {
    for number in 0..TABLE {
        config.modules.push((format!("table_{number}"), wasm.to_vec()));
        config.more.push_str(&format!("\n[rules.settings.table_{number}]\nfirst = {number}\ncount = 1\n"));
    }
    config
}

/// A run's names, with its topics made.
pub(crate) fn names(kafka: &Kafka, name: &str) -> Names {
    let names = Names { group: name.to_owned(), findings: format!("{name}.findings"), dead: format!("{name}.dead") };
    let client = kafka.client();
    // The broker's clock says when a finding was there.
    client.create_topic(&names.findings, 1, &[("message.timestamp.type", "LogAppendTime")]);
    client.create_topic(&names.dead, 1, &[]);
    names
}
