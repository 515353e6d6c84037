//! gzip streams: members in a row, with limits, and with corrupt data told from a failing reader.

use std::io::{self, BufRead};

use flate2::{Decompress, FlushDecompress, Status};

use super::limits::ReadLimits;
use super::reason::{DeadReason, Fault};

/// What a gzip member begins with (RFC 1952, section 2.3.1). No UTF-8 text does.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Bytes that come out before `ratio_max` is enforced: a small stream of one repeated record compresses well.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// The largest window of deflate, as a power of two.
const WINDOW_BITS: u8 = 15;

/// A stream of up to this size is decompressed at once, in bytes.
const WHOLE_BYTES_MAX: u64 = RATIO_FREE_BYTES;

/// What a stream of one member decompresses to, into `out`, which grows and is never cleared. None when it is no such stream,
/// or decompresses to more than `max` bytes, or to much: then `Gunzip` reads it, and finds the words for what is wrong.
pub(super) fn whole<'o>(bytes: &[u8], max: u64, out: &'o mut Vec<u8>) -> Option<&'o [u8]> {
    // The last four bytes say how much comes out (RFC 1952, section 2.3.1), which is held against what does.
    let size = u32::from_le_bytes(*bytes.last_chunk()?);
    if u64::from(size) > max.min(WHOLE_BYTES_MAX) {
        return None;
    }
    let size = size as usize;
    if out.len() < size {
        out.resize(size, 0);
    }
    let out = out.get_mut(..size)?;
    let mut member = Decompress::new_gzip(WINDOW_BITS);
    let status = member.decompress(bytes, out, FlushDecompress::Finish);
    let ended = matches!(status, Ok(Status::StreamEnd)) && member.total_in() == bytes.len() as u64;
    (ended && member.total_out() == size as u64).then_some(out)
}

/// Why no more can be read.
#[derive(Debug)]
pub(super) enum Stop {
    /// The reader below failed.
    Io(io::Error),
    /// The stream is corrupt or over a limit.
    Fault(Fault),
}

/// A gzip stream over a reader. flate2's own readers drop what they decompressed before they met corrupt data; this
/// one gives it first.
#[derive(Debug)]
pub(super) struct Gunzip<R> {
    reader: R,
    state: State,
    ratio_max: u64,
    in_bytes: u64,
    out_bytes: u64,
}

#[derive(Debug)]
enum State {
    /// Within a member.
    Member(Decompress),
    /// After a member.
    Between,
    /// At the stream's end, or at a fault that is still to be told.
    Ended(Option<Fault>),
}

impl<R: BufRead> Gunzip<R> {
    /// `reader` stands at a gzip header.
    pub(super) fn new(reader: R, limits: &ReadLimits) -> Gunzip<R> {
        let state = State::Member(Decompress::new_gzip(WINDOW_BITS));
        Gunzip { reader, state, ratio_max: limits.ratio_max.into(), in_bytes: 0, out_bytes: 0 }
    }

    /// Reads decompressed bytes into `out`, which is not empty; 0 at the stream's end. `budget` is what may still come
    /// out.
    pub(super) fn read(&mut self, out: &mut [u8], budget: &mut u64) -> Result<usize, Stop> {
        loop {
            let read = match &mut self.state {
                State::Ended(fault) => return fault.take().map_or(Ok(0), |fault| Err(Stop::Fault(fault))),
                State::Between => self.next_member()?,
                State::Member(_) => self.decompress(out)?,
            };
            let read = self.check(read, budget);
            if read > 0 {
                return Ok(read);
            }
        }
    }

    /// Decompresses once; what comes out may be nothing.
    fn decompress(&mut self, out: &mut [u8]) -> Result<usize, Stop> {
        let State::Member(member) = &mut self.state else {
            return Ok(0);
        };
        let input = fill(&mut self.reader)?;
        let (in_before, out_before) = (member.total_in(), member.total_out());
        let at_end = input.is_empty();
        let flush = if at_end { FlushDecompress::Finish } else { FlushDecompress::None };
        let result = member.decompress(input, out, flush);
        let consumed = member.total_in() - in_before;
        let read = member.total_out() - out_before;
        self.reader.consume(consumed as usize);
        self.in_bytes += consumed;
        match result {
            Ok(Status::StreamEnd) => self.state = State::Between,
            Ok(_) if at_end && read == 0 => self.corrupt("the stream ends early"),
            Ok(_) => {}
            Err(error) => {
                // zlib-rs may tell of bad data by what it gave before, and then say that it said so.
                let what = error.message().filter(|message| !message.starts_with("repeated call"));
                self.corrupt(what.unwrap_or("corrupt data"));
            }
        }
        Ok(read as usize)
    }

    /// Goes on to the next member, over the zeros that tapes and block devices pad with.
    fn next_member(&mut self) -> Result<usize, Stop> {
        let input = fill(&mut self.reader)?;
        let zeros = input.iter().take_while(|byte| **byte == 0).count();
        let next = input.get(zeros).copied();
        let at_end = input.is_empty();
        self.reader.consume(zeros);
        match next {
            None if at_end => self.state = State::Ended(None),
            None => {}
            Some(byte) if byte == MAGIC[0] => self.state = State::Member(Decompress::new_gzip(WINDOW_BITS)),
            Some(_) => self.corrupt("bytes that are no gzip follow the last gzip member"),
        }
        Ok(0)
    }

    fn corrupt(&mut self, what: &str) {
        let detail = format!("{what}, after {} compressed bytes", self.in_bytes);
        self.state = State::Ended(Some(Fault::new(DeadReason::GzipCorrupt, detail)));
    }

    /// Ends the stream when `read` bytes more are over a limit; gives how many of them are within the budget.
    fn check(&mut self, read: usize, budget: &mut u64) -> usize {
        let allowed = usize::try_from(*budget).unwrap_or(usize::MAX);
        let given = read.min(allowed);
        let read = read as u64;
        self.out_bytes += read;
        let over_budget = read > *budget;
        *budget = budget.saturating_sub(read);
        let allowed = self.in_bytes.saturating_mul(self.ratio_max);
        let fault = if over_budget {
            Fault::new(DeadReason::DecompressedTooLarge, "the message decompresses to more than decompressed_bytes_max")
        } else if self.out_bytes > RATIO_FREE_BYTES && self.out_bytes > allowed {
            let detail = format!("{} bytes from {}, more than ratio_max: a gzip bomb?", self.out_bytes, self.in_bytes);
            Fault::new(DeadReason::RatioTooHigh, detail)
        } else {
            return given;
        };
        self.state = State::Ended(Some(fault));
        given
    }
}

/// The reader's buffer, filled; empty at the end.
fn fill<R: BufRead>(reader: &mut R) -> Result<&[u8], Stop> {
    loop {
        match reader.fill_buf().map(<[u8]>::is_empty) {
            Ok(true) => return Ok(&[]),
            Ok(false) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Stop::Io(error)),
        }
    }
    // Filled already: this only borrows it.
    reader.fill_buf().map_err(Stop::Io)
}
