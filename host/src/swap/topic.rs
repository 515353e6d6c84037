//! The rules topic: compacted, key = a module's name (`NAME@shadow` for one in shadow), value = the module, no value =
//! retracted. One message swaps a whole fleet, and whoever starts reads the topic to its end first.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::offer::{Change, Key, Offer, Place};
use crate::kafka::{KafkaError, Properties, TopicMessage, TopicReader};
use crate::rules::{Mode, Refusal, module_digest};

/// SHA-256 of the value in hex; a value that does not have it is refused.
pub(super) const DIGEST: &str = "digest";
/// A JSON object for the module.
pub(super) const SETTINGS: &str = "settings";
/// `live` or `shadow`.
pub(super) const MODE: &str = "mode";
/// Who published it.
pub(super) const AUTHOR: &str = "author";
/// Why.
pub(super) const NOTE: &str = "note";

/// The least that a rules topic needs: the last message of each key stays for good, and so do tombstones, so that the
/// generation of a set can be told from the topic.
pub const CONFIG: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("delete.retention.ms", "315360000000"), ("max.message.bytes", "33554432")];

/// Keys of the topic whose mode is remembered; more than a set can have by far.
const KEYS_MAX: usize = 100_000;

/// Bytes of modules that one reading of the topic may hold, at its start or in a burst. Whoever may write to the topic must
/// not fill the memory; with the default limit of a module's size this is enough for more than a set can have.
const HELD_BYTES_MAX: usize = 512 << 20;

/// How long no message must come until a burst is over.
const BURST_PAUSE: Duration = Duration::from_millis(20);

/// How long a burst may last before what has come of it is taken.
const BURST_MAX: Duration = Duration::from_millis(500);

/// A follower of the rules topic.
pub(super) struct RulesTopic {
    reader: TopicReader,
    /// A value that is larger is not kept.
    bytes_max: usize,
    /// The next offset of each partition, after the last message that was received.
    seen: BTreeMap<i32, i64>,
    /// What each key of the topic was last: a header may change its mode.
    keys: BTreeMap<Vec<u8>, Key>,
}

impl RulesTopic {
    pub(super) fn new(
        properties: &Properties,
        topic: &str,
        client_id: &str,
        bytes_max: usize,
    ) -> Result<RulesTopic, KafkaError> {
        Ok(RulesTopic {
            bytes_max,
            reader: TopicReader::new(properties, topic, client_id)?,
            seen: BTreeMap::new(),
            keys: BTreeMap::new(),
        })
    }

    /// Everything up to the topic's end, in the order of offsets: of each key the last message, with the one before it
    /// as what to fall back to. None when `stop` says so first.
    pub(super) fn first(&mut self, stop: &dyn Fn() -> bool) -> Option<Vec<Change>> {
        let mut last = Last::new(HELD_BYTES_MAX);
        let mut told = Instant::now();
        while !self.reader.caught_up() {
            if stop() {
                return None;
            }
            if let Some(message) = self.reader.poll(Duration::from_millis(100)) {
                self.receive(message, &mut last);
            }
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                tracing::info!(topic = self.reader.topic(), left = self.reader.left(), "reading the rules topic");
            }
        }
        Some(last.in_order())
    }

    /// Waits up to `wait` for the next messages; those that come in a burst are one answer, of each key the last.
    pub(super) fn next(&mut self, wait: Duration) -> Vec<Change> {
        let mut last = Last::new(HELD_BYTES_MAX);
        let mut message = self.reader.poll(wait);
        let start = Instant::now();
        while let Some(received) = message {
            self.receive(received, &mut last);
            message = (start.elapsed() < BURST_MAX).then(|| self.reader.poll(BURST_PAUSE)).flatten();
        }
        last.in_order()
    }

    /// How far the topic has been read: the next offset of each partition that had a message.
    pub(super) fn seen(&self) -> &BTreeMap<i32, i64> {
        &self.seen
    }

    fn receive(&mut self, message: TopicMessage, last: &mut Last) {
        self.seen.insert(message.partition, message.offset + 1);
        let bytes = message.key.clone().unwrap_or_default();
        let change = change(self.reader.topic(), message, self.bytes_max);
        if self.keys.len() >= KEYS_MAX && !self.keys.contains_key(&bytes) {
            last.put(change);
            return;
        }
        match self.keys.insert(bytes, change.key().clone()) {
            Some(before) if before != *change.key() => {
                last.put(Change::Gone { key: before, place: change.place().clone() });
            }
            _ => {}
        }
        last.put(change);
    }
}

