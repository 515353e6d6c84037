//! Metrics in the Prometheus text form (OpenMetrics 1.0). They are added to once a batch, never a record.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::counts::Counts;
use crate::overview::{Overview, WorkerState};
use crate::source::Firehoses;

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Seconds = Family<Labels, Counter<f64, AtomicU64>>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// All metrics of a process. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    messages: Counters,
    message_bytes: Counters,
    received: Counters,
    evaluated: Counters,
    forwarded: Counters,
    sent: Counters,
    retried: Counters,
    /// When the oldest message in hand was appended, in milliseconds since the epoch, of each worker that carries.
    in_hand: Arc<Mutex<BTreeMap<Labels, Option<i64>>>>,
    oldest: Family<Labels, Gauge<f64, AtomicU64>>,
    target_down: Family<Labels, Gauge<i64, AtomicI64>>,
    skipped: Counters,
    dead_lettered: Counters,
    failed: Counters,
    findings: Counters,
    shadow_findings: Counters,
    shadow_failed: Counters,
    refused: Counters,
    module_seconds: Seconds,
    batch_messages: Histograms,
    append_to_finding: Histograms,
    lag: Family<LagLabels, Gauge<i64, AtomicI64>>,
    generation: Gauge<i64, AtomicI64>,
    modules: Gauge<i64, AtomicI64>,
    swaps: Counter,
    swap_pause: Histogram,
    refused_modules: Family<ModuleLabels, Gauge<i64, AtomicI64>>,
    refusals: Counters,
    quarantined: Family<Labels, Gauge<i64, AtomicI64>>,
    firehoses: Firehoses,
    overview: Overview,
}

/// A module that is offered and not live.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModuleLabels {
    module: String,
    step: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LagLabels {
    pipeline: String,
    topic: String,
    partition: i32,
}

fn batch_sizes() -> Histogram {
    Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0])
}

fn latencies() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("trailhound");
        let mut counter = |name: &str, help: &str| {
            let family = Counters::default();
            registry.register(name, help, family.clone());
            family
        };
        let messages = counter("messages", "Messages received");
        let message_bytes = counter("message_bytes", "Payload bytes received, as they came");
        let received =
            counter("received", "Entries received: received = evaluated + forwarded + skipped + dead_lettered");
        let evaluated = counter("evaluated", "Records handed to the rules");
        let forwarded = counter("forwarded", "Messages that the target of a pipeline that carries has acknowledged");
        let sent = counter("sent", "Messages handed to the target of a pipeline that carries");
        let retried = counter("retried", "Messages sent again, because the target did not take them");
        let skipped = counter("skipped", "Entries that are no CloudTrail records or are filtered out, by kind");
        let dead_lettered = counter("dead_lettered", "Entries that could not be read or were refused, by reason");
        let failed = counter("failed", "Events that a module failed on, by module");
        let findings = counter("findings", "Findings, by rule");
        let shadow_findings = counter("shadow_findings", "Findings of modules in shadow, by rule");
        let shadow_failed = counter("shadow_failed", "Events that a module in shadow failed on, by module");
        let refused = counter("findings_refused", "Findings that the sink refused for good, by rule");
        let module_seconds = Seconds::default();
        registry.register_with_unit("module", "Time spent in modules", Unit::Seconds, module_seconds.clone());
        let batch_messages = Histograms::new_with_constructor(batch_sizes);
        registry.register("batch_messages", "Messages in a batch", batch_messages.clone());
        let append_to_finding = Histograms::new_with_constructor(latencies);
        let help = "From the append of a record to its topic until its finding was acknowledged";
        registry.register_with_unit("append_to_finding", help, Unit::Seconds, append_to_finding.clone());
        let oldest = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        let help =
            "Time since the append of the oldest message that the target has not acknowledged; 0 when there is none";
        registry.register_with_unit("oldest_unacknowledged", help, Unit::Seconds, oldest.clone());
        let target_down = Family::default();
        let help = "Whether a target has failed so often in a row that it counts as down";
        registry.register("target_down", help, Family::clone(&target_down));
        let lag = Family::default();
        registry.register("consumer_lag_messages", "Messages that wait, by partition", Family::clone(&lag));
        let generation = Gauge::default();
        registry.register("rules_generation", "Generation of the live rule set", generation.clone());
        let modules = Gauge::default();
        registry.register("rules_modules", "Modules in the live rule set", modules.clone());
        let swaps = Counter::default();
        registry.register("rules_swaps", "Rule sets that were published since the start", swaps.clone());
        let swap_pause = Histogram::new([0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.1]);
        let help = "How long a swap keeps a worker from its records: taking the set, starting what is new in it";
        registry.register_with_unit("rules_swap_pause", help, Unit::Seconds, swap_pause.clone());
        let refused_modules = Family::default();
        let help = "Modules that are offered and not live, by the step that refused them";
        registry.register("rules_refused_modules", help, Family::clone(&refused_modules));
        let refusals = Family::default();
        registry.register("rules_refusals", "Modules refused since the start, by step", Family::clone(&refusals));
        let quarantined = Family::default();
        let help = "Workers that have a module in quarantine, by module";
        registry.register("rules_quarantined_workers", help, Family::clone(&quarantined));
        let firehoses = Firehoses::register(&mut registry);
        Metrics {
            registry: Arc::new(registry),
            messages,
            message_bytes,
            received,
            evaluated,
            forwarded,
            sent,
            retried,
            in_hand: Arc::default(),
            oldest,
            target_down,
            skipped,
            dead_lettered,
            failed,
            findings,
            shadow_findings,
            shadow_failed,
            refused,
            module_seconds,
            batch_messages,
            append_to_finding,
            lag,
            generation,
            modules,
            swaps,
            swap_pause,
            refused_modules,
            refusals,
            quarantined,
            firehoses,
            overview: Overview::default(),
        }
    }
}

