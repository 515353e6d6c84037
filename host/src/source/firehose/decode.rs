//! The body of a request: gzip, JSON, base64, into records one after the other in one buffer.

use std::borrow::Cow;
use std::fmt;
use std::io::Read as _;
use std::ops::Range;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::FirehoseLimits;

/// base64 as Firehose writes it; without its padding it means the same.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Buffers that a large request has grown are given back when they exceed this, in bytes.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Decodes one request after the other with the same buffers.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// A body that was compressed.
    plain: Vec<u8>,
    /// The bytes of all records.
    bytes: Vec<u8>,
    /// Where each record lies.
    records: Vec<Range<usize>>,
}

impl Decoder {
    /// Decodes all of a request, or says what is wrong with it: then none of its records counts.
    pub(super) fn decode(
        &mut self,
        body: &[u8],
        gzip: bool,
        request_id: &str,
        limits: &FirehoseLimits,
    ) -> Result<(), String> {
        self.clear();
        if gzip {
            gunzip(body, &mut self.plain, limits.decompressed_bytes_max)?;
        }
        let text = if gzip { &self.plain } else { body };
        let body = Body { out: (&mut self.bytes, &mut self.records), request_id, limits };
        let mut json = serde_json::Deserializer::from_slice(text);
        let done = body.deserialize(&mut json).and_then(|()| json.end());
        done.map_err(|error| format!("the body is not what Firehose sends: {error}"))
    }

    /// Forgets the last request, and gives back what was large.
    pub(super) fn clear(&mut self) {
        self.plain.clear();
        self.plain.shrink_to(KEPT_BYTES_MAX);
        self.records.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }

    /// The records of the last request.
    pub(super) fn records(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.records.iter().map(|range| self.bytes.get(range.clone()).unwrap_or_default())
    }
}

/// Decompresses into `out`, which grows to `bytes_max` and a little at most, whatever a bomb holds.
fn gunzip(body: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), String> {
    let mut reader = MultiGzDecoder::new(body).take(bytes_max as u64 + 1);
    reader.read_to_end(out).map_err(|error| format!("the body is no gzip: {error}"))?;
    if out.len() > bytes_max {
        return Err(format!("the body decompresses to more than decompressed_bytes_max, {bytes_max} bytes"));
    }
    Ok(())
}

/// The body's object.
struct Body<'a> {
    out: (&'a mut Vec<u8>, &'a mut Vec<Range<usize>>),
    request_id: &'a str,
    limits: &'a FirehoseLimits,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    RequestId,
    Records,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with requestId and records")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut has_id, mut has_records) = (false, false);
        let (bytes, records) = self.out;
        while let Some(key) = map.next_key()? {
            match key {
                Key::RequestId => {
                    let id: Cow<'de, str> = map.next_value()?;
                    if id != self.request_id {
                        return Err(A::Error::custom("requestId is not that of the header"));
                    }
                    has_id = true;
                }
                Key::Records if has_records => return Err(A::Error::duplicate_field("records")),
                Key::Records => {
                    map.next_value_seed(Records { bytes, records, limits: self.limits })?;
                    has_records = true;
                }
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match (has_id, has_records) {
            (false, _) => Err(A::Error::missing_field("requestId")),
            (_, false) => Err(A::Error::missing_field("records")),
            (true, true) => Ok(()),
        }
    }
}

/// The list of records. It counts while it reads: a list that is too long takes no memory.
struct Records<'a> {
    bytes: &'a mut Vec<u8>,
    records: &'a mut Vec<Range<usize>>,
    limits: &'a FirehoseLimits,
}

impl<'de> DeserializeSeed<'de> for Records<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Records<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let bytes_max = self.limits.record_bytes_max;
        let mut start = 0;
        while let Some(()) = list.next_element_seed(Record { bytes: &mut *self.bytes, bytes_max })? {
            if self.records.len() == self.limits.records_max {
                let what = format!("more than records_max, {} records", self.limits.records_max);
                return Err(A::Error::custom(what));
            }
            self.records.push(start..self.bytes.len());
            start = self.bytes.len();
        }
        if self.records.is_empty() { Err(A::Error::custom("no record")) } else { Ok(()) }
    }
}

/// One record: an object with `data`.
struct Record<'a> {
    bytes: &'a mut Vec<u8>,
    bytes_max: usize,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum RecordKey {
    Data,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for Record<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record, an object with data")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_data = false;
        while let Some(key) = map.next_key()? {
            match key {
                RecordKey::Data if has_data => return Err(A::Error::duplicate_field("data")),
                RecordKey::Data => {
                    map.next_value_seed(Data { bytes: &mut *self.bytes, bytes_max: self.bytes_max })?;
                    has_data = true;
                }
                RecordKey::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if has_data { Ok(()) } else { Err(A::Error::missing_field("data")) }
    }
}

/// The bytes of a record in base64; they may be none.
struct Data<'a> {
    bytes: &'a mut Vec<u8>,
    bytes_max: usize,
}

