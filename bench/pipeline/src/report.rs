//! The report: a table for people, and the same with every single figure as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::contender::Run;
use crate::fill::Topic;
use crate::latency::{self, Latency};
use crate::machine::Machine;
use crate::modules::{Memory, Start};
use crate::spread::Spread;
use crate::{bare, ours, peers};

/// All that a run has to tell.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    peers: Vec<String>,
    pub(crate) topic: Option<Topic>,
    runs: Vec<Run>,
    ratios: Vec<Ratio>,
    pub(crate) memory: Vec<Memory>,
    /// With 60 modules.
    pub(crate) start: Vec<Start>,
    pub(crate) latency: Vec<Latency>,
}

/// What is compared: the first's figure over the second's, round by round.
const RATIOS: [(&str, &str, Figure); 9] = [
    (ours::AT_LEAST_ONCE, bare::NAME, Figure::PerSecond),
    (ours::EXACTLY_ONCE, ours::AT_LEAST_ONCE, Figure::PerSecond),
    (ours::TWO_WORKERS, ours::AT_LEAST_ONCE, Figure::PerSecond),
    (ours::TWO_WORKERS, ours::AT_LEAST_ONCE, Figure::Cpu),
    (ours::AT_LEAST_ONCE, peers::BENTHOS, Figure::PerSecond),
    (ours::AT_LEAST_ONCE, peers::STREAMS, Figure::PerSecond),
    (ours::AT_LEAST_ONCE, peers::STREAMS, Figure::Best),
    (ours::EXACTLY_ONCE, peers::STREAMS_EXACTLY_ONCE, Figure::PerSecond),
    (ours::EXACTLY_ONCE, peers::STREAMS_EXACTLY_ONCE, Figure::Best),
];

/// How one contender compares with another.
#[derive(Debug, Serialize)]
struct Ratio {
    of: &'static str,
    to: &'static str,
    figure: &'static str,
    ratio: Spread,
}

/// A figure of a run.
#[derive(Clone, Copy)]
enum Figure {
    PerSecond,
    Best,
    Cpu,
    Memory,
}

impl Figure {
    fn of(self, run: &Run) -> f64 {
        match self {
            Figure::PerSecond => run.per_second,
            Figure::Best => run.best_per_second,
            Figure::Cpu => run.cpu_seconds,
            Figure::Memory => run.memory_mib,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Figure::PerSecond => "records a second",
            Figure::Best => "records a second, best 5 s",
            Figure::Cpu => "CPU seconds a million",
            Figure::Memory => "MiB",
        }
    }
}

impl Report {
    pub(crate) fn new(machine: Machine, peers: Vec<String>) -> Report {
        Report {
            machine,
            peers,
            topic: None,
            runs: Vec::new(),
            ratios: Vec::new(),
            memory: Vec::new(),
            start: Vec::new(),
            latency: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// On what it was measured.
    pub(crate) fn describe(&self) -> String {
        format!("{}{}\n", self.machine.describe(), self.peers.join(", "))
    }

    /// Compares what was measured.
    pub(crate) fn compare(&mut self) {
        let compared = |(of, to, figure): (&'static str, &'static str, Figure)| {
            let ratios = self.figures(of, figure).into_iter().zip(self.figures(to, figure)).map(|(of, to)| of / to);
            let ratio = Spread::of(ratios);
            ratio.median.is_finite().then(|| Ratio { of, to, figure: figure.words(), ratio })
        };
        self.ratios = RATIOS.into_iter().filter_map(compared).collect();
    }

    /// One figure of a contender, round by round.
    fn figures(&self, name: &str, figure: Figure) -> Vec<f64> {
        self.runs.iter().filter(|run| run.name == name).map(|run| figure.of(run)).collect()
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = self.pipelines(&mut text).and_then(|()| self.ours(&mut text));
        text
    }

    /// Whole pipelines, and how they compare.
    fn pipelines(&self, text: &mut String) -> std::fmt::Result {
        let Some(topic) = &self.topic else { return Ok(()) };
        writeln!(text, "\n{}", topic.describe())?;
        let head = ["records/s", "min .. max", "best 5 s", "CPU s/M", "MiB"];
        let [rate, range, best, cpu, memory] = head;
        writeln!(text, "{:<42} {rate:>10} {range:>22} {best:>10} {cpu:>8} {memory:>6}", "pipeline")?;
        let mut names: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !names.contains(&run.name) {
                names.push(run.name);
            }
        }
        for name in names {
            let spread = |figure| Spread::of(self.figures(name, figure).into_iter());
            let Spread { median, min, max } = spread(Figure::PerSecond);
            let [best, cpu, memory] = [Figure::Best, Figure::Cpu, Figure::Memory].map(|figure| spread(figure).median);
            let range = format!("{min:.0} .. {max:.0}");
            writeln!(text, "{name:<42} {median:>10.0} {range:>22} {best:>10.0} {cpu:>8.2} {memory:>6.0}")?;
        }
        for Ratio { of, to, figure, ratio: Spread { median, min, max } } in &self.ratios {
            writeln!(text, "{of} ÷ {to}, {figure}: {median:.2} ({min:.2} .. {max:.2})")?;
        }
        Ok(())
    }

    /// What only ours was asked.
    fn ours(&self, text: &mut String) -> std::fmt::Result {
        for Memory { workers, resident: Spread { median, max, .. }, most, per_second } in &self.memory {
            writeln!(
                text,
                "60 modules, {workers} worker(s), {per_second:.0} records/s: {median:.0} MiB resident, {max:.0} at most while \
                 records flow, {most:.0} at most since the start"
            )?;
        }
        for Start { modules, seconds } in &self.start {
            let Spread { median, min, max } = Spread::of(seconds.iter().copied());
            writeln!(
                text,
                "60 modules {modules}, from the start to the first records: {median:.2} s ({min:.2} .. {max:.2})"
            )?;
        }
        for rate in latency::RATES {
            let held: Vec<&Latency> = self.latency.iter().filter(|latency| latency.rate == rate).collect();
            let of = |figure: fn(&Latency) -> f64| Spread::of(held.iter().map(|latency| figure(latency)));
            let (p50, p99, produced) = (of(|one| one.p50_ms), of(|one| one.p99_ms), of(|one| one.produced));
            if !held.is_empty() {
                writeln!(
                    text,
                    "append to finding at {rate} records/s ({:.0} produced): p50 {} ms ({} .. {}), p99 {} ms ({} .. {})",
                    produced.median, p50.median, p50.min, p50.max, p99.median, p99.min, p99.max
                )?;
            }
        }
        Ok(())
    }
}
