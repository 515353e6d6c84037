//! Sinks: where findings and dead letters go. To deliver means that the target has acknowledged.

mod archive;
mod delivery;
mod facts;
mod file;
mod finding;
mod http;
mod kafka;
mod opensearch;
mod splunk;
mod stdout;
mod syslog;
mod transaction;
mod webhook;

use std::borrow::Cow;
use std::time::Duration;

pub use archive::{ArchiveConfig, ArchiveSink};
pub use delivery::Delivery;
pub use file::FileSink;
pub use http::HttpConfig;
pub use kafka::{KafkaSink, KafkaSinkConfig};
pub use opensearch::{Login, OpenSearchConfig, OpenSearchSink, Place};
pub use splunk::{SplunkConfig, SplunkSink};
pub use stdout::StdoutSink;
pub use syslog::{Confirm, Form, SyslogConfig, SyslogSink, SyslogTls};
pub use transaction::TransactionSink;
pub use webhook::{WebhookConfig, WebhookForm, WebhookSink};

use crate::kafka::{Kept, TransactionError};
use crate::metrics::PipelineMetrics;
use crate::shutdown::Shutdown;
use crate::source::Source;

/// A message on its way out: bytes with a key and headers.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing<'a> {
    /// The message's key; empty for none.
    pub key: &'a [u8],
    /// Headers in order.
    pub headers: Vec<(&'a str, Cow<'a, [u8]>)>,
    /// The value.
    pub payload: &'a [u8],
}

impl<'a> Outgoing<'a> {
    /// The value of the first header of that name, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value);
        value.and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// A header that is text.
fn text<'a>(name: &'a str, value: impl Into<Cow<'a, str>>) -> (&'a str, Cow<'a, [u8]>) {
    let value = match value.into() {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    (name, value)
}

/// A target of findings or of dead letters.
pub enum Sink {
    /// A Kafka topic.
    Kafka(Box<KafkaSink>),
    /// A Kafka topic within the worker's transaction.
    Transaction(TransactionSink),
    /// Splunk's HTTP Event Collector.
    Splunk(Box<SplunkSink>),
    /// OpenSearch or Elasticsearch.
    OpenSearch(Box<OpenSearchSink>),
    /// Standard output, one JSON text a line.
    Stdout(StdoutSink),
    /// A file of dead letters, one JSON object a line.
    File(FileSink),
    /// A syslog receiver.
    Syslog(Box<SyslogSink>),
    /// A webhook.
    Webhook(Box<WebhookSink>),
    /// Rotated files.
    Archive(ArchiveSink),
    /// Nowhere: a scan without a dead-letter file only counts.
    Discard,
}

/// A sink that cannot go on. Nothing of the batch is committed.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A client cannot be made.
    #[error("producer for `{topic}`: {error}")]
    Client {
        /// The topic.
        topic: String,
        /// librdkafka's words.
        #[source]
        error: rdkafka::error::KafkaError,
    },
    /// The worker's transaction did not commit.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// A file or standard output cannot be written.
    #[error("{name}: cannot be written: {error}")]
    Write {
        /// The file, or `standard output`.
        name: String,
        /// The system's words.
        #[source]
        error: std::io::Error,
    },
    /// A target cannot be reached as it is configured: a certificate that is no certificate, say.
    #[error("{name}: {what}")]
    Target {
        /// The target.
        name: String,
        /// What is wrong; never a secret.
        what: String,
    },
    /// The stop's deadline passed before the target acknowledged.
    #[error("stopped before {waiting} messages for {name} were acknowledged; they will be read again")]
    Stopped {
        /// The target.
        name: String,
        /// Messages without an acknowledgement.
        waiting: usize,
    },
    /// The dead-letter target refuses a dead letter for good.
    #[error(
        "{name} refuses a dead letter of {topic} partition {partition} offset {offset}: {cause}\nhint: the dead-letter \
         topic must take whatever the source topic takes: raise its max.message.bytes"
    )]
    DeadLetterRefused {
        /// The target.
        name: String,
        /// Where the dead letter came from.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// The target's words.
        cause: String,
    },
}

