//! Messages by the thousand a second, each known by its number: what number N holds, and what must become of it, is
//! worked out from N alone. So a check of a million needs no memory of what was sent.
//!
//! Records come from a pool that is rendered once; each copy gets an eventID that no other has. Between them are
//! messages that are skipped, messages that cannot be read, and log files with several records.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::framing::gzip_bytes;
use crate::kafka::{Client, Outgoing, Producer};
use crate::records::{FindingKey, Records, finding_of};

/// Records in the pool, of which one in [`ROOT_EVERY`] fires.
const POOL: u16 = 500;
const ROOT_EVERY: usize = 25;
/// One message in so many is of a given special kind.
const SPECIAL_EVERY: u32 = 200;
/// Records in a log file.
const FILE: u16 = 10;

/// One record of one message: the message's number, and its place in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The message.
    pub message: u32,
    /// The record in the pool.
    pub record: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {:08x}, record {:04x} of the pool", self.message, self.record)
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One record.
    Record(u16),
    /// A gzip'd log file with some records of the pool, from this one on.
    File(u16),
    /// No value: skipped.
    Tombstone,
    /// Unreadable, for this reason.
    Broken(&'static str),
}

/// A record of the pool.
#[derive(Debug)]
struct Template {
    /// The record in JSON, and where the eventID stands in it.
    text: String,
    id: usize,
    /// The finding it leads to, with the pool's eventID.
    finding: Option<FindingKey>,
}

/// What every number stands for. Two plans of one seed are alike.
#[derive(Debug)]
pub struct Plan {
    pool: Vec<Template>,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Plan {
        let pool = Records::new(seed).take(usize::from(POOL), ROOT_EVERY);
        Plan { pool: pool.iter().map(template).collect() }
    }

    /// What a message is.
    pub fn kind(message: u32) -> Kind {
        // Neighbours are to differ.
        let record = u16::try_from((message.wrapping_mul(0x9e37_79b1) >> 8) % u32::from(POOL)).unwrap_or_default();
        match message % SPECIAL_EVERY {
            17 => Kind::Tombstone,
            37 => Kind::Broken("invalid_json"),
            57 => Kind::Broken("truncated"),
            77 => Kind::File(record),
            _ => Kind::Record(record),
        }
    }

    /// The records of a message.
    fn records(message: u32) -> impl Iterator<Item = Place> {
        let (first, count) = match Plan::kind(message) {
            Kind::Record(record) => (record, 1),
            Kind::File(first) => (first, FILE),
            Kind::Tombstone | Kind::Broken(_) => (0, 0),
        };
        (0..count).map(move |n| Place { message, record: (first + n) % POOL })
    }

    /// Those records of a message that must lead to a finding.
    pub fn firing(&self, message: u32) -> impl Iterator<Item = Place> {
        Plan::records(message).filter(|place| self.pool[usize::from(place.record)].finding.is_some())
    }

    /// The place whose finding has this key; None when no record of the plan leads to it.
    pub fn place_of(&self, key: &FindingKey) -> Option<Place> {
        let number = |range: std::ops::Range<usize>| u32::from_str_radix(key.event.get(range)?, 16).ok();
        let place = Place { message: number(0..8)?, record: u16::try_from(number(9..13)?).ok()? };
        let known = self.pool.get(usize::from(place.record))?.finding.as_ref()?;
        let alike =
            key.rule == known.rule && key.account == known.account && key.event == event_id(&known.event, place);
        (alike && Plan::records(place.message).any(|other| other == place)).then_some(place)
    }

