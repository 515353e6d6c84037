//! The wish to stop, and how long a drain may take.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Shared by the signal handler and the workers.
#[derive(Debug)]
pub struct Shutdown {
    requested: AtomicBool,
    deadline: OnceLock<Instant>,
    drain_max: Duration,
}

impl Shutdown {
    /// A stop that, once requested, gives deliveries in progress `drain_max`.
    pub fn new(drain_max: Duration) -> Shutdown {
        Shutdown { requested: AtomicBool::new(false), deadline: OnceLock::new(), drain_max }
    }

    /// Asks everybody to stop after the batch in hand. The first request sets the deadline.
    pub fn request(&self) {
        let _ = self.deadline.set(Instant::now() + self.drain_max);
        self.requested.store(true, Ordering::Release);
    }

    /// Whether a stop was asked for.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Whether the drain has taken too long: a delivery in progress is given up and nothing of it is committed.
    pub fn expired(&self) -> bool {
        self.requested() && self.deadline.get().is_some_and(|deadline| Instant::now() >= *deadline)
    }
}
