//! A layer's text taken apart into values, in one pass, whatever is broken in it.
//!
//! A layer holds values in a row, with white space, commas or nothing between them. A top-level array and a leading
//! `{"Records":[` are opened, so their elements are values too: a list of any length is read in the memory of one
//! element. What is no value becomes one broken piece for each stretch of it. After a value that broke, the next one
//! begins at a `{` that starts a line or is followed by a key that CloudTrail's records begin with.

use std::collections::VecDeque;
use std::ops::Range;

use memchr::memchr3;

use super::gzip::MAGIC;
use super::json;
use super::piece::{
    BAD_REST, GARBAGE, LINE_BREAK, LIST_OPEN, MISPLACED, OPEN_AT_END, Piece, PieceKind, TOO_LARGE, is_punctuation,
};
use super::reason::DeadReason;
use super::resync::{Begins, begins};
use super::scan::{Break, Scan, StringEnd, Verdict, is_space, string_end};
use super::text::begins_base64;

/// Whether more bytes may come after the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// More may come.
    Open,
    /// The window ends where the layer ends.
    Ended,
    /// The window ends where the layer was damaged, which its reader reports: a value that is still open is the same
    /// loss, and is not reported again.
    Cut,
}

/// What a step gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A piece; its range is valid until the window changes.
    Piece(Piece),
    /// More bytes are needed; what lies before `keep` is not.
    More,
    /// The layer has been read to its end.
    End,
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The layer's first bytes.
    Start,
    /// Between values.
    Between,
    /// An object from `start`, or the rest of the object whose `Records` list has ended.
    Object { start: usize, rest: bool },
    /// A `[` at `start`; whether it is empty is not known yet.
    List { start: usize },
    /// A string from `start`.
    Text { start: usize, escaped: bool },
    /// A number, literal, base64 or other run of characters from `start`.
    Word { start: usize },
    /// No value since `start`. `strict`: a value broke, so that not every brace can be trusted.
    Lost { start: usize, strict: bool, why: PieceKind },
    /// gzip within the layer, from `start` to its end.
    Gzip { start: usize },
    /// A gzip layer over the size limit: the rest is dropped.
    Dropped,
}

/// What may follow the list of records in its object, in bytes. Known envelopes have nothing there.
const REST_BYTES_MAX: usize = 1 << 20;

/// Takes one layer apart. Positions are within the window that is handed to `step`.
#[derive(Debug)]
pub(super) struct Split {
    /// The largest value that is held, in bytes.
    piece_bytes_max: usize,
    pos: usize,
    mode: Mode,
    scan: Scan,
    /// Arrays that are open around the values.
    lists: u64,
    /// Whether the values are elements of `{"Records":[`.
    records: bool,
    /// Whether something broke within the open lists: their end may be part of it.
    damaged: bool,
    /// Whether any piece was given.
    given: bool,
    ended: bool,
    queue: VecDeque<Piece>,
    /// The byte before the window.
    before: u8,
}

impl Split {
    pub(super) fn new(piece_bytes_max: usize) -> Split {
        Split {
            piece_bytes_max,
            pos: 0,
            mode: Mode::Start,
            scan: Scan::value(0, false),
            lists: 0,
            records: false,
            damaged: false,
            given: false,
            ended: false,
            queue: VecDeque::new(),
            before: b'\n',
        }
    }

    /// Gives the next piece. A window that grows between calls must only grow at its end.
    pub(super) fn step(&mut self, window: &[u8], input: Input) -> Step {
        loop {
            if let Some(piece) = self.queue.pop_front() {
                return Step::Piece(piece);
            }
            if self.ended {
                return Step::End;
            }
            if self.advance(window, input) {
                continue;
            }
            if input != Input::Open {
                self.finish(window, input);
            } else if window.len().saturating_sub(self.keep()) > self.piece_bytes_max {
                self.give_up(window);
            } else {
                return Step::More;
            }
        }
    }

    /// The first byte of the window that is still needed when `step` asks for more.
    pub(super) fn keep(&self) -> usize {
        match self.mode {
            Mode::Start | Mode::Between | Mode::Dropped => self.pos,
            Mode::Object { start, .. }
            | Mode::List { start }
            | Mode::Text { start, .. }
            | Mode::Word { start }
            | Mode::Lost { start, .. }
            | Mode::Gzip { start } => start,
        }
    }

