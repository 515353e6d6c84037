//! Detection: a batch of messages becomes findings and dead letters. Reading, rules and findings meet here.

use std::ops::Range;
use std::time::{Duration, Instant};

use sonic_rs::Value;

use crate::batch::{Message, Origin};
use crate::counts::{Counts, bump};
use crate::finding::{Detection, Finding, FindingLimits, render};
use crate::record::{
    self, Entry, Inner, Legible, MemberAt, Object, Opened, Position, ReadLimits, Reader, Record, Skimmed,
};
use crate::rules::{Evaluator, Hit, Hits, Mode, Module, Outcome, RuleLimits, RuleSet};

/// What a batch, or a part of a large one, came to.
#[derive(Debug, Default)]
pub struct Output {
    /// Findings, with the place of the record that each was made of.
    pub findings: Vec<Found>,
    /// Findings of modules in shadow.
    pub shadow: Vec<Found>,
    /// What could not be read or evaluated.
    pub dead_letters: Vec<DeadLetter>,
    /// The payloads of all findings.
    payloads: Vec<u8>,
    /// The size of all payloads and dead letters, in bytes.
    bytes: usize,
}

/// A finding and where its record came from.
#[derive(Debug)]
pub struct Found {
    /// The finding.
    pub finding: Finding,
    /// The record's message.
    pub origin: Origin,
    /// The record's place in the message.
    pub position: Position,
}

/// Bytes that could not be read or evaluated, or a message that its sink refused for good.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// A reason of a closed list: a `DeadReason` of the reader, a reason of `rules::Fault`, or `sink_refused`.
    pub reason: &'static str,
    /// What is wrong, for a person.
    pub detail: String,
    /// Where the bytes came from.
    pub origin: Origin,
    /// Where in the message they stood.
    pub position: Position,
    /// The module that failed, for a failure of a module; the others have seen the record.
    pub failed: Option<FailedModule>,
    /// Key and headers of a message that was carried.
    pub carried: Option<Carried>,
    /// The original bytes.
    pub original: Vec<u8>,
}

/// What travels with a message that is carried.
#[derive(Clone, Debug)]
pub struct Carried {
    /// The key; empty for none.
    pub key: Vec<u8>,
    /// Names and values in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A module that failed on an event.
#[derive(Clone, Debug)]
pub struct FailedModule {
    /// The module's name.
    pub module: String,
    /// The module's digest.
    pub digest: String,
    /// The ids of its rules that were selected for the event, joined by commas.
    pub rules: String,
}

/// Limits of detection.
#[derive(Clone, Debug)]
pub struct DetectLimits {
    /// Of the reader.
    pub read: ReadLimits,
    /// Of modules and their calls.
    pub rules: RuleLimits,
    /// Of findings.
    pub findings: FindingLimits,
    /// Output is handed over when it exceeds this, in bytes, so that a message of a hundred thousand records that all
    /// fire needs no more memory than one that does not.
    pub output_bytes_max: usize,
}

/// Output of this size, in bytes, fits a core's cache: findings in larger pieces take a fifth more time.
pub const OUTPUT_BYTES_MAX: usize = 256 << 10;

impl Default for DetectLimits {
    fn default() -> Self {
        let (read, rules, findings) = Default::default();
        Self { read, rules, findings, output_bytes_max: OUTPUT_BYTES_MAX }
    }
}

/// Records that wait for their module's call are kept up to this size in all, in bytes.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// One worker's detection. Its buffers are reused from batch to batch.
#[derive(Debug)]
pub struct Detector {
    limits: DetectLimits,
    reader: Reader,
    evaluator: Evaluator,
    /// Records that some module has been handed, until their outcome is known.
    events: Vec<Event>,
    raws: String,
    members: Vec<MemberAt>,
    objects: Vec<Object>,
    inner: Vec<Inner>,
    outcomes: Vec<Outcome>,
    output: Output,
    counts: Counts,
    breath: Breath,
}

/// When the caller was last heard of.
#[derive(Debug)]
struct Breath(Instant);

impl Breath {
    /// How long the caller may be kept waiting: a small part of any poll interval.
    const MAX: Duration = Duration::from_secs(1);

