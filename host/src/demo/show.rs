//! What a person sees: steps, findings, dead letters, a table.

use std::collections::HashSet;
use std::io::{self, Write};

use serde_json::Value;

use super::generations::Found;
use super::kafka::Seen;
use crate::rules::Mode;

/// How the demo may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// With colours.
    pub colour: bool,
    /// With a line of progress that is written over.
    pub progress: bool,
}

/// How far a swap has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Begun,
    Live,
    Taken,
    Refused,
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const GREEN: &str = "\x1b[32m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";
const ERASE_LINE: &str = "\r\x1b[K";

/// Writes, and remembers what it has shown.
pub(super) struct Show<'a> {
    out: &'a mut dyn Write,
    look: Look,
    steps: u32,
    progress_shown: bool,
    ids: HashSet<String>,
    pub(super) tally: Tally,
}

/// What came out of the pipeline, as it was read from the topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) findings: u64,
    /// Findings whose id had been there before.
    pub(super) repeats: u64,
    /// Findings of the rule that the traffic was made for, and their ids.
    pub(super) root_sign_ins: u64,
    pub(super) root_sign_ins_distinct: u64,
    /// Findings of modules in shadow.
    pub(super) shadow: u64,
    pub(super) dead_letters: u64,
    /// What each finding says of its making.
    pub(super) found: Vec<Found>,
    pub(super) latencies_ms: Vec<i64>,
}

impl<'a> Show<'a> {
    pub(super) fn new(out: &'a mut dyn Write, look: Look) -> Show<'a> {
        Show { out, look, steps: 0, progress_shown: false, ids: HashSet::new(), tally: Tally::default() }
    }

    /// Begins the next step.
    pub(super) fn step(&mut self, title: &str) -> io::Result<()> {
        self.steps += 1;
        let title = self.paint(BOLD, &format!("{}. {title}", self.steps));
        self.line("")?;
        self.line(&title)
    }

    /// Writes a line of the step.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        self.line(&format!("   {text}"))
    }

