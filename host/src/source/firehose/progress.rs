//! Whether deliveries work, for the load balancer's health check.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long no delivery may end, while workers have some in hand, until the endpoint says that it is not well.
const STALLED: Duration = Duration::from_secs(10);

/// What the workers of one endpoint are doing.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Workers with a batch in hand.
    busy: usize,
    /// When a delivery ended last, or the first one began.
    since: Option<Instant>,
}

impl Progress {
    /// A worker has taken a batch.
    pub(super) fn taken(&self) {
        let mut state = self.lock();
        if state.busy == 0 {
            state.since = Some(Instant::now());
        }
        state.busy += 1;
    }

    /// A worker has delivered its batch.
    pub(super) fn delivered(&self) {
        let mut state = self.lock();
        state.busy = state.busy.saturating_sub(1);
        state.since = Some(Instant::now());
    }

    /// How long nothing has been delivered although something is in hand, where that is too long at `now`.
    pub(super) fn stalled(&self, now: Instant) -> Option<Duration> {
        let state = self.lock();
        let since = state.since.filter(|_| state.busy > 0)?;
        Some(now.saturating_duration_since(since)).filter(|stalled| *stalled >= STALLED)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stalls_when_nothing_in_hand_is_delivered_for_long() {
        let progress = Progress::default();
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert_eq!(progress.stalled(later(1_000)), None, "nothing to do is no fault");
        progress.taken();
        assert_eq!(progress.stalled(later(9)), None);
        assert!(progress.stalled(later(11)).is_some());
        progress.taken();
        progress.delivered();
        assert_eq!(progress.stalled(later(9)), None, "one of two workers delivers");
        assert!(progress.stalled(later(11)).is_some());
        progress.delivered();
        assert_eq!(progress.stalled(later(11)), None);
    }
}
