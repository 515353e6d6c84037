//! The swaps of the demo: what is done to the rules while records flow, when, and what a person sees of it.

use std::sync::Arc;

use super::fleet::{Deed, Done, Fleet, Offered};
use super::generations::{Change, History, Put};
use super::run::DemoError;
use super::show::{Show, Stage};
use super::workers::Workers;
use crate::metrics::Metrics;
use crate::rules::{Member, Mode, RuleSet, module_digest};
use crate::swap::Key;

/// One swap, or an attempt.
struct Act {
    /// What an operator would type, or what happens.
    title: String,
    deed: Deed,
    /// The messages that it puts on the rules topic.
    puts: Vec<Put>,
}

/// All acts, one after the other, at equal distances in the traffic.
pub(super) struct Play {
    acts: Vec<Act>,
    done: usize,
    now: Now,
    history: History,
    wrong: Vec<String>,
}

/// Where the play stands.
enum Now {
    /// Before the next act, or after the last.
    Pause,
    /// An act goes on.
    Acting(Before),
    /// The instance has the new set, and the workers are about to take it.
    Taken(Before, Box<Done>),
}

/// How things were when an act began.
#[derive(Clone)]
struct Before {
    rules: Arc<RuleSet>,
    received: u64,
    pauses: Pauses,
}

/// How often and for how long swaps have kept workers from their records.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Pauses {
    count: u64,
    seconds: f64,
}

impl Pauses {
    /// As the page of `/metrics` has them.
    fn of(page: &str) -> Pauses {
        let value = |name: &str| {
            let rest = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            rest.and_then(|number| number.parse::<f64>().ok()).unwrap_or_default()
        };
        Pauses {
            count: value("trailhound_rules_swap_pause_seconds_count") as u64,
            seconds: value("trailhound_rules_swap_pause_seconds_sum"),
        }
    }
}

impl Play {
    /// The play with these modules, of which the first is live from the start.
    pub(super) fn new(modules: &[Offered]) -> Play {
        let mut history = History::default();
        let acts = match modules.split_first() {
            None => Vec::new(),
            Some((first, others)) => {
                history.put(brings(Key::parse(&first.module.name), first, &first.bytes));
                acts(first, others)
            }
        };
        Play { acts, done: 0, now: Now::Pause, history, wrong: Vec::new() }
    }

    /// How many of `all` messages may be sent before the act that goes on, or is next, is over: so each generation has
    /// its share of the records on a slow machine too.
    pub(super) fn may_send(&self, all: usize) -> usize {
        if self.is_over() { all } else { self.begins(self.done + 1, all) }
    }

    /// Whether all acts are over.
    pub(super) fn is_over(&self) -> bool {
        self.done == self.acts.len()
    }

    /// Whether an act goes on.
    pub(super) fn is_acting(&self) -> bool {
        !matches!(self.now, Now::Pause)
    }

    /// How many acts are over.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// The number of the act that goes on, or is next.
    fn number(&self) -> String {
        format!("{}/{}", self.done + 1, self.acts.len())
    }

    /// After how many of `all` messages an act begins.
    fn begins(&self, act: usize, all: usize) -> usize {
        all * (act + 1) / (self.acts.len() + 1)
    }

    /// Takes the play further, `sent` of `all` messages into the traffic.
    pub(super) fn go_on(
        &mut self,
        show: &mut Show<'_>,
        (sent, all): (usize, usize),
        fleet: &mut Fleet,
        workers: &Workers,
        metrics: &Metrics,
    ) -> Result<(), DemoError> {
        let is_due = sent >= self.begins(self.done, all);
        let must_end = sent >= self.may_send(all);
        match std::mem::replace(&mut self.now, Now::Pause) {
            Now::Pause => {
                let number = self.number();
                if let Some(act) = self.acts.get(self.done).filter(|_| is_due) {
                    let (rules, received) = (fleet.rules().load_full(), workers.received());
                    self.now = Now::Acting(Before { rules, received, pauses: Pauses::of(&metrics.page()) });
                    show.swap(Stage::Begun, &number, &act.title)?;
                    fleet.begin(act.deed.clone())?;
                }
            }
            Now::Acting(before) => {
                self.now = match fleet.done()? {
                    None => Now::Acting(before),
                    Some(done) => {
                        self.tell(show, &before, &done, &fleet.rules().load_full(), workers.received())?;
                        Now::Taken(before, Box::new(done))
                    }
                }
            }
            Now::Taken(before, done) => {
                let pauses = Pauses::of(&metrics.page());
                let taken = pauses.count - before.pauses.count;
                if done.refused.is_none() && taken < workers.len() as u64 && !must_end {
                    self.now = Now::Taken(before, done);
                    return Ok(());
                }
                if taken > 0 {
                    let us = (pauses.seconds - before.pauses.seconds) * 1_000_000.0 / taken as f64;
                    let text =
                        format!("by the workers between two batches: it kept each from its records for {us:.0} µs");
                    show.swap(Stage::Taken, &self.number(), &text)?;
                }
                self.done += 1;
            }
        }
        Ok(())
    }