impl Metrics {
    /// The page of `/metrics`.
    pub fn page(&self) -> String {
        // Ages are those of now, however long a target keeps a worker waiting.
        let now_ms = crate::pipeline::now_ms();
        for (labels, appended_ms) in self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let age_ms = appended_ms.map_or(0, |ms| (now_ms - ms).max(0));
            self.oldest.get_or_create(labels).set(age_ms as f64 / 1_000.0);
        }
        let mut page = String::new();
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut page, &self.registry);
        page
    }

    /// The metrics of the endpoints.
    pub fn firehoses(&self) -> &Firehoses {
        &self.firehoses
    }

    /// What the pipelines do at present.
    pub fn overview(&self) -> &Overview {
        &self.overview
    }

    /// Generation and number of modules of the live rule set.
    pub fn rules(&self) -> (i64, i64) {
        (self.generation.get(), self.modules.get())
    }

    /// Notes which rule set is live.
    pub fn rule_set(&self, set: &crate::rules::RuleSet) {
        self.generation.set(i64::try_from(set.generation).unwrap_or(i64::MAX));
        self.modules.set(i64::try_from(set.modules.len()).unwrap_or(i64::MAX));
    }

    /// Counts a swap.
    pub fn swapped(&self) {
        self.swaps.inc();
    }

    /// Counts a refusal at `step`.
    pub fn refusal(&self, step: &str) {
        self.refusals.get_or_create(&vec![("step", step.to_owned())]).inc();
    }

    /// Notes which modules are offered and not live.
    pub fn refused_modules<'a>(&self, refused: impl Iterator<Item = &'a crate::swap::RefusedModule>) {
        self.refused_modules.clear();
        for one in refused {
            let labels = ModuleLabels { module: one.key.to_string(), step: one.step.clone() };
            self.refused_modules.get_or_create(&labels).set(1);
        }
    }

    /// Notes how many workers have each module in quarantine; of those that are left out no worker has.
    pub fn quarantined(&self, modules: impl Iterator<Item = (String, u32)>) {
        self.quarantined.clear();
        for (module, workers) in modules {
            self.quarantined.get_or_create(&vec![("module", module)]).set(i64::from(workers));
        }
    }

    /// The metrics of one pipeline. Its counters are there from the start, at zero.
    pub fn pipeline(&self, name: &str) -> PipelineMetrics {
        let metrics = PipelineMetrics { all: self.clone(), name: name.to_owned(), worker: 0 };
        metrics.batch(0, 0, &Counts::default());
        metrics
    }
}

/// A pipeline's share of the metrics.
#[derive(Clone, Debug)]
pub struct PipelineMetrics {
    all: Metrics,
    name: String,
    worker: usize,
}

