//! What a layer is taken apart into: values, and pieces that hold none, with the reason.

use std::ops::Range;

use super::reason::DeadReason;
use super::scan::is_space;

/// A piece of the layer: a range of the window and what it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) range: Range<usize>,
    pub(super) kind: PieceKind,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// The bytes of one value: balanced, not parsed. Or base64 text, or gzip bytes, to be decoded as a layer.
    Value,
    /// Bytes that hold no value, with the reason and words for a person.
    Broken(DeadReason, &'static str),
}

/// A value without its end.
pub(super) const OPEN_AT_END: PieceKind = PieceKind::Broken(
    DeadReason::Truncated,
    "the value is still open where the input ends; look for a size limit on the way that cuts records",
);
/// A list of records without its end.
pub(super) const LIST_OPEN: PieceKind = PieceKind::Broken(
    DeadReason::Truncated,
    "the list of records is still open where the input ends: what followed is lost",
);
/// A newline within a string.
pub(super) const LINE_BREAK: PieceKind = PieceKind::Broken(
    DeadReason::InvalidJson,
    "a line ends within a string: the record was cut, or a newline in it was not escaped",
);
/// A bracket or text where none can stand.
pub(super) const MISPLACED: PieceKind = PieceKind::Broken(
    DeadReason::InvalidJson,
    "the brackets or quotes do not match: the record was cut, or a quote in it was not escaped",
);
/// Something else than a value.
pub(super) const GARBAGE: PieceKind = PieceKind::Broken(DeadReason::InvalidJson, "text between JSON values");
/// The rest of the object that held the list of records.
pub(super) const BAD_REST: PieceKind = PieceKind::Broken(
    DeadReason::InvalidJson,
    "what follows the list of records in its object is not JSON, or is a second list",
);
/// A value over the limit.
pub(super) const TOO_LARGE: PieceKind = PieceKind::Broken(
    DeadReason::MessageTooLarge,
    "one value is larger than message_bytes_max; raise it if the producer means to send such values",
);

/// Whether nothing is lost with these bytes: what closes and separates the values around them. An opening bracket is
/// the beginning of a value that is not there.
pub(super) fn is_punctuation(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is_space(*byte) || b",:]}".contains(byte))
}
