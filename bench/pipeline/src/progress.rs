//! How far a contender is, over time, and what that says: records a second, and processor time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::contender::Process;
use crate::fill::{PARTITIONS, Topic};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Without progress for so long, a contender has failed.
const STUCK: Duration = Duration::from_secs(120);

/// The window of the best speed.
const WINDOW: Duration = Duration::from_secs(5);

/// A moment at which a contender had come further.
#[derive(Clone, Copy, Debug)]
struct Step {
    at: Instant,
    records: u64,
    /// Processor time of all its threads since its start.
    cpu: Duration,
}

/// What a contender has shown.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    steps: Vec<Step>,
}

/// Where a group stands, as the broker knows it.
pub(crate) struct Committed {
    consumer: BaseConsumer,
    wanted: TopicPartitionList,
}

impl Committed {
    pub(crate) fn new(bootstrap: &str, group: &str, topic: &Topic) -> Result<Committed> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("group.id", group);
        // Else it waits for the end of a transaction that is open.
        config.set("isolation.level", "read_uncommitted");
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(&topic.name, 0, PARTITIONS - 1);
        Ok(Committed { consumer: config.create()?, wanted })
    }

    /// The sum over all partitions, which begin at 0. None while the group's coordinator does not answer.
    pub(crate) fn records(&self) -> Option<u64> {
        let committed = self.consumer.committed_offsets(self.wanted.clone(), Duration::from_secs(10)).ok()?;
        Some(committed.elements().iter().filter_map(|one| u64::try_from(one.offset().to_raw()?).ok()).sum())
    }
}

/// Watches until all `records` are done.
pub(crate) fn watch(process: &mut Process, records: u64, mut done: impl FnMut() -> Option<u64>) -> Result<Progress> {
    let mut steps: Vec<Step> = Vec::new();
    let mut news = Instant::now();
    loop {
        let reached = done().unwrap_or_default();
        let at = Instant::now();
        if reached > steps.last().map_or(0, |step| step.records) {
            steps.push(Step { at, records: reached, cpu: cpu(process.pid()).unwrap_or_default() });
            news = at;
        }
        if reached >= records {
            return Ok(Progress { steps });
        }
        if process.has_ended() || news.elapsed() > STUCK {
            bail!("{reached} of {records} records, and no more\n{}", process.log());
        }
        std::thread::sleep(LOOK);
    }
}

impl Progress {
    /// Records a second from the first step to the last but one: when the last record was done is not known better than
    /// within the time between two commits, since the last commit comes when it is due.
    pub(crate) fn per_second(&self) -> f64 {
        let (first, last) = self.ends();
        speed(first, last)
    }

    /// Seconds of processor time a million records, over the same time.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let (first, last) = self.ends();
        last.cpu.saturating_sub(first.cpu).as_secs_f64() * 1e6
            / last.records.saturating_sub(first.records).max(1) as f64
    }

    fn ends(&self) -> (Step, Step) {
        let steps = match self.steps.as_slice() {
            [before @ .., _] if before.len() > 2 => before,
            all => all,
        };
        let nothing = Step { at: Instant::now(), records: 0, cpu: Duration::ZERO };
        (steps.first().copied().unwrap_or(nothing), steps.last().copied().unwrap_or(nothing))
    }

    /// Records a second in its best five seconds; over all of it where that is shorter.
    pub(crate) fn best(&self) -> f64 {
        let mut best = self.per_second();
        for (number, from) in self.steps.iter().enumerate() {
            let to = self.steps.iter().skip(number).find(|to| to.at.duration_since(from.at) >= WINDOW);
            best = best.max(to.map_or(0.0, |to| speed(*from, *to)));
        }
        best
    }
}

fn speed(from: Step, to: Step) -> f64 {
    to.records.saturating_sub(from.records) as f64 / to.at.duration_since(from.at).as_secs_f64()
}

/// Processor time of a process, user and system (proc_pid_stat(5), fields 14 and 15).
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// A line of a process's status in MiB: `VmHWM`, the most that it had resident; `VmRSS`, what it has now.
pub(crate) fn memory_mib(pid: u32, line: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    let kib = value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.with_context(|| format!("no {line}"))? / 1_024.0)
}
