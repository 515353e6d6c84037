//! Evaluation: a worker's instances of the live modules, the calls that are gathered for each, and what came of them.

use std::sync::Arc;
use std::time::Instant;

use sonic_rs::Value;

use super::call::Call;
use super::contract::Hit;
use super::instance::{Fault, Instance};
use super::limits::RuleLimits;
use super::module::Module;
use super::select::Candidate;
use super::set::RuleSet;

/// What came of an event and a module.
#[derive(Debug)]
pub enum Outcome {
    /// A rule fired.
    Hit {
        /// The module.
        module: Arc<Module>,
        /// The caller's number of the event.
        event: u32,
        /// The hit; its `rule` is a rule of the module.
        hit: Hit,
    },
    /// The module failed on the event, which it has therefore not seen.
    Failed {
        /// The module.
        module: Arc<Module>,
        /// The caller's number of the event.
        event: u32,
        /// The numbers of the rules that were selected for the event.
        rules: Vec<u32>,
        /// The dead letter's reason: [`Fault::reason`].
        reason: &'static str,
        /// What went wrong, for a person.
        detail: String,
    },
}

/// One worker's side of a rule set. Nothing here is shared: instances belong to the worker.
#[derive(Debug)]
pub struct Evaluator {
    limits: RuleLimits,
    generation: u64,
    slots: Vec<Slot>,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Slot {
    module: Arc<Module>,
    /// None until the first event, and after a fault until the next.
    instance: Option<Instance>,
    call: Call,
    nanos: u64,
}

impl Evaluator {
    /// An evaluator without modules; it takes them from the rule set at the first batch.
    pub fn new(limits: RuleLimits) -> Evaluator {
        Evaluator { limits, generation: 0, slots: Vec::new(), candidates: Vec::new() }
    }

    /// Takes `set` for the batch that begins. Instances of modules that stay are kept.
    pub fn begin(&mut self, set: &RuleSet) {
        if self.generation == set.generation {
            return;
        }
        self.generation = set.generation;
        let mut old = std::mem::take(&mut self.slots);
        let slot = |module: &Arc<Module>| match old.iter().position(|slot| Arc::ptr_eq(&slot.module, module)) {
            Some(at) => old.swap_remove(at),
            None => Slot { module: Arc::clone(module), instance: None, call: Call::default(), nanos: 0 },
        };
        self.slots = set.modules.iter().map(slot).collect();
    }

    /// Hands a record to the modules that may match it. `event` is called once at most, for the caller's number of
    /// the event, and only when some module may match. A module whose call is full is called now; what came of it is
    /// appended to `outcomes`.
    pub fn push(&mut self, set: &RuleSet, record: &Value, event: impl FnOnce() -> u32, outcomes: &mut Vec<Outcome>) {
        set.index.select(record, &mut self.candidates);
        let Some(first) = self.candidates.first() else { return };
        let (event, mut module) = (event(), first.module);
        let mut rest = self.candidates.as_slice();
        while !rest.is_empty() {
            let (same, others) = rest.split_at(rest.partition_point(|candidate| candidate.module <= module));
            if let Some(slot) = self.slots.get_mut(module as usize) {
                slot.call.push(&slot.module.fields, record, same.iter().map(|c| c.rule), event);
                if slot.call.is_full(&self.limits) {
                    slot.flush(&self.limits, outcomes);
                }
            }
            rest = others;
            module = rest.first().map_or(module, |candidate| candidate.module);
        }
    }

    /// Calls every module that has events waiting.
    pub fn flush(&mut self, outcomes: &mut Vec<Outcome>) {
        for slot in &mut self.slots {
            slot.flush(&self.limits, outcomes);
        }
    }

    /// The time spent in each module since the last call of this, in nanoseconds, by the module's name.
    pub fn take_nanos(&mut self) -> impl Iterator<Item = (&str, u64)> {
        self.slots.iter_mut().map(|slot| (slot.module.name.as_str(), std::mem::take(&mut slot.nanos)))
    }
}

impl Slot {
    fn flush(&mut self, limits: &RuleLimits, outcomes: &mut Vec<Outcome>) {
        if self.call.is_empty() {
            return;
        }
        let call = std::mem::take(&mut self.call);
        match self.run(&call, limits) {
            Ok(hits) => self.report(&call, hits, outcomes),
            Err(fault) if call.events().len() == 1 => self.fail(&call, 0, &fault, outcomes),
            Err(fault) => {
                tracing::warn!(module = self.module.name, events = call.events().len(), "rule: call lost: {fault}");
                self.one_by_one(&call, limits, outcomes);
            }
        }
        self.call = call;
        self.call.clear();
    }

    /// A rule is a function of one event, so what its neighbours in a call do must not decide about an event: after a
    /// fault each event is tried alone, and only those that fail alone are lost to the module. Once
    /// `retries_failed_max` have failed the rest is given up, so that a module which always runs out of time cannot
    /// hold up the batch for long.
    fn one_by_one(&mut self, call: &Call, limits: &RuleLimits, outcomes: &mut Vec<Outcome>) {
        let mut failed = 0;
        let mut last = None;
        for row in 0..call.events().len() {
            let alone = call.alone(row);
            let result = match last.take_if(|_| failed >= limits.retries_failed_max) {
                Some(fault) => Err(fault),
                None => self.run(&alone, limits),
            };
            match result {
                Ok(hits) => self.report(&alone, hits, outcomes),
                Err(fault) => {
                    self.fail(&alone, 0, &fault, outcomes);
                    failed += 1;
                    last = Some(fault);
                }
            }
        }
    }

    fn run(&mut self, call: &Call, limits: &RuleLimits) -> Result<Vec<Hit>, Fault> {
        let start = Instant::now();
        let result = match self.instance.take() {
            Some(instance) => Ok(instance),
            None => Instance::ready(&self.module, limits),
        }
        .and_then(|mut instance| {
            let hits = call.run(&mut instance, limits)?;
            self.instance = Some(instance);
            Ok(hits)
        });
        self.nanos += u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        result
    }

    fn report(&self, call: &Call, hits: Vec<Hit>, outcomes: &mut Vec<Outcome>) {
        for hit in hits {
            if let Some(event) = call.events().get(hit.event as usize) {
                outcomes.push(Outcome::Hit { module: Arc::clone(&self.module), event: *event, hit });
            }
        }
    }

    fn fail(&self, call: &Call, row: usize, fault: &Fault, outcomes: &mut Vec<Outcome>) {
        if let Some(event) = call.events().get(row) {
            outcomes.push(Outcome::Failed {
                module: Arc::clone(&self.module),
                event: *event,
                rules: call.rules_of(row).collect(),
                reason: fault.reason(),
                detail: fault.to_string(),
            });
        }
    }
}
