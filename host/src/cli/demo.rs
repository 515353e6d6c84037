//! `trailhound demo`: the whole way, from records to findings, with nothing to set up.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use super::{Failure, scan};
use crate::demo::{self, Look, Offered, RECORDS_MAX, RECORDS_MIN, Settings};
use crate::rules::{Engine, module_files};

/// Within which time the traffic is sent: slow enough to be read, and short of boring.
const PACE: Duration = Duration::from_secs(12);

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many entries of traffic are sent
    #[arg(long, value_name = "N", default_value_t = 9_000, value_parser = records)]
    records: usize,
    /// The seed of the traffic: the same seed makes the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// A module, or a folder of modules; may be given several times [default: the folder `rules` here, or beside the
    /// program's own folder]
    #[arg(long, value_name = "FILE|DIR")]
    rules: Vec<PathBuf>,
    /// What is logged to standard error: a level, or levels by target as in `info,librdkafka=debug`
    // The program's own option with another default, so that no log line disturbs the demo, which shows refused modules
    // itself. clap hands the value up.
    #[arg(long, value_name = "FILTER", default_value = "warn,librdkafka=error,trailhound::swap=off")]
    log: String,
}

fn records(text: &str) -> Result<usize, String> {
    let records: usize = text.parse().map_err(|error| format!("{error}"))?;
    let range = RECORDS_MIN..=RECORDS_MAX;
    if range.contains(&records) { Ok(records) } else { Err(format!("{RECORDS_MIN} to {RECORDS_MAX} are possible")) }
}

pub(super) fn demo(args: &Args) -> Result<(), Failure> {
    let engine = Engine::new().map_err(Failure::new)?;
    let modules = modules(&engine, &args.rules)?;
    let terminal = std::io::stdout().is_terminal();
    // https://no-color.org
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let look = Look { colour: terminal && !plain, progress: terminal };
    let settings = Settings { seed: args.seed, records: args.records, pace: PACE, look };
    match demo::run(&settings, &engine, modules, &mut std::io::stdout()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new("the demo's counters do not agree with its traffic; see above")),
        Err(error) => Err(Failure::new(error)),
    }
}

/// The modules that `--rules` names, or those of the default folder.
fn modules(engine: &Engine, named: &[PathBuf]) -> Result<Vec<Offered>, Failure> {
    let paths = scan::rule_paths(named);
    let mut modules = Vec::new();
    for path in &paths {
        let files = module_files(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        for file in files {
            modules.push(Offered::open(engine, &file).map_err(|refusal| {
                let (file, step, hint) = (file.display(), refusal.step(), refusal.hint());
                Failure::usage(format!("{file}: refused at step `{step}`: {refusal}\nhint: {hint}"))
            })?);
        }
    }
    if modules.is_empty() { Err(scan::no_module(&paths)) } else { Ok(modules) }
}
