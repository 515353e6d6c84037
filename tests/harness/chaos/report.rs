//! Outcomes for a person and for a program.

use std::fmt;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{Outcome, ROWS};

/// An outcome in a line.
pub(super) struct Line<'a>(pub(super) &'a Outcome);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { row, delivery, rounds, took, verdict, .. } = self.0;
        let mark = if self.0.is_good() { "good" } else { "BAD" };
        write!(f, "{row:<17} {:<13} {mark:<4} {rounds:>6} {:>7.1}", delivery.name(), took.as_secs_f64())?;
        match verdict {
            Err(why) => write!(f, "  {}", why.lines().next().unwrap_or_default()),
            Ok(verdict) => {
                let [lost, wrong, ..] = verdict.faults().map(|(_, faults)| faults.count);
                write!(
                    f,
                    " {:>9} {:>8} {lost:>5} {wrong:>5} {:>7} {:>7} {:>7}",
                    verdict.messages, verdict.expected, verdict.repeats.count, verdict.dead_expected, verdict.refused
                )?;
                if !self.0.is_good() {
                    write!(f, "\n{verdict}")?;
                }
                Ok(())
            }
        }
    }
}

/// Prints the table, and writes `target/chaos/report.json`.
pub(super) fn write(outcomes: &[Outcome], seed: u64, scale: f64, per_second: u32) {
    let mut table = format!(
        "{:<17} {:<13} {:<4} {:>6} {:>7} {:>9} {:>8} {:>5} {:>5} {:>7} {:>7} {:>7}\n",
        "row", "delivery", "", "faults", "s", "messages", "findings", "lost", "wrong", "repeats", "dead", "refused"
    );
    for outcome in outcomes {
        table += &format!("{}\n", Line(outcome));
        outcome.notes.iter().for_each(|note| table += &format!("    {note}\n"));
    }
    let _told = std::io::stdout().write_all(table.as_bytes());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/chaos");
    std::fs::create_dir_all(&folder).expect("the build's folder");
    let rows: Vec<Value> = outcomes.iter().map(row).collect();
    let report = json!({"seed": seed, "scale": scale, "messages_per_second": per_second, "rows": rows});
    std::fs::write(folder.join("report.json"), format!("{report:#}\n")).expect("a report");
}

fn row(outcome: &Outcome) -> Value {
    let what = ROWS.iter().find(|row| row.name == outcome.row).map(|row| row.what);
    let mut value = json!({
        "row": outcome.row, "what": what, "delivery": outcome.delivery.name(), "faults": outcome.rounds,
        "seconds": outcome.took.as_secs_f64(), "good": outcome.is_good(), "notes": outcome.notes,
    });
    match &outcome.verdict {
        Ok(verdict) => value["audit"] = verdict.to_json(),
        Err(why) => value["failure"] = json!(why),
    }
    value
}
