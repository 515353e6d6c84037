//! Where letters are read from: a topic or a file, from its beginning to the end that it has at the start.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Take};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Letter;
use crate::config::SinkConfig;
use crate::kafka::{KafkaError, TopicReader};

/// A line of a file of dead letters may have so many bytes: a message of the largest size in base64, and its headers.
const LINE_BYTES_MAX: u64 = 128 << 20;

/// How long a topic may bring nothing although its end is not reached.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Why letters cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The topic cannot be looked up.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Its end is not reached.
    #[error(
        "the topic `{topic}` brings nothing for {seconds} s; {left} letters are left\nhint: check the brokers' health"
    )]
    Stalled {
        /// The topic.
        topic: String,
        /// How long it was waited for.
        seconds: u64,
        /// Offsets between here and the end.
        left: u64,
    },
    /// The file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// The system's words.
        #[source]
        error: std::io::Error,
    },
    /// The target holds nothing that could be read back.
    #[error("dead letters on standard output cannot be read back")]
    Nowhere,
}

/// An open target of dead letters.
pub enum Letters {
    /// A topic.
    Topic(Box<TopicReader>),
    /// A file, and its path.
    File(Take<BufReader<File>>, PathBuf),
}

impl Letters {
    /// Opens what a pipeline's `dead_letters` names.
    pub fn open(target: &SinkConfig, client_id: &str) -> Result<Letters, LettersError> {
        match target {
            SinkConfig::Kafka(config, _) => {
                Ok(Letters::Topic(Box::new(TopicReader::new(&config.properties, &config.topic, client_id)?)))
            }
            SinkConfig::File(path) => {
                let failed = |error| LettersError::File { path: path.display().to_string(), error };
                let file = File::open(path).map_err(failed)?;
                let length = file.metadata().map_err(failed)?.len();
                Ok(Letters::File(BufReader::new(file).take(length), path.clone()))
            }
            _ => Err(LettersError::Nowhere),
        }
    }

    /// The target's name.
    pub fn name(&self) -> String {
        match self {
            Letters::Topic(reader) => format!("the topic `{}`", reader.topic()),
            Letters::File(_, path) => path.display().to_string(),
        }
    }

    /// How much is left, for people: letters of a topic, bytes of a file.
    pub fn left(&self) -> u64 {
        match self {
            Letters::Topic(reader) => reader.left(),
            Letters::File(file, _) => file.limit(),
        }
    }

    /// The next letter, or what is wrong with it. None at the end that the target had when it was opened.
    pub fn next_letter(&mut self) -> Result<Option<Result<Letter, String>>, LettersError> {
        match self {
            Letters::Topic(reader) => next_message(reader),
            Letters::File(file, path) => {
                next_line(file).map_err(|error| LettersError::File { path: path.display().to_string(), error })
            }
        }
    }
}

fn next_message(reader: &mut TopicReader) -> Result<Option<Result<Letter, String>>, LettersError> {
    let begun = Instant::now();
    while !reader.caught_up() {
        let Some(message) = reader.poll(Duration::from_millis(200)) else {
            if begun.elapsed() > STALL_MAX {
                let (topic, left) = (reader.topic().to_owned(), reader.left());
                return Err(LettersError::Stalled { topic, seconds: STALL_MAX.as_secs(), left });
            }
            continue;
        };
        // What comes while this is read is not meant: a replayed record that fails again is a new letter.
        if !reader.was_there(&message) {
            continue;
        }
        let place = format!("partition {} offset {}", message.partition, message.offset);
        return Ok(Some(Letter::of_message(message).map_err(|what| format!("{place} {what}"))));
    }
    Ok(None)
}

fn next_line(file: &mut Take<BufReader<File>>) -> std::io::Result<Option<Result<Letter, String>>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if !line.ends_with(b"\n") && file.limit() > 0 {
            skip_line(file)?;
            return Ok(Some(Err(format!("a line is longer than {LINE_BYTES_MAX} bytes"))));
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(Letter::of_line(&line).map_err(|what| format!("a line {what}"))));
        }
    }
}

fn skip_line(file: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = file.fill_buf()?;
        let (end, found) = match memchr::memchr(b'\n', buffer) {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        file.consume(end);
        if found {
            return Ok(());
        }
    }
}