    /// The window lost its first `by` bytes, at most `keep`, of which `before` was the last.
    pub(super) fn rebase(&mut self, by: usize, before: u8) {
        self.before = before;
        self.pos = self.pos.saturating_sub(by);
        match &mut self.mode {
            Mode::Start | Mode::Between | Mode::Dropped => {}
            Mode::Object { start, .. } => {
                *start = start.saturating_sub(by);
                self.scan.rebase(by, before);
            }
            Mode::List { start }
            | Mode::Text { start, .. }
            | Mode::Word { start }
            | Mode::Lost { start, .. }
            | Mode::Gzip { start } => *start = start.saturating_sub(by),
        }
    }

    /// Where the next value begins when it is an object and nothing is pending, for a caller who can guess its end.
    pub(super) fn next_object(&mut self, window: &[u8]) -> Option<usize> {
        if self.mode == Mode::Start {
            self.start(window, Input::Ended);
        }
        if self.mode != Mode::Between || !self.queue.is_empty() {
            return None;
        }
        while window.get(self.pos).is_some_and(|byte| is_space(*byte) || *byte == b',') {
            self.pos += 1;
        }
        (window.get(self.pos) == Some(&b'{')).then_some(self.pos)
    }

    /// The object at `next_object` ends before `end`: the caller has parsed and used it.
    pub(super) fn accept(&mut self, end: usize) {
        self.pos = end;
        self.given = true;
    }

    /// Reads on in the present mode; false when the window has no more to give.
    fn advance(&mut self, window: &[u8], input: Input) -> bool {
        match self.mode {
            Mode::Start => self.start(window, input),
            Mode::Between => self.between(window),
            Mode::Object { start, rest } => self.object(window, start, rest),
            Mode::List { start } => self.list(window, start),
            Mode::Text { start, escaped } => self.text(window, start, escaped),
            Mode::Word { start } => self.word(window, start),
            Mode::Lost { start, strict, why } => self.lost(window, input, start, strict, why),
            Mode::Gzip { .. } | Mode::Dropped => {
                self.pos = window.len();
                false
            }
        }
    }

    /// Tolerates a byte order mark (RFC 8259, section 8.1 allows ignoring it) and tells gzip from text.
    fn start(&mut self, window: &[u8], input: Input) -> bool {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        let known = window.len() >= MARK.len() || input != Input::Open;
        if known {
            let rest = window.strip_prefix(MARK).unwrap_or(window);
            self.pos = window.len() - rest.len();
            self.mode = if rest.starts_with(&MAGIC) { Mode::Gzip { start: self.pos } } else { Mode::Between };
        }
        known
    }

    fn between(&mut self, window: &[u8]) -> bool {
        while let Some(&byte) = window.get(self.pos) {
            let start = self.pos;
            self.pos += 1;
            match byte {
                b'{' => {
                    self.scan = Scan::value(start, self.lists == 0 && !self.records);
                    self.scan.rebase(0, self.before);
                    self.mode = Mode::Object { start, rest: false };
                    return true;
                }
                b'[' => self.mode = Mode::List { start },
                b'"' => self.mode = Mode::Text { start, escaped: false },
                b']' if self.lists > 0 => {
                    self.lists -= 1;
                    continue;
                }
                b']' if self.records => {
                    self.records = false;
                    self.scan = Scan::rest(self.pos);
                    self.mode = Mode::Object { start, rest: true };
                }
                b'}' | b']' | b':' => self.mode = Mode::Lost { start, strict: false, why: GARBAGE },
                b',' => continue,
                _ if is_space(byte) => continue,
                _ => self.mode = Mode::Word { start },
            }
            return true;
        }
        false
    }

    fn object(&mut self, window: &[u8], start: usize, rest: bool) -> bool {
        let verdict = self.scan.run(window);
        self.pos = self.scan.pos();
        match verdict {
            Verdict::Open => return false,
            Verdict::Closed(end) if rest => {
                self.mode = Mode::Between;
                self.close_records(window, start..end);
            }
            Verdict::Closed(end) => {
                self.mode = Mode::Between;
                self.give(start..end, PieceKind::Value);
            }
            Verdict::Records(first) => {
                self.pos = first;
                self.records = true;
                self.damaged = false;
                self.mode = Mode::Between;
            }
            Verdict::Broke(at, why) => {
                let why = if why == Break::Newline { LINE_BREAK } else { MISPLACED };
                let from = self.give_found(window, start, at, Some(why));
                self.pos = self.scan.resume(window, at).max(from);
                self.mode = Mode::Lost { start: from, strict: true, why };
            }
        }
        true
    }

