//! The Kafka sink of exactly-once: it sends within the worker's transaction, which the source commits with its offsets.

use std::sync::Arc;

use super::{Outgoing, Refused, SinkError, Wait};
use crate::kafka::Transaction;

/// A topic within the transactions of a worker.
pub struct TransactionSink {
    topic: String,
    transaction: Arc<Transaction>,
}

impl TransactionSink {
    /// A sink for `topic` within `transaction`.
    pub fn new(topic: &str, transaction: &Arc<Transaction>) -> TransactionSink {
        TransactionSink { topic: topic.to_owned(), transaction: Arc::clone(transaction) }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Takes the transactional id before anything is read: who has it else is fenced, and what was open is over.
    pub(super) fn start(&self, wait: &mut Wait<'_>) -> Result<(), SinkError> {
        Ok(self.transaction.init(&mut || wait.turn())?)
    }

    /// Sends `messages` within the transaction. They count once it is committed.
    pub(super) fn deliver(&self, messages: &[Outgoing<'_>], wait: &mut Wait<'_>) -> Result<Vec<Refused>, SinkError> {
        if self.transaction.begin(&mut || wait.turn())? {
            // Now, and not when it commits: the brokers are to hold the offsets against what the group looked like when
            // the batch was this worker's. A later word would speak for partitions that somebody else has by then.
            let member = wait.source.membership();
            self.transaction.enter(member, &mut || wait.turn())?;
        }
        let refused = self.transaction.produce(&self.topic, messages, &mut || wait.turn())?;
        Ok(refused.into_iter().map(|(index, cause)| Refused { index, cause }).collect())
    }
}
