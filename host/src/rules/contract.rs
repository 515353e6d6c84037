//! The contract with rule modules, as Rust types: generated from `rules/sdk/wit/rule.wit`, which documents them.

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code; the WIT has the docs")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../rules/sdk/wit",
        world: "rule-module",
        additional_derives: [Clone, PartialEq, serde::Serialize],
    });
}

pub use generated::exports::trailhound::rule::detection::{
    Answer, Attack, Batch, Condition, Example, Hit, Label, Module, Rule, Severity,
};
pub use generated::trailhound::rule::host::{Host, Level};
pub use generated::{RuleModule, RuleModulePre};

/// The contract's version, as in the WIT package's name. A module of another version is refused.
pub const VERSION: &str = "2.0.0";

/// The exported interface without its version.
pub const DETECTION: &str = "trailhound:rule/detection";

/// The one interface that a module may import, without its version.
pub const HOST: &str = "trailhound:rule/host";

impl Severity {
    /// The OCSF name in lower case: `high`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Informational => "informational",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
            Severity::Fatal => "fatal",
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_one_of_the_wit() {
        let wit = include_str!("../../../rules/sdk/wit/rule.wit");
        assert!(wit.contains(&format!("package trailhound:rule@{};", super::VERSION)));
    }
}
