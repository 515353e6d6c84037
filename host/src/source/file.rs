//! The file source: files, folders and standard input, of any size and any framing, in bounded memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BatchLimits;
use crate::batch::{Batch, Origin};
use crate::record::{ItemKind, ReadLimits, Splitter};

/// Reads every file once, in order.
pub struct FileSource {
    queue: VecDeque<PathBuf>,
    current: Option<Open>,
    read: ReadLimits,
    limits: BatchLimits,
    buffer: Vec<u8>,
    progress: Progress,
}

/// How far the source is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Files to read in all.
    pub files: usize,
    /// Files read to their end.
    pub files_done: usize,
    /// Bytes of items handed over, decompressed.
    pub bytes: u64,
    /// Files that could not be read, and why. The others are read all the same.
    pub failed: Vec<(PathBuf, String)>,
}

struct Open {
    splitter: Splitter<Box<dyn Read + Send>>,
    path: PathBuf,
    source: Arc<str>,
    items: u64,
}

/// Folders below a folder that are looked into.
const FOLDERS_DEPTH_MAX: usize = 64;

impl FileSource {
    /// A source of `paths`: a file, a folder with all files below it in the order of their names (hidden ones left
    /// out, links to folders not followed), or `-` for standard input.
    pub fn new(paths: &[PathBuf], read: ReadLimits, limits: BatchLimits) -> io::Result<FileSource> {
        let mut queue = VecDeque::new();
        for path in paths {
            if path.as_os_str() == "-" {
                queue.push_back(path.clone());
            } else {
                let metadata = std::fs::metadata(path).map_err(|error| named(path, &error))?;
                if metadata.is_dir() { walk(path, 0, &mut queue)? } else { queue.push_back(path.clone()) }
            }
        }
        let progress = Progress { files: queue.len(), ..Progress::default() };
        Ok(FileSource { queue, current: None, read, limits, buffer: Vec::new(), progress })
    }

    /// How far the source is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// See [`super::Source::next_batch`].
    pub(super) fn next_batch(&mut self, batch: &mut Batch) -> bool {
        while batch.len() < self.limits.messages_max && batch.bytes_len() < self.limits.bytes_max {
            let Some(mut open) = self.current.take().or_else(|| self.open_next()) else { break };
            match self.next_item(&mut open, batch) {
                Ok(true) => self.current = Some(open),
                Ok(false) => self.progress.files_done += 1,
                Err(error) => self.fail(open.path, &error),
            }
        }
        !batch.is_empty()
    }

    fn next_item(&mut self, open: &mut Open, batch: &mut Batch) -> io::Result<bool> {
        let origin = |offset: u64| Origin {
            source: Arc::clone(&open.source),
            partition: 0,
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            appended_ms: None,
        };
        match open.splitter.next_item(&mut self.buffer)? {
            Some(item) => {
                match item.kind {
                    ItemKind::Value => batch.push(origin(item.offset), Some(&self.buffer)),
                    ItemKind::Broken { reason, detail } => {
                        batch.push_broken(origin(item.offset), &self.buffer, reason, detail);
                    }
                }
                open.items += 1;
                self.progress.bytes += self.buffer.len() as u64;
                Ok(true)
            }
            None => {
                // A file is at least one entry, as a message is: an empty one is skipped and counted.
                if open.items == 0 {
                    batch.push(origin(0), Some(b""));
                }
                Ok(false)
            }
        }
    }

    fn open_next(&mut self) -> Option<Open> {
        while let Some(path) = self.queue.pop_front() {
            let reader: io::Result<Box<dyn Read + Send>> = if path.as_os_str() == "-" {
                Ok(Box::new(io::stdin()))
            } else {
                File::open(&path).map(|file| Box::new(file) as Box<dyn Read + Send>)
            };
            match reader {
                Ok(reader) => {
                    let source = Arc::from(path.to_string_lossy().as_ref());
                    let splitter = Splitter::new(reader, self.read.clone());
                    return Some(Open { splitter, path, source, items: 0 });
                }
                Err(error) => self.fail(path, &error),
            }
        }
        None
    }

    fn fail(&mut self, path: PathBuf, error: &io::Error) {
        tracing::error!(file = %path.display(), "cannot be read: {error}");
        self.progress.failed.push((path, error.to_string()));
    }
}

fn walk(folder: &Path, depth: usize, queue: &mut VecDeque<PathBuf>) -> io::Result<()> {
    if depth > FOLDERS_DEPTH_MAX {
        return Err(named(folder, &io::Error::other(format!("more than {FOLDERS_DEPTH_MAX} folders deep"))));
    }
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).and_then(Iterator::collect).map_err(|error: io::Error| named(folder, &error))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if entry.file_type().map_err(|error| named(&path, &error))?.is_dir() {
            walk(&path, depth + 1, queue)?;
        } else if path.is_file() {
            queue.push_back(path);
        }
    }
    Ok(())
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
