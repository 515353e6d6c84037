//! `Splitter`: whatever the reader's chunks, a file gives what `unpack` gives for the same bytes as one message.

use std::io::{self, Read};

use super::super::{Item, ItemKind, ReadLimits, Splitter};
use super::{cloudwatch, eventbridge, file_outcomes, firehose, gzip, outcomes, record, records};

/// Gives its bytes in chunks of the sizes, in turn, and an interruption before each.
struct Chunks<'b> {
    bytes: &'b [u8],
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Chunks<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(2) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let size = self.sizes[self.turn / 2 % self.sizes.len()].min(out.len()).min(self.bytes.len());
        let (chunk, rest) = self.bytes.split_at(size);
        out[..size].copy_from_slice(chunk);
        self.bytes = rest;
        Ok(size)
    }
}

fn chunked(bytes: &[u8], sizes: &[usize], limits: &ReadLimits) -> Vec<String> {
    file_outcomes(Chunks { bytes, sizes: sizes.to_vec(), turn: 0 }, limits)
}

#[test]
fn a_file_is_read_as_a_message_is() {
    let file = format!("{{\"Records\":[{}]}}", records(&["a", "b", "c"], ",\r\n "));
    let texts = [
        records(&["a", "b"], "\n"),
        records(&["a", "b"], ""),
        format!("\u{feff}[ {} ]", records(&["a", "b"], " , ")),
        file.clone(),
        format!("{file}\n{file}\n"),
        format!("{}{}", eventbridge(&record("a")), eventbridge("{}")),
        cloudwatch(&[record("a"), record("b")]),
        firehose(&[record("a").into_bytes(), gzip(record("b"))]),
        format!("{{\"k\":1,\"Records\":[{}]}}", records(&["a", "b"], ",")),
        format!("{}\nxyz 12 {{\n\"cut\n{}\n{{\"a\": NaN}}\n[1, null, []]", record("a"), record("b")),
        file[..file.len() - 40].to_owned(),
        "[]\n{}\n[ ]{\"Records\": [ ] }".to_owned(),
        super::base64(gzip(records(&["a", "b"], "\n"))),
    ];
    let limits = ReadLimits::default();
    for text in &texts {
        for bytes in [text.clone().into_bytes(), gzip(text), [gzip(&text[..9]), gzip(&text[9..])].concat()] {
            let expect = outcomes(&bytes, &limits);
            for sizes in [&[1][..], &[2], &[3, 1, 7], &[64], &[65_536], &[1_000, 1]] {
                assert_eq!(chunked(&bytes, sizes, &limits), expect, "chunks of {sizes:?} of {text}");
            }
        }
    }
}

#[test]
fn memory_is_that_of_one_value() {
    /// A log file of records without end, in which the largest is about 100 KB.
    struct Endless {
        left: usize,
        record: Vec<u8>,
        at: usize,
    }
    impl Read for Endless {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let size = out.len().min(self.left).min(self.record.len() - self.at);
            out[..size].copy_from_slice(&self.record[self.at..self.at + size]);
            self.at = (self.at + size) % self.record.len();
            self.left -= size;
            Ok(size)
        }
    }
    let pad = format!("{{\"eventVersion\":\"1\",\"pad\":\"{}\"}},", "x".repeat(100_000));
    let endless = Endless { left: 256 << 20, record: pad.into_bytes(), at: 0 };
    let list = io::Cursor::new(b"{\"Records\":[").chain(endless);
    let mut splitter = Splitter::new(list, ReadLimits { message_bytes_max: 1 << 20, ..ReadLimits::default() });
    let mut bytes = Vec::new();
    let mut items = 0;
    while let Some(item) = splitter.next_item(&mut bytes).unwrap() {
        assert!(bytes.len() < 101_000);
        assert!(item.offset >= 12);
        items += 1;
    }
    assert_eq!(items, (256 << 20) / 100_031 + 1);
    assert!(splitter.held_bytes() < 1 << 20, "{}", splitter.held_bytes());
}

#[test]
fn offsets_are_those_of_the_decompressed_stream() {
    let text = format!("  {}\nxx {}", record("a"), record("b"));
    for bytes in [text.clone().into_bytes(), gzip(&text)] {
        let mut splitter = Splitter::new(Chunks { bytes: &bytes, sizes: vec![5], turn: 0 }, ReadLimits::default());
        let mut buf = Vec::new();
        let mut offsets = Vec::new();
        while let Some(Item { offset, kind }) = splitter.next_item(&mut buf).unwrap() {
            let at = usize::try_from(offset).unwrap();
            assert_eq!(&text.as_bytes()[at..at + buf.len()], buf);
            offsets.push((offset, kind == ItemKind::Value));
        }
        let first_end = 2 + record("a").len() as u64;
        assert_eq!(offsets, [(2, true), (first_end + 1, false), (first_end + 4, true)]);
    }
}

#[test]
fn errors_of_the_reader_are_errors() {
    struct Failing(Vec<u8>, usize);
    impl Read for Failing {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let size = self.1.min(out.len());
            if size == 0 {
                return Err(io::Error::other("the disk is gone"));
            }
            out[..size].copy_from_slice(&self.0[..size]);
            self.0.drain(..size);
            self.1 -= size;
            Ok(size)
        }
    }
    let text = records(&["a", "b"], "\n");
    for bytes in [text.clone().into_bytes(), gzip(&text)] {
        for good in [0, 1, 2, 5, bytes.len() - 9] {
            let mut splitter = Splitter::new(Failing(bytes.clone(), good), ReadLimits::default());
            let mut buf = Vec::new();
            let error = loop {
                match splitter.next_item(&mut buf) {
                    Ok(Some(item)) => assert_eq!(item.kind, ItemKind::Value),
                    Ok(None) => panic!("the error is lost after {good} bytes"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.to_string(), "the disk is gone");
        }
    }
}

#[test]
fn nothing_in_a_file_is_no_item() {
    for bytes in [Vec::new(), b" \r\n".to_vec(), gzip(""), gzip("\n"), [gzip(""), gzip("")].concat()] {
        assert!(file_outcomes(&bytes[..], &ReadLimits::default()).is_empty());
    }
}
