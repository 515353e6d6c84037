//! The Sigma rules of the data folder as modules of ours, beside RSigma with the same rules.
//!
//! Nothing of the rules is in this repository: `rules.rs` makes a table of their files when the benchmark runs, and the
//! module of `bench/sigma` interprets it. Before anything is timed, its hits are held against a list that three other
//! evaluators made, hit by hit, over every file of records.

mod pattern;
mod rules;
mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rsigma_parser::parse_sigma_directory;
use trailhound::rules::{Engine, RuleSet};

use crate::contender::{Contender, Task};
use crate::data::{self, DataSet};
use crate::engine;

#[path = "../../sigma/src/table.rs"]
mod table;

/// The row that ratios are made of.
pub(crate) const OURS: &str = "Trailhound: 57 Sigma rules";

/// The folder of the module's crate.
const MODULE: &str = "bench/sigma";

/// A hit: the record's number in its file, from 1, and the rule's id.
type Hit = (u64, String);

/// The rules, loaded and checked.
pub(crate) struct Sigma {
    rules: RuleSet,
}

impl Sigma {
    /// Makes modules of the rules. None where the data folder is not at hand.
    pub(crate) fn build(repository: &Path, engine: &Engine) -> Result<Option<Sigma>> {
        let (Some(folder), Some(expected)) = (data::folder("sigma/rules"), data::folder("sigma/expected.tsv")) else {
            return Ok(None);
        };
        let parsed = parse_sigma_directory(&folder).with_context(|| folder.display().to_string())?;
        ensure!(parsed.errors.is_empty(), "Sigma rules are refused: {}", parsed.errors.join("; "));
        let wasm = engine::build_unproved(&repository.join(MODULE))?;
        let tables = rules::tables(&parsed.rules)?;
        let mut members = Vec::new();
        for (number, table) in tables.iter().enumerate() {
            let settings = serde_json::to_string(table)?;
            members.push(engine::load(engine, &format!("sigma_{number}"), &wasm, &settings)?);
        }
        let sigma = Sigma { rules: RuleSet::new(1, members)? };
        sigma.check(&expected)?;
        Ok(Some(sigma))
    }

    /// The rules over a data set.
    pub(crate) fn contender<'a>(&'a self, set: &'a DataSet) -> Result<Contender<'a>> {
        engine::records(OURS, Task::Sigma, &self.rules, set)
    }

    /// Holds the hits over every file that the list knows against the list.
    fn check(&self, list: &Path) -> Result<()> {
        for (source, expected) in expected(list)? {
            let Some(file) = data::folder(&format!("records/{source}.ndjson.gz")) else { continue };
            let set = DataSet::file(&source, &file)?;
            let found: BTreeSet<Hit> = engine::findings(&self.rules, &set)?.into_iter().collect();
            let difference = |name: &str, one: &BTreeSet<Hit>, other: &BTreeSet<Hit>| {
                let only: Vec<String> = one.difference(other).map(|(line, rule)| format!("{line} {rule}")).collect();
                format!("{} only {name}, such as {:?}", only.len(), only.first())
            };
            ensure!(
                found == expected,
                "the Sigma rules' hits on {source} are not those of {}: {}; {}",
                list.display(),
                difference("here", &found, &expected),
                difference("there", &expected, &found)
            );
        }
        Ok(())
    }
}

/// The list of hits by source: source, line, rule, title, and the evaluators that find it; those that RSigma finds.
fn expected(list: &Path) -> Result<BTreeMap<String, BTreeSet<Hit>>> {
    let text = std::fs::read_to_string(list).with_context(|| list.display().to_string())?;
    let mut hits: BTreeMap<String, BTreeSet<Hit>> = BTreeMap::new();
    for row in text.lines().skip(1) {
        let [source, line, rule, _, evaluators] = row.split('\t').collect::<Vec<_>>()[..] else { continue };
        if evaluators.split(',').any(|evaluator| evaluator == "rsigma") {
            hits.entry(source.to_owned()).or_default().insert((line.parse()?, rule.to_owned()));
        }
    }
    ensure!(!hits.is_empty(), "{} has no hit", list.display());
    Ok(hits)
}
