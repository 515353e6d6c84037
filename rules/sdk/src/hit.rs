//! What a rule answers when it fires.

use crate::contract::exports::trailhound::rule::detection as contract;

/// A rule fired on an event. The host makes the finding; the hit adds what this one event has to say.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Hit {
    title: Option<String>,
    labels: Vec<contract::Label>,
}

impl Hit {
    /// A hit with the rule's own title and no labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// A title for this finding alone, in place of the rule's.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// A fact beside the title. The value is a text or a [`Field`](crate::Field). One that is empty (a field that the
    /// record does not have) makes no label; a key that is there already gets the new value.
    pub fn label(mut self, key: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        self.labels.retain(|label| label.key != key);
        if !value.is_empty() {
            // Room for all that most rules show: to make more of it moves what is there.
            if self.labels.is_empty() {
                self.labels.reserve_exact(8);
            }
            self.labels.push(contract::Label { key: key.to_owned(), value });
        }
        self
    }

    /// The value of a label, for tests.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|label| label.key == key).map(|label| label.value.as_str())
    }

    pub(crate) fn of(self, event: u32, rule: u32) -> contract::Hit {
        contract::Hit { event, rule, title: self.title, labels: self.labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Field;

    #[test]
    fn labels_keep_their_order_and_skip_what_is_empty() {
        let hit = Hit::new()
            .label("a", "1")
            .label("none", Field::Missing)
            .label("empty", "")
            .label("b", Field::Number("2"))
            .of(3, 4);
        let labels: Vec<_> = hit.labels.iter().map(|label| (label.key.as_str(), label.value.as_str())).collect();
        assert_eq!(labels, [("a", "1"), ("b", "2")]);
        assert_eq!((hit.event, hit.rule, hit.title), (3, 4, None));
    }

    #[test]
    fn a_key_occurs_once() {
        let hit = Hit::new().label("a", "1").label("a", "2");
        assert_eq!(hit.get("a"), Some("2"));
        assert_eq!(hit.of(0, 0).labels.len(), 1);
        assert_eq!(Hit::new().label("a", "1").label("a", "").get("a"), None);
    }

    #[test]
    fn a_title_replaces_the_rules() {
        assert_eq!(Hit::new().title("t").of(0, 0).title.as_deref(), Some("t"));
    }
}
