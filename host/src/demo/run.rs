//! The steps of the demo, from an empty Kafka to the balance.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::ROOT_SIGN_IN;
use super::balance::{disagreements, latency, table};
use super::fleet::{self, Fleet, Offered};
use super::kafka::{Cluster, DEAD_LETTERS, FINDINGS, Feed, PARTITIONS, RECORDS, RULES, SHADOW, STATUS, Watch};
use super::play::Play;
use super::show::{Look, Show};
use super::traffic::{Message, Traffic, traffic};
use super::workers::{GROUP, Workers};
use crate::counts::{Counts, total};
use crate::metrics::Metrics;
use crate::pipeline::PipelineError;
use crate::rules::{Engine, Member, RuleSet};
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::swap::{OperateError, StartError};

/// The most entries that the demo sends: 10 MB a partition, which zstd keeps under the mock cluster's 5 MB.
pub const RECORDS_MAX: usize = 30_000;

/// What the demo does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed of the traffic.
    pub seed: u64,
    /// Entries to send.
    pub records: usize,
    /// Within which time they are sent, evenly.
    pub pace: Duration,
    /// How it is shown.
    pub look: Look,
}

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The in-process Kafka or one of the demo's own clients.
    #[error("the demo's Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// A worker's consumer cannot be made.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A worker's producer cannot be made.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The rules cannot be kept.
    #[error(transparent)]
    Rules(#[from] StartError),
    /// A module was not published, or the instance has not taken it.
    #[error(transparent)]
    Operate(#[from] OperateError),
    /// A worker has ended early.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The first records did not reach the first worker.
    #[error("no record has reached worker 1 within 10 s\nhint: the machine may be too busy; try again")]
    Stalled,
    /// A thread panicked.
    #[error("a thread panicked; this is a fault of trailhound")]
    Panicked,
    /// What the demo shows cannot be written.
    #[error("standard output: {0}")]
    Write(#[from] io::Error),
}

/// The demo gives up waiting when nothing has moved for so long: the check at the end then says what is missing.
const STALL_MAX: Duration = Duration::from_secs(10);

/// How long one look at the topics may take while records are sent.
const LOOK_MAX: Duration = Duration::from_millis(10);

/// How often the line of progress is written anew.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Runs the demo with `modules` and writes to `out`: the first that finds what the traffic holds is live from the start,
/// the others are published while records flow. True when all counters agree with what the traffic was made of, and all
/// findings with the generation of the rules that their record has met.
pub fn run(
    settings: &Settings,
    engine: &Engine,
    mut modules: Vec<Offered>,
    out: &mut dyn Write,
) -> Result<bool, DemoError> {
    let show = &mut Show::new(out, settings.look);
    show.line("Trailhound demo: made-up CloudTrail traffic through the real pipeline. It ends by itself.")?;

    show.step("Kafka")?;
    // Declared before its clients, so that it is dropped after them.
    let cluster = Cluster::start()?;
    show.say(&format!("librdkafka's mock cluster inside this process, {}: for this demo only,", cluster.address()))?;
    show.say("it keeps a little in memory and says nothing about delivery on a real cluster")?;
    show.say(&format!(
        "topics: {RECORDS} ({PARTITIONS} partitions), {FINDINGS}, {SHADOW}, {DEAD_LETTERS}, {RULES}, {STATUS}"
    ))?;

    show.step("Rules")?;
    let finds = |offered: &Offered| offered.module.described.rules.iter().any(|rule| rule.id == ROOT_SIGN_IN);
    modules.sort_by_key(|offered| !finds(offered));
    let rule_is_live = modules.first().is_some_and(finds);
    let metrics = Metrics::default();
    let mut fleet = fleet::start(&cluster, engine, modules.first(), &metrics)?;
    show_rules(show, &fleet.rules().load(), modules.len())?;
    let play = Play::new(&modules);

    show.step("Workers")?;
    let mut workers = Workers::new(fleet.rules(), &metrics);
    let (mut feed, watch) = (Feed::new(&cluster)?, Watch::new(&cluster)?);
    let traffic = traffic(settings.seed, settings.records);
    let first = traffic.messages.get(..PARTITIONS as usize).unwrap_or_default();
    workers.add(&cluster)?;
    warm_up(show, &workers, &mut feed, first)?;
    workers.add(&cluster)?;
    show.say("worker 2 joins now, and will take over its share while records flow")?;

    show.step("Traffic")?;
    show_traffic(show, settings, &traffic)?;
    let mut scene = Scene { workers, feed, watch, play, metrics };
    scene.stream(show, settings, &traffic, first.len(), &mut fleet)?;
    let Scene { workers, watch, play, .. } = scene;
    let counts = workers.stop()?;
    drain(show, &watch, &counts)?;

    show.step("Balance")?;
    for row in table(&counts, &show.tally, traffic.messages.len()) {
        show.say(&row)?;
    }
    let latency = latency(&show.tally);
    show.say(&latency)?;
    let (history, mut wrong) = play.end();
    wrong.extend(disagreements(&traffic.expected, &counts, &show.tally, rule_is_live));
    wrong.extend(history.disagreements(&show.tally.found, &traffic.sign_ins));
    show.line("")?;
    for what in &wrong {
        show.verdict(false, what)?;
    }
    if wrong.is_empty() {
        show.verdict(true, "Every entry is accounted for, and all of this agrees with what the traffic was made of.")?;
        if rule_is_live {
            let text = "Each sign-in has exactly the findings of the one generation of the rules that it has met.";
            show.verdict(true, text)?;
        }
    } else {
        show.verdict(false, "This does not agree with what the traffic was made of.")?;
    }
    Ok(wrong.is_empty())
}

/// Shows the modules that are live, of `count`.
fn show_rules(show: &mut Show<'_>, rules: &RuleSet, count: usize) -> Result<(), DemoError> {
    for Member { module, .. } in &rules.modules {
        let (described, digest) = (&module.described, module.digest.get(..12).unwrap_or_default());
        let examples: usize = described.rules.iter().map(|rule| rule.examples.len()).sum();
        show.say(&format!(
            "module {} {}, {} KB of WebAssembly, sha256 {digest}…; its {examples} examples agree",
            module.name,
            described.version,
            module.bytes / 1_000
        ))?;
        for rule in &described.rules {
            show.say(&format!("  {} {}: {}", rule.id, rule.severity.as_str(), rule.title))?;
        }
    }
    let (generation, set) = (rules.generation, &rules.fingerprint);
    let rest = match count.saturating_sub(rules.modules.len()) {
        0 => String::new(),
        more => format!("; {more} more will follow while records flow"),
    };
    show.say(&format!("read from the topic {RULES}: generation {generation}, set {set}{rest}"))?;
    if !rules.modules.iter().any(|member| member.module.described.rules.iter().any(|rule| rule.id == ROOT_SIGN_IN)) {
        show.say(&format!("without {ROOT_SIGN_IN}, which finds what this traffic holds"))?;
    }
    Ok(())
}

/// Sends one message to each partition and waits until all have been received: the worker has joined its group.
fn warm_up(show: &mut Show<'_>, workers: &Workers, feed: &mut Feed, first: &[Message]) -> Result<(), DemoError> {
    let entries: usize = first.iter().map(|message| message.entries).sum();
    first.iter().try_for_each(|message| feed.send(message))?;
    let begun = Instant::now();
    while workers.received() < entries as u64 {
        feed.poll();
        // Counters do not tell when they change.
        std::thread::sleep(LOOK_MAX);
        if begun.elapsed() > STALL_MAX || workers.failed() {
            return Err(DemoError::Stalled);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    show.say(&format!(
        "worker 1 is alone in the group {GROUP} and has all {PARTITIONS} partitions after {seconds:.1} s"
    ))?;
    Ok(())
}

fn show_traffic(show: &mut Show<'_>, settings: &Settings, traffic: &Traffic) -> Result<(), DemoError> {
    let expected = &traffic.expected;
    show.say(&format!(
        "{} entries in {} messages within {} s (seed {}): bare records, NDJSON, gzip'd log files, EventBridge events,",
        expected.entries,
        traffic.messages.len(),
        settings.pace.as_secs_f64(),
        settings.seed
    ))?;
    show.say("CloudWatch Logs through Firehose; three days of services, roles and users of four accounts;")?;
    show.say(&format!(
        "{} sign-ins of root, {} of them delivered twice; failed ones, sessions, digests and more that is no finding",
        expected.root_sign_ins_distinct,
        expected.root_sign_ins - expected.root_sign_ins_distinct
    ))?;
    show.line("")?;
    Ok(())
}

/// What takes part in the traffic.
struct Scene {
    workers: Workers,
    feed: Feed,
    watch: Watch,
    play: Play,
    metrics: Metrics,
}

impl Scene {
    /// Sends the messages from `first` on at their pace, swaps rules meanwhile, and shows what comes out until all was
    /// received.
    fn stream(
        &mut self,
        show: &mut Show<'_>,
        settings: &Settings,
        traffic: &Traffic,
        first: usize,
        fleet: &mut Fleet,
    ) -> Result<(), DemoError> {
        let Scene { workers, feed, watch, play, metrics } = self;
        let (messages, all) = (&traffic.messages, traffic.messages.len());
        let begun = Instant::now();
        let (mut sent, mut moved, mut shown, mut joined) = (first, (begun, (0, 0)), begun, false);
        // The time of the traffic stands still while messages wait for a swap, which they do on a slow machine only.
        let (mut time, mut looked) = (Duration::ZERO, begun);
        while sent < all || workers.received() < traffic.expected.entries || !play.is_over() {
            let share = time.as_secs_f64() / settings.pace.as_secs_f64().max(0.001);
            let due = first + ((all - first) as f64 * share.min(1.0)) as usize;
            let limit = play.may_send(all);
            let next = due.min(limit).max(sent);
            for message in messages.get(sent..next).unwrap_or_default() {
                feed.send(message)?;
            }
            let failed = feed.poll();
            if let Some(seen) = watch.next(LOOK_MAX)? {
                show.seen(&seen)?;
            }
            if !joined && workers.received_by(1) > 0 {
                joined = true;
                let seconds = begun.elapsed().as_secs_f64();
                show.say(&format!("worker 2 has taken over partitions, {seconds:.1} s from the start of the traffic"))?;
            }
            play.go_on(show, (next, all), fleet, workers, metrics)?;
            if shown.elapsed() > PROGRESS_EVERY {
                shown = Instant::now();
                show.progress(next, all, workers.received())?;
            }
            let elapsed = looked.elapsed();
            looked += elapsed;
            if due <= limit {
                time += elapsed;
            }
            let reached = (workers.received(), play.done());
            // What an operator does has time limits of its own.
            if next > sent || reached != moved.1 || play.is_acting() {
                moved = (looked, reached);
            }
            sent = next;
            if failed > 0 || workers.failed() || moved.0.elapsed() > STALL_MAX {
                break;
            }
        }
        Ok(())
    }
}

/// Reads the topics until all that was delivered has been shown.
fn drain(show: &mut Show<'_>, watch: &Watch, counts: &Counts) -> Result<(), DemoError> {
    let letters = total(&counts.dead_lettered) + total(&counts.failed);
    let begun = Instant::now();
    let expected = (total(&counts.findings), total(&counts.shadow_findings), letters);
    while (show.tally.findings, show.tally.shadow, show.tally.dead_letters) != expected {
        match watch.next(LOOK_MAX)? {
            Some(seen) => show.seen(&seen)?,
            None if begun.elapsed() > STALL_MAX => break,
            None => {}
        }
    }
    Ok(())
}
