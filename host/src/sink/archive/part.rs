//! A file of the archive while it is written: named after its beginning, locked by its owner, whole up to a known length.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::bufread::GzDecoder;
use jiff::Timestamp;

/// The ending of a file that is written.
const PART: &str = "part";

/// What reading a torn member ends in, and not a failing disk.
const TORN: [io::ErrorKind; 3] =
    [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidInput, io::ErrorKind::InvalidData];

/// A file that is written. Whoever has it open holds its lock, so nobody takes it for one that was left.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    path: PathBuf,
    begun: Instant,
    /// Bytes of whole members, all on the disk.
    len: u64,
}

/// An append that failed.
#[derive(Debug)]
pub(super) struct Failed {
    /// The system's words.
    pub(super) error: io::Error,
    /// Whether what it left was cut off again.
    pub(super) is_whole: bool,
}

impl Part {
    /// Begins a file.
    pub(super) fn create(folder: &Path) -> io::Result<Part> {
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        loop {
            let unique = RandomState::new().build_hasher().finish();
            let path = folder.join(format!("trailhound-{time}-{unique:016x}.ndjson.gz.{PART}"));
            let file = match OpenOptions::new().append(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened?,
            };
            file.lock()?;
            // Before the lock was taken, somebody may have found the file, and removed it because it was empty.
            if !is_at(&file, &path)? {
                continue;
            }
            sync_folder(folder)?;
            return Ok(Part { file, path, begun: Instant::now(), len: 0 });
        }
    }

    /// Adds a member, and returns when it is on the disk.
    pub(super) fn append(&mut self, member: &[u8]) -> Result<(), Failed> {
        match self.file.write_all(member).and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.len += member.len() as u64;
                Ok(())
            }
            Err(error) => Err(Failed { error, is_whole: self.cut_back().is_ok() }),
        }
    }

    /// Cuts off what a failed write has left.
    pub(super) fn cut_back(&self) -> io::Result<()> {
        self.file.set_len(self.len)
    }

    /// Gives the file its final name, or removes it where nothing is in it.
    pub(super) fn complete(&self) -> io::Result<()> {
        complete(&self.path, self.len).map(drop)
    }

    /// How long ago it was begun.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Its length, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

/// Completes the files in `folder` that nobody writes any more. Gives their final paths.
pub(super) fn recover(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut completed = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_ours =
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("trailhound-"));
        if !is_ours || path.extension().is_none_or(|ending| ending != PART) {
            continue;
        }
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            // Completed by its owner, or by another who starts.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) if is_at(&file, &path)? => {}
            Ok(()) | Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let whole = whole_len(&file)?;
        file.set_len(whole)?;
        file.sync_all()?;
        completed.extend(complete(&path, whole)?);
    }
    Ok(completed)
}

/// Renames a file in one step, or removes an empty one. Gives the final path of what has one.
fn complete(path: &Path, len: u64) -> io::Result<Option<PathBuf>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let last = path.with_extension("");
    if len == 0 {
        std::fs::remove_file(path)?;
        sync_folder(folder)?;
        return Ok(None);
    }
    std::fs::rename(path, &last)?;
    sync_folder(folder)?;
    Ok(Some(last))
}

/// How many bytes at the beginning of a file are whole gzip members.
fn whole_len(file: &File) -> io::Result<u64> {
    let mut reader = Counting { inner: BufReader::with_capacity(1 << 16, file), read: 0 };
    let mut whole = 0;
    loop {
        if reader.fill_buf()?.is_empty() {
            return Ok(whole);
        }
        let mut member = GzDecoder::new(&mut reader);
        // A torn member fails: its length, its checksum, or its end is missing.
        match io::copy(&mut member, &mut io::sink()) {
            Ok(_) => whole = reader.read,
            Err(error) if TORN.contains(&error.kind()) => return Ok(whole),
            Err(error) => return Err(error),
        }
    }
}

/// Counts what is taken from a reader.
struct Counting<R> {
    inner: R,
    read: u64,
}

impl<R: BufRead> Read for Counting<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(to)?;
        self.read += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.read += bytes as u64;
        self.inner.consume(bytes);
    }
}

/// Whether `path` still names this very file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A new name is on the disk only when its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
