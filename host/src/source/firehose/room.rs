//! The room for requests in memory: every byte of a body is reserved before it is read, so that what clients do
//! together is limited, however many they are.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::FirehoseMetrics;

/// Room is counted in units of so many bytes.
const UNIT_BYTES: usize = 1 << 10;

/// What each request takes besides its body, in bytes: its headers and its place in the queue. So a flood of empty
/// requests is limited too.
pub(super) const REQUEST_BYTES: usize = 4 << 10;

/// The room for all requests that are read, wait, or are delivered.
#[derive(Clone, Debug)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    metrics: FirehoseMetrics,
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    permit: OwnedSemaphorePermit,
    metrics: FirehoseMetrics,
}

impl Room {
    /// Room for `bytes_max`.
    pub(super) fn new(bytes_max: usize, metrics: FirehoseMetrics) -> Room {
        Room { free: Arc::new(Semaphore::new(units(bytes_max) as usize)), metrics }
    }

    /// Reserves room for a request with a body of `bytes`. None when there is none now.
    pub(super) fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let units = units(bytes.saturating_add(REQUEST_BYTES));
        let permit = Arc::clone(&self.free).try_acquire_many_owned(units).ok()?;
        self.metrics.reserved(permit_bytes(&permit));
        Some(Reservation { permit, metrics: self.metrics.clone() })
    }
}

impl Reservation {
    /// Reserves `bytes` more. False when there is no room for them now.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let Ok(more) = Arc::clone(self.permit.semaphore()).try_acquire_many_owned(units(bytes)) else {
            return false;
        };
        self.metrics.reserved(permit_bytes(&more));
        self.permit.merge(more);
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.metrics.reserved(-permit_bytes(&self.permit));
    }
}

fn permit_bytes(permit: &OwnedSemaphorePermit) -> i64 {
    i64::try_from(permit.num_permits() * UNIT_BYTES).unwrap_or(i64::MAX)
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_given_than_there_is_and_what_is_given_back_is_given_again() {
        let metrics = FirehoseMetrics::for_tests();
        let room = Room::new(100 << 10, metrics.clone());
        let mut first = room.reserve(50 << 10).unwrap();
        assert!(room.reserve(50 << 10).is_none(), "the requests themselves take room");
        let second = room.reserve(1).unwrap();
        assert!(first.grow(40 << 10) && !first.grow(2 << 10));
        assert_eq!(metrics.in_flight_bytes(), (54 + 5 + 40) << 10);
        drop(second);
        assert!(first.grow(2 << 10));
        drop(first);
        assert_eq!(metrics.in_flight_bytes(), 0);
        assert!(room.reserve(96 << 10).is_some());
        let flood: Vec<_> = std::iter::from_fn(|| room.reserve(0)).collect();
        assert_eq!(flood.len(), 25);
    }
}
