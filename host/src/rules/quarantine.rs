//! Quarantine: a module that fails again and again is set aside for a while, so that it costs its own findings and not
//! the time of all others. Each worker decides for itself, since each has an instance of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::instance::Fault;
use super::limits::RuleLimits;
use super::module::Module;

/// The reason under which events become dead letters that a module did not see because it was set aside.
pub(super) const QUARANTINED: &str = "module_quarantined";

/// How one worker stands with one module.
#[derive(Debug)]
pub(super) struct Quarantine {
    module: Arc<Module>,
    /// Events that failed without one that succeeded in between.
    in_row: u32,
    aside: Option<Aside>,
    /// How long it is set aside next time.
    pause: Duration,
}

/// A module is set aside, or on trial once the time is over.
#[derive(Debug)]
struct Aside {
    until: Instant,
    why: String,
}

impl Quarantine {
    pub(super) fn new(module: &Arc<Module>) -> Quarantine {
        Quarantine { module: Arc::clone(module), in_row: 0, aside: None, pause: Duration::ZERO }
    }

    /// Why the module gets no events at `now`; None when it does.
    pub(super) fn why(&self, now: Instant) -> Option<&str> {
        self.aside.as_ref().filter(|aside| now < aside.until).map(|aside| aside.why.as_str())
    }

    /// Whether it was set aside and has not shown yet that it works again.
    pub(super) fn on_trial(&self) -> bool {
        self.aside.is_some()
    }

    /// Notes that an event was evaluated: the module works.
    pub(super) fn succeeded(&mut self) {
        self.in_row = 0;
        if self.aside.take().is_some() {
            self.pause = Duration::ZERO;
            self.module.aside.fetch_sub(1, Ordering::Relaxed);
            tracing::info!(module = self.module.name, digest = self.module.digest, "rule: out of quarantine, it works");
        }
    }

    /// Notes that an event failed. Once `failures_in_row_max` have, or one on trial, the module is set aside, for twice
    /// as long each time.
    pub(super) fn failed(&mut self, fault: &Fault, limits: &RuleLimits, now: Instant) {
        self.in_row = self.in_row.saturating_add(1);
        if self.in_row < limits.failures_in_row_max && self.aside.is_none() {
            return;
        }
        let [least, most] = [limits.quarantine_ms_min, limits.quarantine_ms_max].map(Duration::from_millis);
        self.pause = (self.pause * 2).clamp(least, most.max(least));
        if self.aside.is_none() {
            self.module.aside.fetch_add(1, Ordering::Relaxed);
        }
        let (failures, pause_ms) = (self.in_row, u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX));
        let why =
            format!("set aside for {pause_ms} ms after {failures} failures in a row, the last: the module {fault}");
        let (module, digest) = (&self.module.name, &self.module.digest);
        tracing::error!(module, digest, failures, pause_ms, "rule: quarantined: the module {fault}");
        self.aside = Some(Aside { until: now + self.pause, why });
    }
}

impl Drop for Quarantine {
    /// A module that is swapped away while it is set aside leaves no trace in the metrics.
    fn drop(&mut self) {
        if self.aside.is_some() {
            self.module.aside.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
