//! The independent check of what was delivered. It knows nothing of the program but its topics, its group's offsets
//! and what it prints at its end, and compares them with what the traffic's plan says must be there.
//!
//! It reads on from where it stood, so it can be asked often, also while everything runs. It collects what is wrong in
//! a [`Verdict`] and leaves it to others to fail.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use crate::kafka::{Client, Received, Tail};
use crate::records::FindingKey;
use crate::traffic::{Kind, Place, Plan};
use crate::trailhound::{Metrics, Summary};
use crate::verdict::Verdict;

/// The reason of a dead letter that is a finding which its sink has refused.
const REFUSED: &str = "sink_refused";

/// What was read so far of one pipeline's topics: `NAME.cloudtrail`, `NAME.findings`, `NAME.dead`; its group is `NAME`.
#[derive(Debug)]
pub struct Audit {
    plan: Arc<Plan>,
    client: Client,
    name: String,
    input: Tail,
    findings: Tail,
    dead: Tail,
    /// By partition: the messages by offset.
    messages: Vec<BTreeMap<i64, u32>>,
    /// How often each message is in the input. Brokers that are killed may make a producer repeat itself.
    known: HashMap<u32, u64>,
    /// The finding of each place.
    found: HashMap<Place, Finding>,
    /// The place of each id.
    ids: HashMap<String, Place>,
    /// Findings that lie in the dead-letter topic, because the sink has refused them, and how often.
    refused: HashMap<Place, u64>,
    /// Messages that are dead letters, and how often.
    buried: HashMap<u32, u64>,
    /// Rules whose findings are somebody else's to check.
    passed_over: HashSet<String>,
    /// By partition: how far [`Audit::check_committed`] has looked.
    checked: Vec<i64>,
    verdict: Verdict,
}

/// A finding as it was first read.
#[derive(Debug)]
struct Finding {
    id: String,
    origin: (i64, i64),
    /// Where in the findings' topic it lies, each time.
    places: Vec<(i32, i64)>,
}

impl Audit {
    /// Begins at the beginning of the topics, which exist.
    pub fn new(client: &Client, name: &str, plan: Arc<Plan>) -> Audit {
        let tail = |part: &str| Tail::new(client, &format!("{name}.{part}"));
        let input = tail("cloudtrail");
        let partitions = usize::try_from(client.partitions(&format!("{name}.cloudtrail"))).unwrap_or_default();
        Audit {
            plan,
            client: client.clone(),
            name: name.to_owned(),
            input,
            findings: tail("findings"),
            dead: tail("dead"),
            messages: vec![BTreeMap::new(); partitions],
            known: HashMap::new(),
            found: HashMap::new(),
            ids: HashMap::new(),
            refused: HashMap::new(),
            buried: HashMap::new(),
            passed_over: HashSet::new(),
            checked: vec![0; partitions],
            verdict: Verdict::default(),
        }
    }

    /// Findings of this rule, and dead letters of it, are not looked at: a row checks them itself.
    pub fn pass_over(&mut self, rule: &str) {
        self.passed_over.insert(rule.to_owned());
    }

    /// The findings' topic was deleted and created anew. What it had held must have been read before.
    pub fn findings_anew(&mut self) {
        self.findings.rewind();
    }

    /// Where the group stands, summed over the partitions.
    pub fn committed(&self) -> i64 {
        self.offsets().iter().sum()
    }

