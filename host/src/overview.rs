//! What each pipeline does at present, for `/status` and for the fleet: its workers, the targets that are down, what waits.
//! It is written when something about a worker changes, and never for a record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize, Serializer};

use crate::pipeline::now_ms;

/// Bytes of a cause that are kept.
const CAUSE_BYTES_MAX: usize = 2 << 10;

/// What the pipelines of a process do. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Overview {
    started_ms: i64,
    pipelines: Arc<Mutex<BTreeMap<String, Now>>>,
}

/// What a pipeline does with its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Does {
    /// Rules run over them.
    Detect,
    /// They are delivered as they are.
    Carry,
}

/// Whether a worker works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// It has not begun yet.
    #[default]
    Waiting,
    /// It reads and delivers.
    Running,
    /// It has ended, well or not.
    Ended,
}

/// A target that is down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// The target, as errors name it.
    pub target: String,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: i64,
    /// Why the last attempt failed, as it is logged; never a secret.
    pub cause: String,
}

/// A pipeline with a target that is down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineDown {
    /// The pipeline.
    pub pipeline: String,
    /// How many of its workers have noticed.
    pub workers: usize,
    /// What they have noticed, where it has lasted longest.
    #[serde(flatten)]
    pub down: Down,
}

/// A pipeline at this moment.
#[derive(Clone, Debug, Serialize)]
pub struct Now {
    does: Does,
    workers: Vec<Worker>,
    /// Messages that wait in each partition that this process owns, as far as it is known.
    #[serde(rename = "lag_messages", serialize_with = "sum")]
    lag: BTreeMap<(String, i32), i64>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Worker {
    state: WorkerState,
    target_down: Option<Down>,
}

impl Default for Overview {
    fn default() -> Self {
        Overview { started_ms: now_ms(), pipelines: Arc::default() }
    }
}

impl Overview {
    /// When the process started, in milliseconds since the epoch.
    pub fn started_ms(&self) -> i64 {
        self.started_ms
    }

    /// Adds a pipeline, none of whose workers has begun. Of others nothing is kept.
    pub fn add(&self, pipeline: &str, does: Does, workers: usize) {
        let now = Now { does, workers: vec![Worker::default(); workers], lag: BTreeMap::new() };
        self.lock().insert(pipeline.to_owned(), now);
    }

    /// The pipelines by name.
    pub fn pipelines(&self) -> BTreeMap<String, Now> {
        self.lock().clone()
    }

    /// Whether some pipeline detects.
    pub fn detects(&self) -> bool {
        self.lock().values().any(|now| now.does == Does::Detect)
    }

    /// The pipelines with a target that is down, by name.
    pub fn down(&self) -> Vec<PipelineDown> {
        let pipelines = self.lock();
        let one = |(pipeline, now): (&String, &Now)| {
            let down = || now.workers.iter().filter_map(|worker| worker.target_down.as_ref());
            let longest = down().min_by_key(|down| down.since_ms)?.clone();
            Some(PipelineDown { pipeline: pipeline.clone(), workers: down().count(), down: longest })
        };
        pipelines.iter().filter_map(one).collect()
    }

    /// Notes what a worker does.
    pub(crate) fn state(&self, pipeline: &str, worker: usize, state: WorkerState) {
        self.of(pipeline, worker, |worker| worker.state = state);
    }

    /// Notes that an attempt to reach a worker's target has failed, which is down.
    pub(crate) fn target_down(&self, pipeline: &str, worker: usize, target: &str, cause: &str) {
        let mut cause = cause.to_owned();
        cause.truncate(cause.floor_char_boundary(CAUSE_BYTES_MAX));
        self.of(pipeline, worker, |worker| {
            let since_ms = worker.target_down.as_ref().map_or_else(now_ms, |down| down.since_ms);
            worker.target_down = Some(Down { target: target.to_owned(), since_ms, cause });
        });
    }

    /// Notes that a worker's target works.
    pub(crate) fn target_up(&self, pipeline: &str, worker: usize) {
        self.of(pipeline, worker, |worker| worker.target_down = None);
    }

    /// Notes how many messages wait in a partition; None when this process owns it no more.
    pub(crate) fn lag(&self, pipeline: &str, topic: &str, partition: i32, messages: Option<i64>) {
        if let Some(now) = self.lock().get_mut(pipeline) {
            match messages {
                Some(messages) => drop(now.lag.insert((topic.to_owned(), partition), messages)),
                None => drop(now.lag.remove(&(topic.to_owned(), partition))),
            }
        }
    }

    fn of(&self, pipeline: &str, worker: usize, change: impl FnOnce(&mut Worker)) {
        if let Some(worker) = self.lock().get_mut(pipeline).and_then(|now| now.workers.get_mut(worker)) {
            change(worker);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Now>> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that waits; null where nobody knows.
fn sum<S: Serializer>(lag: &BTreeMap<(String, i32), i64>, to: S) -> Result<S::Ok, S::Error> {
    (!lag.is_empty()).then(|| lag.values().sum::<i64>()).serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_down_since_its_first_failure_for_the_last_cause() {
        let overview = Overview::default();
        overview.add("siem", Does::Carry, 2);
        overview.target_down("siem", 1, "https://siem.example", "busy");
        let since_ms = overview.down()[0].down.since_ms;
        overview.target_down("siem", 1, "https://siem.example", &"€".repeat(CAUSE_BYTES_MAX));
        let [one] = overview.down().try_into().unwrap();
        assert_eq!((one.pipeline.as_str(), one.workers, one.down.since_ms), ("siem", 1, since_ms));
        assert!(one.down.cause.starts_with('€') && one.down.cause.len() <= CAUSE_BYTES_MAX);
        overview.target_down("siem", 0, "https://siem.example", "busy");
        assert_eq!(overview.down()[0].workers, 2);
        overview.target_up("siem", 0);
        overview.target_up("siem", 1);
        assert!(overview.down().is_empty());
        // What nobody has added is nobody's.
        overview.target_down("other", 0, "t", "c");
        overview.target_down("siem", 2, "t", "c");
        assert!(overview.down().is_empty());
    }

    #[test]
    fn a_pipeline_says_what_it_does() {
        let overview = Overview::default();
        overview.add("detect", Does::Detect, 1);
        assert_eq!(
            serde_json::to_string(&overview.pipelines()).unwrap(),
            r#"{"detect":{"does":"detect","workers":[{"state":"waiting","target_down":null}],"lag_messages":null}}"#
        );
        overview.state("detect", 0, WorkerState::Running);
        overview.lag("detect", "t", 0, Some(3));
        overview.lag("detect", "t", 1, Some(4));
        overview.lag("detect", "t", 0, Some(1));
        let text = serde_json::to_string(&overview.pipelines()).unwrap();
        assert!(text.contains(r#""state":"running""#) && text.contains(r#""lag_messages":5"#), "{text}");
        overview.lag("detect", "t", 0, None);
        overview.lag("detect", "t", 1, None);
        assert!(serde_json::to_string(&overview.pipelines()).unwrap().contains(r#""lag_messages":null"#));
    }
}
