//! The extent of one JSON value: where it closes, or where it can no longer be one.
//!
//! The scan sees the structure only (strings with their escapes, brackets, and what may stand before a bracket), takes
//! bytes as they come, and looks at each once. It breaks at the first thing that no JSON text can hold and that a cut
//! or unescaped record leaves behind, so that the records after it are found again:
//!
//! | break at                                               | what leaves it behind                      |
//! |--------------------------------------------------------|--------------------------------------------|
//! | a raw newline within a string                          | a line cut within a string                 |
//! | `{` or `[` where no value may begin                    | a record cut outside a string              |
//! | a bracket of the wrong kind                            | a lost bracket                             |
//! | other text right after a string or a closing bracket   | a record cut within a string, on one line  |
//!
//! Everything else that JSON forbids (`NaN`, a trailing comma, a control character) is the parser's to find: it spoils
//! one value, whose extent is still right.

use std::collections::VecDeque;
use std::ops::Range;

use super::piece::is_punctuation;
use super::resync::{brace_at_end, is_record_key, line_starts};

/// Levels whose bracket kind is remembered; deeper ones are only counted. No value that is deeper is ever parsed.
const KINDS_MAX: usize = 512;

/// Inner values that may still turn out to be complete records; older ones are given up when there are more.
const CANDIDATES_MAX: usize = 64;

/// What came before the next token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Open,
    Comma,
    Colon,
    String,
    Close,
    Literal,
}

/// How far the watch for a leading `"Records": [` has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    Off,
    FirstKey,
    List,
    FirstElement,
}

/// What a scan says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The value is still open where the window ends.
    Open,
    /// The value ends before this position.
    Closed(usize),
    /// The value cannot be JSON from this position on.
    Broke(usize, Break),
    /// The value is `{"Records":[` and the first element begins at this position.
    Records(usize),
}

/// Why a scan broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// A raw newline within a string.
    Newline,
    /// A token where it cannot stand.
    Token,
}

/// An inner object that looks like a record and is still open.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    start: usize,
    depth: usize,
    /// Whether it begins a line.
    line: bool,
}

/// An inner object that looks like a record and is complete.
#[derive(Clone, Debug)]
struct Found {
    range: Range<usize>,
    line: bool,
}

/// A scan of one object, or of an object's rest. Positions are within the window that is handed to `run`.
#[derive(Debug)]
pub(super) struct Scan {
    pos: usize,
    depth: usize,
    depth_seen_max: usize,
    kinds: [u64; KINDS_MAX / 64],
    after: After,
    watch: Watch,
    /// Where the string that is being read began.
    string: Option<usize>,
    escaped: bool,
    /// The `{` whose first key has not been read yet.
    fresh: Option<usize>,
    /// The string that was read last, quotes included.
    last_string: Range<usize>,
    /// Inner objects that look like records and are still open, with their depth.
    open: VecDeque<Candidate>,
    /// Inner objects that look like records and are complete, the outermost only.
    found: Vec<Found>,
    /// Whether the value itself begins as records do. What lies within a record is what somebody sent to AWS, and is
    /// not taken for a record, but for the last thing before a break: the next record, if this one was cut before it.
    in_record: bool,
    /// The byte before the window, for telling whether a line begins with it.
    before: u8,
}

impl Scan {
    /// A scan of the value that opens with the bracket at `start`. `watch`: report a leading `"Records": [`.
    pub(super) fn value(start: usize, watch: bool) -> Scan {
        let mut scan = Scan::rest(start);
        scan.depth = 0;
        scan.watch = if watch { Watch::FirstKey } else { Watch::Off };
        scan.after = After::Colon;
        scan
    }

    /// A scan of the rest of an object, from `start` to its closing brace.
    pub(super) fn rest(start: usize) -> Scan {
        let mut kinds = [0; KINDS_MAX / 64];
        kinds[0] = 1;
        Scan {
            pos: start,
            depth: 1,
            depth_seen_max: 1,
            kinds,
            after: After::Close,
            watch: Watch::Off,
            string: None,
            escaped: false,
            fresh: None,
            last_string: 0..0,
            open: VecDeque::new(),
            found: Vec::new(),
            in_record: false,
            before: b'\n',
        }
    }

    /// The next position that is looked at.
    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// The deepest level that was seen.
    pub(super) fn depth_seen_max(&self) -> usize {
        self.depth_seen_max
    }

