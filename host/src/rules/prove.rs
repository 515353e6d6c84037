//! A module proves itself: every example gives the answer it names, alone and all in one batch.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::call::Call;
use super::instance::Instance;
use super::limits::RuleLimits;
use super::module::Module;
use super::refusal::Refusal;
use super::select::{Candidate, Index};
use crate::record::{Entry, Reader, Record};

/// What one example asked for, and what came.
#[derive(Clone, Debug, Serialize)]
pub struct ExampleOutcome {
    /// The rule's id.
    pub rule: String,
    /// The example's name.
    pub example: String,
    /// Whether the rule must fire.
    pub expected: bool,
    /// Whether it fired when the example was evaluated alone, or why there is no answer.
    pub alone: Result<bool, String>,
    /// Whether it fired when all of the module's examples were evaluated in one batch, or why there is no answer.
    pub in_batch: Result<bool, String>,
}

impl ExampleOutcome {
    /// Whether both answers are the expected one.
    pub fn agrees(&self) -> bool {
        self.alone == Ok(self.expected) && self.in_batch == Ok(self.expected)
    }
}

impl std::fmt::Display for ExampleOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        fn word(fires: bool) -> &'static str {
            if fires { "fires" } else { "stays quiet" }
        }
        write!(f, "{} `{}`: expected that it {}", self.rule, self.example, word(self.expected))?;
        for (how, came) in [("alone", &self.alone), ("in a batch", &self.in_batch)] {
            match came {
                Ok(fires) if *fires == self.expected => {}
                Ok(fires) => write!(f, ", but {how} it {}", word(*fires))?,
                Err(why) => write!(f, ", but {how}: {why}")?,
            }
        }
        Ok(())
    }
}

/// Runs every example of `module` through the reader, the selection, the projection and the module itself. An error
/// means that the module does not even start, or takes longer for all of them than `prove_ms_max`.
pub fn run(module: &Module, limits: &RuleLimits) -> Result<Vec<ExampleOutcome>, Refusal> {
    let mut index = Index::default();
    for (number, rule) in module.described.rules.iter().enumerate() {
        index.add(Candidate { module: 0, rule: number as u32 }, rule);
    }
    let start = Instant::now();
    let mut instance = Instance::ready(module, limits).map_err(Refusal::Start)?;
    let mut all = Call::default();
    let mut outcomes = Vec::new();
    let examples = module
        .described
        .rules
        .iter()
        .enumerate()
        .flat_map(|(number, rule)| rule.examples.iter().map(move |example| (number as u32, rule, example)));
    for (event, (number, rule, example)) in examples.enumerate() {
        if start.elapsed() > Duration::from_millis(limits.prove_ms_max) {
            return Err(Refusal::Slow { examples: event, prove_ms_max: limits.prove_ms_max });
        }
        let mut call = Call::default();
        let read = read_one(&example.record, |value| {
            let mut candidates = Vec::new();
            index.select(value, &mut candidates);
            if !candidates.is_empty() {
                let rules = || candidates.iter().map(|c| c.rule);
                call.push(&module.fields, value, rules(), 0);
                all.push(&module.fields, value, rules(), event as u32);
            }
        });
        let alone = match read {
            Ok(()) => fired(&call, &mut instance, module, limits).map(|hits| hits.contains(&(0, number))),
            Err(why) => Err(why),
        };
        outcomes.push((
            number,
            ExampleOutcome {
                rule: rule.id.clone(),
                example: example.name.clone(),
                expected: example.fires,
                in_batch: alone.as_ref().map(|_| false).map_err(Clone::clone),
                alone,
            },
        ));
    }
    let in_batch = fired(&all, &mut instance, module, limits);
    for (event, (number, outcome)) in outcomes.iter_mut().enumerate() {
        if outcome.in_batch.is_ok() {
            outcome.in_batch = in_batch.clone().map(|hits| hits.contains(&(event as u32, *number)));
        }
    }
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// The (event, rule) pairs that fired; events by the caller's numbers. A faulty instance is replaced.
fn fired(
    call: &Call,
    instance: &mut Instance,
    module: &Module,
    limits: &RuleLimits,
) -> Result<Vec<(u32, u32)>, String> {
    if call.is_empty() {
        return Ok(Vec::new());
    }
    match call.run(instance, limits) {
        Ok(hits) => Ok(hits.iter().map(|hit| (hit.event, hit.rule)).collect()),
        Err(fault) => {
            *instance = Instance::ready(module, limits).map_err(|fault| fault.to_string())?;
            Err(format!("the module {fault}"))
        }
    }
}

/// Reads an example as the pipeline would; it must be exactly one record.
fn read_one(example: &str, mut visit: impl FnMut(&Record<'_>)) -> Result<(), String> {
    let (mut records, mut other) = (0, None);
    Reader::default().unpack(Some(example.as_bytes()), None, &mut |entry| match entry {
        Entry::Record(record) => {
            records += 1;
            if records == 1 {
                visit(&record);
            }
        }
        // Only where some records are not wanted.
        Entry::Passed => {}
        Entry::Skipped(kind) => other = Some(format!("it is skipped as `{}`", kind.as_str())),
        Entry::Dead(dead) => other = Some(format!("it cannot be read: {}: {}", dead.reason.as_str(), dead.detail)),
    });
    match (records, other) {
        (_, Some(why)) => Err(format!("the example is not one record: {why}")),
        (1, None) => Ok(()),
        (records, None) => Err(format!("the example is not one record, but {records}")),
    }
}
