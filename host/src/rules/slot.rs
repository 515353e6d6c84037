//! One module of a worker: its instance, the call that is gathered for it, and what comes of the call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::Call;
use super::evaluate::Outcome;
use super::hits::Hits;
use super::instance::{Fault, Instance};
use super::limits::RuleLimits;
use super::module::Module;
use super::quarantine::{QUARANTINED, Quarantine};
use super::set::{Member, Mode};
use crate::record::Record;

/// A worker's side of one module.
#[derive(Debug)]
pub(super) struct Slot {
    module: Arc<Module>,
    mode: Mode,
    /// None until the first event, and after a fault until the next.
    instance: Option<Instance>,
    call: Call,
    quarantine: Quarantine,
    nanos: u64,
    /// Whether no instance was made yet, and how long the first one took.
    is_new: bool,
    started: Duration,
}

impl Slot {
    /// A side that gathers in `call`, which is empty.
    pub(super) fn new(member: &Member, call: Call) -> Slot {
        Slot {
            module: Arc::clone(&member.module),
            mode: member.mode,
            instance: None,
            call,
            quarantine: Quarantine::new(&member.module),
            nanos: 0,
            is_new: true,
            started: Duration::ZERO,
        }
    }

    /// Lets the module go, and leaves its buffers.
    pub(super) fn leave(mut self) -> Call {
        if let Some(instance) = self.instance.take() {
            self.module.give_back(instance);
        }
        self.call
    }

    /// Where it stands in a set.
    pub(super) fn order(&self) -> (&String, Mode) {
        (&self.module.name, self.mode)
    }

    /// Whether it serves `member`, the same module and not only one of the same name.
    pub(super) fn is(&self, member: &Member) -> bool {
        Arc::ptr_eq(&self.module, &member.module) && self.mode == member.mode
    }

    /// Adds an event that `rules` (ascending) were selected for.
    pub(super) fn push(&mut self, record: &Record<'_>, rules: impl Iterator<Item = u32>, event: u32) {
        self.call.push(&self.module.fields, record, rules, event);
    }

    /// Forgets events that were gathered and are not wanted any more.
    pub(super) fn forget(&mut self) {
        self.call.clear();
    }

    pub(super) fn is_full(&self, limits: &RuleLimits) -> bool {
        self.call.is_full(limits)
    }

    /// The module's name, and the time spent in it since the last call of this, in nanoseconds.
    pub(super) fn take_nanos(&mut self) -> (&str, u64) {
        (self.module.name.as_str(), std::mem::take(&mut self.nanos))
    }

    /// How long the first instance took to make, told once.
    pub(super) fn take_started(&mut self) -> Duration {
        std::mem::take(&mut self.started)
    }

    /// Calls the module for the events that were gathered.
    /// `alive` is called between calls into the module.
    pub(super) fn flush(&mut self, limits: &RuleLimits, outcomes: &mut Vec<Outcome>, alive: &mut dyn FnMut()) {
        if self.call.is_empty() {
            return;
        }
        let call = std::mem::take(&mut self.call);
        if self.quarantine.on_trial() {
            // One failure is enough to be set aside again, so the events are tried alone.
            self.one_by_one(&call, None, limits, outcomes, alive);
        } else {
            match self.run(&call, limits) {
                Ok(hits) => self.report(hits, outcomes),
                Err(fault) if call.events().len() == 1 => self.fail(&call, &fault, limits, outcomes),
                Err(fault) => {
                    tracing::warn!(module = self.module.name, events = call.events().len(), "rule: call lost: {fault}");
                    self.one_by_one(&call, Some(fault), limits, outcomes, alive);
                }
            }
        }
        self.call = call;
        self.call.clear();
        alive();
    }

    /// A rule is a function of one event, so what its neighbours in a call do must not decide about an event: after a
    /// fault each event is tried alone, and only those that fail alone are lost to the module. The rest is given up once
    /// `retries_failed_max` have failed, or the time of as many calls is over, so that a module which is always slow
    /// cannot hold up the batch for long; or when the module is set aside.
    fn one_by_one(
        &mut self,
        call: &Call,
        lost: Option<Fault>,
        limits: &RuleLimits,
        outcomes: &mut Vec<Outcome>,
        alive: &mut dyn FnMut(),
    ) {
        let start = Instant::now();
        let time_max = Duration::from_millis(limits.call_ms_max).saturating_mul(limits.retries_failed_max as u32 + 1);
        let mut failed = 0;
        let mut last = lost;
        for row in 0..call.events().len() {
            alive();
            let alone = call.alone(row);
            if let Some(why) = self.quarantine.why(Instant::now()) {
                outcomes.extend(self.failure(&alone, QUARANTINED, why.to_owned()));
                continue;
            }
            if let Some(fault) = &last
                && (failed >= limits.retries_failed_max || start.elapsed() > time_max)
            {
                outcomes.extend(self.failure(&alone, fault.reason(), fault.to_string()));
                continue;
            }
            match self.run(&alone, limits) {
                Ok(hits) => self.report(hits, outcomes),
                Err(fault) => {
                    self.fail(&alone, &fault, limits, outcomes);
                    failed += 1;
                    last = Some(fault);
                }
            }
        }
    }

    fn run(&mut self, call: &Call, limits: &RuleLimits) -> Result<Hits, Fault> {
        let start = Instant::now();
        let instance = match self.instance.take() {
            Some(instance) => Ok(instance),
            None => self.module.instance(limits),
        };
        if std::mem::take(&mut self.is_new) {
            self.started = start.elapsed();
        }
        let result = instance.and_then(|mut instance| {
            let hits = call.run(&mut instance, limits)?;
            self.instance = Some(instance);
            Ok(hits)
        });
        self.nanos += u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        result
    }

    fn report(&mut self, hits: Hits, outcomes: &mut Vec<Outcome>) {
        self.quarantine.succeeded();
        if !hits.is_empty() {
            outcomes.push(Outcome::Hits { module: Arc::clone(&self.module), mode: self.mode, hits });
        }
    }

    /// The one event of `call` failed.
    fn fail(&mut self, call: &Call, fault: &Fault, limits: &RuleLimits, outcomes: &mut Vec<Outcome>) {
        outcomes.extend(self.failure(call, fault.reason(), fault.to_string()));
        self.quarantine.failed(fault, limits, Instant::now());
    }

    /// What becomes of the one event of `call` that the module has not seen.
    fn failure(&self, call: &Call, reason: &'static str, detail: String) -> Option<Outcome> {
        Some(Outcome::Failed {
            module: Arc::clone(&self.module),
            mode: self.mode,
            event: *call.events().first()?,
            rules: call.rules_of(0).collect(),
            reason,
            detail,
        })
    }
}
