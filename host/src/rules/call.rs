//! One call into a module: the batch that is gathered for it, and the check of what comes back.

use super::contract::{Batch, Hit};
use super::instance::{Fault, Instance};
use super::limits::{RuleLimits, cut};
use super::path::Path;
use super::project;
use crate::record::Record;

/// Events gathered for one call, with the caller's own number of each.
#[derive(Debug)]
pub(super) struct Call {
    batch: Batch,
    events: Vec<u32>,
}

impl Default for Call {
    fn default() -> Self {
        let batch = Batch { events: 0, cells: Vec::new(), pairs: Vec::new(), text: String::new() };
        Call { batch, events: Vec::new() }
    }
}

impl Call {
    /// Adds an event that `rules` (ascending) were selected for. `event` is the caller's number for it.
    pub(super) fn push(&mut self, fields: &[Path], record: &Record<'_>, rules: impl Iterator<Item = u32>, event: u32) {
        let row = u64::from(self.batch.events);
        self.batch.pairs.extend(rules.map(|rule| row | u64::from(rule) << 32));
        project::push_row(&mut self.batch, fields, record);
        self.events.push(event);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn is_full(&self, limits: &RuleLimits) -> bool {
        self.events.len() >= limits.call_events_max || self.batch.text.len() >= limits.call_text_bytes_max
    }

    /// The caller's numbers of the gathered events.
    pub(super) fn events(&self) -> &[u32] {
        &self.events
    }

    /// The rules that were selected for the event in `row`.
    pub(super) fn rules_of(&self, row: usize) -> impl Iterator<Item = u32> + '_ {
        self.batch.pairs.iter().filter(move |pair| **pair & 0xffff_ffff == row as u64).map(|pair| (pair >> 32) as u32)
    }

    /// Runs the call. Every hit that comes back names a pair of the batch, once, and is within the limits; its
    /// `event` is a row of this call.
    pub(super) fn run(&self, instance: &mut Instance, limits: &RuleLimits) -> Result<Vec<Hit>, Fault> {
        let mut hits = instance.evaluate(&self.batch)?;
        check(&self.batch, &mut hits, limits).map_err(Fault::WrongAnswer)?;
        Ok(hits)
    }

    /// A call of the event in `row` alone.
    pub(super) fn alone(&self, row: usize) -> Call {
        let fields = self.batch.cells.len() / self.events.len().max(1);
        let cells = self.batch.cells.get(row * fields..(row + 1) * fields).unwrap_or_default();
        let mut batch = Batch {
            events: 1,
            cells: Vec::with_capacity(fields),
            pairs: self.rules_of(row).map(|rule| u64::from(rule) << 32).collect(),
            text: String::new(),
        };
        // The same cells over the same text, but only this event's part of the text is handed over.
        for cell in cells {
            let (offset, length) = ((cell & 0xffff_ffff) as usize, (cell >> 32 & 0xfff_ffff) as usize);
            let text = self.batch.text.get(offset..offset + length).unwrap_or_default();
            batch.cells.push(batch.text.len() as u64 | (length as u64) << 32 | cell & (0xf << 60));
            batch.text.push_str(text);
        }
        Call { batch, events: self.events.get(row).copied().into_iter().collect() }
    }

    pub(super) fn clear(&mut self) {
        self.batch.events = 0;
        self.batch.cells.clear();
        self.batch.pairs.clear();
        self.batch.text.clear();
        self.events.clear();
    }
}

/// Holds an answer against the batch it was given and the limits. What a guest returns is hostile input.
fn check(batch: &Batch, hits: &mut [Hit], limits: &RuleLimits) -> Result<(), String> {
    if hits.len() > batch.pairs.len() {
        return Err(format!("{} hits for {} pairs", hits.len(), batch.pairs.len()));
    }
    let mut seen = vec![false; batch.pairs.len()];
    let mut findings = vec![0usize; batch.events as usize];
    for hit in hits {
        let (event, rule) = (hit.event, hit.rule);
        // Pairs ascend by event, then rule.
        let order = |pair: &u64| ((*pair & 0xffff_ffff) as u32, (*pair >> 32) as u32).cmp(&(event, rule));
        let at = batch
            .pairs
            .binary_search_by(order)
            .map_err(|_| format!("a hit of event {event} and rule {rule}, a pair that it was not asked about"))?;
        match seen.get_mut(at) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(format!("two hits of event {event} and rule {rule}")),
        }
        if let Some(count) = findings.get_mut(event as usize) {
            *count += 1;
            if *count > limits.event_findings_max {
                return Err(format!("more than {} findings of event {event}", limits.event_findings_max));
            }
        }
        check_labels(hit, limits)?;
    }
    Ok(())
}

