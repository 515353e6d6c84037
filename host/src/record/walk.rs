//! The way from a message's bytes to its entries: layers, values, envelopes, records.

use sonic_rs::Value;

use super::envelope::{self, Shape};
use super::guess::{Guess, RECORD_START};
use super::gzip::{self, MAGIC};
use super::legible::Legible;
use super::limits::{DEPTH_PARSED_MAX, ReadLimits};
use super::piece::{PieceKind, is_punctuation};
use super::place::Place;
use super::quotes::Places;
use super::reason::{DeadReason, Fault, SkipKind};
use super::scan::{Scan, Verdict, trimmed};
use super::sheaf::Sheaf;
use super::skim::{Members, Skimmed};
use super::split::{Input, Split, Step};
use super::stream::{Splitter, StreamPiece};
use super::text::{decode_base64, unquote};
use super::{Content, Dead, Entry, Position, Record, Wanted, json};

/// A layer up to this size is tried as one record before anything else, in bytes. It is in vain for many records in
/// a row, and then costs the check of the whole layer's UTF-8.
const LONE_BYTES_MAX: usize = 32 << 10;

/// Buffers that are used from message to message.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    members: Members,
    places: Places,
    /// One for each envelope that is around another.
    sheaves: Vec<Sheaf>,
    /// One for each gzip layer that is around another.
    layers: Vec<Vec<u8>>,
}

/// One message on its way.
pub(super) struct Walk<'w> {
    limits: &'w ReadLimits,
    scratch: &'w mut Scratch,
    /// Which records are wanted; None when all are.
    wanted: Option<Wanted<'w>>,
    /// Whether envelopes and records are skimmed.
    skims: bool,
    visit: &'w mut dyn FnMut(Entry<'_>),
    message: &'w [u8],
    /// Where the outermost value that is being read begins in the message.
    rest: usize,
    entries: u32,
    decompressed_left: u64,
    stopped: bool,
}

