//! The proof of delivery: faults of one kind after the other while records keep arriving, and an audit of what came
//! out. `make chaos` runs every row of the table in full, `make test` each for a few rounds.
//!
//! | file            | subject                                                                |
//! |-----------------|------------------------------------------------------------------------|
//! | `rows.rs`       | the table: a row is a kind of fault, how often, and the function       |
//! | `scene.rs`      | what a row's function has to work with: topics, traffic, audit, time   |
//! | `workers.rs`, `brokers.rs`, `sinks.rs`, `rules.rs`, `failing.rs` | the functions         |
//! | `bad.rs`        | modules that must not go live                                          |
//! | `report.rs`     | the outcomes as a table and as JSON                                    |
//!
//! A new kind of fault is a function `fn(&mut Scene) -> Vec<Trailhound>` and a line in the table. It starts programs,
//! breaks something once a round, and gives back the programs that still run. All else is done here.

mod bad;
mod brokers;
mod failing;
mod report;
mod rows;
mod rules;
mod scene;
mod sinks;
mod workers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::kafka::Cluster;
use crate::say;
use crate::trailhound::Delivery;
use crate::verdict::Verdict;

pub use rows::{MODES, ROWS, Row};
pub use scene::Scene;

/// How much is done, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// Decides what happens when.
    pub seed: u64,
    /// Faults in the row.
    pub rounds: u32,
    /// Messages a second.
    pub per_second: u32,
}

/// What became of a row.
#[derive(Debug)]
pub struct Outcome {
    /// The row's name.
    pub row: &'static str,
    /// What the pipeline had promised.
    pub delivery: Delivery,
    /// Faults.
    pub rounds: u32,
    /// How long it took.
    pub took: Duration,
    /// What the audit says; or why there was none: what did not happen in time, a program that ended by itself.
    pub verdict: Result<Verdict, String>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Whether everything is as promised.
    pub fn is_good(&self) -> bool {
        let exact = |verdict: &Verdict| verdict.repeats.count == 0 && verdict.dead_repeats == 0;
        self.verdict
            .as_ref()
            .is_ok_and(|verdict| verdict.is_good() && (self.delivery == Delivery::AtLeastOnce || exact(verdict)))
    }

    /// Fails a test unless everything is as promised.
    #[track_caller]
    pub fn assert_good(&self) {
        match (&self.verdict, self.delivery) {
            (Err(why), _) => panic!("{}: {why}", self.row),
            (Ok(verdict), Delivery::AtLeastOnce) => verdict.assert_good(),
            (Ok(verdict), Delivery::ExactlyOnce) => verdict.assert_exact(),
        }
    }
}

/// Runs a row, and leaves the cluster in good health.
pub fn run(row: &Row, delivery: Delivery, cluster: &mut Cluster, measure: Measure) -> Outcome {
    cluster.heal();
    let started = Instant::now();
    let mut notes = Vec::new();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut scene = Scene::new(row.name, delivery, cluster, measure, &mut notes);
        let programs = (row.act)(&mut scene);
        scene.finish(programs)
    }));
    let verdict = result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    });
    let outcome = Outcome { row: row.name, delivery, rounds: measure.rounds, took: started.elapsed(), verdict, notes };
    say(&format!("{}", report::Line(&outcome)));
    outcome
}

/// `make chaos`. `CHAOS_SEED`, `CHAOS_SCALE` (a fraction of the faults), `CHAOS_RATE` (messages a second) and
/// `CHAOS_ONLY` (a row) change what is done. The report goes to `target/chaos/report.json`. The exit code is 1 when a
/// row fails.
pub fn main() -> std::process::ExitCode {
    let seed = variable("CHAOS_SEED").unwrap_or(1.0) as u64;
    let scale = variable("CHAOS_SCALE").unwrap_or(1.0);
    let per_second = variable("CHAOS_RATE").unwrap_or(f64::from(rows::PER_SECOND)) as u32;
    let only = std::env::var("CHAOS_ONLY").ok();
    let Some(mut cluster) = Cluster::start() else { return std::process::ExitCode::FAILURE };
    let mut outcomes = Vec::new();
    for row in ROWS.iter().filter(|row| only.as_ref().is_none_or(|only| row.name == only)) {
        for delivery in row.modes().filter(|delivery| MODES.contains(delivery)) {
            let rounds = ((f64::from(row.full) * scale).ceil() as u32).max(1);
            outcomes.push(run(row, delivery, &mut cluster, Measure { seed, rounds, per_second }));
        }
    }
    report::write(&outcomes, seed, scale, per_second);
    let good = !outcomes.is_empty() && outcomes.iter().all(Outcome::is_good);
    if good { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

/// A number from the environment.
fn variable(name: &str) -> Option<f64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