impl PipelineMetrics {
    /// The same for worker `number`. What tells of its target is there from the start.
    pub fn worker(&self, number: usize) -> PipelineMetrics {
        let worker = PipelineMetrics { worker: number, ..self.clone() };
        worker.target_up();
        worker
    }

    /// The same for worker `number` of a pipeline that carries.
    pub fn carrier(&self, number: usize) -> PipelineMetrics {
        let carrier = self.worker(number);
        carrier.sent(0);
        carrier.retried(0);
        carrier.in_hand(None);
        carrier
    }

    /// Counts messages that are handed to the target.
    pub fn sent(&self, messages: usize) {
        self.all.sent.get_or_create(&vec![("pipeline", self.name.clone())]).inc_by(messages as u64);
    }

    /// Counts messages that are sent again.
    pub fn retried(&self, messages: usize) {
        self.all.retried.get_or_create(&vec![("pipeline", self.name.clone())]).inc_by(messages as u64);
    }

    /// Notes when the oldest message in hand was appended, in milliseconds since the epoch; None when there is none.
    pub fn in_hand(&self, appended_ms: Option<i64>) {
        let mut all = self.all.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(self.labels("worker", &self.worker.to_string()), appended_ms);
    }

    /// Notes what the worker does.
    pub fn state(&self, state: WorkerState) {
        self.all.overview.state(&self.name, self.worker, state);
    }

    /// Notes that `target` counts as down, and why the last attempt to reach it failed; never a secret.
    pub fn target_down(&self, target: &str, cause: &str) {
        self.all.target_down.get_or_create(&self.labels("worker", &self.worker.to_string())).set(1);
        self.all.overview.target_down(&self.name, self.worker, target, cause);
    }

    /// Notes that no target counts as down.
    pub fn target_up(&self) {
        self.all.target_down.get_or_create(&self.labels("worker", &self.worker.to_string())).set(0);
        self.all.overview.target_up(&self.name, self.worker);
    }