    /// Gives the complete records within a value that broke, and what lies before each; the end of the last.
    fn give_found(&mut self, window: &[u8], start: usize, end: usize, why: Option<PieceKind>) -> usize {
        let mut from = start;
        for found in self.scan.take_found(window, end) {
            let next = found.end;
            if let Some(why) = why
                && !is_punctuation(window.get(from..found.start).unwrap_or_default())
            {
                self.give_broken(window, from..found.start, why);
            }
            self.give(found, PieceKind::Value);
            from = next;
        }
        from
    }

    /// Gives what there is of the object from `start` that does not end in the window: the complete records within it,
    /// and the rest as broken for the reason `why`. None: the loss is reported elsewhere.
    fn give_open(&mut self, window: &[u8], start: usize, why: Option<PieceKind>) {
        let from = self.give_found(window, start, window.len(), why);
        let rest = from..window.len();
        if let Some(why) = why
            && (from == start || !is_punctuation(window.get(rest.clone()).unwrap_or_default()))
        {
            self.give_broken(window, rest, why);
        }
    }

    /// The rest of the object after its list of records is JSON, and holds no second list, or it is reported.
    fn close_records(&mut self, window: &[u8], range: Range<usize>) {
        let rest = window.get(range.start + 1..range.end).unwrap_or_default().trim_ascii();
        if rest == b"}" {
            return;
        }
        let members = rest.strip_prefix(b",").filter(|members| members.len() <= REST_BYTES_MAX);
        let sound = members.is_some_and(|members| json::is_plain_object(&[b"{", members].concat()));
        if !sound {
            self.give_broken(window, range, BAD_REST);
        }
    }

    fn list(&mut self, window: &[u8], start: usize) -> bool {
        while window.get(self.pos).is_some_and(|byte| is_space(*byte)) {
            self.pos += 1;
        }
        match window.get(self.pos) {
            None => return false,
            Some(b']') => {
                self.pos += 1;
                self.give(start..self.pos, PieceKind::Value);
            }
            Some(b'{' | b'[' | b'"' | b',' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                if self.lists == 0 && !self.records {
                    self.damaged = false;
                }
                self.lists += 1;
            }
            // As in a log line: `[ERROR] …`.
            Some(_) => {
                self.mode = Mode::Lost { start, strict: false, why: GARBAGE };
                return true;
            }
        }
        self.mode = Mode::Between;
        true
    }

    fn text(&mut self, window: &[u8], start: usize, mut escaped: bool) -> bool {
        match string_end(window, self.pos, &mut escaped) {
            StringEnd::Open => {
                self.pos = window.len();
                self.mode = Mode::Text { start, escaped };
                return false;
            }
            StringEnd::Closed(end) => {
                self.pos = end;
                self.mode = Mode::Between;
                self.give(start..end, PieceKind::Value);
            }
            StringEnd::Newline(at) => {
                self.pos = at;
                self.mode = Mode::Lost { start, strict: true, why: LINE_BREAK };
            }
        }
        true
    }

    fn word(&mut self, window: &[u8], start: usize) -> bool {
        let rest = window.get(self.pos..).unwrap_or_default();
        match rest.iter().position(|byte| is_space(*byte) || b",:{}[]\"".contains(byte)) {
            None => {
                self.pos = window.len();
                false
            }
            Some(at) => {
                self.pos += at;
                self.end_word(window, start);
                true
            }
        }
    }

    fn end_word(&mut self, window: &[u8], start: usize) {
        let word = window.get(start..self.pos).unwrap_or_default();
        if begins_base64(word) || json::is_scalar(word) {
            self.mode = Mode::Between;
            self.give(start..self.pos, PieceKind::Value);
        } else {
            self.mode = Mode::Lost { start, strict: false, why: GARBAGE };
        }
    }

