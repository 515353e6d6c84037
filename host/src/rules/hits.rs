//! What a module answered, held against what it was asked and against the limits. What a guest returns is hostile input.

use std::ops::Range;

use super::contract::{Answer, Batch};
use super::limits::{RuleLimits, cut};

/// The hits of one call. Their texts stay where the answer has them: to make a string of each, here and in the guest, took
/// a fifth of all that a finding costs.
#[derive(Debug, Default)]
pub struct Hits {
    list: Vec<Hit>,
    labels: Vec<Place>,
    text: String,
}

/// A rule fired on an event.
#[derive(Debug)]
pub struct Hit {
    /// The caller's number of the event.
    pub event: u32,
    /// The rule's number in the module.
    pub rule: u32,
    /// Where its own title lies; empty for none.
    title: Range<usize>,
    labels: Range<usize>,
}

/// Where a label's texts lie.
#[derive(Debug)]
struct Place {
    key: Range<usize>,
    value: Range<usize>,
}

/// Facts that a hit adds: keys, each of them once, and values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Labels<'a> {
    places: &'a [Place],
    text: &'a str,
}

impl<'a> Labels<'a> {
    /// Keys and values.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let text = move |at: &Range<usize>| self.text.get(at.clone()).unwrap_or_default();
        self.places.iter().map(move |place| (text(&place.key), text(&place.value)))
    }
}

impl Hits {
    /// Takes an answer to `batch`. Every hit names a pair of the batch, once, and is within the limits. Its event is a row
    /// until [`Hits::number`] puts the caller's number there.
    pub(super) fn of(answer: Answer, batch: &Batch, limits: &RuleLimits) -> Result<Hits, String> {
        let Answer { hits, labels: sizes, text } = answer;
        let mut pairs = Pairs::of(batch, hits.len())?;
        let mut texts = Texts { end: text.len(), text, taken: 0 };
        let mut sizes = sizes.iter();
        let (mut list, mut labels) = (Vec::with_capacity(hits.len()), Vec::with_capacity(sizes.len()));
        for hit in hits {
            let (event, rule) = (hit.event, hit.rule);
            pairs.fired(event, rule, limits.event_findings_max)?;
            if hit.labels as usize > limits.labels_max {
                return Err(format!("{} labels, over the limit of {}", hit.labels, limits.labels_max));
            }
            let title = texts.next(hit.title)?;
            let title = texts.cut(title, limits.label_bytes_max);
            let first = labels.len();
            for _ in 0..hit.labels {
                let size = sizes.next().ok_or("hits with more labels than there are")?;
                let (key, value) = (texts.next(size.key)?, texts.next(size.value)?);
                texts.check_key(&key, labels.get(first..).unwrap_or_default(), limits)?;
                labels.push(Place { key, value: texts.cut(value, limits.label_bytes_max) });
            }
            list.push(Hit { event, rule, title, labels: first..labels.len() });
        }
        match (sizes.len(), texts.end - texts.taken) {
            (0, 0) => Ok(Hits { list, labels, text: texts.text }),
            (more, bytes) => Err(format!("{more} labels and {bytes} bytes of text that belong to no hit")),
        }
    }

    /// The hits.
    pub fn iter(&self) -> impl Iterator<Item = &Hit> {
        self.list.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Puts the caller's number in place of each row.
    pub(super) fn number(&mut self, events: &[u32]) {
        self.list.iter_mut().for_each(|hit| hit.event = events.get(hit.event as usize).copied().unwrap_or(u32::MAX));
    }

    /// A title in place of the rule's.
    pub fn title(&self, hit: &Hit) -> Option<&str> {
        self.text.get(hit.title.clone()).filter(|title| !title.is_empty())
    }

    /// The labels of a hit.
    pub fn labels(&self, hit: &Hit) -> Labels<'_> {
        Labels { places: self.labels.get(hit.labels.clone()).unwrap_or_default(), text: &self.text }
    }
}

/// The pairs that a module was asked about, and which of them fired.
struct Pairs<'a> {
    /// They ascend by event, then rule.
    pairs: &'a [u64],
    fired: Vec<bool>,
    findings: Vec<usize>,
}

