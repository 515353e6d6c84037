//! What an audit has found: counts, and of each kind of fault a few examples.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

/// A kind of fault: how often it was met, and the first examples.
#[derive(Debug, Default, Clone)]
pub struct Faults {
    /// How often.
    pub count: u64,
    /// The first few, in words.
    pub examples: Vec<String>,
}

impl Faults {
    const EXAMPLES: usize = 3;

    pub(crate) fn add(&mut self, example: impl FnOnce() -> String) {
        self.add_times(1, example);
    }

    pub(crate) fn add_times(&mut self, times: u64, example: impl FnOnce() -> String) {
        const LENGTH: usize = 400;
        self.count += times;
        if self.examples.len() < Faults::EXAMPLES {
            self.examples.push(example().chars().take(LENGTH).collect());
        }
    }
}

/// Everything that was counted, and everything that is wrong.
#[derive(Debug, Default, Clone)]
pub struct Verdict {
    /// Messages that were sent.
    pub messages: u64,
    /// Entries that programs have received which stopped in good order.
    pub received: u64,
    /// Programs that stopped in good order.
    pub stopped: u64,
    /// Findings that must be there, by what they are about.
    pub expected: u64,
    /// Findings that are there, by what they are about.
    pub found: u64,
    /// Findings that are there once more, under the same id, and whose message is in the input only once.
    pub repeats: Faults,
    /// Findings that the sink has refused and that are dead letters.
    pub refused: u64,
    /// Messages that must be dead letters.
    pub dead_expected: u64,
    /// Dead letters that are there once more.
    pub dead_repeats: u64,
    /// All dead letters by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// Findings that must be there and are neither there nor dead letters.
    pub lost: Faults,
    /// Findings that must not be there, or that contradict themselves or each other.
    pub wrong: Faults,
    /// Messages that cannot be read and are no dead letters.
    pub dead_missing: Faults,
    /// Dead letters that must not be there, or not for that reason.
    pub dead_unexpected: Faults,
    /// Messages below the committed offset whose findings or dead letters were not there.
    pub committed_undelivered: Faults,
    /// Partitions that are not committed to their end.
    pub uncommitted: Faults,
    /// Programs whose counters do not add up.
    pub unbalanced: Faults,
    /// Messages that the traffic's own producer has sent once more.
    pub input_repeats: u64,
    /// Faults of the test itself: the input is not what the traffic was told to send.
    pub input_faults: Faults,
}

impl Verdict {
    /// Each kind of fault by name.
    pub fn faults(&self) -> [(&'static str, &Faults); 8] {
        [
            ("lost", &self.lost),
            ("wrong", &self.wrong),
            ("dead letters missing", &self.dead_missing),
            ("dead letters unexpected", &self.dead_unexpected),
            ("committed before delivered", &self.committed_undelivered),
            ("not committed to the end", &self.uncommitted),
            ("counters out of balance", &self.unbalanced),
            ("faults of the input", &self.input_faults),
        ]
    }

    /// Whether nothing is wrong. Repeats are nothing wrong unless the pipeline delivers exactly once.
    pub fn is_good(&self) -> bool {
        self.faults().iter().all(|(_, faults)| faults.count == 0)
    }

    /// Fails a test unless nothing is wrong.
    #[track_caller]
    pub fn assert_good(&self) {
        assert!(self.is_good(), "{self}");
    }

    /// The same for a pipeline that delivers exactly once: no reader of committed messages sees a repeat.
    #[track_caller]
    pub fn assert_exact(&self) {
        self.assert_good();
        assert_eq!((self.repeats.count, self.dead_repeats), (0, 0), "repeats\n{self}");
    }

    /// All of it, for a report.
    pub fn to_json(&self) -> Value {
        let faults = self.faults().map(|(name, faults)| {
            (name.replace(' ', "_"), json!({"count": faults.count, "examples": faults.examples}))
        });
        json!({
            "messages": self.messages, "received": self.received, "stopped_in_order": self.stopped,
            "expected": self.expected, "found": self.found, "repeats": self.repeats.count, "input_repeats": self.input_repeats, "refused": self.refused,
            "dead_expected": self.dead_expected, "dead_repeats": self.dead_repeats, "dead_letters": self.dead_letters,
            "faults": serde_json::Map::from_iter(faults),
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages, {} findings expected, {} there, {} repeats, {} refused by the sink, {} dead letters expected, \
             all dead letters {:?}",
            self.messages,
            self.expected,
            self.found,
            self.repeats.count,
            self.refused,
            self.dead_expected,
            self.dead_letters
        )?;
        if self.repeats.count > 0 {
            write!(f, "\nrepeats, such as {:#?}", self.repeats.examples)?;
        }
        for (name, faults) in self.faults().iter().filter(|(_, faults)| faults.count > 0) {
            write!(f, "\n{name}: {}, such as {:#?}", faults.count, faults.examples)?;
        }
        Ok(())
    }
}