impl<'w> Walk<'w> {
    pub(super) fn new(
        message: &'w [u8],
        limits: &'w ReadLimits,
        scratch: &'w mut Scratch,
        wanted: Option<Wanted<'w>>,
        visit: &'w mut dyn FnMut(Entry<'_>),
    ) -> Walk<'w> {
        let decompressed_left = limits.decompressed_bytes_max;
        let (rest, entries, stopped) = (0, 0, false);
        Walk { limits, scratch, wanted, skims: true, visit, message, rest, entries, decompressed_left, stopped }
    }

    /// The same, every record parsed, and every envelope taken apart step by step.
    pub(super) fn step_by_step(self) -> Walk<'w> {
        Walk { skims: false, ..self }
    }

    /// Visits every entry of the message.
    pub(super) fn run(&mut self) {
        let message = self.message;
        if message.len() > self.limits.message_bytes_max {
            let detail = format!("{} bytes, more than message_bytes_max", message.len());
            return self.dead(Fault::new(DeadReason::MessageTooLarge, detail), message, 0);
        }
        self.layer(message, Place::default());
    }

    /// Visits `raw` when it is one record or envelope and nothing else.
    fn lone(&mut self, raw: &[u8], place: Place) -> bool {
        let small = raw.len() <= LONE_BYTES_MAX;
        if raw.starts_with(RECORD_START) || !envelope::begins_envelope(raw) {
            return small && self.lone_record(raw, place);
        }
        if self.sheaf(raw, place) {
            return true;
        }
        if !small || !json::depth_within(raw, DEPTH_PARSED_MAX) {
            return false;
        }
        match envelope::shape(raw) {
            Ok((shape, b"}")) => {
                self.shape(shape, raw, place);
                true
            }
            _ => false,
        }
    }

    /// Visits `raw` when it is one record and nothing else.
    fn lone_record(&mut self, raw: &[u8], place: Place) -> bool {
        if raw.len() > self.limits.record_bytes_max {
            return false;
        }
        if self.skim(raw, place) {
            return true;
        }
        match json::parse(raw, self.limits.depth_max()) {
            Ok(value) if json::is_record(&value) => {
                self.record(raw, value, place);
                true
            }
            _ => false,
        }
    }

    /// A layer: bytes that hold values in a row, or gzip of such. One without any is one entry.
    fn layer(&mut self, bytes: &[u8], place: Place) {
        if self.too_deep(bytes, place) {
            return;
        }
        let before = self.entries;
        // The hot path: one record, alone.
        let value = trimmed(bytes);
        if value.first() == Some(&b'{') && self.lone(value, place.of(value, bytes)) {
            return;
        }
        if bytes.starts_with(&MAGIC) {
            self.gzip(bytes, place);
        } else {
            self.values(bytes, place);
        }
        if self.entries == before {
            self.skip(SkipKind::Empty, place.byte);
        }
    }

    /// Whether there are too many layers; then `bytes` has become a dead letter.
    fn too_deep(&mut self, bytes: &[u8], place: Place) -> bool {
        let too_deep = place.nesting > self.limits.layers_max();
        if too_deep {
            let detail = format!("more than {} layers; see nesting_max", self.limits.layers_max());
            self.dead(Fault::new(DeadReason::NestedTooDeep, detail), bytes, place.byte);
        }
        too_deep
    }

    fn values(&mut self, bytes: &[u8], place: Place) {
        let mut split = Split::new(usize::MAX);
        let mut guess = Guess::new(bytes);
        let outermost = place.nesting == 0;
        while !self.stopped {
            if let Some(start) = split.next_object(bytes)
                && let Some(end) = guess.end(start)
                && let Some(raw) = bytes.get(start..end)
            {
                self.rest = if outermost { start } else { self.rest };
                if self.lone_record(raw, place.of(raw, bytes)) {
                    split.accept(end);
                    continue;
                }
            }
            let Step::Piece(piece) = split.step(bytes, Input::Ended) else {
                return;
            };
            self.rest = if outermost { piece.range.start } else { self.rest };
            let raw = bytes.get(piece.range.clone()).unwrap_or_default();
            let place = Place { byte: place.byte + piece.range.start as u64, ..place };
            match piece.kind {
                PieceKind::Value => self.value(raw, place),
                PieceKind::Broken(reason, detail) => self.dead(Fault::new(reason, detail), raw, place.byte),
            }
        }
    }

    /// Streams a gzip layer: what it decompresses to is never held whole.
    fn gzip(&mut self, bytes: &[u8], place: Place) {
        let inside = place.decoded();
        if self.too_deep(bytes, Place { byte: place.byte, ..inside }) {
            return;
        }
        let mut whole = self.scratch.layers.pop().unwrap_or_default();
        let max = self.decompressed_left.min(self.limits.message_bytes_max as u64);
        if let Some(text) = gzip::whole(bytes, max, &mut whole) {
            self.decompressed_left -= text.len() as u64;
            self.layer(text, inside);
            return self.scratch.layers.push(whole);
        }
        self.scratch.layers.push(whole);
        // Records compress by about ten: mostly, one chunk holds what comes out.
        let chunk_bytes = bytes.len().saturating_mul(12) + 1024;
        let mut stream = Splitter::with_chunks(bytes, self.limits.clone(), chunk_bytes);
        while !self.stopped {
            // What is read within a piece draws on the same budget.
            let mut budget = self.decompressed_left;
            let piece = stream.next_piece(&mut budget);
            self.decompressed_left = budget;
            // A slice does not fail to be read.
            let Ok(Some(piece)) = piece else {
                return;
            };
            match piece {
                StreamPiece::Fault(fault) => self.dead(fault, bytes, place.byte),
                StreamPiece::Piece(piece) => {
                    let raw = stream.bytes(&piece.range);
                    let place = Place { byte: stream.offset(&piece.range), ..inside };
                    match piece.kind {
                        PieceKind::Value => self.value(raw, place),
                        PieceKind::Broken(reason, detail) => {
                            self.dead(Fault::new(reason, detail), raw, place.byte);
                        }
                    }
                }
            }
        }
    }

    /// One piece of a layer that `Split` calls a value.
    fn value(&mut self, raw: &[u8], place: Place) {
        match raw.first() {
            Some(b'{') => self.object(raw, place),
            // Arrays are opened by `Split`; it gives an empty one.
            Some(b'[') => self.skip(SkipKind::Empty, place.byte),
            Some(b'"') if envelope::holds_layer(raw) => self.text(raw, place),
            _ if raw.starts_with(&MAGIC) => self.layer(raw, place),
            _ if json::is_scalar(raw) || (raw.starts_with(b"\"") && unquote(raw).is_some()) => {
                let detail = "a JSON string, number, bool or null where a record was expected";
                self.dead(Fault::new(DeadReason::NotAnObject, detail), raw, place.byte);
            }
            Some(b'"') => self.not_text(raw, place),
            _ => self.base64(raw, raw, place),
        }
    }

    /// An object: a record, or an envelope.
    fn object(&mut self, raw: &[u8], place: Place) {
        // A list of records within another list: opened as at the top, so that a broken element harms no other.
        if envelope::first_key(raw) == b"Records" && matches!(Scan::value(0, true).run(raw), Verdict::Records(_)) {
            return self.layer(raw, place.inside());
        }
        if raw.len() > self.limits.record_bytes_max || envelope::begins_envelope(raw) {
            return self.envelope(raw, place);
        }
        if self.skim(raw, place) {
            return;
        }
        match json::parse(raw, self.limits.depth_max()) {
            Ok(value) if json::is_record(&value) => self.record(raw, value, place),
            // An envelope may be deeper than a record.
            Ok(_) => self.envelope(raw, place),
            Err(fault) if fault.reason == DeadReason::NestedTooDeep => self.envelope(raw, place),
            Err(fault) => self.broken(raw, place, fault),
        }
    }

    fn envelope(&mut self, raw: &[u8], place: Place) {
        if self.sheaf(raw, place) {
            return;
        }
        // The lazy parser recurses too.
        if !json::depth_within(raw, DEPTH_PARSED_MAX) {
            let detail = format!("more than {DEPTH_PARSED_MAX} levels of brackets");
            return self.broken(raw, place, Fault::new(DeadReason::NestedTooDeep, detail));
        }
        match envelope::shape(raw) {
            Ok((shape, _)) => self.shape(shape, raw, place),
            Err(error) => self.broken(raw, place, json::fault(raw, &error)),
        }
    }

    fn shape(&mut self, shape: Shape<'_>, raw: &[u8], place: Place) {
        match shape {
            Shape::MaybeRecord => self.maybe_record(raw, place),
            Shape::Skip(kind) => self.skip(kind, place.byte),
            Shape::Lists(lists) => {
                for list in lists {
                    self.layer(list, place.of(list, raw).inside());
                }
            }
            Shape::Object(inner) => {
                let place = place.of(inner, raw).inside();
                if !self.too_deep(inner, place) {
                    self.object(inner, place);
                }
            }
            Shape::Detail { detail, event } => {
                let inner = place.of(detail, raw).inside();
                if !self.too_deep(detail, inner) {
                    self.detail(raw, place, detail, inner, event);
                }
            }
            Shape::Base64(text) => match unquote(text) {
                Some(decoded) => self.base64(&decoded, text, place.of(text, raw)),
                None => self.not_text(text, place.of(text, raw)),
            },
            Shape::Text(text) => self.text(text, place.of(text, raw)),
        }
    }

    /// Visits `raw` when it is one envelope that can be skimmed.
    fn sheaf(&mut self, raw: &[u8], place: Place) -> bool {
        if !self.skims {
            return false;
        }
        let mut sheaf = self.scratch.sheaves.pop().unwrap_or_default();
        let skimmed = sheaf.skim(raw, &mut self.scratch.places);
        if skimmed {
            match sheaf.shape(raw) {
                Shape::Lists(lists) => lists.into_iter().for_each(|list| self.list(&sheaf, list, raw, place)),
                shape => self.shape(shape, raw, place),
            }
        }
        self.scratch.sheaves.push(sheaf);
        skimmed
    }

    /// A list of an envelope that was skimmed: `layer` without splitting.
    fn list(&mut self, sheaf: &Sheaf, list: &[u8], raw: &[u8], place: Place) {
        let inside = place.of(list, raw).inside();
        let Some(elements) = sheaf.elements(raw, list) else {
            return self.layer(list, inside);
        };
        if self.too_deep(list, inside) {
            return;
        }
        for (element, shape) in elements {
            if self.stopped {
                return;
            }
            let place = inside.of(element, list);
            match shape {
                // It has no name of a record and no list: to look for these again would be in vain.
                Shape::Text(_) | Shape::Base64(_) => self.shape(shape, element, place),
                _ => self.value(element, place),
            }
        }
    }

    /// An object that is no envelope, whatever its size: a record, or nothing that is known.
    fn maybe_record(&mut self, raw: &[u8], place: Place) {
        if raw.len() > self.limits.record_bytes_max {
            let detail = format!("{} bytes, more than record_bytes_max", raw.len());
            return self.dead(Fault::new(DeadReason::RecordTooLarge, detail), raw, place.byte);
        }
        match json::parse(raw, self.limits.depth_max()) {
            Ok(value) if json::is_record(&value) => self.record(raw, value, place),
            Ok(_) => self.not_cloudtrail(raw, place),
            Err(fault) if fault.reason == DeadReason::NestedTooDeep => self.dead(fault, raw, place.byte),
            Err(fault) => self.broken(raw, place, fault),
        }
    }

    /// EventBridge's `detail`: events of other services travel in the same envelope.
    fn detail(&mut self, raw: &[u8], place: Place, detail: &[u8], inner: Place, event: bool) {
        if detail.len() > self.limits.record_bytes_max {
            return self.maybe_record(detail, inner);
        }
        if self.skim(detail, inner) {
            return;
        }
        match json::parse(detail, self.limits.depth_max()) {
            Ok(value) if json::is_record(&value) => self.record(detail, value, inner),
            Ok(_) if event => self.skip(SkipKind::OtherEvent, place.byte),
            Ok(_) => self.not_cloudtrail(raw, place),
            Err(fault) => self.broken(detail, inner, fault),
        }
    }

    fn not_cloudtrail(&mut self, raw: &[u8], place: Place) {
        let detail = "a JSON object that is neither a CloudTrail record nor a known envelope: it has no eventVersion, \
                      eventName, or eventID with eventTime at its top";
        self.dead(Fault::new(DeadReason::NotCloudTrail, detail), raw, place.byte);
    }

    /// A JSON string whose text is a layer.
    fn text(&mut self, raw: &[u8], place: Place) {
        match unquote(raw) {
            Some(text) => self.layer(&text, place.decoded()),
            None => self.not_text(raw, place),
        }
    }

    fn not_text(&mut self, raw: &[u8], place: Place) {
        let reason = if std::str::from_utf8(raw).is_ok() { DeadReason::InvalidJson } else { DeadReason::InvalidUtf8 };
        self.dead(Fault::new(reason, "not a valid JSON string"), raw, place.byte);
    }

    /// Base64 of a layer, or plain JSON that a writer did not encode. `raw` is what a dead letter shows.
    fn base64(&mut self, text: &[u8], raw: &[u8], place: Place) {
        let start = text.trim_ascii_start();
        if start.starts_with(b"{") || start.starts_with(b"[") {
            return self.layer(text, place.decoded());
        }
        match decode_base64(text) {
            Ok(decoded) => self.layer(&decoded, place.decoded()),
            Err(error) => self.dead(Fault::new(DeadReason::Base64Corrupt, error.to_string()), raw, place.byte),
        }
    }

    /// A balanced value that does not parse: records within it that do are visited, unless it is a record itself; the
    /// rest is dead.
    fn broken(&mut self, raw: &[u8], place: Place, fault: Fault) {
        let mut from = 0;
        let mut scan = Scan::value(0, false);
        if !place.rescued {
            scan.run(raw);
        }
        if !scan.in_record() {
            for found in scan.take_found(raw, raw.len()) {
                let inner = raw.get(found.clone()).unwrap_or_default();
                if json::parse(inner, DEPTH_PARSED_MAX).is_ok() {
                    self.broken_part(raw, from..found.start, place, &fault);
                    from = found.end;
                    self.value(inner, Place { rescued: true, ..place.of(inner, raw) });
                }
            }
        }
        if from == 0 {
            self.dead(fault, raw, place.byte);
        } else {
            self.broken_part(raw, from..raw.len(), place, &fault);
        }
    }

    fn broken_part(&mut self, raw: &[u8], range: std::ops::Range<usize>, place: Place, fault: &Fault) {
        let part = raw.get(range).unwrap_or_default();
        if !is_punctuation(part) {
            let byte = place.of(part, raw).byte;
            self.dead(fault.clone(), part, byte);
        }
    }

    /// Visits `raw` when skimming shows that it is a record.
    fn skim(&mut self, raw: &[u8], place: Place) -> bool {
        if !self.skims {
            return false;
        }
        let mut members = std::mem::take(&mut self.scratch.members);
        let skimmed = members.skim(raw, self.limits.depth_max(), &mut self.scratch.places);
        let visited = skimmed.filter(json::is_skimmed_record).and_then(|record| self.skimmed(record, place));
        self.scratch.members = members;
        visited.is_some()
    }

    fn skimmed(&mut self, skimmed: Skimmed<'_>, place: Place) -> Option<()> {
        let passes = self.wanted.is_some_and(|wanted| !wanted(&skimmed));
        // What was skimmed is text. Were it none, the parser would say so.
        let record = if passes { None } else { Some(Legible::new(skimmed)?) };
        if let Some(position) = self.admit(place.byte) {
            let record = record.map(|record| Record::skimmed(record, skimmed.opening, position));
            (self.visit)(record.map_or(Entry::Passed, Entry::Record));
        }
        Some(())
    }

    fn record(&mut self, raw: &[u8], value: Value, place: Place) {
        let Ok(raw) = std::str::from_utf8(raw) else { return self.not_text(raw, place) };
        if let Some(position) = self.admit(place.byte) {
            (self.visit)(Entry::Record(Record { raw, position, content: Content::Parsed(value) }));
        }
    }

    fn skip(&mut self, kind: SkipKind, byte: u64) {
        if self.admit(byte).is_some() {
            (self.visit)(Entry::Skipped(kind));
        }
    }

    fn dead(&mut self, fault: Fault, raw: &[u8], byte: u64) {
        if let Some(position) = self.admit(byte) {
            let Fault { reason, detail } = fault;
            (self.visit)(Entry::Dead(Dead { reason, detail, raw, position }));
        }
    }

    /// Counts one entry. None once there are too many: the rest of the message becomes one dead letter.
    fn admit(&mut self, byte: u64) -> Option<Position> {
        if self.stopped {
            return None;
        }
        let entry = self.entries;
        self.entries += 1;
        if entry < self.limits.records_max.max(1) {
            return Some(Position { entry, byte });
        }
        self.stopped = true;
        let fault = Fault::new(
            DeadReason::TooManyRecords,
            "more entries than records_max; from the first byte on, some entries may have been visited already",
        );
        let raw = self.message.get(self.rest..).unwrap_or_default();
        let position = Position { entry, byte: self.rest as u64 };
        (self.visit)(Entry::Dead(Dead { reason: fault.reason, detail: fault.detail, raw, position }));
        None
    }
}