    /// The value of a message; None is a tombstone.
    pub fn value(&self, message: u32) -> Option<Vec<u8>> {
        match Plan::kind(message) {
            Kind::Tombstone => None,
            Kind::Broken("truncated") => {
                Some(format!(r#"{{"eventVersion":"1.11","eventID":"{message:08x}"#).into_bytes())
            }
            Kind::Broken(_) => Some(format!(r#"{{"eventVersion":tru,"number":{message}}}"#).into_bytes()),
            Kind::Record(record) => Some(self.record(Place { message, record }).into_bytes()),
            Kind::File(_) => {
                let records: Vec<String> = Plan::records(message).map(|place| self.record(place)).collect();
                Some(gzip_bytes(format!(r#"{{"Records":[{}]}}"#, records.join(",")).as_bytes()))
            }
        }
    }

    /// A record of the pool with the eventID of its place.
    fn record(&self, place: Place) -> String {
        let Template { text, id, .. } = &self.pool[usize::from(place.record)];
        let mut text = text.clone();
        let fresh = event_id(&text[*id..id + 36], place);
        text.replace_range(*id..id + 36, &fresh);
        text
    }
}

fn template(record: &Value) -> Template {
    const NAME: &str = r#""eventID":""#;
    let text = record.to_string();
    let id = text.find(NAME).expect("an eventID") + NAME.len();
    Template { text, id, finding: finding_of(record) }
}

/// The eventID of a place: its two numbers, and the rest of the pool's eventID.
fn event_id(pool: &str, place: Place) -> String {
    format!("{:08x}-{:04x}{}", place.message, place.record, pool.get(13..).unwrap_or_default())
}

/// A thread that produces messages of a plan, at a steady rate, until it is told to stop.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    thread: Option<JoinHandle<u32>>,
}

impl Traffic {
    /// Starts with the message of number `first`. The message's key is its number.
    pub fn start(client: &Client, topic: &str, plan: Arc<Plan>, first: u32, per_second: u32) -> Traffic {
        // What it sends must be in the topic exactly once, whatever happens to the brokers.
        let settings = [
            ("enable.idempotence", "true"),
            ("message.timeout.ms", "300000"),
            ("compression.type", "zstd"),
            ("linger.ms", "5"),
        ];
        let producer = client.producer(topic, &settings);
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(first)));
        let (stopped, told) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let mut next = first;
            let mut tick = Instant::now();
            while !stopped.load(Ordering::SeqCst) {
                for _ in 0..(per_second / TICKS).max(1) {
                    send(&producer, &plan, next);
                    next += 1;
                }
                told.store(next, Ordering::SeqCst);
                // What was missed while brokers were away is not made up for: a flood would follow every fault.
                tick = (tick + Duration::from_secs(1) / TICKS).max(Instant::now());
                producer.serve_until(tick);
            }
            producer.finish();
            next
        });
        Traffic { stop, sent, thread: Some(thread) }
    }

    /// The number of the next message.
    pub fn next(&self) -> u32 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Stops, and returns the number of the next message when all before it are acknowledged.
    pub fn finish(mut self) -> u32 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().expect("the traffic is finished once").join().expect("everything was acknowledged")
    }
}

/// Portions a second.
const TICKS: u32 = 100;

fn send(producer: &Producer, plan: &Plan, message: u32) {
    let key = Some(format!("{message:08x}").into_bytes());
    producer.send(&Outgoing { key, value: plan.value(message), ..Outgoing::default() });
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_leads_to_agrees_with_the_oracle() {
        let plan = Plan::new(7);
        let mut firing = 0;
        for message in 0..5_000 {
            let Kind::Record(record) = Plan::kind(message) else { continue };
            let place = Place { message, record };
            let value: Value = serde_json::from_str(&plan.record(place)).expect("a record");
            let key = finding_of(&value);
            assert_eq!(plan.firing(message).next(), key.as_ref().map(|_| place));
            if let Some(mut key) = key {
                firing += 1;
                assert_eq!(plan.place_of(&key), Some(place));
                key.event.replace_range(0..8, &format!("{:08x}", message + 1));
                assert_eq!(plan.place_of(&key), None);
            }
        }
        assert!((100..400).contains(&firing), "{firing} of 5000");
    }
}
