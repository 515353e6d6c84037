//! What is made of bytes once and shared by all that have the same bytes: modules that differ in their settings alone have
//! one compiled code.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Things by digest, each for as long as somebody has it. It holds nothing alive itself, so it needs no limit.
pub(super) struct Shared<T> {
    slots: Mutex<HashMap<String, Arc<Slot<T>>>>,
}

/// Locked while its thing is made, so that others who want the same wait for it and do not make it again.
type Slot<T> = Mutex<Weak<T>>;

impl<T> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared { slots: Mutex::default() }
    }
}

impl<T> Shared<T> {
    /// The thing of this digest: the one that is there, or else what `make` makes. What cannot be made is not noted.
    pub(super) fn get<E>(&self, digest: &str, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let slot = {
            let mut slots = lock(&self.slots);
            // A slot that only the map has is locked by nobody.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || lock(slot).strong_count() > 0);
            Arc::clone(slots.entry(digest.to_owned()).or_default())
        };
        let mut slot = lock(&slot);
        if let Some(there) = slot.upgrade() {
            return Ok(there);
        }
        let made = Arc::new(make()?);
        *slot = Arc::downgrade(&made);
        Ok(made)
    }

    /// How many are alive.
    pub(super) fn len(&self) -> usize {
        let slots: Vec<Arc<Slot<T>>> = lock(&self.slots).values().map(Arc::clone).collect();
        slots.iter().filter(|slot| lock(slot).strong_count() > 0).count()
    }
}

/// Nothing is left half done under these locks, so a panic of another thread changes nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn make(shared: &Shared<u32>, digest: &str, value: u32) -> Arc<u32> {
        shared.get(digest, || Ok::<_, ()>(value)).unwrap()
    }

    #[test]
    fn a_thing_is_made_once_for_as_long_as_somebody_has_it() {
        let shared = Shared::default();
        let one = make(&shared, "a", 1);
        assert!(Arc::ptr_eq(&one, &make(&shared, "a", 2)));
        assert_eq!(*make(&shared, "b", 3), 3);
        assert_eq!(shared.len(), 1);
        drop(one);
        assert_eq!(*make(&shared, "a", 4), 4);
        assert_eq!(shared.len(), 0);
        let _ = make(&shared, "c", 5);
        assert_eq!(shared.slots.lock().unwrap().len(), 1, "slots that nobody uses are gone");
    }

    #[test]
    fn what_cannot_be_made_is_tried_again() {
        let shared = Shared::default();
        assert_eq!(shared.get("a", || Err::<u32, _>("no")), Err("no"));
        assert_eq!(*make(&shared, "a", 1), 1);
    }

    #[test]
    fn who_comes_while_it_is_made_waits_for_it() {
        let (shared, made) = (Shared::default(), AtomicUsize::new(0));
        let all: Vec<Arc<usize>> = std::thread::scope(|scope| {
            let get = || shared.get("a", || Ok::<_, ()>(made.fetch_add(1, Ordering::Relaxed))).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(get)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // All are held until the last is there, so one was made.
        assert!(all.iter().all(|one| **one == 0));
    }
}
