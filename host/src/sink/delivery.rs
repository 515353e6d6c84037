//! Delivery: what a batch came to goes to its targets piece by piece, and is acknowledged as a whole.
//!
//! Pieces that fit a core's cache take a fifth less than one buffer for all findings of a batch; so a Kafka topic is handed
//! each piece at once, and its acknowledgements are waited for at the end.

use std::borrow::Cow;

use super::{Outgoing, Refused, Sink, SinkError, Wait, text};
use crate::batch::Origin;
use crate::counts::{Counts, bump};
use crate::dead_letters::SINK_REFUSED;
use crate::detect::{DeadLetter, Found, OUTPUT_BYTES_MAX, Output};

/// What may wait for its acknowledgement, in bytes of findings and dead letters: as much as one piece, where pieces are large.
const OPEN_BYTES_MAX: usize = 8 << 20;

/// The targets of a pipeline.
pub struct Delivery {
    /// Where findings go.
    pub findings: Sink,
    /// Where findings of modules in shadow go. What it refuses for good is dropped: it was counted, which is what a shadow is
    /// for.
    shadow: Sink,
    /// Where dead letters go.
    dead_letters: Sink,
    open: Open,
}

/// What was sent to a Kafka topic and is not settled, in the order of sending. Messages that fail are kept by their producer.
#[derive(Default)]
struct Open {
    findings: Vec<Found>,
    /// Where dead letters came from.
    letters: Vec<Origin>,
    bytes: usize,
}

impl Delivery {
    /// The delivery to these targets of findings, of findings of modules in shadow, and of dead letters.
    pub fn new(findings: Sink, shadow: Sink, dead_letters: Sink) -> Delivery {
        Delivery { findings, shadow, dead_letters, open: Open::default() }
    }

    /// What is to be done before the first batch is read.
    pub fn start(&mut self, mut wait: Wait<'_>) -> Result<(), SinkError> {
        self.findings.start(&mut wait)?;
        self.dead_letters.start(&mut wait)
    }

    /// The size that a piece of output should have, in bytes.
    pub fn piece_bytes(&self) -> usize {
        let whole = [&self.findings, &self.shadow, &self.dead_letters].into_iter().any(Sink::is_waited_for);
        if whole { OPEN_BYTES_MAX } else { OUTPUT_BYTES_MAX }
    }

    /// Delivers a piece of a batch's output; [`Delivery::settle`] ends the batch. A finding that its sink refuses for good
    /// becomes a dead letter; a dead letter that is refused is an error, because nothing may be lost.
    pub fn deliver(&mut self, output: &mut Output, counts: &mut Counts, mut wait: Wait<'_>) -> Result<(), SinkError> {
        let findings: Vec<Outgoing<'_>> = output.findings.iter().map(|found| finding_message(output, found)).collect();
        let refused = self.findings.deliver(&findings, &mut wait)?;
        let shadow: Vec<Outgoing<'_>> = output.shadow.iter().map(|found| shadow_message(output, found)).collect();
        let dropped = self.shadow.deliver(&shadow, &mut wait)?;
        dropped.iter().for_each(|refused| self.drop_shadow(refused));
        for refused in refused {
            let Some(found) = output.findings.get(refused.index) else { continue };
            let payload = output.payload(&found.finding).to_vec();
            let letter = refused_letter(counts, found, refused.cause, payload);
            output.dead_letters.push(letter);
        }
        self.send_letters(&output.dead_letters, &mut wait)?;
        self.open.bytes += output.bytes();
        if matches!(self.findings, Sink::Kafka(_)) {
            self.open.findings.append(&mut output.findings);
        }
        if self.open.bytes > OPEN_BYTES_MAX { self.settle(counts, wait) } else { Ok(()) }
    }

    /// Waits until all that was delivered is acknowledged.
    pub fn settle(&mut self, counts: &mut Counts, mut wait: Wait<'_>) -> Result<(), SinkError> {
        let mut letters = Vec::new();
        for (refused, message) in self.findings.settle(&mut wait)? {
            let Some(found) = self.open.findings.get(refused.index) else { continue };
            letters.push(refused_letter(counts, found, refused.cause, message.payload));
        }
        self.open.findings.clear();
        self.open.bytes = 0;
        let dropped = self.shadow.settle(&mut wait)?;
        dropped.iter().for_each(|(refused, _)| self.drop_shadow(refused));
        self.bury(&letters, &mut wait)
    }

    /// What is to be done now and then while nothing comes.
    pub fn idle(&mut self) {
        self.findings.idle();
    }

