//! What the Kafka source and the Kafka sinks share: properties, the routing of librdkafka's log and errors, and the
//! checks at start.

mod check;
mod context;
mod properties;

pub use check::{Create, KafkaError, Topic, check};
pub use context::{Events, log};
pub use properties::Properties;

/// librdkafka's version in words, for `--version`.
pub fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