    /// Adds a batch: its messages, their bytes, and what became of its entries.
    pub fn batch(&self, messages: usize, bytes: usize, counts: &Counts) {
        let one = |counters: &Counters, by: u64| {
            counters.get_or_create(&vec![("pipeline", self.name.clone())]).inc_by(by);
        };
        one(&self.all.messages, messages as u64);
        one(&self.all.message_bytes, bytes as u64);
        one(&self.all.received, counts.received);
        one(&self.all.evaluated, counts.evaluated);
        one(&self.all.forwarded, counts.forwarded);
        let each = |counters: &Counters, label: &'static str, key: &str, by: u64| {
            counters.get_or_create(&self.labels(label, key)).inc_by(by);
        };
        counts.skipped.iter().for_each(|(kind, by)| each(&self.all.skipped, "kind", kind, *by));
        counts.dead_lettered.iter().for_each(|(reason, by)| each(&self.all.dead_lettered, "reason", reason, *by));
        counts.failed.iter().for_each(|(module, by)| each(&self.all.failed, "module", module, *by));
        counts.findings.iter().for_each(|(rule, by)| each(&self.all.findings, "rule", rule, *by));
        counts.shadow_findings.iter().for_each(|(rule, by)| each(&self.all.shadow_findings, "rule", rule, *by));
        counts.shadow_failed.iter().for_each(|(module, by)| each(&self.all.shadow_failed, "module", module, *by));
        counts.refused.iter().for_each(|(rule, by)| each(&self.all.refused, "rule", rule, *by));
        for (module, nanos) in &counts.module_nanos {
            let seconds = std::time::Duration::from_nanos(*nanos).as_secs_f64();
            self.all.module_seconds.get_or_create(&self.labels("module", module)).inc_by(seconds);
        }
        if let Some(pause) = counts.swap {
            self.all.swap_pause.observe(pause.as_secs_f64());
        }
        if messages > 0 {
            let labels = vec![("pipeline", self.name.clone())];
            self.all.batch_messages.get_or_create(&labels).observe(messages as f64);
        }
    }

    /// Notes how long a finding took from the append of its record, in milliseconds.
    pub fn append_to_finding(&self, ms: i64) {
        let labels = vec![("pipeline", self.name.clone())];
        self.all.append_to_finding.get_or_create(&labels).observe(ms.max(0) as f64 / 1_000.0);
    }

    /// Notes how many messages wait in a partition that this process owns.
    pub fn lag(&self, topic: &str, partition: i32, messages: i64) {
        self.all.lag.get_or_create(&self.lag_labels(topic, partition)).set(messages);
        self.all.overview.lag(&self.name, topic, partition, Some(messages));
    }

    /// Forgets the lag of a partition that this process no longer owns.
    pub fn no_lag(&self, topic: &str, partition: i32) {
        self.all.lag.remove(&self.lag_labels(topic, partition));
        self.all.overview.lag(&self.name, topic, partition, None);
    }

    fn labels(&self, label: &'static str, key: &str) -> Labels {
        vec![("pipeline", self.name.clone()), (label, key.to_owned())]
    }

    fn lag_labels(&self, topic: &str, partition: i32) -> LagLabels {
        LagLabels { pipeline: self.name.clone(), topic: topic.to_owned(), partition }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DeadReason, SkipKind};

    #[test]
    fn the_page_tells_of_a_target() {
        let metrics = Metrics::default();
        let (idle, busy) = (metrics.pipeline("siem").carrier(0), metrics.pipeline("siem").carrier(1));
        let mut counts = Counts::default();
        counts.forward(4);
        counts.refuse();
        counts.filter();
        assert!(counts.balanced());
        busy.sent(5);
        busy.retried(2);
        busy.batch(6, 10, &counts);
        busy.in_hand(Some(crate::pipeline::now_ms() - 3_000));
        busy.target_down("https://siem.example", "busy");
        idle.in_hand(None);
        let page = metrics.page();
        for line in [
            "trailhound_received_total{pipeline=\"siem\"} 6",
            "trailhound_sent_total{pipeline=\"siem\"} 5",
            "trailhound_forwarded_total{pipeline=\"siem\"} 4",
            "trailhound_retried_total{pipeline=\"siem\"} 2",
            "trailhound_skipped_total{pipeline=\"siem\",kind=\"filtered\"} 1",
            "trailhound_dead_lettered_total{pipeline=\"siem\",reason=\"sink_refused\"} 1",
            "trailhound_oldest_unacknowledged_seconds{pipeline=\"siem\",worker=\"0\"} 0.0",
            "trailhound_oldest_unacknowledged_seconds{pipeline=\"siem\",worker=\"1\"} 3.",
            "trailhound_target_down{pipeline=\"siem\",worker=\"0\"} 0",
            "trailhound_target_down{pipeline=\"siem\",worker=\"1\"} 1",
        ] {
            assert!(page.contains(line), "no {line} in\n{page}");
        }
    }

    #[test]
    fn the_page_has_the_counters_of_a_batch() {
        let metrics = Metrics::default();
        let pipeline = metrics.pipeline("detect");
        let mut counts = Counts::default();
        counts.evaluate();
        counts.skip(SkipKind::Digest);
        counts.dead(DeadReason::InvalidJson);
        crate::counts::bump(&mut counts.findings, "RTM-001", 2);
        counts.module_nanos.insert("m".to_owned(), 1_500_000_000);
        pipeline.batch(3, 100, &counts);
        pipeline.lag("t", 4, 17);
        let page = metrics.page();
        for line in [
            "trailhound_messages_total{pipeline=\"detect\"} 3",
            "trailhound_message_bytes_total{pipeline=\"detect\"} 100",
            "trailhound_received_total{pipeline=\"detect\"} 3",
            "trailhound_evaluated_total{pipeline=\"detect\"} 1",
            "trailhound_skipped_total{pipeline=\"detect\",kind=\"digest\"} 1",
            "trailhound_dead_lettered_total{pipeline=\"detect\",reason=\"invalid_json\"} 1",
            "trailhound_findings_total{pipeline=\"detect\",rule=\"RTM-001\"} 2",
            "trailhound_module_seconds_total{pipeline=\"detect\",module=\"m\"} 1.5",
            "trailhound_consumer_lag_messages{pipeline=\"detect\",topic=\"t\",partition=\"4\"} 17",
        ] {
            assert!(page.contains(line), "no {line} in\n{page}");
        }
        pipeline.no_lag("t", 4);
        assert!(!metrics.page().contains("partition=\"4\""));
    }
}
