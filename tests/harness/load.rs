//! Records that keep arriving while a test breaks things.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::kafka::{Client, Outgoing};
use crate::records::{FindingKey, Records, findings_of};

/// Records in a portion; each portion is acknowledged before the next is made.
const PORTION: usize = 50;
/// One record in so many fires.
const ROOT_EVERY: usize = 25;

/// A thread that produces records, one a message, until it is told to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    produced: Arc<AtomicU64>,
    thread: Option<JoinHandle<BTreeSet<FindingKey>>>,
}

impl Load {
    /// Starts producing to a topic.
    pub fn start(client: Client, topic: &str, seed: u64) -> Load {
        let (stop, produced) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&produced));
        let topic = topic.to_owned();
        let thread = std::thread::spawn(move || {
            // Without its own stickiness the producer fills one partition after the other.
            let producer = client.producer(&topic, &[("sticky.partitioning.linger.ms", "0")]);
            let mut records = Records::new(seed);
            let mut expected = BTreeSet::new();
            while !stopped.load(Ordering::SeqCst) {
                let portion = records.take(PORTION, ROOT_EVERY);
                let messages: Vec<Outgoing> =
                    portion.iter().map(|record| Outgoing::value(record.to_string())).collect();
                producer.send_all(&messages);
                expected.extend(findings_of(&portion));
                count.fetch_add(PORTION as u64, Ordering::SeqCst);
            }
            expected
        });
        Load { stop, produced, thread: Some(thread) }
    }

    /// How many records were acknowledged so far.
    pub fn produced(&self) -> u64 {
        self.produced.load(Ordering::SeqCst)
    }

    /// Stops, and returns what the records must lead to.
    pub fn finish(mut self) -> BTreeSet<FindingKey> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("the load is finished once");
        thread.join().expect("everything was produced")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
