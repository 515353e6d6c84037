//! The floor: a consumer that only counts. It runs as a process of its own, so that its processor time can be told.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use harness::child::Child;
use harness::folder::{Folder, read_lossy};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::contender::Bench;
use crate::fill::PARTITIONS;

/// The row's name.
pub(crate) const NAME: &str = "bare Kafka: a consumer that only counts";

/// How often it says how far it is.
const SAY: Duration = Duration::from_millis(20);

/// This program once more.
pub(crate) fn start(bench: &Bench<'_>, folder: &Folder) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--bare", &bench.kafka.bootstrap(), &bench.topic.name, &bench.topic.records.to_string()]);
    Ok(Child::start(&command, folder.path(), "bare"))
}

/// How many records it has said that it has read.
pub(crate) fn said(folder: &Path) -> Option<u64> {
    let out = read_lossy(&folder.join("bare.out"));
    // The last line may be half written.
    out.rsplit_once('\n')?.0.lines().next_back()?.parse().ok()
}

/// What that process does: counts, with the settings that the product's source has, and waits to be stopped.
pub(crate) fn count(bootstrap: &str, topic: &str, records: u64) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "bare").set("enable.auto.commit", "false");
    config.set("queued.max.messages.kbytes", "16384").set("fetch.queue.backoff.ms", "1").set("fetch.wait.max.ms", "50");
    let consumer: BaseConsumer = config.create()?;
    let mut all = TopicPartitionList::new();
    all.add_partition_range(topic, 0, PARTITIONS - 1);
    all.set_all_offsets(Offset::Beginning)?;
    consumer.assign(&all)?;
    let mut out = std::io::stdout();
    let (mut read, mut told) = (0_u64, Instant::now());
    while read < records {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(_)) => read += 1,
            Some(Err(error)) => bail!("{error}"),
            None => {}
        }
        if read.is_multiple_of(1_024) && told.elapsed() >= SAY || read == records {
            told = Instant::now();
            writeln!(out, "{read}")?;
            out.flush()?;
        }
    }
    loop {
        std::thread::park();
    }
}
