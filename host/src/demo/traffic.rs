//! The demo's traffic: which entries, in which order and framing, and what must come of them.

use std::collections::{BTreeMap, BTreeSet};

use super::framing::{Framing, firehose, frame, gzip, lines};
use super::random::Random;
use super::record::{Record, everyday};
use super::scene::{Entry, SCENES, Stage};
use crate::record::{DeadReason, SkipKind};

/// Messages for the topic `cloudtrail`, in order, and what must come of them.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The messages.
    pub messages: Vec<Message>,
    /// What they hold.
    pub expected: Expected,
    /// Where the root user has signed in, duplicates included, in order.
    pub sign_ins: Vec<SignIn>,
}

/// A sign-in of the root user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The message that holds it, counted from 0.
    pub message: usize,
    /// The entry of the message that it is, counted from 0.
    pub entry: u32,
    /// Whether the record says that no second factor was used.
    pub without_mfa: bool,
}

/// One Kafka message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How it carries its entries.
    pub framing: Framing,
    /// Its value; None is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Entries in it: at least one.
    pub entries: usize,
}

/// What the traffic was made of, as the maker counted it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Entries in all: records, skipped and broken ones.
    pub entries: u64,
    /// Records, duplicates included.
    pub records: u64,
    /// Different eventIDs among the records.
    pub event_ids: u64,
    /// Records in which the root user has signed in, duplicates included.
    pub root_sign_ins: u64,
    /// The same without duplicates.
    pub root_sign_ins_distinct: u64,
    /// Entries to be skipped, by kind.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Entries that cannot be read, by reason.
    pub dead_lettered: BTreeMap<&'static str, u64>,
}

/// The fewest entries that traffic has: each scene has its place, and the first comes after some everyday calls.
pub const RECORDS_MIN: usize = 200;

/// One scene in so many entries.
const SCENE_EVERY: usize = 150;

/// When the first record happened: 2025-06-02T06:00:00Z, in seconds since the epoch.
const START: i64 = 1_748_844_000;

/// The time from the first record to the last, in seconds: three days.
const SPAN: i64 = 3 * 24 * 3_600;

/// How late CloudTrail delivers, in seconds: eventTime runs backwards within this.
const LATE_MAX: usize = 300;

/// The framings of the messages, again and again.
const FRAMINGS: [Framing; 16] = {
    use Framing::{CloudWatchLogs, EventBridge, Ndjson, Record, S3File};
    [
        Record,
        Record,
        EventBridge,
        Record,
        Ndjson,
        Record,
        Record,
        CloudWatchLogs,
        Record,
        EventBridge,
        S3File,
        Record,
        Ndjson,
        Record,
        EventBridge,
        CloudWatchLogs,
    ]
};

/// Makes `records` entries (at least [`RECORDS_MIN`]) of CloudTrail traffic: mostly everyday calls of services, roles and
/// users over four accounts and three days, some sign-ins of the root user, and what else arrives on such a topic. The
/// same arguments give the same bytes on every machine; a record takes about 1 KB.
pub fn traffic(seed: u64, records: usize) -> Traffic {
    let mut random = Random::new(seed);
    let entries = entries(&mut random, records.max(RECORDS_MIN));
    let expected = expected(&entries);
    let (messages, sign_ins) = messages(&entries, &mut random);
    Traffic { messages, expected, sign_ins }
}

fn entries(random: &mut Random, count: usize) -> Vec<Entry> {
    let scenes = SCENES.max(count / SCENE_EVERY);
    let spacing = count / scenes;
    // Within its share of the stream a scene begins anywhere but at the ends, where it would meet its neighbours.
    let mut begins = |scene: usize| scene * spacing + spacing / 3 + random.below(spacing / 3);
    let mut begins: Vec<usize> = (0..scenes).map(&mut begins).collect();
    begins.reverse();
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    while entries.len() < count {
        let at = entries.len();
        let time = START + SPAN * at as i64 / count as i64 - random.below(LATE_MAX) as i64;
        if begins.last().is_some_and(|begin| at >= *begin) {
            begins.pop();
            Stage { random: &mut *random, entries: &mut entries }.play(scenes - 1 - begins.len(), time);
        } else {
            let again = random.once_in(100).then(|| at.checked_sub(1 + random.below(50))).flatten();
            // Sign-ins are repeated in a scene of their own.
            let is_call = |entry: &&Entry| entry.record().is_some_and(|record| !record.sign_in);
            let again = again.and_then(|at| entries.get(at)).filter(is_call).cloned();
            entries.push(again.unwrap_or_else(|| Entry::Record(Box::new(everyday(random, time)))));
        }
    }
    entries
}

fn expected(entries: &[Entry]) -> Expected {
    let mut expected = Expected { entries: entries.len() as u64, ..Expected::default() };
    let (mut ids, mut root_ids) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        match entry {
            Entry::Record(record) => {
                expected.records += 1;
                ids.insert(&record.event_id);
                if record.root_signed_in {
                    expected.root_sign_ins += 1;
                    root_ids.insert(&record.event_id);
                }
            }
            // A line break within a value: the value is broken, and the lines after it are not.
            Entry::Broken(_) => *expected.dead_lettered.entry(DeadReason::InvalidJson.as_str()).or_default() += 1,
            Entry::Digest(_) => *expected.skipped.entry(SkipKind::Digest.as_str()).or_default() += 1,
            Entry::Control(_) => *expected.skipped.entry(SkipKind::ControlMessage.as_str()).or_default() += 1,
            Entry::Tombstone => *expected.skipped.entry(SkipKind::Tombstone.as_str()).or_default() += 1,
        }
    }
    (expected.event_ids, expected.root_sign_ins_distinct) = (ids.len() as u64, root_ids.len() as u64);
    expected
}

fn messages(entries: &[Entry], random: &mut Random) -> (Vec<Message>, Vec<SignIn>) {
    let (mut messages, mut sign_ins) = (Vec::new(), Vec::new());
    let mut framings = FRAMINGS.iter().cycle();
    let mut rest = entries;
    while let Some((first, tail)) = rest.split_first() {
        let (framing, payload, taken) = match first {
            Entry::Record(_) => {
                let framing = framings.next().copied().unwrap_or(Framing::Record);
                let (min, max) = framing.sizes();
                let records = records(rest, min + random.below(max - min + 1));
                (framing, frame(framing, &records, random), records.len())
            }
            Entry::Broken(line) => {
                let records = records(tail, 4);
                (Framing::Ndjson, Some(lines(Some(line), &records)), 1 + records.len())
            }
            Entry::Digest(text) => (Framing::S3File, Some(gzip(text)), 1),
            Entry::Control(text) => {
                (Framing::CloudWatchLogs, Some(firehose(std::slice::from_ref(text), START, random)), 1)
            }
            Entry::Tombstone => (Framing::Tombstone, None, 1),
        };
        for (entry, record) in (0..).zip(rest.iter().take(taken).map(Entry::record)) {
            if let Some(record) = record.filter(|record| record.root_signed_in) {
                sign_ins.push(SignIn { message: messages.len(), entry, without_mfa: record.without_mfa });
            }
        }
        messages.push(Message { framing, payload, entries: taken });
        rest = rest.get(taken..).unwrap_or_default();
    }
    (messages, sign_ins)
}

/// The records that `entries` begin with, at most `max`.
fn records(entries: &[Entry], max: usize) -> Vec<&Record> {
    entries.iter().take(max).map_while(Entry::record).collect()
}
