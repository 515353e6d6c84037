//! Waiting for a condition with a deadline: the one place of the tests that pauses.

use std::time::{Duration, Instant};

/// How long a condition that must come true may take on a loaded machine, where a test names no time of its own.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long to pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` answers, and returns the answer; `None` when `deadline` passes first.
pub fn poll<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Looks until `look` answers, and returns the answer.
///
/// # Panics
/// When `deadline` passes first; the message says what was waited for.
#[track_caller]
pub fn until<T>(deadline: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    match poll(deadline, look) {
        Some(answer) => answer,
        None => panic!("waited {deadline:?} in vain for: {what}"),
    }
}

/// Waits until `holds` is true.
///
/// # Panics
/// When `deadline` passes first; the message says what was waited for.
#[track_caller]
pub fn until_true(deadline: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    until(deadline, what, || holds().then_some(()));
}

/// Lets time pass, where a length of time is itself what happens: a network is cut, a program stands still.
pub fn pause(length: Duration) {
    let _nobody_answers = poll(length, || None::<()>);
}