    /// Lets the caller draw breath when it is time.
    fn draw<E>(&mut self, result: &mut Result<(), E>, deliver: &mut dyn FnMut(&mut Output) -> Result<(), E>) {
        if result.is_ok() && self.0.elapsed() > Breath::MAX {
            *result = deliver(&mut Output::default());
            self.0 = Instant::now();
        }
    }
}

#[derive(Debug)]
struct Event {
    origin: Origin,
    position: Position,
    raw: Range<usize>,
    /// Where its members lie and whether it has escapes, if it was skimmed.
    skimmed: Option<(Range<usize>, bool)>,
    /// The objects in it that were taken apart, and their members.
    opened: (Range<usize>, Range<usize>),
    /// The tree of a record that was skimmed, where somebody needed one.
    tree: Option<Value>,
}

impl Detector {
    /// A detector of one worker.
    pub fn new(limits: DetectLimits) -> Detector {
        let evaluator = Evaluator::new(limits.rules.clone());
        Detector {
            reader: Reader::new(limits.read.clone()),
            limits,
            evaluator,
            events: Vec::new(),
            raws: String::new(),
            members: Vec::new(),
            objects: Vec::new(),
            inner: Vec::new(),
            outcomes: Vec::new(),
            output: Output::default(),
            counts: Counts::default(),
            breath: Breath(Instant::now()),
        }
    }

    /// Runs `rules` over `messages`. `deliver` is called with all of the output, in parts where it is large; what it
    /// leaves in the output is dropped. While modules are slow it is called with an empty output now and then, so that
    /// the caller can keep its place in a group. Its error ends detection and is returned. `now_ms` is the time that findings
    /// are stamped with, in milliseconds since the epoch.
    pub fn detect<'a, E>(
        &mut self,
        rules: &RuleSet,
        messages: impl Iterator<Item = (&'a Origin, Message<'a>)>,
        now_ms: i64,
        deliver: &mut dyn FnMut(&mut Output) -> Result<(), E>,
    ) -> Result<Counts, E> {
        self.reset();
        self.evaluator.begin(rules);
        let mut reader = std::mem::take(&mut self.reader);
        let done = self.read(&mut reader, rules, messages, now_ms, deliver);
        self.reader = reader;
        done?;
        self.counts.swap = self.evaluator.take_swap();
        for (module, nanos) in self.evaluator.take_nanos() {
            if nanos > 0 {
                bump(&mut self.counts.module_nanos, module, nanos);
            }
        }
        Ok(std::mem::take(&mut self.counts))
    }

