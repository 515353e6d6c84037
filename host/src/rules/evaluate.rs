//! Evaluation: a worker's instances of the live modules, the calls that are gathered for each, and what came of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::Call;
use super::engine::Engine;
use super::hits::Hits;
use super::limits::RuleLimits;
use super::module::Module;
use super::select::Candidate;
use super::set::{Mode, RuleSet};
use super::slot::Slot;
use crate::record::Record;

/// What came of events and a module.
#[derive(Debug)]
pub enum Outcome {
    /// Rules fired in one call.
    Hits {
        /// The module.
        module: Arc<Module>,
        /// Whether its findings count.
        mode: Mode,
        /// The hits. Their `event` is the caller's number, their `rule` a rule of the module.
        hits: Hits,
    },
    /// The module failed on the event, which it has therefore not seen.
    Failed {
        /// The module.
        module: Arc<Module>,
        /// Whether its findings count.
        mode: Mode,
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
    /// How long the last swap kept this worker from its records.
    swap: Option<Duration>,
}

impl Evaluator {
    /// An evaluator without modules; it takes them from the rule set at the first batch.
    pub fn new(limits: RuleLimits) -> Evaluator {
        Engine::ready_thread();
        Evaluator { limits, generation: 0, slots: Vec::new(), candidates: Vec::new(), swap: None }
    }

    /// Takes `set` for the batch that begins. Instances of modules that stay are kept.
    pub fn begin(&mut self, set: &RuleSet) {
        // A batch that was given up half way is begun anew.
        self.slots.iter_mut().for_each(Slot::forget);
        if self.generation == set.generation {
            return;
        }
        let start = Instant::now();
        // Both are ordered by name and mode, so one walk over both finds what stays.
        let mut old = std::mem::take(&mut self.slots).into_iter().peekable();
        for member in &set.modules {
            let order = (&member.module.name, member.mode);
            // The buffers of a version go to the next one: to free and to fill them again takes longer than all else.
            let mut call = Call::default();
            while let Some(slot) = old.next_if(|slot| slot.order() < order || slot.order() == order && !slot.is(member))
            {
                call = slot.leave();
            }
            self.slots.push(old.next_if(|slot| slot.is(member)).unwrap_or_else(|| Slot::new(member, call)));
        }
        old.for_each(|slot| drop(slot.leave()));
        if std::mem::replace(&mut self.generation, set.generation) > 0 {
            self.swap = Some(start.elapsed());
        }
    }

    /// Hands a record to the modules that may match it. `event` is called once at most, for the caller's number of
    /// the event, which is given back, and only when some module may match. A module whose call is full is called now; what came of it is
    /// appended to `outcomes`. `alive` is called between calls, each of which takes `call_ms_max` at most.
    pub fn push(
        &mut self,
        set: &RuleSet,
        record: &Record<'_>,
        event: impl FnOnce() -> u32,
        outcomes: &mut Vec<Outcome>,
        alive: &mut dyn FnMut(),
    ) -> Option<u32> {
        set.index.select(record, &mut self.candidates);
        let first = self.candidates.first()?;
        let (event, mut module) = (event(), first.module);
        let mut rest = self.candidates.as_slice();
        while !rest.is_empty() {
            let (same, others) = rest.split_at(rest.partition_point(|candidate| candidate.module <= module));
            if let Some(slot) = self.slots.get_mut(module as usize) {
                slot.push(record, same.iter().map(|c| c.rule), event);
                if slot.is_full(&self.limits) {
                    slot.flush(&self.limits, outcomes, alive);
                }
            }
            rest = others;
            module = rest.first().map_or(module, |candidate| candidate.module);
        }
        Some(event)
    }

    /// Calls every module that has events waiting; `alive` as for [`Evaluator::push`].
    pub fn flush(&mut self, outcomes: &mut Vec<Outcome>, alive: &mut dyn FnMut()) {
        for slot in &mut self.slots {
            slot.flush(&self.limits, outcomes, alive);
        }
    }

    /// The time spent in each module since the last call of this, in nanoseconds, by the module's name.
    pub fn take_nanos(&mut self) -> impl Iterator<Item = (&str, u64)> {
        self.slots.iter_mut().map(Slot::take_nanos)
    }

    /// How long the swap before this batch kept the worker from its records: taking the new set, and making the
    /// instances of modules that are new in it. None where there was no swap.
    pub fn take_swap(&mut self) -> Option<Duration> {
        let started: Duration = self.slots.iter_mut().map(Slot::take_started).sum();
        self.swap.take().map(|took| took + started)
    }
}
