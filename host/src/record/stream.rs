//! A file of any size taken apart in bounded memory: plain or gzip, members in a row.

use std::io::{self, BufReader, Read};
use std::ops::Range;

use super::gzip::{Gunzip, MAGIC, Stop};
use super::limits::ReadLimits;
use super::piece::{Piece, PieceKind};
use super::reason::{DeadReason, Fault};
use super::split::{Input, Split, Step};

/// Bytes that are read at a time from a file.
const CHUNK_BYTES: usize = 64 << 10;

/// An item of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where the item begins, in decompressed bytes.
    pub offset: u64,
    /// What it is.
    pub kind: ItemKind,
}

/// What an item of a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A value, to be handed to `unpack`.
    Value,
    /// A piece that cannot be read.
    Broken {
        /// Why.
        reason: DeadReason,
        /// What is wrong and a hint, at most 200 bytes.
        detail: String,
    },
}

/// Takes a stream apart into items: the values at its top, one a line or not, and the elements of a top-level array
/// or of a leading `{"Records":[`.
///
/// `unpack` of each value gives the entries that `unpack` of the whole stream as one message would give, but for the
/// limits on a message (`records_max`, `decompressed_bytes_max`, the layers that were opened already), which a file
/// does not have. A stream without items is what `unpack` calls empty. Holds one value at a time, of at most
/// `message_bytes_max`, in a buffer of at most twice that.
#[derive(Debug)]
pub struct Splitter<R: Read> {
    source: Source<R>,
    split: Split,
    limits: ReadLimits,
    /// Bytes that are read at a time.
    chunk_bytes: usize,
    /// What is held of the stream, in the first `held` bytes; the rest is room for more.
    window: Vec<u8>,
    held: usize,
    /// Where the window begins in the stream.
    base: u64,
    /// How the stream goes on after the window.
    input: Input,
    /// What ended the stream, to be given as the last item.
    fault: Option<Fault>,
}

/// The bytes that were read to tell gzip from text, then the rest.
type Whole<R> = io::Chain<io::Cursor<Vec<u8>>, BufReader<R>>;

#[derive(Debug)]
enum Source<R> {
    /// Not known yet; `head` is what has been read, shorter than the magic.
    New {
        reader: BufReader<R>,
        head: Vec<u8>,
    },
    Plain(Whole<R>),
    Gzip(Box<Gunzip<Whole<R>>>),
    /// The stream has ended, in whichever way.
    Ended,
}

/// A piece of the stream, within the window.
pub(super) enum StreamPiece {
    /// A value, or a piece that cannot be read.
    Piece(Piece),
    /// The stream itself cannot be read any further.
    Fault(Fault),
}

impl<R: Read> Splitter<R> {
    /// Reads `reader` from its present position.
    pub fn new(reader: R, limits: ReadLimits) -> Splitter<R> {
        Splitter::with_chunks(reader, limits, CHUNK_BYTES)
    }

    /// The same, with `chunk_bytes` read at a time: most messages are much smaller than a file.
    pub(super) fn with_chunks(reader: R, limits: ReadLimits, chunk_bytes: usize) -> Splitter<R> {
        let chunk_bytes = chunk_bytes.clamp(1, CHUNK_BYTES);
        Splitter {
            source: Source::New { reader: BufReader::with_capacity(chunk_bytes, reader), head: Vec::new() },
            split: Split::new(limits.message_bytes_max),
            limits,
            chunk_bytes,
            window: Vec::new(),
            held: 0,
            base: 0,
            input: Input::Open,
            fault: None,
        }
    }

