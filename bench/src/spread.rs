//! Figures of several rounds, summed up.

use serde::Serialize;

/// Median, least and most.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of these figures; not a number where there are none.
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Spread { median: (at(last / 2) + at(sorted.len() / 2)) / 2.0, min: at(0), max: at(last) }
    }
}
