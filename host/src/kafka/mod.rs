//! What the Kafka source and the Kafka sinks share: properties, the routing of librdkafka's log and errors,
//! transactions, and the checks at start.

mod check;
mod context;
mod message;
mod producer;
mod properties;
mod transaction;

pub use check::{Create, KafkaError, Topic, check};
pub use context::{Events, log};
pub(crate) use message::{is_refusal, record};
pub use properties::Properties;
pub(crate) use transaction::offset_list;
pub use transaction::{Membership, Offsets, Transaction, TransactionError, Turn};

/// librdkafka's version in words, for `--version`.
pub fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