    /// Reads the messages, evaluates their records, and hands over what came of them.
    fn read<'a, E>(
        &mut self,
        reader: &mut Reader,
        rules: &RuleSet,
        messages: impl Iterator<Item = (&'a Origin, Message<'a>)>,
        now_ms: i64,
        deliver: &mut dyn FnMut(&mut Output) -> Result<(), E>,
    ) -> Result<(), E> {
        let may_select = |record: &Skimmed<'_>| rules.may_select(record);
        let wanted: Option<record::Wanted<'_>> = if rules.selects_all() { None } else { Some(&may_select) };
        for (origin, message) in messages {
            let bytes = match message {
                Message::Bytes(bytes) => Some(bytes),
                Message::Tombstone => None,
                Message::Broken(bytes, reason, detail) => {
                    self.counts.dead(reason);
                    let position = Position { entry: 0, byte: u64::try_from(origin.offset).unwrap_or_default() };
                    self.push_dead(reason.as_str(), detail.to_owned(), origin, position, None, bytes);
                    continue;
                }
            };
            let mut result = Ok(());
            reader.unpack(bytes, wanted, &mut |entry| {
                if result.is_ok() {
                    result = self.take(rules, origin, entry, deliver);
                    if result.is_err() {
                        return;
                    }
                    if self.waiting_bytes() > WAITING_BYTES_MAX || self.output.bytes > self.limits.output_bytes_max {
                        result = self.settle(rules, now_ms, deliver);
                    }
                }
            });
            result?;
        }
        self.settle(rules, now_ms, deliver)
    }

    fn forget_events(&mut self) {
        self.events.clear();
        self.raws.clear();
        self.members.clear();
        self.objects.clear();
        self.inner.clear();
    }

    fn waiting_bytes(&self) -> usize {
        let places = self.members.len() * size_of::<MemberAt>() + self.inner.len() * size_of::<Inner>();
        self.raws.len() + places + self.objects.len() * size_of::<Object>()
    }

    fn reset(&mut self) {
        self.forget_events();
        self.outcomes.clear();
        self.output.clear(self.limits.output_bytes_max);
        self.counts = Counts::default();
        self.breath = Breath(Instant::now());
    }

    fn take<E>(
        &mut self,
        rules: &RuleSet,
        origin: &Origin,
        entry: Entry<'_>,
        deliver: &mut dyn FnMut(&mut Output) -> Result<(), E>,
    ) -> Result<(), E> {
        match entry {
            Entry::Record(record) => return self.evaluate(rules, origin, record, deliver),
            Entry::Passed => self.counts.evaluate(),
            Entry::Skipped(kind) => self.counts.skip(kind),
            Entry::Dead(dead) => {
                self.counts.dead(dead.reason);
                self.push_dead(dead.reason.as_str(), dead.detail, origin, dead.position, None, dead.raw);
            }
        }
        Ok(())
    }

    fn evaluate<E>(
        &mut self,
        rules: &RuleSet,
        origin: &Origin,
        record: Record<'_>,
        deliver: &mut dyn FnMut(&mut Output) -> Result<(), E>,
    ) -> Result<(), E> {
        self.counts.evaluate();
        let Detector { evaluator, events, raws, members, objects, inner, outcomes, breath, .. } = self;
        let skimmed = record.legible();
        let keep = || {
            let (raw, place) = (raws.len(), members.len());
            raws.push_str(record.raw);
            members.extend_from_slice(skimmed.map(|skimmed| skimmed.places()).unwrap_or_default());
            let skimmed = skimmed.map(|skimmed| (place..members.len(), skimmed.escapes()));
            let (origin, position, raw) = (origin.clone(), record.position, raw..raws.len());
            events.push(Event { origin, position, raw, skimmed, opened: (0..0, 0..0), tree: None });
            u32::try_from(events.len() - 1).unwrap_or(u32::MAX)
        };
        let mut result = Ok(());
        let kept = evaluator.push(rules, &record, keep, outcomes, &mut || breath.draw(&mut result, deliver));
        // A finding is made of what there is: objects that were taken apart, and the tree.
        if let Some(event) = kept.and_then(|event| events.get_mut(event as usize)).filter(|_| skimmed.is_some()) {
            record.opened(|opened| {
                let (object, member) = (objects.len(), inner.len());
                objects.extend_from_slice(opened.objects);
                inner.extend_from_slice(opened.members);
                event.opened = (object..objects.len(), member..inner.len());
            });
            event.tree = record.into_tree();
        }
        result
    }

    /// Finishes all calls and hands over what came of them.
    fn settle<E>(
        &mut self,
        rules: &RuleSet,
        now_ms: i64,
        deliver: &mut dyn FnMut(&mut Output) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut result = Ok(());
        let Detector { evaluator, outcomes, breath, .. } = self;
        evaluator.flush(outcomes, &mut || breath.draw(&mut result, deliver));
        result?;
        let mut outcomes = std::mem::take(&mut self.outcomes);
        for outcome in outcomes.drain(..) {
            self.conclude(rules, outcome, now_ms, deliver)?;
        }
        // Its room is kept for the next.
        self.outcomes = outcomes;
        if !self.output.is_empty() {
            self.hand_over(deliver)?;
        }
        self.forget_events();
        Ok(())
    }

    fn hand_over<E>(&mut self, deliver: &mut dyn FnMut(&mut Output) -> Result<(), E>) -> Result<(), E> {
        deliver(&mut self.output)?;
        self.output.clear(self.limits.output_bytes_max);
        Ok(())
    }

    fn conclude<E>(
        &mut self,
        rules: &RuleSet,
        outcome: Outcome,
        now_ms: i64,
        deliver: &mut dyn FnMut(&mut Output) -> Result<(), E>,
    ) -> Result<(), E> {
        match outcome {
            Outcome::Hits { module, mode, hits } => {
                for hit in hits.iter() {
                    self.find(rules, &module, mode, &hits, hit, now_ms);
                    if self.output.bytes > self.limits.output_bytes_max {
                        self.hand_over(deliver)?;
                    }
                }
            }
            Outcome::Failed { module, mode: Mode::Shadow, .. } => {
                bump(&mut self.counts.shadow_failed, &module.name, 1);
            }
            Outcome::Failed { module, event, rules, reason, detail, .. } => {
                bump(&mut self.counts.failed, &module.name, 1);
                let Some(event) = self.events.get(event as usize) else { return Ok(()) };
                let ids: Vec<&str> =
                    rules.iter().filter_map(|rule| module.rule(*rule)).map(|rule| rule.id.as_str()).collect();
                let failed =
                    FailedModule { module: module.name.clone(), digest: module.digest.clone(), rules: ids.join(",") };
                let raw = self.raws.get(event.raw.clone()).unwrap_or_default().as_bytes().to_vec();
                let (origin, position) = (event.origin.clone(), event.position);
                self.push_dead(reason, detail, &origin, position, Some(failed), &raw);
            }
        }
        Ok(())
    }

    /// Makes the finding of a hit.
    fn find(&mut self, rules: &RuleSet, module: &Module, mode: Mode, hits: &Hits, hit: &Hit, now_ms: i64) {
        let Some(event) = self.events.get(hit.event as usize) else { return };
        let Some((rule, constants)) = module.rule(hit.rule).zip(module.constants(hit.rule)) else { return };
        let raw = self.raws.get(event.raw.clone()).unwrap_or_default();
        let skimmed = event.skimmed.clone().and_then(|(members, escapes)| {
            let (members, (objects, inner)) = (self.members.get(members)?, event.opened.clone());
            let opened = Opened { objects: self.objects.get(objects)?, members: self.inner.get(inner)? };
            Some(Legible::again(raw, members, escapes, opened))
        });
        let finding = render(
            &Detection {
                rule,
                constants,
                generation: rules.generation,
                mode,
                title: hits.title(hit),
                labels: hits.labels(hit),
                raw: raw.as_bytes(),
                skimmed,
                tree: event.tree.as_ref(),
                origin: &event.origin,
                position: event.position,
                now_ms,
            },
            &self.limits.findings,
            &mut self.output.payloads,
        );
        let (counter, findings) = match mode {
            Mode::Live => (&mut self.counts.findings, &mut self.output.findings),
            Mode::Shadow => (&mut self.counts.shadow_findings, &mut self.output.shadow),
        };
        bump(counter, &rule.id, 1);
        self.output.bytes += finding.payload.len();
        findings.push(Found { finding, origin: event.origin.clone(), position: event.position });
    }

    fn push_dead(
        &mut self,
        reason: &'static str,
        detail: String,
        origin: &Origin,
        position: Position,
        failed: Option<FailedModule>,
        original: &[u8],
    ) {
        self.output.bytes += original.len();
        let (origin, original) = (origin.clone(), original.to_vec());
        self.output.dead_letters.push(DeadLetter { reason, detail, origin, position, failed, carried: None, original });
    }
}

impl Output {
    /// The payload of one of its findings: an OCSF event.
    pub fn payload(&self, finding: &Finding) -> &[u8] {
        self.payloads.get(finding.payload.clone()).unwrap_or_default()
    }

    /// Whether there is nothing to deliver.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty() && self.shadow.is_empty() && self.dead_letters.is_empty()
    }

    /// The size of all payloads and dead letters, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Empties it. Room is kept for `bytes_max` and the finding that exceeds it, as a vector grows: by doubling.
    fn clear(&mut self, bytes_max: usize) {
        self.findings.clear();
        self.shadow.clear();
        self.dead_letters.clear();
        self.payloads.clear();
        self.payloads.shrink_to(3 * bytes_max);
        self.bytes = 0;
    }
}
