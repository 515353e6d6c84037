//! The floor: what must be done to a record by whoever reads it at all.

use std::io::Read as _;

use anyhow::{Context as _, Result};
use flate2::read::GzDecoder;
use sonic_rs::Value;

use crate::contender::{Contender, Task};
use crate::data::DataSet;

/// The row that all others are compared with.
pub(crate) const FLOOR: &str = "sonic-rs: parse to a Value";

/// The floors of a data set.
pub(crate) fn contenders<'a>(set: &'a DataSet, gzipped: &'a [Vec<u8>]) -> Vec<Contender<'a>> {
    vec![
        Contender::new(FLOOR, Task::None, || parse(set)),
        Contender::new("UTF-8 validation alone", Task::None, || validate(set)),
        Contender::new("gzip alone: unpack Records of 100", Task::None, || unpack(gzipped)),
    ]
}

fn parse(set: &DataSet) -> Result<u64> {
    for record in set.iter() {
        let value: Value = sonic_rs::from_slice(record).context("a record is no JSON")?;
        std::hint::black_box(&value);
    }
    Ok(0)
}

fn validate(set: &DataSet) -> Result<u64> {
    for record in set.iter() {
        std::hint::black_box(std::str::from_utf8(record).context("a record is no UTF-8")?);
    }
    Ok(0)
}

/// With the decoder that the product uses, into a buffer that is reused.
fn unpack(gzipped: &[Vec<u8>]) -> Result<u64> {
    let mut bytes = Vec::new();
    for message in gzipped {
        bytes.clear();
        GzDecoder::new(message.as_slice()).read_to_end(&mut bytes)?;
        std::hint::black_box(&bytes);
    }
    Ok(0)
}
