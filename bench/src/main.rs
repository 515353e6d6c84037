//! Trailhound side by side with the floor and with its peers, in one process: `make bench`.
//!
//! Everything is checked before anything is timed: contenders that look for the same must find the same. Then every
//! contender is timed in turn, round after round. `--rounds N` (7), `--records N` made-up ones (20000), `--only TEXT` for
//! those whose name has it, and the floor.
//!
//! `--guard` (`make bench-guard`) counts instructions instead, and `--guard-update` makes what it counts the figures.

#![forbid(unsafe_code)]

mod contender;
mod data;
mod engine;
mod floor;
mod framing;
mod guard;
mod machine;
mod parse;
mod random;
mod records;
mod remap;
mod report;
mod rsigma;
mod sigma;
mod spread;
#[path = "../module/src/table.rs"]
mod table;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use vrl::compiler::Program;

use crate::contender::{Contender, Measured, Task, check, measure};
use crate::data::DataSet;
use crate::framing::Framing;
use crate::machine::Machine;
use crate::report::{Report, Section};

/// The product's, for all contenders alike.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Packages whose version matters.
const PACKAGES: [&str; 7] = ["flate2", "rsigma-eval", "rsigma-parser", "serde_json", "sonic-rs", "vrl", "wasmtime"];

/// What the command line says.
struct Options {
    /// Times that every contender is timed; at least 5.
    rounds: usize,
    /// Made-up records in a data set.
    records: usize,
    /// What the names of contenders must have in them.
    only: String,
}

/// All that is compiled once.
struct Engines {
    ours: engine::Sets,
    sigma: Option<sigma::Sigma>,
    rsigma: rsigma::Engines,
    vrl: Program,
}

fn main() -> Result<()> {
    let target = repository().join("target/bench");
    std::fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--guard"] => return print(&guard::run(&repository(), &target, false)?),
        ["--guard-update"] => return print(&guard::run(&repository(), &target, true)?),
        ["--counted", case] => return guard::counted(&target, case),
        _ => {}
    }
    let options = options()?;
    let machine = Machine::new(&repository(), &PACKAGES);
    let engine = engine::new_engine()?;
    let engines = Engines {
        ours: engine::Sets::build(&engine, &repository(), &target.join("rules"))?,
        sigma: sigma::Sigma::build(&repository(), &engine)?,
        rsigma: rsigma::Engines::new(data::folder("sigma/rules").as_deref())?,
        vrl: remap::program()?,
    };
    let mut report = Report { machine, rounds: options.rounds, data_sets: Vec::new() };
    print(&report.machine.describe())?;

    let mut all = vec![DataSet::made_up("made up, 1 of 1,000 fires", options.records, 1_000)];
    if let Some(file) = data::folder("records/sans504.ndjson.gz") {
        let mut set = DataSet::file("sans504", &file)?;
        if let Some(expected) = data::folder("sigma/expected.tsv") {
            set.known.insert(Task::Sigma, rsigma::expected(&expected, "sans504")?);
        }
        all.push(set);
    }
    for set in &all {
        show(&mut report, set, everything(set, &engines, &options)?)?;
    }
    for (name, root_every) in [("none fires", 0), ("1 % fires", 100), ("100 % fires", 1)] {
        let set = DataSet::made_up(&format!("made up, {name}"), options.records, root_every);
        let floors = floor::contenders(&set, &[]).into_iter().filter(|contender| contender.name == floor::FLOOR);
        let contenders = floors.chain([engines.ours.root(&set)?]).collect();
        show(&mut report, &set, timed(&set, contenders, options.rounds)?)?;
    }

    let file = target.join("report.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&report)?).with_context(|| file.display().to_string())?;
    print(&format!("\nevery figure: {}\n", file.display()))
}

/// All contenders over a data set.
fn everything(set: &DataSet, engines: &Engines, options: &Options) -> Result<Vec<Measured>> {
    let gzipped = framing::messages(set, Framing::Gzip)?;
    let mut contenders = floor::contenders(set, &gzipped);
    contenders.extend(engines.ours.contenders(set)?);
    if let Some(sigma) = &engines.sigma {
        contenders.push(sigma.contender(set)?);
    }
    contenders.extend(engines.rsigma.contenders(set));
    contenders.extend(remap::contenders(set, &engines.vrl));
    contenders.retain(|contender| contender.name == floor::FLOOR || contender.name.contains(&options.only));
    timed(set, contenders, options.rounds)
}

fn timed(set: &DataSet, mut contenders: Vec<Contender<'_>>, rounds: usize) -> Result<Vec<Measured>> {
    check(&mut contenders, &set.known).with_context(|| set.name.clone())?;
    measure(&mut contenders, set.len(), rounds)
}

fn show(report: &mut Report, set: &DataSet, measured: Vec<Measured>) -> Result<()> {
    let section = Section::new(set, measured);
    print(&section.table())?;
    report.data_sets.push(section);
    Ok(())
}

fn options() -> Result<Options> {
    let mut options = Options { rounds: 7, records: 20_000, only: String::new() };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--rounds" => options.rounds = value.parse().context("--rounds")?,
            [name, value] if name == "--records" => options.records = value.parse().context("--records")?,
            [name, value] if name == "--only" => options.only.clone_from(value),
            other => bail!("{other:?}: not known; there are --rounds N, --records N and --only TEXT"),
        }
    }
    ensure!(options.rounds >= 5, "fewer than 5 rounds say nothing");
    ensure!(options.records >= 1_000, "fewer than 1,000 records say nothing");
    Ok(options)
}

/// The repository's root.
fn repository() -> PathBuf {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().unwrap_or(bench).to_owned()
}

fn print(text: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
