//! What an instance says of itself: a message on the status topic (compacted, key = instance), whenever something
//! changes and every few seconds, so that silence tells too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ledger::{Ledger, RefusedModule, Running};
use super::offer::Key;
use crate::kafka::{KafkaError, Properties, TopicWriter};
use crate::overview::PipelineDown;
use crate::pipeline::now_ms;
use crate::rules::RuleSet;

/// How often an instance says that it is there.
const BEAT: Duration = Duration::from_secs(5);

/// From when on an instance that has said nothing counts as gone.
pub(super) const SILENT_MAX: Duration = Duration::from_secs(20);

/// How long the farewell may take.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Modules and refusals that a status lists; it says how many there are.
const LISTED_MAX: usize = 1_000;

/// What the status topic is created with: the last word of each instance, and none of those that are long gone.
pub const CONFIG: [(&str, &str); 2] = [("cleanup.policy", "compact,delete"), ("retention.ms", "604800000")];

/// An instance, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The key of the message: unique in the fleet.
    pub instance: String,
    /// The program's version.
    pub version: String,
    /// When the instance started, in milliseconds since the epoch.
    pub started_ms: i64,
    /// When it said this, in milliseconds since the epoch.
    pub time_ms: i64,
    /// The generation of its rule set.
    pub generation: u64,
    /// The identity of its rule set; see `RuleSet`.
    pub set: String,
    /// How far it has read the rules topic: the next offset of each partition.
    pub seen: BTreeMap<i32, i64>,
    /// How many modules are live or in shadow.
    pub modules_len: usize,
    /// The first of them, by name.
    pub modules: Vec<ModuleStatus>,
    /// What is offered and not live.
    pub refused: Vec<RefusedModule>,
    /// Its pipelines with a target that is down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets_down: Vec<PipelineDown>,
}

/// A module of an instance's set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleStatus {
    /// Its name and mode.
    #[serde(flatten)]
    pub key: Key,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// Its own version.
    pub version: String,
    /// How many rules it has.
    pub rules: usize,
    /// The file, or topic, partition and offset.
    pub place: String,
    /// Who published it; empty where nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// How many workers have it in quarantine.
    pub quarantined: u32,
}

impl Status {
    pub(super) fn of(
        instance: &str,
        started_ms: i64,
        set: &RuleSet,
        ledger: &Ledger,
        seen: BTreeMap<i32, i64>,
        targets_down: Vec<PipelineDown>,
    ) -> Status {
        let module = |(key, running): (&Key, &Running)| ModuleStatus {
            key: key.clone(),
            digest: running.module.digest.clone(),
            version: running.module.described.version.clone(),
            rules: running.module.described.rules.len(),
            place: running.place.to_string(),
            author: running.author.clone(),
            note: running.note.clone(),
            quarantined: running.module.quarantined(),
        };
        Status {
            instance: instance.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms,
            time_ms: now_ms(),
            generation: set.generation,
            set: set.fingerprint.clone(),
            seen,
            modules_len: ledger.running().len(),
            modules: ledger.running().iter().take(LISTED_MAX).map(module).collect(),
            refused: ledger.refused().values().take(LISTED_MAX).cloned().collect(),
            targets_down,
        }
    }
}

/// Writes an instance's status. Best effort: a swap does not wait for it, and the next beat says it again.
pub(super) struct Reporter {
    writer: TopicWriter,
    instance: String,
    /// None before the first word.
    said: Option<Instant>,
}

impl Reporter {
    pub(super) fn new(properties: &Properties, topic: &str, instance: &str) -> Result<Reporter, KafkaError> {
        let writer = TopicWriter::new(properties, topic, &format!("trailhound-status-{instance}"))?;
        Ok(Reporter { writer, instance: instance.to_owned(), said: None })
    }

    /// Says what `status` gives if it has news, or if it is time.
    pub(super) fn report(&mut self, is_news: bool, status: impl FnOnce() -> Status) {
        if is_news || self.said.is_none_or(|said| said.elapsed() > BEAT) {
            self.said = Some(Instant::now());
            if let Ok(text) = serde_json::to_vec(&status())
                && let Err(error) = self.writer.queue(self.instance.as_bytes(), Some(&text), &[])
            {
                tracing::warn!("status not written: {error}");
            }
        }
        for (_, error) in self.writer.failures() {
            tracing::warn!("status not written: {error}");
        }
    }

    /// Takes the instance off the list.
    pub(super) fn farewell(&mut self) {
        let gone = self.writer.send(self.instance.as_bytes(), None, &[], FAREWELL_MAX);
        if let Err(error) = gone {
            tracing::warn!("the instance stays on the status topic: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::Down;

    #[test]
    fn what_an_older_version_says_is_read() {
        let old = r#"{"instance":"i","version":"0","started_ms":1,"time_ms":2,"generation":3,"set":"s","seen":{"0":4},
            "modules_len":0,"modules":[],"refused":[]}"#;
        let mut status: Status = serde_json::from_str(old).unwrap();
        assert!(status.targets_down.is_empty());
        let down = Down { target: "t".to_owned(), since_ms: 5, cause: "busy".to_owned() };
        status.targets_down.push(PipelineDown { pipeline: "siem".to_owned(), workers: 2, down });
        let text = serde_json::to_string(&status).unwrap();
        let told = r#""targets_down":[{"pipeline":"siem","workers":2,"target":"t","since_ms":5,"cause":"busy"}]"#;
        assert!(text.contains(told), "{text}");
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    }
}
