//! Carrying: a batch of messages goes to its target as it is, without what a pipeline leaves out. What the target refuses for
//! good becomes a dead letter.

mod filter;
mod redact;

use std::borrow::Cow;

pub use filter::{Filter, SEVERITIES, Shadow};
pub use redact::Redact;

use crate::batch::{Batch, Envelope, Message, Origin};
use crate::counts::Counts;
use crate::dead_letters::SINK_REFUSED;
use crate::detect::{Carried, DeadLetter};
use crate::record::{DeadReason, Position, SkipKind};
use crate::sink::{Delivery, Outgoing, SinkError, Wait};

/// Where a message that is carried begins: it is not taken apart.
const WHOLE: Position = Position { entry: 0, byte: 0 };

/// What a pipeline leaves out. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Which messages are carried.
    pub filter: Filter,
    /// What is taken out of them.
    pub redact: Redact,
}

/// A message on its way, redacted, and what it was.
struct Passing<'a> {
    origin: &'a Origin,
    envelope: Envelope<'a>,
    original: &'a [u8],
    payload: Cow<'a, [u8]>,
}

/// Delivers `batch` and returns when all of it is acknowledged, or refused and a dead letter that is acknowledged.
pub fn carry(route: &Route, batch: &Batch, delivery: &mut Delivery, wait: &mut Wait<'_>) -> Result<Counts, SinkError> {
    let (mut counts, mut letters, mut passing) = (Counts::default(), Vec::new(), Vec::new());
    for ((origin, message), envelope) in batch.iter().zip(batch.envelopes()) {
        match message {
            // What is marked as deleted has been carried, or will be: no target takes a finding back.
            Message::Tombstone => counts.skip(SkipKind::Tombstone),
            Message::Broken(bytes, reason, detail) => {
                counts.dead(reason);
                letters.push(letter(reason.as_str(), detail.to_owned(), origin, envelope, bytes));
            }
            Message::Bytes(payload) if !route.filter.wants(&envelope, payload) => counts.filter(),
            Message::Bytes(original) => match route.redact.apply(original) {
                Ok(payload) => passing.push(Passing { origin, envelope, original, payload }),
                Err(detail) => {
                    counts.dead(DeadReason::InvalidJson);
                    let detail = format!("it cannot be redacted: {detail}");
                    letters.push(letter(DeadReason::InvalidJson.as_str(), detail, origin, envelope, original));
                }
            },
        }
    }
    let outgoing: Vec<Outgoing<'_>> = passing.iter().map(Passing::outgoing).collect();
    wait.metrics.in_hand(batch.origins().filter_map(|origin| origin.appended_ms).min());
    wait.metrics.sent(outgoing.len());
    let refused = delivery.forward(&outgoing, wait)?;
    counts.forward(outgoing.len().saturating_sub(refused.len()) as u64);
    for refused in refused {
        let Some(Passing { origin, envelope, original, .. }) = passing.get(refused.index) else { continue };
        counts.refuse();
        letters.push(letter(SINK_REFUSED, refused.cause, origin, *envelope, original));
    }
    delivery.bury(&letters, wait)?;
    Ok(counts)
}

impl Passing<'_> {
    fn outgoing(&self) -> Outgoing<'_> {
        let headers = self.envelope.headers().map(|(name, value)| (name, Cow::Borrowed(value))).collect();
        Outgoing { key: self.envelope.key, headers, payload: &self.payload }
    }
}

fn letter(
    reason: &'static str,
    detail: String,
    origin: &Origin,
    envelope: Envelope<'_>,
    original: &[u8],
) -> DeadLetter {
    let headers = envelope.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    DeadLetter {
        reason,
        detail,
        origin: origin.clone(),
        position: WHOLE,
        failed: None,
        carried: Some(Carried { key: envelope.key.to_vec(), headers }),
        original: original.to_vec(),
    }
}
