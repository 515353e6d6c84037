//! The report: a table for people, and the same with every single figure as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::contender::Run;
use crate::fill::Topic;
use crate::latency::Latency;
use crate::machine::Machine;
use crate::modules::Memory;
use crate::spread::Spread;
use crate::{bare, ours, peers};

/// All that a run has to tell.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    peers: Vec<String>,
    pub(crate) topic: Option<Topic>,
    runs: Vec<Run>,
    pub(crate) memory: Vec<Memory>,
    /// Seconds, start by start.
    pub(crate) start: Vec<f64>,
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

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{arguments}");
        };
        let figures = |name: &str, figure: Figure| {
            self.runs.iter().filter(|run| run.name == name).map(|run| figure.of(run)).collect::<Vec<f64>>()
        };
        if let Some(topic) = &self.topic {
            line(format_args!("\n{}", topic.describe()));
        }
        let mut names: Vec<&str> = Vec::new();
        self.runs.iter().map(|run| run.name).filter(|name| !names.contains(name)).collect::<Vec<_>>().iter().for_each(
            |name| {
                if !names.contains(name) {
                    names.push(name);
                }
            },
        );
        if !names.is_empty() {
            let head = ["records/s", "min .. max", "best 5 s", "CPU s/M", "MiB"];
            let [rate, range, best, cpu, memory] = head;
            line(format_args!("{:<42} {rate:>10} {range:>22} {best:>10} {cpu:>8} {memory:>6}", "pipeline"));
        }
        for name in names {
            let spread = |figure| Spread::of(figures(name, figure).into_iter());
            let Spread { median, min, max } = spread(Figure::PerSecond);
            let (best, cpu, memory) = (spread(Figure::Best), spread(Figure::Cpu), spread(Figure::Memory));
            let range = format!("{min:.0} .. {max:.0}");
            line(format_args!(
                "{name:<42} {median:>10.0} {range:>22} {:>10.0} {:>8.2} {:>6.0}",
                best.median, cpu.median, memory.median
            ));
        }
        for (of, to, figure) in RATIOS {
            let ratios = figures(of, figure).into_iter().zip(figures(to, figure)).map(|(of, to)| of / to);
            let Spread { median, min, max } = Spread::of(ratios);
            if median.is_finite() {
                line(format_args!("{of} ÷ {to}, {}: {median:.2} ({min:.2} .. {max:.2})", figure.words()));
            }
        }
        for Memory { workers, resident: Spread { median, max, .. }, most, per_second } in &self.memory {
            line(format_args!(
                "60 modules, {workers} worker(s), {per_second:.0} records/s: {median:.0} MiB resident, {max:.0} at most while \
                 records flow, {most:.0} at most since the start"
            ));
        }
        if let Some((first, later)) = self.start.split_first() {
            let Spread { median, min, max } = Spread::of(later.iter().copied());
            line(format_args!(
                "60 modules, from the start to the first records: {first:.2} s at first, then {median:.2} s ({min:.2} .. {max:.2})"
            ));
        }
        let mut rates: Vec<u64> = self.latency.iter().map(|latency| latency.rate).collect();
        rates.dedup();
        rates.sort_unstable();
        rates.dedup();
        for rate in rates {
            let of = |figure: fn(&Latency) -> f64| {
                Spread::of(self.latency.iter().filter(|latency| latency.rate == rate).map(figure))
            };
            let (p50, p99, produced) = (of(|one| one.p50_ms), of(|one| one.p99_ms), of(|one| one.produced));
            line(format_args!(
                "append to finding at {rate} records/s ({:.0} produced): p50 {} ms ({} .. {}), p99 {} ms ({} .. {})",
                produced.median, p50.median, p50.min, p50.max, p99.median, p99.min, p99.max
            ));
        }
        text
    }
}