fn check_labels(hit: &mut Hit, limits: &RuleLimits) -> Result<(), String> {
    if hit.labels.len() > limits.labels_max {
        return Err(format!("{} labels, over the limit of {}", hit.labels.len(), limits.labels_max));
    }
    for at in 0..hit.labels.len() {
        let (earlier, rest) = hit.labels.split_at_mut(at);
        let Some(label) = rest.first_mut() else { break };
        if label.key.is_empty() || label.key.len() > limits.label_key_bytes_max {
            return Err(format!(
                "a label's key of {} bytes; 1 to {} are allowed",
                label.key.len(),
                limits.label_key_bytes_max
            ));
        }
        if earlier.iter().any(|other| other.key == label.key) {
            return Err(format!("the label `{}` twice in a hit", label.key.escape_debug()));
        }
        cut(&mut label.value, limits.label_bytes_max);
    }
    if let Some(title) = &mut hit.title {
        cut(title, limits.label_bytes_max);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::contract::Label;
    use super::*;
    use crate::record::testing::each_reading;

    fn hit(event: u32, rule: u32) -> Hit {
        Hit { event, rule, title: None, labels: Vec::new() }
    }

    fn labelled(labels: &[(&str, &str)]) -> Hit {
        let labels = labels.iter().map(|(k, v)| Label { key: (*k).to_owned(), value: (*v).to_owned() }).collect();
        Hit { labels, ..hit(0, 0) }
    }

    fn check_hits(mut hits: Vec<Hit>, expect: &str) -> Vec<Hit> {
        // Two events, three rules; event 0 was selected for the rules 0 and 2, event 1 for the rule 1.
        let pairs = vec![0, 2 << 32, 1 | 1 << 32];
        let batch = Batch { events: 2, cells: Vec::new(), pairs, text: String::new() };
        let limits = RuleLimits { event_findings_max: 1, labels_max: 2, label_bytes_max: 8, ..RuleLimits::default() };
        let answer = check(&batch, &mut hits, &limits).err().unwrap_or_default();
        assert!(answer.contains(expect) && answer.is_empty() == expect.is_empty(), "{answer:?}, not {expect:?}");
        hits
    }

    #[test]
    fn a_hit_names_a_pair_that_was_asked_about() {
        check_hits(vec![], "");
        check_hits(vec![hit(1, 1), hit(0, 0)], "");
        check_hits(vec![hit(0, 1)], "not asked about");
        check_hits(vec![hit(2, 0)], "not asked about");
        check_hits(vec![hit(u32::MAX, u32::MAX)], "not asked about");
        check_hits(vec![hit(0, 2), hit(0, 2)], "two hits");
        check_hits(vec![hit(0, 0), hit(0, 2)], "more than 1 findings");
        check_hits(vec![hit(0, 0), hit(0, 0), hit(0, 0), hit(0, 0)], "4 hits for 3 pairs");
    }

    #[test]
    fn labels_are_limited() {
        check_hits(vec![labelled(&[("a", "1"), ("b", "2")])], "");
        check_hits(vec![labelled(&[("a", "1"), ("b", "2"), ("c", "3")])], "3 labels");
        check_hits(vec![labelled(&[("a", "1"), ("a", "2")])], "twice");
        check_hits(vec![labelled(&[("", "1")])], "key of 0 bytes");
        check_hits(vec![labelled(&[(&"k".repeat(65), "1")])], "key of 65 bytes");
        let hits = check_hits(vec![labelled(&[("a", "0123456789")])], "");
        assert_eq!(hits[0].labels[0].value, "01234…");
    }

    #[test]
    fn an_event_alone_has_its_own_cells_and_rules() {
        let mut call = Call::default();
        let fields = [Path::new("a"), Path::new("b")];
        each_reading(r#"{"a":"first","b":1}"#, |record| {
            call.push(&fields, record, [0].into_iter(), 7);
        });
        let mut expect = Call::default();
        each_reading(r#"{"b":"second"}"#, |record| {
            call.push(&fields, record, [1, 3].into_iter(), 9);
            expect.clear();
            expect.push(&fields, record, [1, 3].into_iter(), 9);
        });
        let alone = call.alone(call.events().len() - 1);
        assert_eq!(alone.batch, expect.batch);
        assert_eq!(alone.events, [9]);
    }
}