    /// Reads the next item, its bytes into `buf`. None at the end. A gzip stream that breaks off gives the items
    /// before the fault, then one broken item without bytes.
    ///
    /// # Errors
    /// The reader's own errors; corrupt data is an item.
    pub fn next_item(&mut self, buf: &mut Vec<u8>) -> io::Result<Option<Item>> {
        buf.clear();
        let mut unlimited = u64::MAX;
        let Some(piece) = self.next_piece(&mut unlimited)? else {
            return Ok(None);
        };
        Ok(Some(match piece {
            StreamPiece::Piece(Piece { range, kind }) => {
                buf.extend_from_slice(self.bytes(&range));
                let kind = match kind {
                    PieceKind::Value => ItemKind::Value,
                    PieceKind::Broken(reason, detail) => ItemKind::Broken { reason, detail: detail.to_owned() },
                };
                Item { offset: self.offset(&range), kind }
            }
            StreamPiece::Fault(Fault { reason, detail }) => {
                let offset = self.base + self.held as u64;
                Item { offset, kind: ItemKind::Broken { reason, detail } }
            }
        }))
    }

    /// The next piece; its bytes stay in the window until the next call. `budget`: bytes that may still come out of
    /// gzip.
    pub(super) fn next_piece(&mut self, budget: &mut u64) -> io::Result<Option<StreamPiece>> {
        loop {
            let window = self.window.get(..self.held).unwrap_or_default();
            match self.split.step(window, self.input) {
                Step::Piece(piece) => return Ok(Some(StreamPiece::Piece(piece))),
                Step::End => return Ok(self.fault.take().map(StreamPiece::Fault)),
                Step::More => {
                    self.drop_read();
                    self.fill(budget)?;
                }
            }
        }
    }

    /// What is held of the stream, in bytes.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.window.capacity()
    }

    /// The bytes of a piece.
    pub(super) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.window.get(range.clone()).unwrap_or_default()
    }

    /// Where a piece begins in the stream.
    pub(super) fn offset(&self, range: &Range<usize>) -> u64 {
        self.base + range.start as u64
    }

    /// Drops what is not needed any more. What is left is part of one value, which moves at most once.
    fn drop_read(&mut self) {
        let keep = self.split.keep().min(self.held);
        if let Some(&before) = keep.checked_sub(1).and_then(|last| self.window.get(last)) {
            self.split.rebase(keep, before);
            self.window.copy_within(keep..self.held, 0);
            self.held -= keep;
            self.base += keep as u64;
        }
    }

    /// Adds a chunk to the window, or notes the stream's end.
    fn fill(&mut self, budget: &mut u64) -> io::Result<()> {
        self.open()?;
        if self.window.len() - self.held < self.chunk_bytes.div_ceil(2) {
            self.window.resize(self.held + self.chunk_bytes, 0);
        }
        let end = self.window.len().min(self.held + self.chunk_bytes);
        let chunk = self.window.get_mut(self.held..end).unwrap_or_default();
        let read = match &mut self.source {
            Source::Plain(reader) => read_retrying(reader, chunk).map_err(Stop::Io),
            Source::Gzip(gunzip) => gunzip.read(chunk, budget),
            Source::New { .. } | Source::Ended => Ok(0),
        };
        match read {
            Ok(0) => self.input = Input::Ended,
            Ok(read) => self.held += read,
            Err(Stop::Io(error)) => return Err(error),
            Err(Stop::Fault(fault)) => {
                self.source = Source::Ended;
                self.input = Input::Cut;
                self.fault = Some(fault);
            }
        }
        Ok(())
    }

    /// Tells gzip from text by the first bytes.
    fn open(&mut self) -> io::Result<()> {
        if let Source::New { reader, head } = &mut self.source {
            let mut byte = [0];
            while head.len() < MAGIC.len() && read_retrying(reader, &mut byte)? == 1 {
                head.extend(byte);
            }
        }
        self.source = match std::mem::replace(&mut self.source, Source::Ended) {
            Source::New { reader, head } => {
                let gzip = head == MAGIC;
                let whole = io::Cursor::new(head).chain(reader);
                if gzip { Source::Gzip(Box::new(Gunzip::new(whole, &self.limits))) } else { Source::Plain(whole) }
            }
            known => known,
        };
        Ok(())
    }
}

fn read_retrying(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