/// A message that its target will never take.
#[derive(Debug)]
pub struct Refused {
    /// Its place among the messages that were sent.
    pub index: usize,
    /// The target's words.
    pub cause: String,
}

/// What a sink does while it waits: it keeps the source's place in its group, and looks at the clock of a stop.
pub struct Wait<'a> {
    /// The source, which must keep polling.
    pub source: &'a mut Source,
    /// The wish to stop.
    pub shutdown: &'a Shutdown,
    /// Where a sink tells what it waits for.
    pub metrics: &'a PipelineMetrics,
}

impl Wait<'_> {
    /// One turn of waiting. False when the stop's deadline has passed.
    pub fn turn(&mut self) -> bool {
        self.source.keep_alive();
        !self.shutdown.expired()
    }

    /// Waits `pause` in turns. False when the stop's deadline has passed.
    pub fn pause(&mut self, pause: Duration) -> bool {
        const TURN: Duration = Duration::from_millis(50);
        let mut left = pause;
        while !left.is_zero() {
            // A target that is down does not tell when it is back.
            std::thread::sleep(left.min(TURN));
            if !self.turn() {
                return false;
            }
            left = left.saturating_sub(TURN);
        }
        true
    }
}

impl Sink {
    /// What is to be done before the first batch is read.
    fn start(&mut self, wait: &mut Wait<'_>) -> Result<(), SinkError> {
        match self {
            Sink::Transaction(sink) => sink.start(wait),
            _ => Ok(()),
        }
    }

    /// What is to be done now and then while nothing comes.
    fn idle(&mut self) {
        if let Sink::Archive(sink) = self {
            sink.idle();
        }
    }

    /// Sends `messages` and returns when all are acknowledged or refused for good; those to a Kafka topic are when
    /// [`Sink::settle`] returns, and within a transaction its commit acknowledges them. A target that is down is retried for
    /// as long as it takes.
    pub fn deliver(&mut self, messages: &[Outgoing<'_>], wait: &mut Wait<'_>) -> Result<Vec<Refused>, SinkError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Sink::Kafka(sink) => sink.send(messages, wait).map(|()| Vec::new()),
            Sink::Transaction(sink) => sink.deliver(messages, wait),
            Sink::Splunk(sink) => sink.deliver(messages, wait),
            Sink::OpenSearch(sink) => sink.deliver(messages, wait),
            Sink::Stdout(sink) => sink.deliver(messages).map(|()| Vec::new()),
            Sink::File(sink) => sink.deliver(messages).map(|()| Vec::new()),
            Sink::Syslog(sink) => sink.deliver(messages, wait),
            Sink::Webhook(sink) => sink.deliver(messages, wait),
            Sink::Archive(sink) => sink.deliver(messages, wait),
            Sink::Discard => Ok(Vec::new()),
        }
    }

    /// Waits until all that was sent to a Kafka topic is acknowledged or refused for good. Gives what was refused, by its place
    /// among all messages since this was last called, and as it was sent.
    pub fn settle(&mut self, wait: &mut Wait<'_>) -> Result<Vec<(Refused, Kept)>, SinkError> {
        match self {
            Sink::Kafka(sink) => sink.settle(wait),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether each delivery waits for an answer, or for a disk: then larger ones are fewer.
    fn is_waited_for(&self) -> bool {
        !matches!(self, Sink::Kafka(_) | Sink::Transaction(_) | Sink::Stdout(_) | Sink::Discard)
    }

    /// The target's name, for errors.
    pub fn name(&self) -> &str {
        match self {
            Sink::Kafka(sink) => sink.topic(),
            Sink::Transaction(sink) => sink.topic(),
            Sink::Splunk(sink) => sink.name(),
            Sink::OpenSearch(sink) => sink.name(),
            Sink::Stdout(_) => "standard output",
            Sink::File(sink) => sink.name(),
            Sink::Syslog(sink) => sink.name(),
            Sink::Webhook(sink) => sink.name(),
            Sink::Archive(sink) => sink.name(),
            Sink::Discard => "nowhere",
        }
    }
}
