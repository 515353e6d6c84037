//! What the Kafka source and the Kafka sinks share: properties, the routing of librdkafka's log and errors,
//! transactions, and the checks at start. And what reads or writes a topic beside the pipelines.

mod check;
mod context;
mod message;
mod offsets;
mod producer;
mod properties;
mod reader;
mod reports;
mod transaction;
mod writer;

pub use check::{Create, KafkaError, Topic, check};
pub use context::{Events, log};
pub use message::Kept;
pub(crate) use message::{is_refusal, record};
pub(crate) use offsets::offset_list;
pub use offsets::{Membership, Offsets};
pub use properties::Properties;
pub use reader::{TopicMessage, TopicReader};
pub(crate) use reports::{Report, Reports, idempotent};
pub use transaction::{Transaction, TransactionError, Turn};
pub use writer::{TopicWriter, WriteError};

/// librdkafka's version in words, for `--version`.
pub fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
