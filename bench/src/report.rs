//! The report: a table for people, and the same with every single figure as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::contender::Measured;
use crate::data::DataSet;
use crate::engine;
use crate::floor::FLOOR;
use crate::machine::Machine;
use crate::spread::Spread;
use crate::{remap, rsigma, sigma};

/// All that a run has to tell.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// Times that every contender was timed.
    pub(crate) rounds: usize,
    pub(crate) data_sets: Vec<Section>,
}

/// One data set.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    name: String,
    records: usize,
    record_bytes: usize,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
}

/// One contender.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    hits: Option<u64>,
    /// Processor time a record, in nanoseconds: median, least and most of the rounds.
    ns: Spread,
    /// To the floor, round by round.
    to_floor: Spread,
    /// Findings a second and core, where there are any.
    findings_per_second: Option<f64>,
    /// Time by the clock on the wall over processor time. Above 1 the machine had other work.
    wall_to_cpu: f64,
    /// The figure of each round.
    rounds_ns: Vec<f64>,
}

/// How one contender compares with another.
#[derive(Debug, Serialize)]
struct Ratio {
    of: &'static str,
    to: &'static str,
    ratio: Spread,
}

/// What is compared beside the floor: of which, to which.
const RATIOS: [(&str, &str); 12] = [
    (engine::MODULES_60, engine::ROOT),
    (engine::RULES_1000, engine::ROOT),
    (engine::RULES_1000_SPREAD, engine::ROOT),
    (rsigma::ROOT, engine::ROOT),
    (rsigma::ROOT_SONIC, engine::ROOT),
    (rsigma::RULES_60, engine::MODULES_60),
    (rsigma::RULES_1000, engine::RULES_1000),
    (sigma::OURS, engine::ROOT),
    (rsigma::SIGMA, sigma::OURS),
    (rsigma::SIGMA_SONIC, sigma::OURS),
    (remap::ROOT, engine::ROOT),
    (remap::ROOT_SONIC, engine::ROOT),
];

impl Section {
    /// Sums up what was measured over a data set.
    pub(crate) fn new(set: &DataSet, measured: Vec<Measured>) -> Section {
        let figures = |name: &str| measured.iter().find(|m| m.name == name).map(|m| m.cpu.as_slice());
        let ratio = |of: &[f64], to: &[f64]| Spread::of(of.iter().zip(to).map(|(of, to)| of / to));
        let floor = figures(FLOOR).unwrap_or_default();
        let row = |m: &Measured| {
            let ns = Spread::of(m.cpu.iter().copied());
            let share = m.hits.filter(|hits| *hits > 0).map(|hits| hits as f64 / set.len() as f64);
            Row {
                name: m.name,
                hits: m.hits,
                ns,
                to_floor: ratio(&m.cpu, floor),
                findings_per_second: share.map(|share| share * 1e9 / ns.median),
                wall_to_cpu: ratio(&m.wall, &m.cpu).median,
                rounds_ns: m.cpu.clone(),
            }
        };
        let compared =
            |(of, to): (&'static str, &'static str)| Some(Ratio { of, to, ratio: ratio(figures(of)?, figures(to)?) });
        Section {
            name: set.name.clone(),
            records: set.len(),
            record_bytes: set.record_bytes(),
            rows: measured.iter().map(row).collect(),
            ratios: RATIOS.into_iter().filter_map(compared).collect(),
        }
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{arguments}");
        };
        line(format_args!("\n{}: {} records of {} bytes", self.name, self.records, self.record_bytes));
        line(format_args!(
            "{:<50} {:>9} {:>15} {:>8} {:>8} {:>11} {:>6}",
            "ns of one core a record", "median", "min .. max", "÷ floor", "hits", "findings/s", "wall"
        ));
        for Row { name, hits, ns, to_floor, findings_per_second, wall_to_cpu, .. } in &self.rows {
            let range = format!("{:.0} .. {:.0}", ns.min, ns.max);
            let hits = hits.map_or_else(String::new, |hits| hits.to_string());
            let findings = findings_per_second.map_or_else(String::new, |findings| format!("{findings:.0}"));
            line(format_args!(
                "{name:<50} {:>9.0} {range:>15} {:>8.2} {hits:>8} {findings:>11} {wall_to_cpu:>6.2}",
                ns.median, to_floor.median
            ));
        }
        for Ratio { of, to, ratio } in &self.ratios {
            let Spread { median, min, max } = ratio;
            line(format_args!("{of} ÷ {to}: {median:.2} ({min:.2} .. {max:.2})"));
        }
        text
    }
}