impl<'a> Pairs<'a> {
    fn of(batch: &'a Batch, hits: usize) -> Result<Pairs<'a>, String> {
        let pairs = batch.pairs.as_slice();
        if hits > pairs.len() {
            return Err(format!("{hits} hits for {} pairs", pairs.len()));
        }
        Ok(Pairs { pairs, fired: vec![false; pairs.len()], findings: vec![0; batch.events as usize] })
    }

    fn fired(&mut self, event: u32, rule: u32, findings_max: usize) -> Result<(), String> {
        let order = |pair: &u64| ((*pair & 0xffff_ffff) as u32, (*pair >> 32) as u32).cmp(&(event, rule));
        let at = self
            .pairs
            .binary_search_by(order)
            .map_err(|_| format!("a hit of event {event} and rule {rule}, a pair that it was not asked about"))?;
        match self.fired.get_mut(at) {
            Some(fired) if !*fired => *fired = true,
            _ => return Err(format!("two hits of event {event} and rule {rule}")),
        }
        match self.findings.get_mut(event as usize) {
            Some(findings) if *findings >= findings_max => {
                Err(format!("more than {findings_max} findings of event {event}"))
            }
            findings => {
                findings.into_iter().for_each(|findings| *findings += 1);
                Ok(())
            }
        }
    }
}

/// The texts of an answer, taken one after another.
struct Texts {
    text: String,
    taken: usize,
    /// Behind it lie texts that were cut.
    end: usize,
}

impl Texts {
    fn next(&mut self, bytes: u32) -> Result<Range<usize>, String> {
        let next = self.taken..self.taken.saturating_add(bytes as usize);
        if next.end > self.end {
            return Err(format!("texts of more than the {} bytes that there are", self.end));
        }
        if !self.text.is_char_boundary(next.end) {
            return Err(format!("a text that ends within a character, at byte {}", next.end));
        }
        self.taken = next.end;
        Ok(next)
    }

    /// A text of `bytes_max` at most.
    fn cut(&mut self, at: Range<usize>, bytes_max: usize) -> Range<usize> {
        if at.len() <= bytes_max {
            return at;
        }
        let mut text = self.text.get(at).unwrap_or_default().to_owned();
        cut(&mut text, bytes_max);
        let start = self.text.len();
        self.text.push_str(&text);
        start..self.text.len()
    }

