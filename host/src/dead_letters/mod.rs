//! Dead letters read back: what they are, which are meant, and their way back onto the topic that they came from.

mod replay;
mod select;
mod source;

pub use replay::{Replay, ReplayCounts, ReplayError};
pub use select::{Selection, Time};
pub use source::{Letters, LettersError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kafka::TopicMessage;

/// The reason of a letter whose message its target refused for good. Of a pipeline that detects it holds a finding, where
/// all others hold what was to be evaluated; of one that carries it holds the message as it came.
pub const SINK_REFUSED: &str = "sink_refused";

/// A dead letter, as a topic or a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Why it was not evaluated, a word of a closed list.
    pub reason: String,
    /// The same for a person.
    pub detail: String,
    /// The topic that its message came from.
    pub topic: String,
    /// The partition of that message.
    pub partition: i32,
    /// The offset of that message.
    pub offset: i64,
    /// The module that failed; None where the record could not be read.
    pub module: Option<String>,
    /// The rules of the module that were selected for the record.
    pub rules: Vec<String>,
    /// When the letter was written, in milliseconds since the epoch. Files do not tell.
    pub time_ms: Option<i64>,
    /// The key that its message had, where it was carried; empty for none.
    pub key: Vec<u8>,
    /// The headers that its message had, where it was carried.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The original bytes.
    pub original: Vec<u8>,
}

impl Letter {
    /// Reads a message of a dead-letter topic. The error says what is wrong with it.
    pub fn of_message(message: TopicMessage) -> Result<Letter, String> {
        let header = |name: &str| message.header(&format!("trailhound.{name}")).map(str::to_owned);
        let letter = Letter::read(&header, message.timestamp_ms)?;
        let own = message.headers.into_iter().filter(|(name, _)| !name.starts_with("trailhound."));
        Ok(Letter {
            key: message.key.unwrap_or_default(),
            headers: own.collect(),
            original: message.value.unwrap_or_default(),
            ..letter
        })
    }

    /// Reads a line of a file of dead letters. The error says what is wrong with it.
    pub fn of_line(line: &[u8]) -> Result<Letter, String> {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(line).map_err(|error| format!("is no JSON object: {error}"))?;
        let header = |name: &str| object.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        let letter = Letter::read(&header, None)?;
        let bytes = |name: &str| header(name).and_then(|text| STANDARD.decode(text).ok());
        let own = object.get("headers").and_then(|headers| headers.as_object()).into_iter().flatten();
        Ok(Letter {
            key: bytes("key_base64").unwrap_or_default(),
            headers: own.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.into()))).collect(),
            original: bytes("original_base64").ok_or("has no original_base64 that can be read")?,
            ..letter
        })
    }

    /// All but the bytes. A letter tells its reason and its origin, or nothing can be done with it.
    fn read(header: &dyn Fn(&str) -> Option<String>, time_ms: Option<i64>) -> Result<Letter, String> {
        let needed = |name: &str| header(name).ok_or_else(|| format!("has no header `{name}`"));
        let number = |name: &str| {
            let text = needed(name)?;
            text.parse::<i64>().map_err(|_| format!("has a header `{name}` that is no number"))
        };
        let rules = header("rules").unwrap_or_default();
        Ok(Letter {
            reason: needed("reason")?,
            detail: header("detail").unwrap_or_default(),
            topic: needed("topic")?,
            partition: i32::try_from(number("partition")?).map_err(|_| "has a `partition` that cannot be")?,
            offset: number("offset")?,
            module: header("module"),
            rules: rules.split(',').filter(|rule| !rule.is_empty()).map(str::to_owned).collect(),
            time_ms,
            key: Vec::new(),
            headers: Vec::new(),
            original: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[(&str, &str)]) -> TopicMessage {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let (key, value) = (None, Some(b"bytes".to_vec()));
        TopicMessage { partition: 1, offset: 2, timestamp_ms: Some(3), key, value, headers }
    }

    #[test]
    fn a_message_and_a_line_are_the_same_letter() {
        let headers = [
            ("trailhound.reason", "module_trapped"),
            ("trailhound.detail", "why"),
            ("trailhound.topic", "t"),
            ("trailhound.partition", "4"),
            ("trailhound.offset", "5"),
            ("trailhound.module", "m"),
            ("trailhound.rules", "A-1,A-2"),
            ("severity", "high"),
        ];
        let letter = Letter::of_message(TopicMessage { key: Some(b"k".to_vec()), ..message(&headers) }).unwrap();
        assert_eq!((letter.partition, letter.offset, letter.time_ms), (4, 5, Some(3)));
        assert_eq!(letter.rules, ["A-1", "A-2"]);
        let line = br#"{"reason":"module_trapped","detail":"why","topic":"t","partition":"4","offset":"5","module":"m",
            "rules":"A-1,A-2","key_base64":"aw==","headers":{"severity":"high"},"original_base64":"Ynl0ZXM="}"#;
        assert_eq!(Letter::of_line(line).unwrap(), Letter { time_ms: None, ..letter });
    }

    #[test]
    fn what_is_no_letter_says_why() {
        let check = |result: Result<Letter, String>, expect: &str| {
            let error = result.unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        check(Letter::of_message(message(&[])), "no header `reason`");
        let mut headers = vec![("trailhound.reason", "r"), ("trailhound.topic", "t"), ("trailhound.partition", "x")];
        check(Letter::of_message(message(&headers)), "`partition` that is no number");
        headers[2].1 = "99999999999";
        headers.push(("trailhound.offset", "1"));
        check(Letter::of_message(message(&headers)), "`partition` that cannot be");
        check(Letter::of_line(b"[]"), "no JSON object");
        check(Letter::of_line(br#"{"reason":"r","topic":"t","partition":"0","offset":"0"}"#), "original_base64");
    }
}
