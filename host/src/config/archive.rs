//! The keys of `sink.archive`.

use std::time::Duration;

use super::section::{Findings, Section};
use super::sink::Base;
use crate::sink::ArchiveConfig;

/// Reads an archive.
pub(super) fn read_archive(mut part: Section<'_>, base: Base<'_>, findings: &mut Findings) -> Option<ArchiveConfig> {
    let mut config = ArchiveConfig::default();
    let directory = part.required("directory", "directory = \"findings\"", findings);
    part.number("file_bytes_max", &mut config.file_bytes_max, [1 << 10, 16 << 30], findings);
    let mut seconds = config.file_age_max.as_secs();
    part.number("file_seconds_max", &mut seconds, [1, 86_400], findings);
    config.file_age_max = Duration::from_secs(seconds);
    let mut ms = u64::try_from(config.retry_max.as_millis()).unwrap_or_default();
    part.number("retry_ms_max", &mut ms, [100, 600_000], findings);
    config.retry_max = Duration::from_millis(ms);
    part.finish(findings);
    config.folder = base.folder.join(directory?);
    Some(config)
}
