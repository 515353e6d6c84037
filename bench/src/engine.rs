//! Our own: the detector that a worker of the product runs, over batches of a thousand records.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use trailhound::batch::{Batch, Origin};
use trailhound::detect::{DetectLimits, Detector};
use trailhound::rules::{self, Engine, Member, Module, RuleLimits, RuleSet};

use crate::contender::{Contender, Task};
use crate::data::DataSet;
use crate::framing::{self, Framing};

/// Records in a batch.
const BATCH: usize = 1_000;

/// The crate of the root rule.
const ROOT_FOLDER: &str = "rules/root_login";

/// The time that findings are stamped with.
const NOW_MS: i64 = 1_748_937_600_000;

/// Rows that ratios are made of.
pub(crate) const ROOT: &str = "Trailhound: root rule";
pub(crate) const MODULES_60: &str = "Trailhound: 60 modules of one rule";
pub(crate) const RULES_1000: &str = "Trailhound: 1,000 rules in 2 modules";
pub(crate) const RULES_1000_SPREAD: &str = "Trailhound: 1,000 rules in 51 modules";

/// The rule sets, made once for all data sets.
pub(crate) struct Sets {
    root: RuleSet,
    modules60: RuleSet,
    rules1000: RuleSet,
    rules1000_spread: RuleSet,
}

impl Sets {
    /// Builds the modules as `trailhound rule build` does, into `out`, and loads them.
    pub(crate) fn build(engine: &Engine, repository: &Path, out: &Path) -> Result<Sets> {
        let built =
            |folder: &str| -> Result<Vec<u8>> { Ok(std::fs::read(build(engine, &repository.join(folder), out)?)?) };
        let (root_login, table) = (built(ROOT_FOLDER)?, built("bench/module")?);
        let load = |name: &str, wasm: &[u8], settings: &str| load(engine, name, wasm, settings);
        let root = load("root_login", &root_login, "{}")?;
        // The root rule beside the first `rules` of the table, `each` in a module.
        let beside = |rules: usize, each: usize| -> Result<RuleSet> {
            let mut members = vec![root.clone()];
            for first in (0..rules).step_by(each) {
                let settings = format!("{{\"first\":{first},\"count\":{}}}", each.min(rules - first));
                members.push(load(&format!("table_{first}"), &table, &settings)?);
            }
            Ok(RuleSet::new(1, members)?)
        };
        Ok(Sets {
            modules60: beside(59, 1)?,
            rules1000: beside(999, 999)?,
            rules1000_spread: beside(999, 20)?,
            root: RuleSet::new(1, vec![root])?,
        })
    }

    /// The root rule over all framings, and larger sets over records as they come from Kafka.
    pub(crate) fn contenders<'a>(&'a self, set: &'a DataSet) -> Result<Vec<Contender<'a>>> {
        let framed = |framing| batches(set, framing);
        let mut all = vec![
            worker(ROOT, Task::Root, &self.root, set.len(), framed(Framing::Record)?),
            worker(MODULES_60, Task::Rules60, &self.modules60, set.len(), framed(Framing::Record)?),
            worker(RULES_1000, Task::Rules1000, &self.rules1000, set.len(), framed(Framing::Record)?),
            worker(RULES_1000_SPREAD, Task::Rules1000, &self.rules1000_spread, set.len(), framed(Framing::Record)?),
            self.filling(set),
        ];
        for (name, framing) in [
            ("Trailhound: root rule, NDJSON of 100", Framing::Ndjson),
            ("Trailhound: root rule, Records of 100", Framing::Records),
            ("Trailhound: root rule, gzip'd Records of 100", Framing::Gzip),
            ("Trailhound: root rule, CloudWatch in Firehose", Framing::CloudWatch),
        ] {
            all.push(worker(name, Task::Root, &self.root, set.len(), framed(framing)?));
        }
        Ok(all)
    }

    /// The root rule alone, over records as they come from Kafka.
    pub(crate) fn root<'a>(&'a self, set: &'a DataSet) -> Result<Contender<'a>> {
        root(&self.root, set)
    }

    /// The root rule with the copy into the batch, which in the product the Firehose source and files need.
    fn filling<'a>(&'a self, set: &'a DataSet) -> Contender<'a> {
        let mut detector = Detector::new(DetectLimits::default());
        let (mut batch, source) = (Batch::default(), Arc::from("cloudtrail"));
        Contender::new("Trailhound: root rule, batches filled too", Task::Root, move || {
            let (mut hits, mut evaluated) = (0, 0);
            let mut records = set.iter().peekable();
            while records.peek().is_some() {
                batch.clear();
                for record in records.by_ref().take(BATCH) {
                    batch.push(origin(&source, batch.len()), Some(record));
                }
                detect(&mut detector, &self.root, &batch, &mut hits, &mut evaluated)?;
            }
            ensure!(evaluated == set.len() as u64, "{evaluated} of {} records were evaluated", set.len());
            Ok(hits)
        })
    }
}

/// The engine that compiles modules.
pub(crate) fn new_engine() -> Result<Engine> {
    Engine::new().map_err(|error| anyhow!("{error:#}"))
}

