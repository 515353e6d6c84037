//! The demo: made-up CloudTrail traffic through the real pipeline, on a Kafka that lives in this process.
//!
//! | file | subject |
//! |---|---|
//! | `traffic.rs` | the stream: which entries in which messages, and what must come of them |
//! | `record.rs`, `scene.rs` | the records: everyday calls; sign-ins and what else happens now and then |
//! | `framing.rs`, `random.rs` | the forms that records arrive in; numbers from a seed |
//! | `run.rs` | the steps of the demo |
//! | `fleet.rs`, `play.rs` | the keeper of the rules, and what an operator does to it while records flow |
//! | `kafka.rs`, `workers.rs` | librdkafka's mock cluster, a producer and a reader; the workers of the pipeline |
//! | `show.rs`, `balance.rs` | what a person sees; whether all counters agree with the maker of the traffic |
//! | `generations.rs` | whether every finding is of a generation that had its module, and none is missing |
//!
//! [`traffic()`] is for tests and benchmarks too: it has no clock and no state. The rest shows; it is no test of
//! delivery, because the mock cluster keeps 5 MB a partition, in memory.

mod balance;
mod fleet;
mod framing;
mod generations;
mod kafka;
mod play;
mod random;
mod record;
mod run;
#[cfg(test)]
mod run_tests;
mod scene;
mod show;
mod traffic;
#[cfg(test)]
mod traffic_tests;
mod workers;

pub use fleet::Offered;
pub use framing::Framing;
pub use run::{DemoError, RECORDS_MAX, Settings, run};
pub use show::Look;
pub use traffic::{Expected, Message, RECORDS_MIN, SignIn, Traffic, traffic};

/// The rules that find what the traffic holds: a sign-in of the root user, and one without MFA. Nothing outside the demo
/// names a rule.
const ROOT_SIGN_IN: &str = "RTM-001";
const ROOT_WITHOUT_MFA: &str = "RTM-002";