    fn check_key(&self, key: &Range<usize>, earlier: &[Place], limits: &RuleLimits) -> Result<(), String> {
        if key.is_empty() || key.len() > limits.label_key_bytes_max {
            let (len, max) = (key.len(), limits.label_key_bytes_max);
            return Err(format!("a label's key of {len} bytes; 1 to {max} are allowed"));
        }
        let text = |at: &Range<usize>| self.text.get(at.clone()).unwrap_or_default();
        if earlier.iter().any(|other| other.key.len() == key.len() && text(&other.key) == text(key)) {
            return Err(format!("the label `{}` twice in a hit", text(key).escape_debug()));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::contract;
    use super::*;

    /// Labels of any kind, of no hit.
    pub(crate) struct Told {
        places: Vec<Place>,
        text: String,
    }

    pub(crate) fn told(labels: &[(&str, &str)]) -> Told {
        let mut told = Told { places: Vec::new(), text: String::new() };
        let mut place = |text: &str| {
            let start = told.text.len();
            told.text.push_str(text);
            start..told.text.len()
        };
        told.places.extend(labels.iter().map(|(key, value)| Place { key: place(key), value: place(value) }));
        told
    }

    impl Told {
        pub(crate) fn labels(&self) -> Labels<'_> {
            Labels { places: &self.places, text: &self.text }
        }
    }

    type Answered<'a> = ((u32, u32), &'a str, &'a [(&'a str, &'a str)]);

    fn answer(hits: &[Answered<'_>]) -> Answer {
        let size = |text: &str| u32::try_from(text.len()).unwrap();
        let mut answer = Answer { hits: Vec::new(), labels: Vec::new(), text: String::new() };
        for ((event, rule), title, labels) in hits {
            let count = u32::try_from(labels.len()).unwrap();
            answer.hits.push(contract::Hit { event: *event, rule: *rule, title: size(title), labels: count });
            answer.text.push_str(title);
            for (key, value) in *labels {
                answer.labels.push(contract::Label { key: size(key), value: size(value) });
                answer.text.extend([*key, *value]);
            }
        }
        answer
    }

    /// Two events, three rules; event 0 was selected for the rules 0 and 2, event 1 for the rule 1.
    fn batch() -> Batch {
        let pairs = vec![0, 2 << 32, 1 | 1 << 32];
        Batch { events: 2, cells: Vec::new(), pairs, text: String::new() }
    }

    fn check_answer(answer: Answer, expect: &str) -> Hits {
        let limits = RuleLimits { event_findings_max: 1, labels_max: 2, label_bytes_max: 8, ..RuleLimits::default() };
        let hits = Hits::of(answer, &batch(), &limits);
        let error = hits.as_ref().err().cloned().unwrap_or_default();
        assert!(error.contains(expect) && error.is_empty() == expect.is_empty(), "{error:?}, not {expect:?}");
        hits.unwrap_or_default()
    }

    fn check_pairs(pairs: &[(u32, u32)], expect: &str) {
        let hits: Vec<Answered<'_>> = pairs.iter().map(|pair| (*pair, "", &[][..])).collect();
        let found = check_answer(answer(&hits), expect);
        if expect.is_empty() {
            assert_eq!(found.iter().map(|hit| (hit.event, hit.rule)).collect::<Vec<_>>(), pairs);
        }
    }

    #[test]
    fn a_hit_names_a_pair_that_was_asked_about() {
        check_pairs(&[], "");
        check_pairs(&[(1, 1), (0, 0)], "");
        check_pairs(&[(0, 1)], "not asked about");
        check_pairs(&[(2, 0)], "not asked about");
        check_pairs(&[(u32::MAX, u32::MAX)], "not asked about");
        check_pairs(&[(0, 2), (0, 2)], "two hits");
        check_pairs(&[(0, 0), (0, 2)], "more than 1 findings");
        check_pairs(&[(0, 0), (0, 0), (0, 0), (0, 0)], "4 hits for 3 pairs");
    }

    fn check_labels(labels: &[(&str, &str)], expect: &str) -> Hits {
        check_answer(answer(&[((0, 0), "", labels)]), expect)
    }

    #[test]
    fn labels_are_limited() {
        check_labels(&[("a", "1"), ("b", "2")], "");
        check_labels(&[("a", "1"), ("b", "2"), ("c", "3")], "3 labels");
        check_labels(&[("a", "1"), ("a", "2")], "twice");
        check_labels(&[("", "1")], "key of 0 bytes");
        check_labels(&[(&"k".repeat(65), "1")], "key of 65 bytes");
    }

    #[test]
    fn each_hit_has_its_own_texts() {
        let (first, second) = ([("a", "1"), ("é", "0123456789")], [("a", ""), ("b", "3")]);
        let hits = check_answer(answer(&[((1, 1), "an own title", &first), ((0, 2), "", &second)]), "");
        let told: Vec<_> = hits.iter().map(|hit| (hits.title(hit), hits.labels(hit).iter().collect())).collect();
        let expect: [(_, Vec<_>); 2] =
            [(Some("an ow…"), vec![("a", "1"), ("é", "01234…")]), (None, vec![("a", ""), ("b", "3")])];
        assert_eq!(told, expect);
    }

    #[test]
    fn sizes_agree_with_what_there_is() {
        let good = || answer(&[((0, 0), "title", &[("a", "é")]), ((1, 1), "", &[("a", "1")])]);
        check_answer(good(), "");
        let check = |change: fn(&mut Answer), expect| {
            let mut answer = good();
            change(&mut answer);
            check_answer(answer, expect);
        };
        check(|answer| answer.hits[0].title += 5, "texts of more than the 10 bytes that there are");
        check(|answer| answer.hits[1].title = u32::MAX, "texts of more than");
        check(|answer| answer.labels[0].value = 1, "a text that ends within a character, at byte 7");
        check(|answer| answer.labels[1].value = 0, "0 labels and 1 bytes of text that belong to no hit");
        check(|answer| answer.text.push('x'), "0 labels and 1 bytes of text that belong to no hit");
        check(|answer| answer.hits[1].labels = 2, "hits with more labels than there are");
        check(|answer| answer.hits[1].labels = 0, "1 labels and 2 bytes of text that belong to no hit");
        check(|answer| answer.hits.clear(), "2 labels and 10 bytes of text that belong to no hit");
    }
}
