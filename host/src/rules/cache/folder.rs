//! The folder of the cache: whom it must belong to, a file an entry, and room for new ones.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result as IoResult, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::CacheConfig;

/// The ending of a file that is not yet whole.
const PART: &str = ".part";

/// Why a folder cannot hold machine code that this process will run.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be made or looked at.
    #[error("{}: {error}", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        #[source]
        error: Error,
    },
    /// It is no folder.
    #[error("{}: is no folder", .0.display())]
    NoFolder(PathBuf),
    /// It, or a symbolic link to it, is another user's.
    #[error("{}: belongs to user {owner}, and this process runs as user {user}", path.display())]
    Foreign {
        /// The folder or the link.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// Others may write in it.
    #[error("{}: others may write in it (mode {mode:03o})", path.display())]
    Writable {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl CacheError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            CacheError::Unusable { .. } | CacheError::NoFolder(_) => {
                "name a folder that this user may make or use, or leave rules.cache out"
            }
            CacheError::Foreign { .. } => {
                "what is in it is run as it is, so it must be this user's: name another folder, or chown this one"
            }
            CacheError::Writable { .. } => "what is in it is run as it is, so nobody else may write there: chmod 700",
        }
    }
}

/// A folder that only this process's user can have written in.
#[derive(Debug)]
pub(super) struct Folder {
    /// Without symbolic links, so that one which is switched later leads nowhere else.
    path: PathBuf,
    user: u32,
    bytes_max: u64,
    /// What all entries have, if nobody else writes here and none was written twice. Counted again when it leaves no room;
    /// so also at the first write, until which it is the most that there can be.
    bytes: Mutex<u64>,
}

impl Folder {
    /// Makes the folder where it is missing, and looks whose it is.
    pub(super) fn open(config: &CacheConfig) -> Result<Folder, CacheError> {
        let (directory, user) = (&config.directory, rustix::process::geteuid().as_raw());
        let unusable = |error| CacheError::Unusable { path: directory.clone(), error };
        match DirBuilder::new().recursive(true).mode(0o700).create(directory) {
            // There, and no folder: said below.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.map_err(unusable)?,
        }
        check(directory, user)?;
        let path = directory.canonicalize().map_err(unusable)?;
        Ok(Folder { path, user, bytes_max: config.bytes_max, bytes: Mutex::new(u64::MAX) })
    }

    /// What the entry of this digest holds; None where there is none.
    pub(super) fn read(&self, digest: &str) -> IoResult<Option<Vec<u8>>> {
        let file = match File::open(self.path.join(digest)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let metadata = file.metadata()?;
        // If somebody has put another folder in the place of the one that was checked.
        if !metadata.is_file() || metadata.uid() != self.user || others_may_write(&metadata) {
            return Err(Error::other("it is no file that this user alone may write"));
        }
        let mut bytes = Vec::new();
        (&file).take(self.bytes_max).read_to_end(&mut bytes)?;
        // So that it is the last to go. It is no harm if that fails.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(bytes))
    }

    /// Writes an entry beside and renames it, so that nobody reads half of one. One that alone is over the limit is not kept.
    pub(super) fn write(&self, digest: &str, bytes: &[u8]) -> IoResult<()> {
        let size = bytes.len() as u64;
        if size > self.bytes_max {
            return Ok(());
        }
        self.make_room(size)?;
        // A name of its own: processes may share the folder, and in containers have the same number.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let half = self.path.join(format!("{digest}.{}-{now}{PART}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&half)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| std::fs::rename(&half, self.path.join(digest)));
        if written.is_err() {
            let _ = std::fs::remove_file(&half);
        }
        written
    }

    /// Sees to it that `size` bytes fit.
    fn make_room(&self, size: u64) -> IoResult<()> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.saturating_add(size) > self.bytes_max {
            *bytes = self.clear(size)?;
        }
        *bytes += size;
        Ok(())
    }

    /// Takes away what was not used for longest until `size` bytes fit, and then an eighth of all, so that not every entry
    /// goes through them. Gives the bytes that are left.
    fn clear(&self, size: u64) -> IoResult<u64> {
        let mut entries = self.entries()?;
        let mut bytes: u64 = entries.iter().map(|(_, _, size)| size).sum();
        if bytes.saturating_add(size) <= self.bytes_max {
            return Ok(bytes);
        }
        entries.sort();
        let goal = self.bytes_max.saturating_sub(size.max(self.bytes_max / 8));
        for (_, file, size) in entries {
            if bytes <= goal {
                break;
            }
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => bytes -= size,
            }
        }
        Ok(bytes)
    }

    /// All entries with the time of their last use and their size, and what a process that died has left half written.
    /// What else lies here is none of ours.
    fn entries(&self) -> IoResult<Vec<(SystemTime, PathBuf, u64)>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let path = entry.path();
            if !is_ours(&path) {
                continue;
            }
            match entry.metadata() {
                Ok(metadata) => entries.push((metadata.modified()?, path, metadata.len())),
                // Another process has taken it away.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }
}

/// Whether a file goes by a digest: an entry, or half of one.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let is_digest = |digest: &[u8]| digest.iter().all(u8::is_ascii_hexdigit);
    name.split_at_checked(64)
        .is_some_and(|(digest, rest)| is_digest(digest) && (rest.is_empty() || rest.ends_with(PART.as_bytes())))
}

/// Holds the folder, and the link that may lead to it, against `user`.
pub(super) fn check(directory: &Path, user: u32) -> Result<(), CacheError> {
    let path = || directory.to_owned();
    let unusable = |error| CacheError::Unusable { path: path(), error };
    let link = directory.symlink_metadata().map_err(unusable)?;
    let metadata = directory.metadata().map_err(unusable)?;
    if !metadata.is_dir() {
        return Err(CacheError::NoFolder(path()));
    }
    if let Some(owner) = [link.uid(), metadata.uid()].into_iter().find(|owner| *owner != user) {
        return Err(CacheError::Foreign { path: path(), owner, user });
    }
    if others_may_write(&metadata) {
        return Err(CacheError::Writable { path: path(), mode: metadata.mode() & 0o777 });
    }
    Ok(())
}

fn others_may_write(metadata: &Metadata) -> bool {
    metadata.mode() & 0o022 != 0
}
