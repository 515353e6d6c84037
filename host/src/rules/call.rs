//! One call into a module: the batch that is gathered for it.

use super::contract::Batch;
use super::hits::Hits;
use super::instance::{Fault, Instance};
use super::limits::RuleLimits;
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

    /// Runs the call. The `event` of a hit is the caller's number.
    pub(super) fn run(&self, instance: &mut Instance, limits: &RuleLimits) -> Result<Hits, Fault> {
        let answer = instance.evaluate(&self.batch)?;
        let mut hits = Hits::of(answer, &self.batch, limits).map_err(Fault::WrongAnswer)?;
        hits.number(&self.events);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::each_reading;

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
