//! Progress: a line on a terminal that is written over; nothing in a pipe.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line is written anew.
const EVERY: Duration = Duration::from_millis(250);

/// A line on standard error.
pub(super) struct Progress {
    on: bool,
    shown: Instant,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { on: std::io::stderr().is_terminal(), shown: Instant::now() }
    }

    /// Shows what `text` says, when it is time.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.on && self.shown.elapsed() > EVERY {
            self.shown = Instant::now();
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", text());
        }
    }

    pub(super) fn clear(&self) {
        if self.on {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
