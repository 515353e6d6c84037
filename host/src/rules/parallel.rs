//! Many modules at once, on all cores: for the start, when no worker runs yet that would miss them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, available_parallelism, scope};

/// Does `work` for every item, on as many threads as there are cores, this one among them. The results are in the order of
/// the items, whichever was done first.
pub fn on_all_cores<T: Sync, R: Send + Sync>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let results: Vec<OnceLock<R>> = items.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let take = || {
        while let Some((item, result)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).zip(results.get(index))
        } {
            result.get_or_init(|| work(item));
        }
    };
    let threads = available_parallelism().map_or(1, usize::from).min(items.len());
    scope(|scope| {
        for _ in 1..threads {
            // A thread that cannot be had leaves its part to the others.
            let _ = Builder::new().name("rules-start".to_owned()).spawn_scoped(scope, take);
        }
        take();
    });
    results.into_iter().filter_map(OnceLock::into_inner).collect()
}

#[cfg(test)]
mod tests {
    use super::on_all_cores;

    #[test]
    fn results_are_in_the_order_of_their_items() {
        let items: Vec<usize> = (0..1_000).collect();
        assert_eq!(on_all_cores(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert!(on_all_cores(&[], |item: &usize| *item).is_empty());
    }
}