    fn lost(&mut self, window: &[u8], input: Input, start: usize, strict: bool, why: PieceKind) -> bool {
        loop {
            let rest = window.get(self.pos..).unwrap_or_default();
            let Some(at) = memchr3(b'{', b'[', b'\n', rest) else {
                self.pos = window.len();
                return false;
            };
            self.pos += at;
            match begins(window, self.pos, self.before, strict) {
                Begins::Unknown if input == Input::Open => return false,
                Begins::Unknown | Begins::No => self.pos += 1,
                Begins::At(first) => {
                    self.pos = first;
                    self.mode = Mode::Between;
                    let range = start..first;
                    if !is_punctuation(window.get(range.clone()).unwrap_or_default()) {
                        self.give_broken(window, range, why);
                    }
                    return true;
                }
            }
        }
    }

    /// The layer has ended: what is still open is broken.
    fn finish(&mut self, window: &[u8], input: Input) {
        self.ended = true;
        let end = window.len();
        let open_at_end = (input == Input::Ended).then_some(OPEN_AT_END);
        match self.mode {
            Mode::Start | Mode::Between | Mode::Dropped => {}
            Mode::Object { start, .. } => {
                self.give_open(window, start, open_at_end);
            }
            Mode::List { start } | Mode::Text { start, .. } => {
                if let Some(why) = open_at_end {
                    self.give_broken(window, start..end, why);
                }
            }
            Mode::Word { start } => {
                // A word ends where the layer ends, unless that is where it was cut.
                if input == Input::Ended {
                    self.pos = end;
                    self.end_word(window, start);
                    if let Mode::Lost { start, why, .. } = self.mode {
                        self.give_broken(window, start..end, why);
                    }
                }
            }
            Mode::Lost { start, why, .. } => {
                let rest = window.get(start..end).unwrap_or_default();
                if !self.given || !is_punctuation(rest) {
                    self.give_broken(window, start..end, why);
                }
            }
            Mode::Gzip { start } => self.give(start..end, PieceKind::Value),
        }
        if input == Input::Ended && (self.lists > 0 || self.records) && !self.damaged {
            self.give_broken(window, end..end, LIST_OPEN);
        }
    }

    /// What is being read has grown over the limit: it is broken, and the search for the next value goes on.
    fn give_up(&mut self, window: &[u8]) {
        let end = window.len();
        match self.mode {
            Mode::Object { start, .. } => self.give_open(window, start, Some(TOO_LARGE)),
            Mode::Lost { start, why, .. } => self.give_broken(window, start..end, why),
            _ => self.give_broken(window, self.keep()..end, TOO_LARGE),
        }
        self.pos = end;
        self.mode = match self.mode {
            Mode::Gzip { .. } | Mode::Dropped => Mode::Dropped,
            Mode::Lost { strict, why, .. } => Mode::Lost { start: end, strict, why },
            _ => Mode::Lost { start: end, strict: true, why: TOO_LARGE },
        };
    }

    fn give(&mut self, range: Range<usize>, kind: PieceKind) {
        self.given = true;
        self.queue.push_back(Piece { range, kind });
    }

    /// Gives a broken piece without the white space and commas around it; a value that was cut keeps its last bytes,
    /// whatever they are, but for the end of its line.
    fn give_broken(&mut self, window: &[u8], range: Range<usize>, why: PieceKind) {
        let is_padding = |byte: &u8| is_space(*byte) || *byte == b',';
        let bytes = window.get(range.clone()).unwrap_or_default();
        let lead = bytes.iter().take_while(|byte| is_padding(byte)).count();
        let cut = why == OPEN_AT_END && bytes.get(lead) != Some(&b']');
        let is_tail = |byte: &u8| if cut { matches!(byte, b'\n' | b'\r') } else { is_padding(byte) };
        let tail = bytes.iter().skip(lead).rev().take_while(|byte| is_tail(byte)).count();
        let range = range.start + lead..range.end - tail;
        let kind = match why {
            PieceKind::Broken(DeadReason::InvalidJson, _) if !is_utf8(window, &range) => {
                PieceKind::Broken(DeadReason::InvalidUtf8, "bytes that are neither JSON nor UTF-8 text")
            }
            kind => kind,
        };
        self.damaged = true;
        self.give(range, kind);
    }
}

fn is_utf8(window: &[u8], range: &Range<usize>) -> bool {
    std::str::from_utf8(window.get(range.clone()).unwrap_or_default()).is_ok()
}
