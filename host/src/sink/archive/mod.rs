//! An archive on disk: one JSON text a line (NDJSON), compressed with gzip, in files that are rotated.
//!
//! Each delivery is a gzip member of its own, and counts once it is on the disk: written, and synchronised. Members one behind
//! the other are one gzip file (RFC 1952, section 2.2). A file that is written has the ending `.part`; complete, it is renamed in
//! one step, so whoever ships `*.gz` never sees half a file. What a worker that died has left as `.part` is completed by
//! the next one that starts in the folder: a torn last member, which was never acknowledged, is cut off.

mod part;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::de::IgnoredAny;

use super::{Outgoing, Refused, SinkError, Wait};
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

/// Failures in a row after which the disk counts as down.
const FAILURES_IN_ROW_MAX: u32 = 5;

/// An archive, owned by one worker.
#[derive(Debug)]
pub struct ArchiveSink {
    config: ArchiveConfig,
    name: String,
    /// The file that is written; None before the first delivery, and after a rotation.
    part: Option<Part>,
    /// Deliveries in a row that failed.
    failures: u32,
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
        Ok(ArchiveSink { config, name, part: None, failures: 0 })
    }

    /// The folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// See [`super::Sink::deliver`].
    pub(super) fn deliver(
        &mut self,
        messages: &[Outgoing<'_>],
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Refused>, SinkError> {
        let mut refused = Vec::new();
        let member = member(messages, &mut refused).map_err(|error| self.failed(error))?;
        let waiting = messages.len() - refused.len();
        while waiting > 0 {
            let Err(error) = self.append(&member) else {
                if std::mem::take(&mut self.failures) >= FAILURES_IN_ROW_MAX {
                    tracing::info!(target = self.name, "the folder takes messages again");
                    wait.metrics.target_down(false);
                }
                break;
            };
            wait.metrics.retried(waiting);
            let pause = self.fails(&error, waiting, wait);
            if !wait.pause(pause) {
                return Err(SinkError::Stopped { name: self.name.clone(), waiting });
            }
        }
        Ok(refused)
    }

    /// Completes a file that has become old while nothing came.
    pub(super) fn idle(&mut self) {
        if let Err(error) = self.rotate_when_due(0) {
            tracing::warn!(target = self.name, "a file that is old enough cannot be completed yet: {error}");
        }
    }

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

    /// Notes a failure, says so, and gives the pause before the next attempt.
    fn fails(&mut self, error: &io::Error, waiting: usize, wait: &Wait<'_>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let full = RETRY_MIN.saturating_mul(1 << (self.failures - 1).min(20)).min(self.config.retry_max);
        let half = u64::try_from((full / 2).as_millis()).unwrap_or_default();
        let retry_ms = half + RandomState::new().build_hasher().finish() % (half + 1);
        if self.failures == FAILURES_IN_ROW_MAX {
            wait.metrics.target_down(true);
        }
        // Somebody must act: a disk does not empty itself.
        tracing::error!(target = self.name, waiting, retry_ms, "not delivered yet: cannot be written: {error}");
        Duration::from_millis(retry_ms)
    }

    fn failed(&self, error: io::Error) -> SinkError {
        SinkError::Write { name: self.name.clone(), error }
    }
}

impl Drop for ArchiveSink {
    /// A worker that ends completes its file.
    fn drop(&mut self) {
        if let Some(Err(error)) = self.part.as_ref().map(Part::complete) {
            tracing::warn!(target = self.name, "a file is left for the next start to complete: {error}");
        }
    }
}

/// All messages as one gzip member. What is no JSON is refused: it would not be a line.
fn member(messages: &[Outgoing<'_>], refused: &mut Vec<Refused>) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for (index, message) in messages.iter().enumerate() {
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(message.payload) {
            refused.push(Refused { index, cause: format!("it is no JSON: {error}") });
            continue;
        }
        // A line break in valid JSON stands between values, where a space is as good.
        for piece in message.payload.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            match piece.split_last() {
                Some((b'\n' | b'\r', piece)) => {
                    encoder.write_all(piece)?;
                    encoder.write_all(b" ")?;
                }
                _ => encoder.write_all(piece)?,
            }
        }
        encoder.write_all(b"\n")?;
    }
    encoder.finish()
}

#[cfg(test)]
mod tests;
