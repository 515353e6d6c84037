//! Dead letters in a file: one JSON object a line, cause and origin by name and the original bytes in base64. A message
//! that was carried has its key (in base64) and its headers (as text) there too.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Outgoing, SinkError};

/// Appends to a file and synchronises it with the disk before a batch counts as delivered.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    name: String,
    /// Bytes of whole lines. A write that fails half-way is cut back to here, so that no later line is torn.
    length: u64,
}

impl FileSink {
    /// Opens `path` for appending, and creates it.
    pub fn open(path: &Path) -> Result<FileSink, SinkError> {
        let name = path.display().to_string();
        let failed = |error| SinkError::Write { name: path.display().to_string(), error };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(FileSink { file, name, length })
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
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.length += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                let _ = self.file.set_len(self.length);
                Err(SinkError::Write { name: self.name.clone(), error })
            }
        }
    }
}
