//! Latency of ours from append to finding: by the broker's clock, between the moment that a record was appended and the
//! moment that its finding was. Both topics are told to stamp messages when they are appended.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::kafka::{Kafka, Outgoing};
use harness::trailhound::{Delivery, Trailhound};
use serde::Serialize;
use serde_json::Value;

use crate::contender::Bench;
use crate::fill::{self, PARTITIONS};
use crate::{modules, ours, records};

/// Records a second.
pub(crate) const RATES: [u64; 3] = [1_000, 10_000, 100_000];

/// Sign-ins of root a second, at every rate.
const FINDINGS: u64 = 100;

/// How long a rate is held, and how much of that at the beginning does not count.
const HELD: Duration = Duration::from_secs(12);
const WARM_MS: i64 = 2_000;

/// How often records are sent.
const TICK: Duration = Duration::from_millis(1);

/// One rate, held once.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    /// Records a second that were to be produced, and that were.
    pub(crate) rate: u64,
    pub(crate) produced: f64,
    findings: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    max_ms: f64,
}

/// All rates, round by round.
pub(crate) fn measure(kafka: &Kafka, rounds: usize) -> Result<Vec<Latency>> {
    let mut all = Vec::new();
    for round in 1..=rounds {
        for rate in RATES {
            let latency = held(kafka, rate, round).with_context(|| format!("{rate} records a second"))?;
            let Latency { produced, p50_ms, p99_ms, max_ms, .. } = &latency;
            crate::print(&format!(
                "round {round}: {rate} records/s ({produced:.0} produced): p50 {p50_ms} ms, p99 {p99_ms} ms, at most {max_ms} ms\n"
            ))?;
            all.push(latency);
        }
    }
    Ok(all)
}

fn held(kafka: &Kafka, rate: u64, round: usize) -> Result<Latency> {
    let name = format!("latency.{rate}.{round}");
    let (client, names) = (kafka.client(), modules::names(kafka, &name));
    client.create_topic(&name, PARTITIONS, &[("message.timestamp.type", "LogAppendTime")]);
    let topic = fill::empty(&name);
    let config = ours::config(&Bench { kafka, topic: &topic }, &names, Delivery::AtLeastOnce, 1);
    let mut program = Trailhound::ready(&config);
    program.until_joined(1);

    let every = usize::try_from(rate / FINDINGS)?;
    let records: Vec<Outgoing> = records::make(rate, 20_000, every).map(Outgoing::value).collect();
    let producer = client.producer(&name, &[("compression.codec", "lz4"), ("linger.ms", "1")]);
    let begin = Instant::now();
    let mut sent = 0;
    let mut supply = records.iter().cycle();
    while begin.elapsed() < HELD {
        let due = u64::try_from(begin.elapsed().as_micros())? * rate / 1_000_000;
        for record in supply.by_ref().take(usize::try_from(due.saturating_sub(sent))?) {
            producer.send(&Outgoing { partition: i32::try_from(sent % PARTITIONS as u64).ok(), ..record.clone() });
            sent += 1;
        }
        producer.serve_until(Instant::now() + TICK);
    }
    let produced = sent as f64 / begin.elapsed().as_secs_f64();
    producer.finish();
    program.until("all records to be done", |program| (program.received() >= sent).then_some(()));
    program.stop();

    let findings = client.read_all(&names.findings);
    let times: Vec<(i64, i64)> = findings
        .iter()
        .map(|finding| {
            let document: Value = serde_json::from_slice(finding.value.as_deref().unwrap_or_default())?;
            let appended = document["unmapped"]["trailhound"]["appended_time"].as_i64();
            Ok((appended.context("no time of append in a finding")?, finding.timestamp_ms.context("no timestamp")?))
        })
        .collect::<Result<_>>()?;
    let first = times.iter().map(|(appended, _)| *appended).min().context("no finding")?;
    let mut took: Vec<i64> = times
        .iter()
        .filter(|(appended, _)| *appended >= first + WARM_MS)
        .map(|(appended, found)| found - appended)
        .collect();
    took.sort_unstable();
    ensure!(took.len() >= 500, "{} findings are too few", took.len());
    let at =
        |share: f64| took.get(((took.len() - 1) as f64 * share).round() as usize).map_or(f64::NAN, |took| *took as f64);
    Ok(Latency { rate, produced, findings: took.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) })
}
