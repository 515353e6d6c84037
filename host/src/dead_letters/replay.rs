//! The way back: original bytes onto the topic that they came from, each once, and all acknowledged.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Letter, SINK_REFUSED};
use crate::kafka::{KafkaError, Properties, TopicWriter, WriteError};

/// Letters that are sent before their acknowledgements are waited for: up to this count.
const SENT_MAX: usize = 1_000;

/// The same in bytes, so that large letters take no more memory than small ones.
const SENT_BYTES_MAX: usize = 8 << 20;

/// How long acknowledgements are waited for. librdkafka gives a message up earlier, after `message.timeout.ms`.
const WAIT: Duration = Duration::from_secs(120);

/// Why a replay cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A producer cannot be made.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A topic does not take records at present.
    #[error("{0}\nhint: run it again: a record that is evaluated twice makes the same findings under the same ids")]
    Write(#[from] WriteError),
}

/// What a replay came to. When it has ended well and is no dry run, `selected` is the sum of `replayed` and `skipped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplayCounts {
    /// Letters that were read.
    pub letters: u64,
    /// Letters of them that were meant.
    pub selected: u64,
    /// Letters of these that are to be replayed, which a dry run counts too.
    pub to_replay: u64,
    /// Letters whose bytes are on their topic again, acknowledged.
    pub replayed: u64,
    /// Letters that were meant and are not replayed, by why: `sink_refused`, `other_topic`, `same_bytes`, `too_large`.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Messages or lines that are no dead letters.
    pub unreadable: u64,
    /// Whether nothing was to be written.
    pub dry_run: bool,
    /// Whether reading ended at the limit and not at the end.
    pub limit_reached: bool,
}

/// A replay in progress.
pub struct Replay<'a> {
    properties: &'a Properties,
    topics: &'a [String],
    client_id: &'a str,
    carried: bool,
    limit: u64,
    lanes: BTreeMap<String, Lane>,
    /// Digests of what was sent. Two modules that fail on a record make two letters of it, and a record that was
    /// replayed and failed again one more: all of them mean one evaluation.
    sent: HashSet<[u8; 32]>,
    /// What it came to so far.
    pub counts: ReplayCounts,
}

/// A topic and what it has not acknowledged yet, by ticket.
struct Lane {
    writer: TopicWriter,
    waiting: BTreeMap<usize, Letter>,
    bytes: usize,
}

impl<'a> Replay<'a> {
    /// A replay onto `topics` and no others: a letter's headers are not to decide alone what is written to. At most
    /// `limit` letters are replayed; nothing is written in a dry run. What a target refused is replayed where it was
    /// `carried`: such a letter holds a message of its topic, and not something that was made of it.
    pub fn new(
        properties: &'a Properties,
        topics: &'a [String],
        client_id: &'a str,
        carried: bool,
        limit: Option<u64>,
        dry_run: bool,
    ) -> Replay<'a> {
        Replay {
            properties,
            topics,
            client_id,
            carried,
            limit: limit.unwrap_or(u64::MAX),
            lanes: BTreeMap::new(),
            sent: HashSet::new(),
            counts: ReplayCounts { dry_run, ..ReplayCounts::default() },
        }
    }

    /// Takes a letter that is meant. False when the limit is reached: the letter is left, and no more are wanted.
    pub fn take(&mut self, letter: Letter) -> Result<bool, ReplayError> {
        if letter.reason == SINK_REFUSED && !self.carried {
            self.skip("sink_refused");
        } else if !self.topics.contains(&letter.topic) {
            self.skip("other_topic");
        } else if self.counts.to_replay >= self.limit {
            self.counts.limit_reached = true;
            return Ok(false);
        } else if !self.sent.insert(digest(&letter)) {
            self.skip("same_bytes");
        } else {
            self.counts.to_replay += 1;
            self.counts.selected += 1;
            if !self.counts.dry_run {
                self.send(letter)?;
            }
        }
        Ok(true)
    }

    fn skip(&mut self, why: &'static str) {
        self.counts.selected += 1;
        *self.counts.skipped.entry(why).or_default() += 1;
    }

    fn send(&mut self, letter: Letter) -> Result<(), ReplayError> {
        let lane = match self.lanes.get_mut(&letter.topic) {
            Some(lane) => lane,
            None => {
                let writer = TopicWriter::new(self.properties, &letter.topic, self.client_id)?;
                let lane = Lane { writer, waiting: BTreeMap::new(), bytes: 0 };
                self.lanes.entry(letter.topic.clone()).or_insert(lane)
            }
        };
        let replayed = replayed(&letter);
        match lane.writer.queue(&letter.key, Some(&letter.original), &headers(&letter, &replayed)) {
            Ok(ticket) => {
                lane.bytes += letter.original.len();
                lane.waiting.insert(ticket, letter);
            }
            Err(WriteError::TooLarge { .. }) => *self.counts.skipped.entry("too_large").or_default() += 1,
            Err(error) => return Err(error.into()),
        }
        if lane.waiting.len() >= SENT_MAX || lane.bytes >= SENT_BYTES_MAX {
            lane.settle(&mut self.counts)?;
        }
        Ok(())
    }

    /// Waits for all acknowledgements.
    pub fn finish(&mut self) -> Result<(), ReplayError> {
        // Every topic is waited for, also when one fails.
        let results: Vec<_> = self.lanes.values_mut().map(|lane| lane.settle(&mut self.counts)).collect();
        results.into_iter().collect()
    }
}

impl Lane {
    fn settle(&mut self, counts: &mut ReplayCounts) -> Result<(), ReplayError> {
        let failed = self.writer.flush(WAIT);
        let failed: Vec<(Letter, WriteError)> =
            failed.into_iter().filter_map(|(ticket, error)| Some((self.waiting.remove(&ticket)?, error))).collect();
        counts.replayed += self.waiting.len() as u64;
        self.waiting.clear();
        self.bytes = 0;
        for (letter, error) in failed {
            if !matches!(error, WriteError::TooLarge { .. }) {
                return Err(error.into());
            }
            // Those that travel with one that is too large are refused with it; alone it shows which one it is.
            let replayed = replayed(&letter);
            let headers = headers(&letter, &replayed);
            match self.writer.send(&letter.key, Some(&letter.original), &headers, WAIT) {
                Ok(_) => counts.replayed += 1,
                Err(WriteError::TooLarge { .. }) => *counts.skipped.entry("too_large").or_default() += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Where the bytes were before: the origin's partition and offset.
fn replayed(letter: &Letter) -> String {
    format!("{}/{}", letter.partition, letter.offset)
}

/// The headers that the message had, and where it was.
fn headers<'a>(letter: &'a Letter, replayed: &'a str) -> Vec<(&'a str, &'a [u8])> {
    let own = letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    own.chain([("trailhound.replayed", replayed.as_bytes())]).collect()
}

fn digest(letter: &Letter) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(letter.topic.as_bytes());
    // No topic's name holds it.
    hash.update([0]);
    hash.update(&letter.original);
    hash.finalize().into()
}