/// Builds a module as `trailhound rule build` does, into `out`. Gives its file.
fn build(engine: &Engine, folder: &Path, out: &Path) -> Result<PathBuf> {
    Ok(rules::build(engine, folder, Some(out), &RuleLimits::default())?.file)
}

/// Builds a module that needs settings to be proved.
pub(crate) fn build_unproved(folder: &Path) -> Result<Vec<u8>> {
    let file = rules::build_unproved(folder)?;
    std::fs::read(&file).with_context(|| file.display().to_string())
}

/// Loads and proves a module.
pub(crate) fn load(engine: &Engine, name: &str, wasm: &[u8], settings: &str) -> Result<Member> {
    let loaded = Module::load(engine, name, wasm, settings, &RuleLimits::default());
    Ok(Arc::new(loaded.with_context(|| format!("{name} is refused"))?).into())
}

/// Builds the module of the root rule.
pub(crate) fn build_root(repository: &Path, out: &Path) -> Result<PathBuf> {
    build(&new_engine()?, &repository.join(ROOT_FOLDER), out)
}

/// The root rule alone, from a module that is built already.
pub(crate) fn load_root(file: &Path) -> Result<RuleSet> {
    let wasm = std::fs::read(file).with_context(|| file.display().to_string())?;
    Ok(RuleSet::new(1, vec![load(&new_engine()?, "root_login", &wasm, "{}")?])?)
}

/// A rule set with the root rule, over records as they come from Kafka.
pub(crate) fn root<'a>(rules: &'a RuleSet, set: &'a DataSet) -> Result<Contender<'a>> {
    records(ROOT, Task::Root, rules, set)
}

/// A rule set over records as they come from Kafka.
pub(crate) fn records<'a>(
    name: &'static str,
    task: Task,
    rules: &'a RuleSet,
    set: &'a DataSet,
) -> Result<Contender<'a>> {
    Ok(worker(name, task, rules, set.len(), batches(set, Framing::Record)?))
}

/// What a rule set finds: the record's number, from 1, and the rule.
pub(crate) fn findings(rules: &RuleSet, set: &DataSet) -> Result<Vec<(u64, String)>> {
    let (mut detector, mut batch, source) =
        (Detector::new(DetectLimits::default()), Batch::default(), Arc::from("all"));
    set.iter().for_each(|record| batch.push(origin(&source, batch.len() + 1), Some(record)));
    let mut all = Vec::new();
    let Ok(counts) = detector.detect::<Infallible>(rules, batch.iter(), NOW_MS, &mut |output| {
        let found =
            output.findings.iter().map(|found| (found.origin.offset.unsigned_abs(), found.finding.rule.clone()));
        all.extend(found);
        Ok(())
    });
    ensure!(counts.evaluated == set.len() as u64, "{} of {} records were evaluated", counts.evaluated, set.len());
    Ok(all)
}

/// A worker with batches that are there already.
fn worker<'a>(
    name: &'static str,
    task: Task,
    rules: &'a RuleSet,
    records: usize,
    batches: Vec<Batch>,
) -> Contender<'a> {
    let mut detector = Detector::new(DetectLimits::default());
    Contender::new(name, task, move || {
        let (mut hits, mut evaluated) = (0, 0);
        for batch in &batches {
            detect(&mut detector, rules, batch, &mut hits, &mut evaluated)?;
        }
        ensure!(evaluated == records as u64, "{evaluated} of {records} records were evaluated");
        Ok(hits)
    })
}

/// One turn of the product's loop without its source and its sink: the findings are rendered, counted and dropped.
fn detect(detector: &mut Detector, rules: &RuleSet, batch: &Batch, hits: &mut u64, evaluated: &mut u64) -> Result<()> {
    let mut dead = 0;
    let Ok(counts) = detector.detect::<Infallible>(rules, batch.iter(), NOW_MS, &mut |output| {
        std::hint::black_box(&output.findings);
        *hits += output.findings.len() as u64;
        dead += output.dead_letters.len();
        Ok(())
    });
    ensure!(dead == 0 && counts.balanced(), "{dead} dead letters: {counts:?}");
    *evaluated += counts.evaluated;
    Ok(())
}

fn batches(set: &DataSet, framing: Framing) -> Result<Vec<Batch>> {
    let messages = framing::messages(set, framing)?;
    let source = Arc::from("cloudtrail");
    // Messages of one data set hold the same number of records but for the last.
    let per_batch = BATCH / set.len().div_ceil(messages.len().max(1)).max(1);
    let batch = |messages: &[Vec<u8>]| {
        let mut batch = Batch::default();
        messages.iter().for_each(|message| batch.push(origin(&source, batch.len()), Some(message)));
        batch
    };
    Ok(messages.chunks(per_batch.max(1)).map(batch).collect())
}

fn origin(source: &Arc<str>, offset: usize) -> Origin {
    let offset = i64::try_from(offset).unwrap_or_default();
    Origin { source: Arc::clone(source), partition: 0, offset, appended_ms: Some(NOW_MS) }
}
