//! One worker's detection over messages, without a source or a sink: what the loop does between the two.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use trailhound::batch::{Batch, Origin};
use trailhound::counts::Counts;
use trailhound::detect::{DeadLetter, DetectLimits, Detector};
use trailhound::rules::{Engine, Member, Module, RuleLimits, RuleSet};

/// The time that findings are stamped with.
pub(crate) const NOW_MS: i64 = 1_748_937_600_000;

/// Compiles for all tests of this process.
pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().expect("an engine"));

/// Loads a module that must not be refused.
#[track_caller]
pub(crate) fn load(name: &str, wasm: &[u8], limits: &RuleLimits) -> Arc<Module> {
    let loaded = Module::load(&ENGINE, name, wasm, "{}", limits);
    Arc::new(loaded.unwrap_or_else(|refusal| panic!("{name}: {}: {refusal}", refusal.step())))
}

/// A worker with a rule set of its own.
pub(crate) struct Worker {
    rules: RuleSet,
    detector: Detector,
}

/// What became of a batch.
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    /// Rule and eventID of each finding, sorted.
    pub(crate) fired: Vec<(String, String)>,
    /// The findings as they were made.
    pub(crate) findings: Vec<Value>,
    pub(crate) dead: Vec<DeadLetter>,
}

impl Worker {
    pub(crate) fn new(modules: Vec<Arc<Module>>, limits: RuleLimits) -> Worker {
        let rules = RuleSet::new(1, modules.into_iter().map(Member::from).collect()).expect("modules that go together");
        let detector = Detector::new(DetectLimits { rules: limits, ..DetectLimits::default() });
        Worker { rules, detector }
    }

    /// Sets other limits for calls from now on.
    pub(crate) fn limit(&mut self, rules: RuleLimits) {
        self.detector = Detector::new(DetectLimits { rules, ..DetectLimits::default() });
    }

    /// Runs a batch. The n-th message has the offset n.
    #[track_caller]
    pub(crate) fn run(&mut self, messages: &[impl AsRef<[u8]>]) -> Outcome {
        let mut batch = Batch::default();
        for (offset, message) in (0..).zip(messages) {
            let origin = Origin { source: "topic".into(), partition: 1, offset, appended_ms: None };
            batch.push(origin, Some(message.as_ref()));
        }
        let (mut findings, mut dead) = (Vec::new(), Vec::new());
        let detected = self.detector.detect(&self.rules, batch.iter(), NOW_MS, &mut |output| {
            let values = output.findings.iter().map(|found| serde_json::from_slice(output.payload(&found.finding)));
            findings.extend(values.map(|value: Result<Value, _>| value.expect("a finding in JSON")));
            dead.append(&mut output.dead_letters);
            Ok::<(), Infallible>(())
        });
        let Ok(counts) = detected;
        assert!(counts.balanced(), "{counts:?}");
        let mut fired: Vec<(String, String)> = findings.iter().map(rule_and_event).collect();
        fired.sort();
        let mut by_rule: BTreeMap<String, u64> = BTreeMap::new();
        for (rule, _) in &fired {
            *by_rule.entry(rule.clone()).or_default() += 1;
        }
        assert_eq!(counts.findings, by_rule, "findings are counted by rule");
        Outcome { counts, fired, findings, dead }
    }
}

fn rule_and_event(finding: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text in {finding}")).to_owned();
    (text(&finding["finding_info"]["analytic"]["uid"]), text(&finding["evidences"][0]["uid"]))
}