impl<'de> DeserializeSeed<'de> for Data<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Data<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in base64")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let too_large = || E::custom(format!("a record of more than record_bytes_max, {} bytes", self.bytes_max));
        let start = self.bytes.len();
        // Four characters are three bytes.
        if text.len() / 4 > self.bytes_max.div_ceil(3) {
            return Err(too_large());
        }
        BASE64.decode_vec(text, self.bytes).map_err(|error| E::custom(format!("data is no base64: {error}")))?;
        if self.bytes.len() - start > self.bytes_max { Err(too_large()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn limits() -> FirehoseLimits {
        FirehoseLimits { records_max: 3, record_bytes_max: 10, decompressed_bytes_max: 4_096, ..Default::default() }
    }

    fn decode(body: &[u8], gzip: bool) -> Result<Vec<Vec<u8>>, String> {
        let mut decoder = Decoder::default();
        decoder.decode(body, gzip, "id", &limits())?;
        Ok(decoder.records().map(<[u8]>::to_vec).collect())
    }

    #[track_caller]
    fn wrong(body: &str, expect: &str) {
        let error = decode(body.as_bytes(), false).unwrap_err();
        assert!(error.contains(expect), "{error}");
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_example_of_the_contract_is_read() {
        let body = br#"{"requestId": "id", "timestamp": 1578090901599,
            "records": [{"data": "aGVsbG8="}, {"data": "aGVsbG8gd28="}, {"data": "", "more": [1]}], "new": {"a": null}}"#;
        let expect = [b"hello".to_vec(), b"hello wo".to_vec(), Vec::new()];
        assert_eq!(decode(body, false).unwrap(), expect);
        assert_eq!(decode(&gzip(body), true).unwrap(), expect);
    }

    #[test]
    fn a_slash_may_be_escaped_and_padding_left_out() {
        let body = br#"{"records":[{"data":"\/\/8="},{"data":"aGk"}],"requestId":"id"}"#;
        assert_eq!(decode(body, false).unwrap(), [vec![0xff, 0xff], b"hi".to_vec()]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        wrong("", "EOF");
        wrong("[]", "an object with requestId and records");
        wrong(r#"{"records":[{"data":""}]}"#, "missing field `requestId`");
        wrong(r#"{"requestId":"id"}"#, "missing field `records`");
        wrong(r#"{"requestId":"other","records":[{"data":""}]}"#, "not that of the header");
        wrong(r#"{"requestId":"id","records":[]}"#, "no record");
        wrong(r#"{"requestId":"id","records":[{}]}"#, "missing field `data`");
        wrong(r#"{"requestId":"id","records":[{"data":{"a":1}}]}"#, "a text in base64");
        wrong(r#"{"requestId":"id","records":[{"data":"a"}]}"#, "no base64");
        wrong(r#"{"requestId":"id","records":[{"data":"aGk=","data":"aGk="}]}"#, "duplicate field `data`");
        wrong(r#"{"requestId":"id","records":[{"data":""}]} x"#, "trailing");
        wrong(r#"{"requestId":"id","records":[{"data":""}],"records":[]}"#, "duplicate field `records`");
        wrong(&format!(r#"{{"deep":{}1}}"#, "[".repeat(1_000_000)), "expected");
    }

    #[test]
    fn records_are_limited_in_number_and_size() {
        let body = |records: &[&str]| {
            let records: Vec<String> = records.iter().map(|data| format!(r#"{{"data":"{data}"}}"#)).collect();
            format!(r#"{{"requestId":"id","records":[{}]}}"#, records.join(","))
        };
        assert_eq!(decode(body(&[""; 3]).as_bytes(), false).unwrap().len(), 3);
        wrong(&body(&[""; 4]), "records_max");
        let [ten, eleven, many] = [10, 11, 1_000].map(|bytes| BASE64.encode(vec![b'x'; bytes]));
        assert_eq!(decode(body(&[&ten]).as_bytes(), false).unwrap()[0].len(), 10);
        wrong(&body(&[&eleven]), "record_bytes_max");
        wrong(&body(&[&many]), "record_bytes_max");
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_the_limit_says() {
        let bomb = gzip(&vec![b' '; 4 << 20]);
        let mut decoder = Decoder::default();
        let error = decoder.decode(&bomb, true, "id", &limits()).unwrap_err();
        assert!(error.contains("decompressed_bytes_max"), "{error}");
        assert!(decoder.plain.capacity() < 64 << 10, "{}", decoder.plain.capacity());
        for body in [&b"no gzip"[..], &bomb[..bomb.len() / 2]] {
            let limits = FirehoseLimits::default();
            assert!(decoder.decode(body, true, "id", &limits).unwrap_err().contains("no gzip"));
        }
    }
}
