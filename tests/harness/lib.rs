//! The harness: real parts started for one test and gone with it, and the program itself as a child process.
//!
//! Everything here panics when the harness itself cannot do its work: a test has no use for such an error. Nothing
//! waits for a time; what must happen is polled for with a deadline, in [`wait`] alone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

pub mod audit;
pub mod chaos;
pub mod child;
pub mod disk;
pub mod findings;
pub mod firehose;
pub mod folder;
pub mod framing;
pub mod guest;
pub mod http;
mod install;
pub mod kafka;
pub mod load;
pub mod measure;
pub mod process;
pub mod proxy;
pub mod random;
pub mod records;
pub mod siem;
pub mod traffic;
pub mod trailhound;
pub mod verdict;
pub mod wait;

/// Prints a line for the person who runs the tests, also when the test passes: the test runner captures `println!`.
pub fn say(line: &str) {
    use std::io::Write as _;
    let _told = writeln!(std::io::stderr(), "{line}");
}