    /// Shows what came of an act, and holds it against what was to come.
    fn tell(
        &mut self,
        show: &mut Show<'_>,
        before: &Before,
        done: &Done,
        rules: &RuleSet,
        received: u64,
    ) -> Result<(), DemoError> {
        let Some(act) = self.acts.get(self.done) else { return Ok(()) };
        act.puts.iter().for_each(|put| self.history.put(put.clone()));
        let Done { published, refused, took } = done;
        let (meanwhile, ms) = (received - before.received, took.as_millis());
        let (old, new) = (before.rules.generation, rules.generation);
        let is_same = (old, &before.rules.fingerprint) == (new, &rules.fingerprint);
        let place = format!("{} partition {} offset {}", published.topic, published.partition, published.offset);
        let is_to_be_refused = act.puts.iter().all(|put| put.change == Change::Nothing);
        match refused {
            Some(words) => {
                show.swap(Stage::Refused, &self.number(), &format!("by {words}"))?;
                let as_before = if is_same { "as before" } else { "not as before" };
                show.aside(&format!(
                    "generation {new}, set {} {as_before}; {meanwhile} entries went through in these {ms} ms",
                    rules.fingerprint
                ))?;
            }
            None => {
                let digest = published.digest.get(..12).unwrap_or_default();
                let text = format!("{} sha256 {digest}… from {place}, after {ms} ms", published.key);
                show.swap(Stage::Live, &self.number(), &text)?;
                show.aside(&format!(
                    "generation {old} -> {new}, set {}: {}; {meanwhile} entries went through meanwhile",
                    rules.fingerprint,
                    names(rules)
                ))?;
            }
        }
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                self.wrong.push(format!("{}: {what}", act.title));
            }
        };
        demand(refused.is_some() == is_to_be_refused, "taken or refused, and the contrary expected");
        demand(is_same == is_to_be_refused, "the rule set has moved, or not, and the contrary expected");
        demand(new == self.history.generation(), "another generation than the rules topic makes");
        demand(published.offset + 1 == self.history.len() as i64, "another place in the rules topic than expected");
        Ok(())
    }

    /// What was on the rules topic, and where acts went otherwise than expected.
    pub(super) fn end(self) -> (History, Vec<String>) {
        (self.history, self.wrong)
    }
}

fn names(rules: &RuleSet) -> String {
    let name = |Member { module, mode }: &Member| {
        let key = Key { name: module.name.clone(), mode: *mode };
        format!("{key} {}", module.digest.get(..6).unwrap_or_default())
    };
    rules.modules.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn brings(key: Key, offered: &Offered, bytes: &[u8]) -> Put {
    let rules = offered.module.described.rules.iter().map(|rule| rule.id.clone()).collect();
    Put { key, change: Change::Module(module_digest(bytes), rules) }
}

fn acts(first: &Offered, others: &[Offered]) -> Vec<Act> {
    let live = |offered: &Offered| Key::parse(&offered.module.name);
    let mut acts: Vec<Act> = others
        .iter()
        .map(|other| Act {
            title: format!("trailhound rule publish {}.wasm --wait", other.module.name),
            deed: Deed::Publish(live(other), other.bytes.clone()),
            puts: vec![brings(live(other), other, &other.bytes)],
        })
        .collect();
    let (name, bytes) = (&first.module.name, another_build(&first.bytes));
    let shadow = Key { name: name.clone(), mode: Mode::Shadow };
    acts.push(Act {
        title: format!("trailhound rule publish {name}.wasm --shadow --wait: another build of it, beside the live one"),
        puts: vec![brings(shadow.clone(), first, &bytes)],
        deed: Deed::Publish(shadow.clone(), bytes.clone()),
    });
    acts.push(Act {
        title: format!("trailhound rule promote {name} --wait: that build replaces the live one"),
        puts: vec![brings(live(first), first, &bytes), Put { key: shadow, change: Change::Gone }],
        deed: Deed::Promote(name.clone()),
    });
    let last = others.last().unwrap_or(first);
    let half = last.bytes.get(..last.bytes.len() / 2).unwrap_or_default();
    for (key, bytes, digest, title) in [
        (live(last), half.to_vec(), None, "cut off in the middle"),
        (live(first), first.bytes.clone(), Some(module_digest(&bytes)), "with the digest of other bytes"),
    ] {
        acts.push(Act {
            title: format!("another tool, which proves nothing, writes {key} to the topic, {title}"),
            puts: vec![Put { key: key.clone(), change: Change::Nothing }],
            deed: Deed::Smuggle { key, bytes, digest },
        });
    }
    acts
}

/// The same code with a custom section more (WebAssembly core specification, "Custom Section"), as another compiler's
/// mark would be: other bytes, so another digest, and to the host another module.
fn another_build(bytes: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"trailhound-demo";
    // Its id, its size, the name's length: each a byte, since LEB128 is one below 128.
    let head = [0, NAME.len() as u8 + 1, NAME.len() as u8];
    [bytes, &head, NAME].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_read_from_the_metrics() {
        let metrics = Metrics::default();
        assert_eq!(Pauses::of(&metrics.page()), Pauses::default());
        let pipeline = metrics.pipeline("p");
        for ms in [250, 500] {
            let swap = Some(std::time::Duration::from_millis(ms));
            pipeline.batch(1, 1, &crate::counts::Counts { swap, ..Default::default() });
        }
        assert_eq!(Pauses::of(&metrics.page()), Pauses { count: 2, seconds: 0.75 });
    }
}