    /// Whether the value begins as records do.
    pub(super) fn in_record(&self) -> bool {
        self.in_record
    }

    /// Takes the records within a value that ends or broke at `end`: complete ones, outermost only, in order.
    pub(super) fn take_found(&mut self, window: &[u8], end: usize) -> Vec<Range<usize>> {
        let in_record = self.in_record;
        let next_is_end = |found: &Found| is_punctuation(window.get(found.range.end..end).unwrap_or_default());
        let found = std::mem::take(&mut self.found).into_iter();
        found.filter(|f| !in_record || f.line || next_is_end(f)).map(|f| f.range).collect()
    }

    /// The window lost its first `by` bytes, of which `before` was the last.
    pub(super) fn rebase(&mut self, by: usize, before: u8) {
        self.before = before;
        self.pos = self.pos.saturating_sub(by);
        self.string = self.string.map(|at| at.saturating_sub(by));
        self.fresh = self.fresh.map(|at| at.saturating_sub(by));
        self.last_string = self.last_string.start.saturating_sub(by)..self.last_string.end.saturating_sub(by);
        self.open.iter_mut().for_each(|candidate| candidate.start = candidate.start.saturating_sub(by));
        self.found.iter_mut().for_each(|found| {
            found.range = found.range.start.saturating_sub(by)..found.range.end.saturating_sub(by);
        });
    }

    /// Goes on to the value's end, its break, or the window's end.
    pub(super) fn run(&mut self, window: &[u8]) -> Verdict {
        loop {
            if self.string.is_some() {
                match string_end(window, self.pos, &mut self.escaped) {
                    StringEnd::Open => {
                        self.pos = window.len();
                        return Verdict::Open;
                    }
                    StringEnd::Newline(at) => return Verdict::Broke(at, Break::Newline),
                    StringEnd::Closed(end) => self.end_string(window, end),
                }
            }
            let Some(&byte) = window.get(self.pos) else {
                return Verdict::Open;
            };
            if is_space(byte) {
                self.pos += 1;
                continue;
            }
            if self.watch == Watch::FirstElement {
                self.watch = Watch::Off;
                if byte != b']' {
                    return Verdict::Records(self.pos);
                }
            }
            match byte {
                b'"' => self.string = Some(self.pos),
                b',' | b':' => {
                    self.after = if byte == b',' { After::Comma } else { After::Colon };
                    self.fresh = None;
                    if byte == b',' && self.watch == Watch::List {
                        self.watch = Watch::Off;
                    }
                }
                b'{' | b'[' => {
                    if !self.may_open() {
                        return Verdict::Broke(self.pos, Break::Token);
                    }
                    self.open(byte);
                }
                b'}' | b']' => {
                    if !self.closes(byte) {
                        return Verdict::Broke(self.pos, Break::Token);
                    }
                    if self.close() {
                        return Verdict::Closed(self.pos);
                    }
                    continue;
                }
                _ => {
                    let literal_may_stand = match self.after {
                        After::String | After::Close => false,
                        After::Open => self.kind_now() != Some(true),
                        After::Comma | After::Colon | After::Literal => true,
                    };
                    if !literal_may_stand {
                        return Verdict::Broke(self.pos, Break::Token);
                    }
                    self.after = After::Literal;
                }
            }
            self.pos += 1;
        }
    }

    /// Where to go on after a break at `at`.
    pub(super) fn resume(&self, window: &[u8], at: usize) -> usize {
        let last_string = (self.after == After::String).then_some(&self.last_string);
        last_string.and_then(|string| brace_at_end(window, string)).unwrap_or(at)
    }

    /// Whether the innermost open container is an object; None where that is not remembered.
    fn kind_now(&self) -> Option<bool> {
        let level = self.depth.checked_sub(1)?;
        let word = self.kinds.get(level / 64)?;
        Some(word >> (level % 64) & 1 == 1)
    }

    /// An inner container follows a colon in an object, `[` or a comma in an array.
    fn may_open(&self) -> bool {
        match self.after {
            After::Colon => true,
            After::Open | After::Comma => self.kind_now() != Some(true),
            After::String | After::Close | After::Literal => false,
        }
    }