/// The last change of each key; an offer keeps the one before it.
struct Last {
    changes: BTreeMap<Key, Change>,
    /// Bytes of all modules in it, and the most of them.
    held: usize,
    held_max: usize,
}

impl Last {
    fn new(held_max: usize) -> Last {
        Last { changes: BTreeMap::new(), held: 0, held_max }
    }

    fn put(&mut self, mut change: Change) {
        let key = change.key().clone();
        let before = self.changes.remove(&key);
        self.held -= before.as_ref().map_or(0, held);
        if let Change::Offered(offer) = &mut change {
            let room = self.held_max - self.held;
            if size(offer) > room {
                let most = self.held_max;
                offer.bytes = Err(Refusal::Message(format!("with it the topic holds more than {most} bytes at once")));
            }
            let room = room - size(offer);
            if let Some(Change::Offered(mut before)) = before {
                before.earlier = None;
                offer.earlier = Some(Box::new(before)).filter(|before| size(before) <= room);
            }
        }
        self.held += held(&change);
        self.changes.insert(key, change);
    }

    fn in_order(self) -> Vec<Change> {
        let mut changes: Vec<Change> = self.changes.into_values().collect();
        changes.sort_by_key(|change| match change.place() {
            Place::Topic { partition, offset, .. } => (*offset, *partition),
            Place::File(_) => (0, 0),
        });
        changes
    }
}

/// Bytes of modules in a change.
fn held(change: &Change) -> usize {
    let Change::Offered(offer) = change else { return 0 };
    size(offer) + offer.earlier.as_deref().map_or(0, size)
}

/// Bytes of an offer's own module.
fn size(offer: &Offer) -> usize {
    offer.bytes.as_ref().map_or(0, Vec::len)
}

/// What a message with the key `text` is about. The mode stands in the key, or in a header.
pub(super) fn key_of(text: &str, message: &TopicMessage) -> Key {
    let key = Key::parse(text);
    let is_shadow = message.header(MODE) == Some(Mode::Shadow.as_str());
    if is_shadow { Key { mode: Mode::Shadow, ..key } } else { key }
}

