//! The balance: every entry that was received is accounted for, by what became of it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dead_letters::SINK_REFUSED;
use crate::record::{DeadReason, SkipKind};

/// The kind of what is skipped because a pipeline's filter does not want it.
pub const FILTERED: &str = "filtered";

/// Counters of a batch, a worker or a run. Invariant: `received = evaluated + forwarded + skipped + dead_lettered`. To a
/// pipeline that detects an entry is what a message unpacks into (one record, one skipped thing, one piece that cannot be
/// read), and none is forwarded. An entry on which a module failed was evaluated; what it cost that module is counted
/// apart, in `failed`. To a pipeline that carries, a message is an entry, and none is evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Entries received.
    pub received: u64,
    /// Records that were handed to the rules (most are selected by none).
    pub evaluated: u64,
    /// Messages that the target of a pipeline that carries has acknowledged.
    #[serde(skip_serializing_if = "is_zero")]
    pub forwarded: u64,
    /// Entries that are no CloudTrail records, and messages that are not to be carried, by kind.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Entries that could not be read, and messages that the target refused for good, by reason.
    pub dead_lettered: BTreeMap<&'static str, u64>,
    /// Events that a module failed on, by module. Each is a dead letter of that module too.
    pub failed: BTreeMap<String, u64>,
    /// Findings, by rule id.
    pub findings: BTreeMap<String, u64>,
    /// Findings of modules in shadow, by rule id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shadow_findings: BTreeMap<String, u64>,
    /// Events that a module in shadow failed on, by module. They are no dead letters: nothing is lost.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shadow_failed: BTreeMap<String, u64>,
    /// Findings that the sink refused for good, by rule id. Each is a dead letter.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
    /// How long a swap of the rule set kept the worker from its records, if there was one before this batch.
    #[serde(skip)]
    pub swap: Option<std::time::Duration>,
    /// Time spent in modules, in nanoseconds, by module.
    #[serde(skip)]
    pub module_nanos: BTreeMap<String, u64>,
}

impl Counts {
    /// Counts one entry that was skipped.
    pub fn skip(&mut self, kind: SkipKind) {
        self.received += 1;
        *self.skipped.entry(kind.as_str()).or_default() += 1;
    }

    /// Counts one entry that could not be read.
    pub fn dead(&mut self, reason: DeadReason) {
        self.received += 1;
        *self.dead_lettered.entry(reason.as_str()).or_default() += 1;
    }

    /// Counts one message that a pipeline's filter does not want.
    pub fn filter(&mut self) {
        self.received += 1;
        *self.skipped.entry(FILTERED).or_default() += 1;
    }

    /// Counts one message that its target refused for good.
    pub fn refuse(&mut self) {
        self.received += 1;
        *self.dead_lettered.entry(SINK_REFUSED).or_default() += 1;
    }

    /// Counts messages that their target has acknowledged.
    pub fn forward(&mut self, messages: u64) {
        self.received += messages;
        self.forwarded += messages;
    }

    /// Counts one record that was evaluated.
    pub fn evaluate(&mut self) {
        self.received += 1;
        self.evaluated += 1;
    }

    /// Adds another's counters to these.
    pub fn add(&mut self, other: &Counts) {
        self.received += other.received;
        self.evaluated += other.evaluated;
        self.forwarded += other.forwarded;
        add_all(&mut self.skipped, &other.skipped);
        add_all(&mut self.dead_lettered, &other.dead_lettered);
        add_all(&mut self.failed, &other.failed);
        add_all(&mut self.findings, &other.findings);
        add_all(&mut self.shadow_findings, &other.shadow_findings);
        add_all(&mut self.shadow_failed, &other.shadow_failed);
        add_all(&mut self.refused, &other.refused);
        add_all(&mut self.module_nanos, &other.module_nanos);
    }

    /// Whether every entry is accounted for.
    pub fn balanced(&self) -> bool {
        self.received == self.evaluated + self.forwarded + total(&self.skipped) + total(&self.dead_lettered)
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The sum of a map's counters.
pub fn total<K>(map: &BTreeMap<K, u64>) -> u64 {
    map.values().sum()
}

/// Adds `by` to the counter of `key`; allocates only when the key is new.
pub fn bump(map: &mut BTreeMap<String, u64>, key: &str, by: u64) {
    match map.get_mut(key) {
        Some(count) => *count += by,
        None => {
            map.insert(key.to_owned(), by);
        }
    }
}

fn add_all<K: Ord + Clone>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, count) in from {
        *into.entry(key.clone()).or_default() += count;
    }
}
