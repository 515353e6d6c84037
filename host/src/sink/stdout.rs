//! Standard output: one JSON text a line (NDJSON).

use std::collections::HashSet;
use std::io::{self, Write};

use super::{Outgoing, SinkError};

/// Finding ids that are told apart; more are not counted.
const DISTINCT_MAX: usize = 10_000_000;

/// Writes payloads to standard output and flushes after each batch.
#[derive(Debug, Default)]
pub struct StdoutSink {
    distinct: Option<HashSet<Box<[u8]>>>,
}

impl StdoutSink {
    /// A sink that also counts the distinct keys it has seen, up to ten million.
    pub fn counting() -> StdoutSink {
        StdoutSink { distinct: Some(HashSet::new()) }
    }

    /// How many distinct keys it has seen, when it counts them.
    pub fn distinct_len(&self) -> usize {
        self.distinct.as_ref().map_or(0, HashSet::len)
    }

    pub(super) fn deliver(&mut self, messages: &[Outgoing<'_>]) -> Result<(), SinkError> {
        if let Some(distinct) = &mut self.distinct {
            for message in messages {
                if distinct.len() < DISTINCT_MAX && !distinct.contains(message.key) {
                    distinct.insert(Box::from(message.key));
                }
            }
        }
        let write = || -> io::Result<()> {
            let mut out = io::BufWriter::new(io::stdout().lock());
            for message in messages {
                out.write_all(message.payload)?;
                out.write_all(b"\n")?;
            }
            out.flush()
        };
        write().map_err(|error| SinkError::Write { name: "standard output".to_owned(), error })
    }
}
