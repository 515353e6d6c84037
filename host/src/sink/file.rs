//! Dead letters in a file: one JSON object a line, cause and origin by name and the original bytes in base64. A message
//! that was carried has its key (in base64) and its headers (as text) there too.
//!
//! Workers, and processes, may share a file. Each writes while it holds the file's lock, so that what one cuts off again
//! after a failure is its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Outgoing, SinkError};

/// Appends to a file and synchronises it with the disk before a batch counts as delivered.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    path: PathBuf,
    name: String,
    /// Where this sink has ended the last line.
    end: u64,
}

impl FileSink {
    /// Opens `path` for appending, and creates it.
    pub fn open(path: &Path) -> Result<FileSink, SinkError> {
        let name = path.display().to_string();
        let failed = |error| SinkError::Write { name: path.display().to_string(), error };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        Ok(FileSink { file, path: path.to_owned(), name, end: 0 })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn deliver(&mut self, messages: &[Outgoing<'_>]) -> Result<(), SinkError> {
        let mut lines = Vec::new();
        for message in messages {
            let mut object = serde_json::Map::new();
            let mut own = serde_json::Map::new();
            for (name, value) in &message.headers {
                let text = String::from_utf8_lossy(value).into();
                match name.strip_prefix("trailhound.") {
                    Some(name) => object.insert(name.to_owned(), text),
                    None => own.insert((*name).to_owned(), text),
                };
            }
            if !own.is_empty() {
                object.insert("headers".to_owned(), own.into());
            }
            if !message.key.is_empty() {
                object.insert("key_base64".to_owned(), STANDARD.encode(message.key).into());
            }
            object.insert("original_base64".to_owned(), STANDARD.encode(message.payload).into());
            lines.extend_from_slice(serde_json::Value::Object(object).to_string().as_bytes());
            lines.push(b'\n');
        }
        self.append(&lines, File::sync_data).map_err(|error| SinkError::Write { name: self.name.clone(), error })
    }

    /// Appends whole lines, all or none of them.
    fn append(&mut self, lines: &[u8], sync: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        // A device has no length, and a file system that knows no locks lets nobody cut anything off.
        let locked = self.file.metadata()?.is_file() && self.file.lock().is_ok();
        let written = self.append_locked(lines, locked, sync);
        if locked {
            let _ = self.file.unlock();
        }
        written
    }

    fn append_locked(
        &mut self,
        lines: &[u8],
        locked: bool,
        sync: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let mut all = Vec::new();
        if self.is_torn(before) {
            // Nobody was told that it is there, but it may be anybody's: it stays, and no line continues it.
            all.push(b'\n');
        }
        all.extend_from_slice(lines);
        match self.file.write_all(&all).and_then(|()| sync(&self.file)) {
            Ok(()) => {
                self.end = before + all.len() as u64;
                Ok(())
            }
            Err(error) => {
                if locked {
                    let _ = self.file.set_len(before);
                }
                Err(error)
            }
        }
    }

    /// Whether the file's last line has no end: whoever wrote it has died meanwhile.
    fn is_torn(&self, length: u64) -> bool {
        let mut last = [0];
        length > 0
            && length != self.end
            && File::open(&self.path).and_then(|file| file.read_exact_at(&mut last, length - 1)).is_ok()
            && last != *b"\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &str) -> Outgoing<'_> {
        Outgoing { key: b"", headers: Vec::new(), payload: payload.as_bytes() }
    }

    fn line(payload: &str) -> String {
        format!("{{\"original_base64\":\"{}\"}}\n", STANDARD.encode(payload))
    }

    #[test]
    fn a_write_that_fails_takes_nothing_of_anybody_along() {
        let path = std::env::temp_dir().join(format!("trailhound-file-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let read = || std::fs::read_to_string(&path).unwrap();
        let (mut one, mut other) = (FileSink::open(&path).unwrap(), FileSink::open(&path).unwrap());
        one.deliver(&[message("1")]).unwrap();
        other.deliver(&[message("2"), message("3")]).unwrap();
        // The disk is full: what was written is not there for good.
        let full = |_: &File| Err(io::Error::from(io::ErrorKind::StorageFull));
        assert!(one.append(b"half a lin", full).is_err());
        assert_eq!(read(), ["1", "2", "3"].map(line).concat());
        // A machine that died has left half a line.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"half").unwrap();
        one.deliver(&[message("4")]).unwrap();
        other.deliver(&[message("5")]).unwrap();
        assert_eq!(
            read(),
            format!("{}{{\"half\n{}", ["1", "2", "3"].map(line).concat(), ["4", "5"].map(line).concat())
        );
        std::fs::remove_file(&path).unwrap();
    }
}