    fn offsets(&self) -> Vec<i64> {
        let committed = self.client.committed(&self.name, &format!("{}.cloudtrail", self.name));
        committed.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Checks that nothing is committed that was not delivered. The offsets are taken first, so it may be called while
    /// programs run. With open transactions it must not be called: what comes after one is not visible.
    pub fn check_committed(&mut self) {
        let committed = self.offsets();
        self.read();
        for (partition, committed) in committed.into_iter().enumerate() {
            let below: Vec<u32> = match self.messages.get(partition) {
                Some(messages) if self.checked[partition] < committed => {
                    messages.range(self.checked[partition]..committed).map(|(_, message)| *message).collect()
                }
                _ => continue,
            };
            self.checked[partition] = committed;
            for message in below {
                if let Some(missing) = self.missing(message) {
                    self.verdict.committed_undelivered.add(|| {
                        format!(
                            "message {message:08x} lies below offset {committed} of partition {partition}: {missing}"
                        )
                    });
                }
            }
        }
    }

    /// A program has stopped in good order; `metrics` are of the moment before, when it stood idle.
    pub fn stopped(&mut self, summary: &Summary, metrics: Option<&Metrics>) {
        if !summary.balanced() {
            self.verdict.unbalanced.add(|| summary.0.to_string());
        }
        for name in ["received", "evaluated", "skipped", "dead_lettered", "findings"] {
            let told = |metrics: &&Metrics| metrics.sum(&format!("trailhound_{name}_total"), &[("pipeline", "detect")]);
            if let Some(told) = metrics.as_ref().map(told)
                && told != summary.count(name)
            {
                self.verdict.unbalanced.add(|| format!("the metrics say {told} {name}, the summary {}", summary.0));
            }
        }
        self.verdict.stopped += 1;
        self.verdict.received += summary.count("received");
    }

    /// The verdict when all is over: no program runs, and `sent` messages, numbered from 0, are acknowledged.
    pub fn verdict(mut self, sent: u32) -> Verdict {
        self.findings.until_settled();
        self.dead.until_settled();
        self.check_committed();
        let ends = self.client.end_offsets(&format!("{}.cloudtrail", self.name));
        for (partition, (end, committed)) in ends.into_iter().zip(self.offsets()).enumerate() {
            if committed != end {
                self.verdict
                    .uncommitted
                    .add(|| format!("partition {partition} ends at {end}, committed is {committed}"));
            }
        }
        for message in 0..sent {
            let Some(times) = self.known.get(&message).copied() else {
                self.verdict.input_faults.add(|| format!("message {message:08x} is not in the input"));
                continue;
            };
            self.verdict.input_repeats += times - 1;
            for place in self.plan.firing(message) {
                self.verdict.expected += 1;
                let found = self.found.get(&place);
                let refused = self.refused.get(&place).copied().unwrap_or_default();
                let there = found.map_or(0, |found| found.places.len() as u64);
                if there + refused == 0 {
                    self.verdict.lost.add(|| place.to_string());
                }
                if let Some(Finding { origin, places, .. }) = found.filter(|_| there > times) {
                    self.verdict.repeats.add_times(there - times, || {
                        format!("{place}, at {origin:?} in the input: partitions and offsets {places:?}")
                    });
                }
                self.verdict.dead_repeats += refused.saturating_sub(times);
            }
            if let Kind::Broken(reason) = Plan::kind(message) {
                self.verdict.dead_expected += 1;
                let buried = self.buried.get(&message).copied().unwrap_or_default();
                if buried == 0 {
                    self.verdict.dead_missing.add(|| format!("message {message:08x}, {reason}"));
                }
                self.verdict.dead_repeats += buried.saturating_sub(times);
            }
        }
        for (place, Finding { origin, .. }) in &self.found {
            let partition = usize::try_from(origin.0).ok().and_then(|partition| self.messages.get(partition));
            if partition.and_then(|messages| messages.get(&origin.1)) != Some(&place.message) {
                self.verdict.wrong.add(|| format!("{place} names an origin where it does not lie: {origin:?}"));
            }
        }
        self.verdict.messages = u64::from(sent);
        self.verdict.found = self.found.len() as u64;
        self.verdict.refused = self.refused.len() as u64;
        self.verdict
    }

    /// What is still missing of what a message must lead to.
    fn missing(&self, message: u32) -> Option<String> {
        let absent = |place: &Place| !self.found.contains_key(place) && !self.refused.contains_key(place);
        if let Some(place) = self.plan.firing(message).find(absent) {
            return Some(format!("its finding is not there ({place})"));
        }
        match Plan::kind(message) {
            Kind::Broken(reason) if !self.buried.contains_key(&message) => Some(format!("no dead letter, {reason}")),
            _ => None,
        }
    }

    /// Reads on. The input comes last, so that it holds whatever the others come from.
    fn read(&mut self) {
        let (mut findings, mut dead) = (Vec::new(), Vec::new());
        self.findings.catch_up(|message| findings.push(message));
        self.dead.catch_up(|message| dead.push(message));
        let mut input = Vec::new();
        self.input.catch_up(|message| input.push((message.partition, message.offset, message.key)));
        for (partition, offset, key) in input {
            let number = key.and_then(|key| u32::from_str_radix(std::str::from_utf8(&key).ok()?, 16).ok());
            let partition = usize::try_from(partition).unwrap_or_default();
            match number {
                Some(number) => {
                    *self.known.entry(number).or_default() += 1;
                    self.messages[partition].insert(offset, number);
                }
                None => {
                    self.verdict.input_faults.add(|| format!("offset {offset} of partition {partition}: {number:?}"))
                }
            }
        }
        findings.iter().for_each(|message| self.finding(message));
        dead.iter().for_each(|message| self.dead_letter(message));
    }

    fn finding(&mut self, message: &Received) {
        if message.header("rule").is_some_and(|rule| self.passed_over.contains(&rule)) {
            return;
        }
        let Some((place, finding)) = message.value.as_deref().and_then(|value| self.parse(value)) else {
            self.verdict.wrong.add(|| format!("no finding that must be there: {message:?}"));
            return;
        };
        if message.key.as_deref() != Some(finding.id.as_bytes()) || message.header("rule").is_none() {
            self.verdict.wrong.add(|| format!("key or headers of {place} are not the finding's"));
        }
        let lies = (message.partition, message.offset);
        match self.found.get_mut(&place) {
            None => {
                if let Some(other) = self.ids.insert(finding.id.clone(), place) {
                    self.verdict.wrong.add(|| format!("{place} and {other} have one id"));
                }
                self.found.insert(place, Finding { places: vec![lies], ..finding });
            }
            Some(first) if first.id == finding.id => first.places.push(lies),
            Some(first) => {
                self.verdict.wrong.add(|| format!("{place} has two ids: {} and {}", first.id, finding.id));
            }
        }
    }

    fn dead_letter(&mut self, letter: &Received) {
        if letter.header("trailhound.rules").is_some_and(|rules| self.passed_over.contains(&rules)) {
            return;
        }
        let reason = letter.header("trailhound.reason").unwrap_or_default();
        let number = |name: &str| letter.header(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(-1);
        let (partition, offset) = (number("trailhound.partition"), number("trailhound.offset"));
        let messages = usize::try_from(partition).ok().and_then(|partition| self.messages.get(partition));
        let message = messages.and_then(|messages| messages.get(&offset)).copied();
        *self.verdict.dead_letters.entry(reason.clone()).or_default() += 1;
        let value = letter.value.as_deref().unwrap_or_default();
        if reason == REFUSED {
            match self.parse(value) {
                Some((place, _)) if Some(place.message) == message => *self.refused.entry(place).or_default() += 1,
                _ => self.verdict.dead_unexpected.add(|| format!("{reason}: {letter:?}")),
            }
            return;
        }
        match message {
            Some(message)
                if Plan::kind(message) == Kind::Broken(known_reason(&reason))
                    && self.plan.value(message).as_deref() == Some(value) =>
            {
                *self.buried.entry(message).or_default() += 1;
            }
            _ => self.verdict.dead_unexpected.add(|| format!("{reason}: {letter:?}")),
        }
    }

    /// The place that a finding is about, by its own words; None when it is none that must be there.
    fn parse(&self, value: &[u8]) -> Option<(Place, Finding)> {
        let value: Value = serde_json::from_slice(value).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let key = FindingKey {
            rule: text(&value["finding_info"]["analytic"]["uid"])?,
            event: text(&value["finding_info"]["related_events"][0]["uid"])?,
            account: text(&value["cloud"]["account"]["uid"])?,
        };
        let origin = &value["unmapped"]["trailhound"];
        let origin = (origin["partition"].as_i64()?, origin["offset"].as_i64()?);
        Some((
            self.plan.place_of(&key)?,
            Finding { id: text(&value["finding_info"]["uid"])?, origin, places: Vec::new() },
        ))
    }
}

/// A reason of the plan, by its name.
fn known_reason(reason: &str) -> &'static str {
    ["invalid_json", "truncated"].into_iter().find(|known| *known == reason).unwrap_or_default()
}
