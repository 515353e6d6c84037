//! `trailhound scan`: the engine over files and folders.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::progress::Progress;
use super::{Failure, refused};
use crate::counts::{Counts, total};
use crate::detect::DetectLimits;
use crate::metrics::Metrics;
use crate::pipeline::{self, Job, Pipeline};
use crate::rules::{Engine, RuleSet};
use crate::shutdown::Shutdown;
use crate::sink::{Delivery, FileSink, Sink, StdoutSink};
use crate::source::{BatchLimits, FileSource, Source};

/// Arguments of `scan`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A module, or a folder of modules; may be given several times [default: the folder `rules` here, or beside the
    /// program's own folder]
    #[arg(long, value_name = "FILE|DIR")]
    rules: Vec<PathBuf>,
    /// Where to write what cannot be read, one JSON object a line; it is only counted otherwise
    #[arg(long, value_name = "FILE")]
    dead_letters: Option<PathBuf>,
    /// Where to write the balance of all counters, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Files and folders with CloudTrail records in any framing, gzip'd or not; `-` is standard input
    #[arg(value_name = "PATH", default_value = "-")]
    paths: Vec<PathBuf>,
}

/// What a scan came to.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    counts: &'a Counts,
    /// Findings with an id of their own: duplicates of a record share one.
    distinct_findings: usize,
    /// Files that were read.
    files: usize,
    /// Files that could not be read.
    files_failed: usize,
}

pub(super) fn scan(args: &Args) -> Result<(), Failure> {
    let mut limits = DetectLimits::default();
    let engine = Engine::new().map_err(Failure::new)?;
    let rules = load_rules(&args.rules, &engine, &limits)?;
    // Before anything is read: a report that cannot be written would be noticed too late.
    let report = args.report.as_deref().map(create).transpose()?;
    let source = FileSource::new(&args.paths, limits.read.clone(), BatchLimits::default())
        .map_err(|error| Failure::usage(format!("{error}\nhint: name files, folders, or - for standard input")))?;
    let mut source = Source::File(Box::new(source));
    let dead_letters = match &args.dead_letters {
        Some(path) => Sink::File(FileSink::open(path).map_err(Failure::new)?),
        None => Sink::Discard,
    };
    let mut delivery = Delivery::new(Sink::Stdout(StdoutSink::counting()), Sink::Discard, dead_letters);
    // A scan has no hurry, and must give the same findings however fast it runs.
    limits.rules.failures_in_row_max = u32::MAX;
    let shared = Pipeline {
        job: Job::Detect { rules: Arc::new(ArcSwap::from_pointee(rules)), limits },
        metrics: Metrics::default().pipeline("scan"),
        shutdown: Arc::new(Shutdown::new(Duration::ZERO)),
    };
    let started = Instant::now();
    let mut progress = Progress::new();
    let counts = pipeline::run(&shared, &mut source, &mut delivery, |source, counts| {
        progress.show(|| so_far(source, counts, started));
    });
    progress.clear();
    let counts = counts.map_err(Failure::new)?;
    finish(&counts, &source, &delivery, report, started.elapsed())
}

fn finish(
    counts: &Counts,
    source: &Source,
    delivery: &Delivery,
    report: Option<(std::fs::File, &Path)>,
    elapsed: Duration,
) -> Result<(), Failure> {
    let Source::File(source) = source else { return Ok(()) };
    let distinct_findings = match &delivery.findings {
        Sink::Stdout(sink) => sink.distinct_len(),
        _ => 0,
    };
    let done = source.progress();
    let (files, files_failed) = (done.files_done, done.failed.len());
    if let Some((mut file, path)) = report {
        let report = Report { counts, distinct_findings, files, files_failed };
        serde_json::to_writer_pretty(&mut file, &report)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(|error| Failure::new(format!("--report {}: {error}", path.display())))?;
    }
    let _ = writeln!(
        std::io::stderr(),
        "{} received = {} evaluated + {} skipped + {} dead-lettered; {} findings ({distinct_findings} distinct), \
         {} failed, in {files} files, {:.1} MB, {:.1} s",
        counts.received,
        counts.evaluated,
        total(&counts.skipped),
        total(&counts.dead_lettered),
        total(&counts.findings),
        total(&counts.failed),
        done.bytes as f64 / 1e6,
        elapsed.as_secs_f64(),
    );
    match done.failed.first() {
        None => Ok(()),
        Some((path, error)) => Err(Failure::new(format!(
            "{files_failed} of {} files could not be read; the first: {}: {error}",
            done.files,
            path.display()
        ))),
    }
}

fn create(path: &Path) -> Result<(std::fs::File, &Path), Failure> {
    let file = std::fs::File::create(path);
    file.map(|file| (file, path)).map_err(|error| Failure::usage(format!("--report {}: {error}", path.display())))
}

/// The files and folders that `--rules` names, or the default folder.
pub(super) fn rule_paths(named: &[PathBuf]) -> Vec<PathBuf> {
    if !named.is_empty() {
        return named.to_vec();
    }
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("rules"));
    vec![match Path::new("rules") {
        here if std::fs::read_dir(here).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|e| e == "wasm")))
        }) =>
        {
            here.to_owned()
        }
        here => beside().unwrap_or_else(|| here.to_owned()),
    }]
}

/// Without a module there is nothing to detect, which is a mistake.
pub(super) fn no_module(paths: &[PathBuf]) -> Failure {
    let places: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let hint = "name a module or a folder of modules (*.wasm) with --rules";
    Failure::usage(format!("no module in {}\nhint: {hint}", places.join(", ")))
}

/// Loads and proves the modules that `--rules` names, or those of the default folder.
fn load_rules(named: &[PathBuf], engine: &Engine, limits: &DetectLimits) -> Result<RuleSet, Failure> {
    let paths = rule_paths(named);
    let all: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let set = RuleSet::load(engine, &all, &|_| "{}".to_owned(), &limits.rules).map_err(|all| refused(&all))?;
    if set.modules.is_empty() {
        return Err(no_module(&paths));
    }
    Ok(set)
}

/// How far it is, for a person.
fn so_far(source: &Source, counts: &Counts, started: Instant) -> String {
    let Source::File(source) = source else { return String::new() };
    let done = source.progress();
    let rate = counts.received as f64 / started.elapsed().as_secs_f64();
    format!(
        "{} of {} files, {:.0} MB, {} entries ({rate:.0}/s), {} findings",
        done.files_done,
        done.files,
        done.bytes as f64 / 1e6,
        counts.received,
        total(&counts.findings),
    )
}