/// A message of the rules topic. What is wrong with it becomes a refusal, which is shown like any other.
fn change(topic: &str, message: TopicMessage, bytes_max: usize) -> Change {
    let place = Place::Topic { topic: topic.to_owned(), partition: message.partition, offset: message.offset };
    let text = String::from_utf8_lossy(message.key.as_deref().unwrap_or_default()).into_owned();
    let key = key_of(&text, &message);
    let wrong_mode = match message.header(MODE) {
        None | Some("shadow") => None,
        Some("live") => (key.mode == Mode::Shadow).then_some("live"),
        Some(other) => Some(other),
    };
    if message.value.is_none() {
        return Change::Gone { key, place };
    }
    let header = |name: &str| message.header(name).unwrap_or_default().to_owned();
    let settings = message.header(SETTINGS).map(str::to_owned);
    let is_object = |text: &String| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok();
    let wrong = if !key.is_plain() {
        Some(format!(
            "the key `{}` is no name: 1 to {} of a-z A-Z 0-9 . _ - are allowed",
            text.escape_debug(),
            Key::NAME_BYTES_MAX
        ))
    } else if let Some(mode) = wrong_mode {
        Some(format!("the header {MODE} is `{}`, which does not fit the key `{key}`", mode.escape_debug()))
    } else if settings.as_ref().is_some_and(|text| !is_object(text)) {
        Some(format!("the header {SETTINGS} holds no JSON object"))
    } else {
        None
    };
    let claimed = message.header(DIGEST).map(str::to_owned);
    let (author, note) = (header(AUTHOR), header(NOTE));
    let value = message.value.unwrap_or_default();
    let bytes = match (wrong, claimed) {
        (Some(wrong), _) => Err(Refusal::Message(wrong)),
        (None, Some(claimed)) if claimed != module_digest(&value) => {
            Err(Refusal::Message(format!("its SHA-256 is {}, not {claimed} as its header says", module_digest(&value))))
        }
        (None, _) if value.len() > bytes_max => Err(Refusal::TooLarge { bytes: value.len(), bytes_max }),
        (None, _) => Ok(value),
    };
    Change::Offered(Offer { key, bytes, settings, place, author, note, earlier: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(key: &str, value: Option<&str>, headers: &[(&str, &str)]) -> TopicMessage {
        TopicMessage {
            partition: 0,
            offset: 7,
            timestamp_ms: None,
            key: Some(key.as_bytes().to_vec()),
            value: value.map(|value| value.as_bytes().to_vec()),
            headers: headers.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect(),
        }
    }

    /// A message's key and, where it is refused, the words.
    fn check(key: &str, value: Option<&str>, headers: &[(&str, &str)], expect: &str) {
        let said = match change("t", message(key, value, headers), 100) {
            Change::Gone { key, place } => format!("{key} is gone: {place}"),
            Change::Offered(Offer { key, bytes: Ok(_), .. }) => format!("{key} is offered"),
            Change::Offered(Offer { key, bytes: Err(refusal), .. }) => format!("{key} is refused: {refusal}"),
        };
        assert!(said.starts_with(expect), "{said:?}, not {expect:?}");
    }

    #[test]
    fn a_message_says_what_it_offers() {
        let digest = module_digest(b"x");
        check("a", Some("x"), &[], "a is offered");
        check("a", Some("x"), &[(DIGEST, &digest), (SETTINGS, "{\"b\":1}"), (MODE, "live")], "a is offered");
        check("a", Some("x"), &[(MODE, "shadow")], "a@shadow is offered");
        check("a@shadow", Some("x"), &[], "a@shadow is offered");
        check("a@shadow", None, &[], "a@shadow is gone: t partition 0 offset 7");
        check("a", Some("y"), &[(DIGEST, &digest)], "a is refused: its SHA-256");
        check("a", Some("x"), &[(SETTINGS, "[]")], "a is refused: the header settings");
        check("a", Some("x"), &[(MODE, "loud")], "a is refused: the header mode is `loud`");
        check("a@shadow", Some("x"), &[(MODE, "live")], "a@shadow is refused: the header mode");
        check("a", Some(&"x".repeat(101)), &[], "a is refused: 101 bytes, over the limit of 100");
        check("a/b", Some("x"), &[], "a/b is refused: the key `a/b` is no name");
        check("", Some("x"), &[], " is refused: the key");
    }

    fn put_all(held_max: usize, messages: &[(&str, Option<&str>)]) -> Vec<Change> {
        let mut last = Last::new(held_max);
        messages.iter().for_each(|(key, value)| last.put(change("t", message(key, *value, &[]), 100)));
        assert_eq!(last.held, last.changes.values().map(held).sum::<usize>());
        assert!(last.held <= held_max, "{} bytes", last.held);
        last.in_order()
    }

    #[test]
    fn of_a_burst_the_last_of_each_key_counts() {
        let changes =
            put_all(100, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("a", Some("3")), ("b", None)]);
        assert_eq!(changes.len(), 2);
        let offered = changes.iter().find_map(|change| match change {
            Change::Offered(offer) => Some(offer),
            Change::Gone { .. } => None,
        });
        let offered = offered.unwrap();
        assert_eq!(offered.bytes.as_ref().unwrap(), b"3");
        let earlier = offered.earlier.as_ref().unwrap();
        assert_eq!(earlier.bytes.as_ref().unwrap(), b"2");
        assert!(earlier.earlier.is_none());
    }

    #[test]
    fn a_burst_holds_so_many_bytes() {
        let changes =
            put_all(10, &[("a", Some("12345")), ("b", Some("12345")), ("c", Some("1")), ("b", None), ("d", Some("1"))]);
        let said: Vec<String> = changes
            .iter()
            .map(|change| match change {
                Change::Gone { key, .. } => format!("{key} is gone"),
                Change::Offered(Offer { key, bytes: Ok(_), .. }) => format!("{key} is offered"),
                Change::Offered(Offer { key, bytes: Err(refusal), .. }) => format!("{key}: {refusal}"),
            })
            .collect();
        let refused = "c: with it the topic holds more than 10 bytes at once";
        assert_eq!(said, ["a is offered", "b is gone", refused, "d is offered"]);
        // The version before is let go where both do not fit.
        assert_eq!(put_all(10, &[("a", Some("123456")), ("a", Some("12345"))]).iter().map(held).sum::<usize>(), 5);
    }
}