    fn open(&mut self, byte: u8) {
        self.watch = match self.watch {
            Watch::List if byte == b'[' => Watch::FirstElement,
            Watch::FirstKey if self.depth == 0 => Watch::FirstKey,
            _ => Watch::Off,
        };
        if let Some(word) = self.kinds.get_mut(self.depth / 64) {
            let bit = 1 << (self.depth % 64);
            *word = if byte == b'{' { *word | bit } else { *word & !bit };
        }
        self.fresh = (byte == b'{').then_some(self.pos);
        self.depth += 1;
        self.depth_seen_max = self.depth_seen_max.max(self.depth);
        self.after = After::Open;
    }

    fn closes(&self, byte: u8) -> bool {
        self.kind_now().is_none_or(|object| object == (byte == b'}'))
    }

    /// Closes a container; whether it was the outermost.
    fn close(&mut self) -> bool {
        self.pos += 1;
        if let Some(&Candidate { start, depth, line }) = self.open.back()
            && depth == self.depth
        {
            self.open.pop_back();
            while self.found.last().is_some_and(|inner| inner.range.start > start) {
                self.found.pop();
            }
            self.found.push(Found { range: start..self.pos, line });
        }
        self.fresh = None;
        self.after = After::Close;
        self.depth = self.depth.saturating_sub(1);
        self.depth == 0
    }

    fn end_string(&mut self, window: &[u8], end: usize) {
        let start = self.string.take().unwrap_or(end);
        self.pos = end;
        self.last_string = start..end;
        self.after = After::String;
        let Some(brace) = self.fresh.take() else {
            return;
        };
        let key = window.get(start + 1..end.saturating_sub(1)).unwrap_or_default();
        if self.watch == Watch::FirstKey {
            self.watch = if key == b"Records" { Watch::List } else { Watch::Off };
        }
        let record_key = is_record_key(key);
        if self.depth == 1 {
            self.in_record = record_key;
            return;
        }
        let line = line_starts(window, brace, self.before);
        if record_key || line {
            if self.open.len() >= CANDIDATES_MAX {
                self.open.pop_front();
            }
            self.open.push_back(Candidate { start: brace, depth: self.depth, line });
        }
    }
}

/// White space of JSON (RFC 8259, section 2).
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// How a string goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StringEnd {
    /// Its end is not in the window.
    Open,
    /// It ends before this position.
    Closed(usize),
    /// A raw newline stands at this position.
    Newline(usize),
}

/// Finds the end of the string whose inside goes on at `pos`. `escaped`: a backslash came before; kept between calls.
pub(super) fn string_end(window: &[u8], mut pos: usize, escaped: &mut bool) -> StringEnd {
    while let Some(rest) = window.get(pos..) {
        if *escaped {
            match rest.first() {
                None => return StringEnd::Open,
                Some(b'\n') => return StringEnd::Newline(pos),
                Some(_) => *escaped = false,
            }
            pos += 1;
            continue;
        }
        let Some(at) = mark(rest) else {
            return StringEnd::Open;
        };
        match (rest.get(at), rest.get(at + 1)) {
            (Some(b'"'), _) => return StringEnd::Closed(pos + at + 1),
            (Some(b'\n'), _) => return StringEnd::Newline(pos + at),
            (_, Some(b'\n') | None) => {
                *escaped = true;
                pos += at + 1;
            }
            (_, Some(_)) => pos += at + 2,
        }
    }
    StringEnd::Open
}

/// The first quote, backslash or newline. Eight bytes at a time: strings are too short for a call to pay.
#[inline]
fn mark(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The lowest bit that is set belongs to the first byte that equals `byte`; higher ones may be wrong.
    let equal = |word: u64, byte: u8| {
        let word = word ^ (LOW * u64::from(byte));
        word.wrapping_sub(LOW) & !word & HIGH
    };
    let (words, tail) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let marks = equal(word, b'"') | equal(word, b'\\') | equal(word, b'\n');
        if marks != 0 {
            return Some(at * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let at = tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n'))?;
    Some(words.len() * 8 + at)
}

/// Bytes without the white space around them.
pub(super) fn trimmed(bytes: &[u8]) -> &[u8] {
    let lead = bytes.iter().take_while(|byte| is_space(**byte)).count();
    let rest = bytes.get(lead..).unwrap_or_default();
    let tail = rest.iter().rev().take_while(|byte| is_space(**byte)).count();
    rest.get(..rest.len() - tail).unwrap_or_default()
}
