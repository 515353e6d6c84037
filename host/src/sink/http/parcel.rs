//! Messages in the form that a target takes, one behind the other in one buffer.

use std::ops::Range;

use crate::sink::{Outgoing, Refused};

/// Bytes that a target's form may add to a message; where it is more the buffer grows.
const AROUND_BYTES: usize = 256;

/// Encoded messages, and those of them that no target would take.
#[derive(Debug, Default)]
pub(crate) struct Parcels {
    bytes: Vec<u8>,
    /// The place of each message's bytes; None for one that is not to be sent.
    all: Vec<Option<Range<usize>>>,
    /// What is refused before anything is sent.
    pub(crate) refused: Vec<Refused>,
}

impl Parcels {
    /// All of `messages`, encoded one by one as for [`Parcels::push`].
    pub(crate) fn of(
        messages: &[Outgoing<'_>],
        mut encode: impl FnMut(&Outgoing<'_>, &mut Vec<u8>) -> Result<(), String>,
    ) -> Parcels {
        // A buffer that grows step by step has twice as much in the end.
        let bytes = messages.iter().map(|message| message.payload.len() + AROUND_BYTES).sum();
        let mut parcels = Parcels { bytes: Vec::with_capacity(bytes), ..Parcels::default() };
        for message in messages {
            parcels.push(|to| encode(message, to));
        }
        parcels
    }

    /// Adds the next message: `encode` appends its bytes, or says why it can never be sent.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), String>) {
        let start = self.bytes.len();
        match encode(&mut self.bytes) {
            Ok(()) => self.all.push(Some(start..self.bytes.len())),
            Err(cause) => {
                self.bytes.truncate(start);
                self.refused.push(Refused { index: self.all.len(), cause });
                self.all.push(None);
            }
        }
    }

    /// The size of a message, in bytes.
    fn len_of(&self, index: usize) -> usize {
        self.all.get(index).and_then(Option::as_ref).map_or(0, |range| range.len())
    }

    /// The messages in order, in pieces of at most `bytes_max` bytes; one that is larger is a piece of its own.
    pub(crate) fn pieces(&self, bytes_max: usize) -> Vec<Vec<usize>> {
        let (mut pieces, mut piece, mut bytes) = (Vec::new(), Vec::new(), 0usize);
        for (index, range) in self.all.iter().enumerate() {
            if range.is_none() {
                continue;
            }
            let len = self.len_of(index);
            if !piece.is_empty() && bytes.saturating_add(len) > bytes_max {
                pieces.push(std::mem::take(&mut piece));
                bytes = 0;
            }
            piece.push(index);
            bytes += len;
        }
        if !piece.is_empty() {
            pieces.push(piece);
        }
        pieces
    }

    /// The bytes of a piece, one message behind the other.
    pub(crate) fn body(&self, piece: &[usize]) -> Vec<u8> {
        let mut body = Vec::with_capacity(piece.iter().map(|index| self.len_of(*index)).sum());
        for range in piece.iter().filter_map(|index| self.all.get(*index)?.clone()) {
            body.extend_from_slice(self.bytes.get(range).unwrap_or_default());
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_into_pieces_by_size() {
        let mut parcels = Parcels::default();
        for text in ["aa", "bb", "no", "cccccc", "d", "e"] {
            parcels.push(|to| {
                to.extend_from_slice(text.as_bytes());
                if text == "no" { Err("never".to_owned()) } else { Ok(()) }
            });
        }
        assert_eq!(parcels.pieces(4), [vec![0, 1], vec![3], vec![4, 5]]);
        assert_eq!(parcels.pieces(100), [vec![0, 1, 3, 4, 5]]);
        assert_eq!(parcels.body(&[0, 3, 5]), b"aacccccce");
        assert_eq!(parcels.refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [2]);
        assert!(Parcels::default().pieces(1).is_empty());
    }
}
