//! A guess at where a record ends, which saves the scan for its end.

use memchr::memmem;

use super::scan::is_space;

/// What AWS begins a record with.
pub(super) const RECORD_START: &[u8] = b"{\"eventVersion\"";

/// Guesses where a record ends: before the next `{"eventVersion"`. The parser proves it, which saves the scan; where
/// records begin otherwise, nothing is guessed. Each guess is tried once, so bytes are looked at twice at most.
pub(super) struct Guess<'b> {
    bytes: &'b [u8],
    finder: memmem::Finder<'static>,
    /// The next place where a record seems to begin; the end once there is none.
    next: usize,
}

impl<'b> Guess<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Guess<'b> {
        Guess { bytes, finder: memmem::Finder::new(RECORD_START), next: 0 }
    }

    /// Where the object at `start` ends, if a record seems to begin after it.
    pub(super) fn end(&mut self, start: usize) -> Option<usize> {
        // A place that still lies ahead was the guess for an object before, and was wrong.
        if self.next > start {
            return None;
        }
        let rest = self.bytes.get(start + 1..).unwrap_or_default();
        self.next = self.finder.find(rest).map_or(self.bytes.len(), |at| start + 1 + at);
        if self.next == self.bytes.len() {
            return None;
        }
        let between = self.bytes.get(start..self.next).unwrap_or_default();
        let padding = between.iter().rev().take_while(|byte| is_space(**byte) || **byte == b',').count();
        Some(self.next - padding).filter(|end| self.bytes.get(end - 1) == Some(&b'}'))
    }
}
