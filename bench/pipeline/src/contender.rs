//! Whoever runs the root rule over a topic, and what a run shows.

use std::path::Path;

use anyhow::{Result, ensure};
use harness::child::{Child, tail};
use harness::folder::Folder;
use harness::kafka::Kafka;
use harness::trailhound::{Delivery, Trailhound};
use serde::Serialize;

use crate::fill::Topic;
use crate::peers::{Benthos, Streams};
use crate::progress::{self, Committed};
use crate::{bare, ours, peers};

/// What a contender is given.
pub(crate) struct Bench<'a> {
    pub(crate) kafka: &'a Kafka,
    pub(crate) topic: &'a Topic,
}

/// The names of one run: its group, and the topics for what it finds and for what it cannot read.
pub(crate) struct Names {
    pub(crate) group: String,
    pub(crate) findings: String,
    pub(crate) dead: String,
}

/// A row of the table.
pub(crate) enum Contender {
    /// A consumer that only counts.
    Bare,
    /// Ours, with so many workers.
    Ours(&'static str, Delivery, u32),
    Benthos(Benthos),
    Streams(Streams),
}

/// One that runs.
pub(crate) enum Process {
    Child(Child),
    Ours(Box<Trailhound>),
}

impl Contender {
    /// The row's name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Contender::Bare => bare::NAME,
            Contender::Ours(name, ..) => name,
            Contender::Benthos(_) => peers::BENTHOS,
            Contender::Streams(streams) => streams.name,
        }
    }

    /// Starts it; what it writes goes into the folder.
    fn start(&self, bench: &Bench<'_>, names: &Names, folder: &Folder) -> Result<Process> {
        Ok(match self {
            Contender::Bare => Process::Child(bare::start(bench, folder)?),
            Contender::Ours(_, delivery, workers) => {
                let config = ours::config(bench, names, *delivery, *workers);
                Process::Ours(Box::new(Trailhound::start(&config)))
            }
            Contender::Benthos(benthos) => Process::Child(benthos.start(bench, names, folder)),
            Contender::Streams(streams) => Process::Child(streams.start(bench, names, folder)),
        })
    }

    /// Whether each finding comes once to a reader of what is committed, whatever happens.
    fn is_exactly_once(&self) -> bool {
        match self {
            Contender::Ours(_, delivery, _) => *delivery == Delivery::ExactlyOnce,
            Contender::Streams(streams) => streams.guarantee == peers::EXACTLY_ONCE,
            Contender::Bare | Contender::Benthos(_) => false,
        }
    }
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Process::Child(child) => child.pid(),
            Process::Ours(program) => program.pid(),
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        match self {
            Process::Child(child) => child.exit_code().is_some(),
            Process::Ours(program) => program.has_ended(),
        }
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        match self {
            Process::Child(child) => [tail(&child.stdout()), tail(&child.stderr())].join("\n"),
            Process::Ours(program) => tail(&program.stderr()),
        }
    }

    fn stop(&mut self) -> Result<()> {
        match self {
            Process::Child(child) => {
                child.signal("TERM");
                child.wait(harness::trailhound::STOP);
            }
            Process::Ours(program) => {
                let summary = program.stop();
                ensure!(summary.balanced(), "not balanced: {summary:?}");
            }
        }
        Ok(())
    }
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) name: &'static str,
    round: usize,
    pub(crate) per_second: f64,
    /// Over its best five seconds.
    pub(crate) best_per_second: f64,
    /// Of its process, a million records.
    pub(crate) cpu_seconds: f64,
    /// The most that was resident.
    pub(crate) memory_mib: f64,
}

impl Run {
    pub(crate) fn describe(&self) -> String {
        let Run { name, per_second, best_per_second, cpu_seconds, memory_mib, .. } = self;
        format!(
            "{name}: {per_second:.0} records/s ({best_per_second:.0} in its best 5 s), {cpu_seconds:.2} CPU s a million, \
             {memory_mib:.0} MiB"
        )
    }
}

/// Runs a contender over the whole topic.
pub(crate) fn run(bench: &Bench<'_>, contender: &Contender, round: usize) -> Result<Run> {
    let plain: String = contender.name().chars().filter(char::is_ascii_alphanumeric).collect();
    let name = format!("{plain}.{round}");
    let names = Names { findings: format!("{name}.findings"), dead: format!("{name}.dead"), group: name };
    let client = bench.kafka.client();
    client.create_topic(&names.findings, 1, &[]);
    client.create_topic(&names.dead, 1, &[]);
    let folder = Folder::new("bench");
    let mut process = contender.start(bench, &names, &folder)?;
    let progress = if matches!(contender, Contender::Bare) {
        progress::watch(&mut process, bench.topic.records, || bare::said(folder.path()))?
    } else {
        let committed = Committed::new(&bench.kafka.bootstrap(), &names.group, bench.topic)?;
        progress::watch(&mut process, bench.topic.records, || committed.records())?
    };
    let memory_mib = progress::memory_mib(process.pid(), "VmHWM").unwrap_or(f64::NAN);
    process.stop()?;
    if !matches!(contender, Contender::Bare) {
        let (found, expected) = (client.read_all(&names.findings).len() as u64, bench.topic.findings);
        ensure!(found >= expected, "{found} findings of {expected}");
        ensure!(
            found == expected || !contender.is_exactly_once(),
            "{found} findings, where {expected} were to come once"
        );
        ensure!(client.read_all(&names.dead).is_empty(), "there are dead letters");
    }
    Ok(Run {
        name: contender.name(),
        round,
        per_second: progress.per_second(),
        best_per_second: progress.best(),
        cpu_seconds: progress.cpu_seconds(),
        memory_mib,
    })
}

/// Runs a command to its end, and shows what it says only where it fails.
pub(crate) fn succeeds(command: &mut std::process::Command, folder: &Path) -> Result<()> {
    let output = command.current_dir(folder).stdin(std::process::Stdio::null()).output()?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&said));
    Ok(())
}
