//! Carrying: a batch of messages goes to its target as it is. What the target refuses for good becomes a dead letter.

use std::borrow::Cow;

use crate::batch::{Batch, Envelope, Message, Origin};
use crate::counts::Counts;
use crate::dead_letters::SINK_REFUSED;
use crate::detect::{Carried, DeadLetter};
use crate::record::{Position, SkipKind};
use crate::sink::{Delivery, Outgoing, SinkError, Wait};

/// Where a message that is carried begins: it is not taken apart.
const WHOLE: Position = Position { entry: 0, byte: 0 };

/// Delivers `batch` and returns when all of it is acknowledged, or refused and a dead letter that is acknowledged.
pub fn carry(batch: &Batch, delivery: &mut Delivery, wait: &mut Wait<'_>) -> Result<Counts, SinkError> {
    let (mut counts, mut letters) = (Counts::default(), Vec::new());
    let (mut outgoing, mut of_outgoing) = (Vec::new(), Vec::new());
    for ((origin, message), envelope) in batch.iter().zip(batch.envelopes()) {
        match message {
            // What is marked as deleted has been carried, or will be: no target takes a finding back.
            Message::Tombstone => counts.skip(SkipKind::Tombstone),
            Message::Broken(bytes, reason, detail) => {
                counts.dead(reason);
                letters.push(letter(reason.as_str(), detail.to_owned(), origin, envelope, bytes));
            }
            Message::Bytes(payload) => {
                let headers = envelope.headers().map(|(name, value)| (name, Cow::Borrowed(value))).collect();
                outgoing.push(Outgoing { key: envelope.key, headers, payload });
                of_outgoing.push((origin, envelope, payload));
            }
        }
    }
    wait.metrics.in_hand(batch.origins().filter_map(|origin| origin.appended_ms).min());
    wait.metrics.sent(outgoing.len());
    let refused = delivery.forward(&outgoing, wait)?;
    counts.forward(outgoing.len().saturating_sub(refused.len()) as u64);
    for refused in refused {
        let Some((origin, envelope, original)) = of_outgoing.get(refused.index) else { continue };
        counts.refuse();
        letters.push(letter(SINK_REFUSED, refused.cause, origin, *envelope, original));
    }
    delivery.bury(&letters, wait)?;
    Ok(counts)
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
