//! How the consumer of a Kafka source is set up.

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaResult;

use super::group::Context;
use crate::kafka::Properties;

/// A Kafka source as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaSourceConfig {
    /// The topics.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// How the group shares out the partitions.
    pub protocol: Protocol,
    /// Whether a worker that comes back within the session's time gets its partitions back without a rebalance: its
    /// client id is its `group.instance.id` then.
    pub static_members: bool,
    /// All librdkafka properties: `[kafka]` with the source's own on top.
    pub properties: Properties,
}

/// How a group shares out its partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The members do it among themselves; every broker knows it.
    #[default]
    Classic,
    /// The broker does it (KIP-848): brokers from 4.0 on.
    Consumer,
}

/// Defaults that differ from librdkafka's. A small prefetch queue with a short back-off: with the default back-off of
/// one second a consumer that is slower than its fetcher stands idle most of the time, and with the default queue it
/// takes gigabytes. `earliest`, because a pipeline that starts must not skip what waits for it.
const DEFAULTS: [(&str, &str); 6] = [
    ("auto.offset.reset", "earliest"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.queue.backoff.ms", "1"),
    ("fetch.wait.max.ms", "50"),
    ("statistics.interval.ms", "5000"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// Where messages are carried on, these on top. Findings resemble each other, so that a fetch of librdkafka's own size, a megabyte
/// of each partition, becomes many times as much in memory once it is decompressed (BENCHMARKS.md has what that came to); and
/// while one batch is delivered it is enough when the next is there.
const CARRIED_DEFAULTS: [(&str, &str); 3] =
    [("queued.max.messages.kbytes", "4096"), ("fetch.message.max.bytes", "131072"), ("fetch.max.bytes", "1000000")];

/// The consumer. `client_id` must be unique within the group's members.
pub(super) fn create(
    config: &KafkaSourceConfig,
    carried: bool,
    client_id: &str,
    context: Context,
) -> KafkaResult<BaseConsumer<Context>> {
    let mut fixed = vec![
        ("group.id", config.group.as_str()),
        ("client.id", client_id),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "false"),
    ];
    if config.protocol == Protocol::Consumer {
        fixed.push(("group.protocol", "consumer"));
    }
    if config.static_members {
        fixed.push(("group.instance.id", client_id));
    }
    if context.transaction.is_some() {
        // Offsets of a transaction that is under way are waited for.
        fixed.push(("isolation.level", "read_committed"));
    }
    let mut defaults = DEFAULTS.to_vec();
    defaults.extend(CARRIED_DEFAULTS.iter().filter(|_| carried));
    config.properties.client(&defaults, &fixed).create_with_context(context)
}