    /// Delivers messages that are carried, and returns when all are acknowledged or refused for good.
    pub fn forward(&mut self, messages: &[Outgoing<'_>], wait: &mut Wait<'_>) -> Result<Vec<Refused>, SinkError> {
        let mut refused = self.findings.deliver(messages, wait)?;
        refused.extend(self.findings.settle(wait)?.into_iter().map(|(refused, _)| refused));
        Ok(refused)
    }

    /// Delivers dead letters, and returns when these and those before are acknowledged. One that is refused is an error, because
    /// nothing may be lost.
    pub fn bury(&mut self, letters: &[DeadLetter], wait: &mut Wait<'_>) -> Result<(), SinkError> {
        self.send_letters(letters, wait)?;
        let refused = self.dead_letters.settle(wait)?.into_iter().next();
        let letters = std::mem::take(&mut self.open.letters);
        refused.map_or(Ok(()), |(refused, _)| Err(self.letter_refused(letters.get(refused.index), refused.cause)))
    }

    fn send_letters(&mut self, letters: &[DeadLetter], wait: &mut Wait<'_>) -> Result<(), SinkError> {
        let messages: Vec<Outgoing<'_>> = letters.iter().map(letter_message).collect();
        if let Some(refused) = self.dead_letters.deliver(&messages, wait)?.into_iter().next() {
            let origin = letters.get(refused.index).map(|letter| &letter.origin);
            return Err(self.letter_refused(origin, refused.cause));
        }
        if matches!(self.dead_letters, Sink::Kafka(_)) {
            self.open.letters.extend(letters.iter().map(|letter| letter.origin.clone()));
        }
        Ok(())
    }

    fn letter_refused(&self, origin: Option<&Origin>, cause: String) -> SinkError {
        SinkError::DeadLetterRefused {
            name: self.dead_letters.name().to_owned(),
            topic: origin.map(|origin| origin.source.to_string()).unwrap_or_default(),
            partition: origin.map(|origin| origin.partition).unwrap_or_default(),
            offset: origin.map(|origin| origin.offset).unwrap_or_default(),
            cause,
        }
    }

    fn drop_shadow(&self, refused: &Refused) {
        tracing::warn!(target = self.shadow.name(), "a finding in shadow is dropped: {}", refused.cause);
    }
}

/// A finding as a message: its id is the key, so that repeats meet in one partition and compact.
fn finding_message<'a>(output: &'a Output, found: &'a Found) -> Outgoing<'a> {
    let finding = &found.finding;
    Outgoing {
        key: finding.id.as_bytes(),
        headers: vec![
            text("content-type", "application/json"),
            text("schema", format!("ocsf/{}/detection_finding", crate::finding::OCSF_VERSION)),
            text("rule", &finding.rule),
            text("severity", finding.severity.as_str()),
        ],
        payload: output.payload(finding),
    }
}

/// The same for a finding of a module in shadow, which can be told apart without being read.
fn shadow_message<'a>(output: &'a Output, found: &'a Found) -> Outgoing<'a> {
    let mut message = finding_message(output, found);
    message.headers.push(text("mode", "shadow"));
    message
}

/// A dead letter as a message: the original bytes are the value, cause and origin the headers. A message that was carried
/// keeps its key and its headers, which a replay gives back to it.
fn letter_message(letter: &DeadLetter) -> Outgoing<'_> {
    let mut headers = vec![
        text("trailhound.reason", letter.reason),
        text("trailhound.detail", &letter.detail),
        text("trailhound.topic", letter.origin.source.as_ref()),
        text("trailhound.partition", letter.origin.partition.to_string()),
        text("trailhound.offset", letter.origin.offset.to_string()),
        text("trailhound.entry", letter.position.entry.to_string()),
        text("trailhound.byte", letter.position.byte.to_string()),
    ];
    if let Some(failed) = &letter.failed {
        headers.push(text("trailhound.module", &failed.module));
        headers.push(text("trailhound.digest", &failed.digest));
        headers.push(text("trailhound.rules", &failed.rules));
    }
    let Some(carried) = &letter.carried else { return Outgoing { key: b"", headers, payload: &letter.original } };
    let own = carried.headers.iter().map(|(name, value)| (name.as_str(), Cow::from(value)));
    // Whatever a message says of itself, its letter says what is true.
    headers.extend(own.filter(|(name, _)| !name.starts_with("trailhound.")));
    Outgoing { key: &carried.key, headers, payload: &letter.original }
}

/// The dead letter of a finding that its sink has refused, which is counted.
fn refused_letter(counts: &mut Counts, found: &Found, cause: String, payload: Vec<u8>) -> DeadLetter {
    bump(&mut counts.refused, &found.finding.rule, 1);
    DeadLetter {
        reason: SINK_REFUSED,
        detail: cause,
        origin: found.origin.clone(),
        position: found.position,
        failed: None,
        carried: None,
        original: payload,
    }
}
