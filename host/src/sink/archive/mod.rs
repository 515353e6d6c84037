//! An archive on disk: one JSON text a line (NDJSON), compressed with gzip, in files that are rotated.
//!
//! Each delivery is a gzip member of its own, and counts once it is on the disk: written, and synchronised. Members one behind
//! the other are one gzip file (RFC 1952, section 2.2). A file that is written has the ending `.part`; complete, it is renamed in
//! one step, so whoever ships `*.gz` never sees half a file. What a worker that died has left as `.part` is completed by
//! the next one that starts in the folder: a torn last member, which was never acknowledged, is cut off.

mod part;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::http::{Courier, Parcels, Verdict};
use super::{Outgoing, Refused, SinkError, Wait};
use crate::peek;
use part::{Part, recover};

/// An archive as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// The folder, which is made where it is missing. Workers and processes may share it.
    pub folder: PathBuf,
    /// Bytes of a file on the disk after which the next one is begun. One delivery alone may exceed it.
    pub file_bytes_max: u64,
    /// The age at which a file is complete, however small.
    pub file_age_max: Duration,
    /// The longest pause before a delivery is tried again.
    pub retry_max: Duration,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        ArchiveConfig {
            folder: PathBuf::new(),
            file_bytes_max: 64 << 20,
            file_age_max: Duration::from_secs(300),
            retry_max: Duration::from_secs(30),
        }
    }
}

/// The pause after a first failure; doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(200);

/// An archive, owned by one worker.
#[derive(Debug)]
pub struct ArchiveSink {
    files: Files,
    courier: Courier,
}

/// The files of a worker, one after the other.
#[derive(Debug)]
struct Files {
    config: ArchiveConfig,
    name: String,
    /// The file that is written; None before the first delivery, and after a rotation.
    part: Option<Part>,
}

impl ArchiveSink {
    /// Makes the folder, and completes what workers that died have left in it.
    pub fn open(config: ArchiveConfig) -> Result<ArchiveSink, SinkError> {
        let name = config.folder.display().to_string();
        let failed = |error| SinkError::Write { name: name.clone(), error };
        std::fs::create_dir_all(&config.folder).map_err(failed)?;
        for path in recover(&config.folder).map_err(failed)? {
            tracing::info!(file = %path.display(), "completed a file that a worker had left");
        }
        let courier = Courier::to(name.clone(), (RETRY_MIN.min(config.retry_max), config.retry_max));
        Ok(ArchiveSink { files: Files { config, name, part: None }, courier })
    }

    /// The folder.
    pub fn name(&self) -> &str {
        &self.files.name
    }

    /// See [`super::Sink::deliver`].
    pub(super) fn deliver(
        &mut self,
        messages: &[Outgoing<'_>],
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Refused>, SinkError> {
        let Self { files, courier } = self;
        let parcels = Parcels::of(messages, |message, to| line(message.payload, to));
        courier.deliver(parcels, wait, |parcels, piece, _| {
            let appended = member(&parcels.body(piece)).and_then(|member| files.append(&member));
            Ok(match appended {
                Ok(()) => Verdict::Accepted,
                Err(error) => Verdict::Again { after: None, cause: format!("cannot be written: {error}") },
            })
        })
    }

    /// Completes a file that has become old while nothing came.
    pub(super) fn idle(&mut self) {
        if let Err(error) = self.files.rotate_when_due(0) {
            tracing::warn!(target = self.files.name, "a file that is old enough cannot be completed yet: {error}");
        }
    }
}

impl Files {
    fn append(&mut self, member: &[u8]) -> io::Result<()> {
        self.rotate_when_due(member.len() as u64)?;
        let part = match &mut self.part {
            Some(part) => part,
            none => none.insert(Part::create(&self.config.folder)?),
        };
        match part.append(member) {
            Ok(()) => Ok(()),
            Err(failed) => {
                // A file that cannot even be cut back is left to the next start, and another one is begun.
                if !failed.is_whole {
                    self.part = None;
                }
                Err(failed.error)
            }
        }
    }

    /// Completes the file where `more` bytes would be too many for it, or where it is old.
    fn rotate_when_due(&mut self, more: u64) -> io::Result<()> {
        let due = self.part.as_ref().is_some_and(|part| {
            part.age() >= self.config.file_age_max
                || part.len() > 0 && part.len().saturating_add(more) > self.config.file_bytes_max
        });
        if !due {
            return Ok(());
        }
        if let Some(part) = &self.part {
            part.complete()?;
        }
        self.part = None;
        Ok(())
    }
}

impl Drop for Files {
    /// A worker that ends completes its file.
    fn drop(&mut self) {
        if let Some(Err(error)) = self.part.as_ref().map(Part::complete) {
            tracing::warn!(target = self.name, "a file is left for the next start to complete: {error}");
        }
    }
}

/// Appends a message as a line. What is no JSON would be none.
fn line(payload: &[u8], to: &mut Vec<u8>) -> Result<(), String> {
    peek::json(payload)?;
    // A line break in valid JSON stands between values, where a space is as good.
    to.extend(payload.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    to.push(b'\n');
    Ok(())
}

/// Lines as a gzip member.
fn member(lines: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::default());
    encoder.write_all(lines)?;
    encoder.finish()
}

#[cfg(test)]
mod tests;
