//! RSigma: its evaluator in this process, with the same rules in Sigma.
//!
//! Why it is fair: rules are compiled once; a record is parsed once, into the tree that the evaluator borrows without a
//! copy (`JsonEvent::borrow`), either by serde_json, which RSigma's own program uses, or by the faster sonic-rs; the
//! evaluator's defaults are what its documentation recommends for so few rules (no bloom filter, no detail of matches,
//! no copy of the event in a match). Conditions compare to the letter (`cased`), as ours do. It makes matches, where we
//! render whole findings.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rsigma_eval::Engine;
use rsigma_eval::event::JsonEvent;
use rsigma_parser::{SigmaCollection, parse_sigma_directory, parse_sigma_yaml};
use serde_json::Value;

use crate::contender::{Contender, Task};
use crate::data::DataSet;
use crate::parse::{Parse, serde, sonic};
use crate::table;

/// Rows that ratios are made of.
pub(crate) const ROOT: &str = "RSigma: root rule";
pub(crate) const ROOT_SONIC: &str = "RSigma: root rule, parsed by sonic-rs";
pub(crate) const RULES_60: &str = "RSigma: 60 rules, parsed by sonic-rs";
pub(crate) const SIGMA: &str = "RSigma: 57 Sigma rules";
pub(crate) const SIGMA_SONIC: &str = "RSigma: 57 Sigma rules, parsed by sonic-rs";
pub(crate) const RULES_1000: &str = "RSigma: 1,000 rules, parsed by sonic-rs";

/// The module `root_login` in Sigma.
const ROOT_RULE: &str = "
title: AWS root user signed in to the console
logsource: {product: aws, service: cloudtrail}
detection:
  sign_in:
    eventName|cased: ConsoleLogin
    userIdentity.type|cased: Root
    responseElements.ConsoleLogin|cased: Success
  assumed:
    userIdentity.sessionContext.assumedRoot: 'true'
  condition: sign_in and not assumed
level: high
";

/// The engines, made once for all data sets.
pub(crate) struct Engines {
    root: Engine,
    rules60: Engine,
    rules1000: Engine,
    /// None where the rules are not at hand.
    sigma: Option<Engine>,
}

impl Engines {
    /// Compiles the rules. `sigma` is the folder of Sigma rules.
    pub(crate) fn new(sigma: Option<&Path>) -> Result<Engines> {
        let sigma = sigma.map(|folder| {
            let rules = parse_sigma_directory(folder).with_context(|| folder.display().to_string())?;
            engine(&rules)
        });
        Ok(Engines {
            root: engine(&parse_sigma_yaml(ROOT_RULE)?)?,
            rules60: engine(&parse_sigma_yaml(&with_the_table(59))?)?,
            rules1000: engine(&parse_sigma_yaml(&with_the_table(999))?)?,
            sigma: sigma.transpose()?,
        })
    }

    /// All that RSigma does over a data set.
    pub(crate) fn contenders<'a>(&'a self, set: &'a DataSet) -> Vec<Contender<'a>> {
        let mut all = vec![
            contender(ROOT, Task::Root, set, &self.root, serde),
            contender(ROOT_SONIC, Task::Root, set, &self.root, sonic),
            contender(RULES_60, Task::Rules60, set, &self.rules60, sonic),
            contender(RULES_1000, Task::Rules1000, set, &self.rules1000, sonic),
        ];
        if let Some(sigma) = &self.sigma {
            all.push(contender(SIGMA, Task::Sigma, set, sigma, serde));
            all.push(contender(SIGMA_SONIC, Task::Sigma, set, sigma, sonic));
        }
        all
    }
}

/// How many matches RSigma has over the records of `source`, by a table that was made beside the rules: source, line,
/// rule, title, and the evaluators that find it.
pub(crate) fn expected(table: &Path, source: &str) -> Result<u64> {
    let text = std::fs::read_to_string(table).with_context(|| table.display().to_string())?;
    let rows = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let ours = rows.filter(|row| {
        row.first() == Some(&source) && row.last().is_some_and(|engines| engines.split(',').any(|one| one == "rsigma"))
    });
    Ok(ours.count() as u64)
}

/// The root rule and the first rules of the table.
fn with_the_table(rules: usize) -> String {
    let mut text = ROOT_RULE.to_owned();
    for rule in 0..rules {
        let (name, user_type) = (table::event_name(rule), table::USER_TYPE);
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "---
title: {name} by an IAM user
name: {}
logsource: {{product: aws, service: cloudtrail}}
detection:
  call:
    eventName|cased: {name}
    userIdentity.type|cased: {user_type}
  condition: call
level: medium
",
            table::id(rule)
        );
    }
    text
}

fn engine(rules: &SigmaCollection) -> Result<Engine> {
    ensure!(rules.errors.is_empty(), "Sigma rules are refused: {}", rules.errors.join("; "));
    let mut engine = Engine::new();
    engine.add_collection(rules)?;
    Ok(engine)
}

fn contender<'a>(
    name: &'static str,
    task: Task,
    set: &'a DataSet,
    engine: &'a Engine,
    parse: Parse<Value>,
) -> Contender<'a> {
    Contender::new(name, task, move || {
        let mut hits = 0;
        for record in set.iter() {
            let value = parse(record)?;
            let matches = engine.evaluate(&JsonEvent::borrow(&value));
            hits += std::hint::black_box(matches).len() as u64;
        }
        Ok(hits)
    })
}