    /// Writes a line at the margin.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        if std::mem::take(&mut self.progress_shown) {
            write!(self.out, "{ERASE_LINE}")?;
        }
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Writes a line that the next one replaces; nothing in a pipe.
    pub(super) fn progress(&mut self, sent: usize, all: usize, received: u64) -> io::Result<()> {
        if self.look.progress {
            self.progress_shown = true;
            let findings = self.tally.findings;
            let text = format!("   {sent} of {all} messages sent, {received} entries received, {findings} findings");
            write!(self.out, "{ERASE_LINE}{}", self.paint(DIM, &text))?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// Tells of a swap: what is to be done, and what has come of it.
    pub(super) fn swap(&mut self, stage: Stage, number: &str, text: &str) -> io::Result<()> {
        let (colour, word) = match stage {
            Stage::Begun => (CYAN, "SWAP"),
            Stage::Live => (GREEN, "LIVE"),
            Stage::Taken => (GREEN, "TAKEN"),
            Stage::Refused => (YELLOW, "REFUSED"),
        };
        let mark = self.paint(colour, &format!("{word:<7} {number:<4}"));
        let text = text.replace('\n', "\n                 ");
        let text = if stage == Stage::Begun { self.paint(BOLD, &text) } else { text };
        self.line(&format!("   {mark}  {text}"))
    }

    /// Writes a line below what it is about.
    pub(super) fn aside(&mut self, text: &str) -> io::Result<()> {
        self.line(&format!("                 {text}"))
    }

    /// The verdict.
    pub(super) fn verdict(&mut self, good: bool, text: &str) -> io::Result<()> {
        let text = self.paint(if good { GREEN } else { RED }, text);
        self.say(&text)
    }

    /// Counts and shows what came out of the pipeline.
    pub(super) fn seen(&mut self, seen: &Seen) -> io::Result<()> {
        match seen {
            Seen::Finding { document, latency_ms } => self.finding(document, *latency_ms),
            Seen::Shadow { document } => {
                let found = Found::of(document);
                let title = document.pointer("/finding_info/title").and_then(Value::as_str).unwrap_or("-");
                let text = format!(
                    "   {}  SHADOW    {}  {title}  [generation {}]",
                    time(document),
                    found.rule,
                    found.generation
                );
                self.tally.shadow += u64::from(found.mode == Mode::Shadow);
                self.tally.found.push(found);
                let text = self.paint(DIM, &text);
                self.line(&text)
            }
            Seen::DeadLetter { reason, detail, topic, partition, offset, entry } => {
                self.tally.dead_letters += 1;
                let mark = self.paint(YELLOW, "DEAD LETTER");
                self.line(&format!(
                    "   {mark}  {reason}: {detail} ({topic} partition {partition} offset {offset} entry {entry})"
                ))
            }
        }
    }

    fn finding(&mut self, finding: &Value, latency_ms: Option<i64>) -> io::Result<()> {
        let text = |pointer: &str| finding.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
        let (id, rule) = (text("/finding_info/uid"), text("/finding_info/analytic/uid"));
        let new = self.ids.insert(id.clone());
        let of_traffic = u64::from(rule == super::ROOT_SIGN_IN);
        self.tally.findings += 1;
        self.tally.repeats += u64::from(!new);
        self.tally.root_sign_ins += of_traffic;
        self.tally.root_sign_ins_distinct += if new { of_traffic } else { 0 };
        self.tally.latencies_ms.extend(latency_ms);
        let (time, found) = (time(finding), Found::of(finding));
        let generation = found.generation;
        self.tally.found.push(found);
        let latency = latency_ms.map(|ms| format!("found after {ms} ms")).unwrap_or_else(|| "-".to_owned());
        if !new {
            let line = format!("   {time}  REPEAT    {rule}  finding {id} again, {latency}  [generation {generation}]");
            let line = self.paint(DIM, &line);
            return self.line(&line);
        }
        let severity = text("/severity");
        let colour = match severity.as_str() {
            "Critical" | "Fatal" | "High" => RED,
            "Medium" => YELLOW,
            _ => CYAN,
        };
        let severity = self.paint(colour, &format!("{:<8}", severity.to_uppercase()));
        let title = self.paint(BOLD, &text("/finding_info/title"));
        self.line(&format!("   {time}  {severity}  {rule}  {title}  [generation {generation}]"))?;
        let source = ["ip", "domain", "name"]
            .iter()
            .find_map(|kind| finding.pointer(&format!("/evidences/0/src_endpoint/{kind}")).and_then(Value::as_str));
        self.line(&format!(
            "                 account {}, {}, from {}, MFA {}, record {}, {latency}",
            text("/cloud/account/uid"),
            text("/cloud/region"),
            source.unwrap_or("-"),
            label(finding, "mfa").unwrap_or("-"),
            text("/metadata/original_time"),
        ))
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.look.colour { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    }
}

/// When a finding was made.
fn time(finding: &Value) -> String {
    let ms = finding.pointer("/time").and_then(Value::as_i64);
    let time = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map(|time| time.strftime("%H:%M:%S%.3f").to_string()).unwrap_or_default()
}

/// The value of a label that the rule has put on a finding.
fn label<'a>(finding: &'a Value, name: &str) -> Option<&'a str> {
    let tags = finding.pointer("/finding_info/tags")?.as_array()?;
    tags.iter().find(|tag| tag.get("name").is_some_and(|key| key == name))?.get("value")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &str) -> Seen {
        let document = serde_json::json!({
            "time": 1_748_848_548_123_i64, "severity": "High",
            "finding_info": {
                "uid": id, "title": "A title", "analytic": {"uid": "RTM-001"},
                "tags": [{"name": "compliance", "values": ["PCI"]}, {"name": "mfa", "value": "no"}],
            },
            "cloud": {"account": {"uid": "111122223333"}, "region": "us-east-1"},
            "evidences": [{"src_endpoint": {"ip": "192.0.2.1"}}],
            "metadata": {"original_time": "2025-06-02T07:15:48Z"},
            "unmapped": {"trailhound": {"generation": 3}},
        });
        Seen::Finding { document, latency_ms: Some(7) }
    }

    fn check(look: Look, seen: &[Seen], expect: &str) {
        let mut out = Vec::new();
        let mut show = Show::new(&mut out, look);
        seen.iter().for_each(|seen| show.seen(seen).unwrap());
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn a_finding_is_two_lines_and_a_repeat_is_one() {
        check(
            Look::default(),
            &[finding("f1"), finding("f1")],
            "   07:15:48.123  HIGH      RTM-001  A title  [generation 3]\n                 account 111122223333, us-east-1, \
             from 192.0.2.1, MFA no, record 2025-06-02T07:15:48Z, found after 7 ms\n   07:15:48.123  REPEAT    RTM-001  \
             finding f1 again, found after 7 ms  [generation 3]\n",
        );
    }

    #[test]
    fn colours_are_for_terminals_and_a_line_of_progress_is_erased() {
        let letter = || Seen::DeadLetter {
            reason: "truncated".to_owned(),
            detail: "cut".to_owned(),
            topic: "t".to_owned(),
            partition: "0".to_owned(),
            offset: "5".to_owned(),
            entry: "2".to_owned(),
        };
        let text = "truncated: cut (t partition 0 offset 5 entry 2)\n";
        check(Look::default(), &[letter()], &format!("   DEAD LETTER  {text}"));
        let look = Look { colour: true, progress: true };
        check(look, &[letter()], &format!("   {YELLOW}DEAD LETTER{PLAIN}  {text}"));
        let mut out = Vec::new();
        let mut show = Show::new(&mut out, look);
        show.progress(1, 2, 3).unwrap();
        show.line("x").unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(
            shown.contains("1 of 2 messages sent, 3 entries received") && shown.ends_with("\r\x1b[Kx\n"),
            "{shown:?}"
        );
    }
}
