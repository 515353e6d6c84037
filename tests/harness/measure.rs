//! What benchmarks share: processor time, the middle of several rounds, and where a report goes.

use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

/// What a process has spent of processor time (proc_pid_stat(5), in hundredths of a second).
pub fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // After the name, which may hold anything: utime and stime are the fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let ticks = rest.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// The value in the middle; of an even number of values the upper one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a table, and writes the figures to `target/bench/NAME.json`.
pub fn report(name: &str, table: &str, figures: &Value) {
    let _told = std::io::stdout().write_all(table.as_bytes());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder).expect("the build's folder");
    std::fs::write(folder.join(format!("{name}.json")), format!("{figures:#}\n")).expect("a report");
}
