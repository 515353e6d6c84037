//! What a rule answers when it fires.

use std::borrow::Cow;

use crate::contract::exports::trailhound::rule::detection as contract;

/// A rule fired on an event. The host makes the finding; the hit adds what this one event has to say.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Hit {
    title: String,
    labels: Vec<contract::Label>,
    /// Keys and values of the labels, as an answer has them.
    text: String,
}

impl Hit {
    /// A hit with the rule's own title and no labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// A title for this finding alone, in place of the rule's.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// A fact beside the title. The value is a text or a [`Field`](crate::Field). One that is empty (a field that the
    /// record does not have) makes no label; a key that is there already gets the new value.
    pub fn label<'v>(mut self, key: &str, value: impl Into<Cow<'v, str>>) -> Self {
        let value = value.into();
        if let Some((place, start)) = self.place(key) {
            let end = start + size(&self.labels.remove(place));
            self.text.replace_range(start..end, "");
        }
        if !value.is_empty() {
            // Room for all that most rules show: to make more of it moves what is there.
            if self.labels.is_empty() {
                self.labels.reserve_exact(8);
                self.text.reserve_exact(256);
            }
            self.text.push_str(key);
            self.text.push_str(&value);
            self.labels.push(contract::Label { key: key.len() as u32, value: value.len() as u32 });
        }
        self
    }

    /// The value of a label, for tests.
    pub fn get(&self, key: &str) -> Option<&str> {
        let (place, start) = self.place(key)?;
        self.text.get(start + key.len()..start + size(self.labels.get(place)?))
    }

    /// Which label has a key, and where its texts begin. Nearly always the key's length alone tells that it is another.
    fn place(&self, key: &str) -> Option<(usize, usize)> {
        let mut start = 0;
        for (place, label) in self.labels.iter().enumerate() {
            if label.key as usize == key.len() && self.text.as_bytes().get(start..)?.starts_with(key.as_bytes()) {
                return Some((place, start));
            }
            start += size(label);
        }
        None
    }

    /// Adds this hit to an answer.
    pub(crate) fn add_to(&self, answer: &mut contract::Answer, event: u32, rule: u32) {
        let (title, labels) = (self.title.len() as u32, self.labels.len() as u32);
        answer.hits.push(contract::Hit { event, rule, title, labels });
        answer.labels.extend_from_slice(&self.labels);
        answer.text.push_str(&self.title);
        answer.text.push_str(&self.text);
    }
}

/// The size of a label's texts, in bytes.
fn size(label: &contract::Label) -> usize {
    label.key as usize + label.value as usize
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Field;

    /// An answer in words: of each hit the event, the rule, the title, and the labels.
    pub(crate) fn told(answer: &contract::Answer) -> Vec<(u32, u32, String, Vec<String>)> {
        let mut text = answer.text.as_str();
        let mut next = |bytes: u32| {
            let (next, rest) = text.split_at(bytes as usize);
            text = rest;
            next.to_owned()
        };
        let mut labels = answer.labels.iter();
        let hits = answer.hits.iter().map(|hit| {
            let title = next(hit.title);
            let labels = labels.by_ref().take(hit.labels as usize);
            let labels = labels.map(|label| format!("{}={}", next(label.key), next(label.value))).collect();
            (hit.event, hit.rule, title, labels)
        });
        let hits = hits.collect();
        assert!(text.is_empty() && labels.next().is_none(), "all belongs to some hit");
        hits
    }

    fn check(hit: &Hit, title: &str, labels: &[&str]) {
        let mut answer = contract::Answer::default();
        Hit::new().title("another").label("another", "1").add_to(&mut answer, 1, 2);
        hit.add_to(&mut answer, 3, 4);
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        assert_eq!(told(&answer)[1], (3, 4, title.to_owned(), labels));
    }

    #[test]
    fn labels_keep_their_order_and_skip_what_is_empty() {
        let number = 7;
        let hit = Hit::new()
            .label("a", "1")
            .label("none", Field::Missing)
            .label("empty", "")
            .label("b", Field::Number("2"))
            .label("c", number.to_string());
        check(&hit, "", &["a=1", "b=2", "c=7"]);
    }

    #[test]
    fn a_key_occurs_once() {
        let hit = Hit::new().label("a", "1").label("é", "22").label("b", "é").label("é", "3");
        check(&hit, "", &["a=1", "b=é", "é=3"]);
        assert_eq!((hit.get("a"), hit.get("b"), hit.get("é"), hit.get("1")), (Some("1"), Some("é"), Some("3"), None));
        check(&Hit::new().label("a", "1").label("b", "2").label("a", ""), "", &["b=2"]);
        check(&Hit::new().label("a", "1").label("a", ""), "", &[]);
    }

    #[test]
    fn a_title_replaces_the_rules() {
        check(&Hit::new().title("t").label("a", "1"), "t", &["a=1"]);
        check(&Hit::new().title("t").title(Field::Text("another")), "another", &[]);
    }
}
