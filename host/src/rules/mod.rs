//! Rules: modules, what is live of them, and how a record meets them.
//!
//! A module goes through [`Module::load`] (`header`, `module`, `prove`; refused with a [`Refusal`]) into a [`RuleSet`].
//! A worker's [`Evaluator`] selects by the set's index (`select`), packs the fields (`project`), makes one `call` a
//! module and batch into an `instance`, and checks the answer as hostile input (`hits`).

mod build;
mod cache;
mod call;
pub mod contract;
mod engine;
mod evaluate;
mod header;
mod hits;
mod instance;
mod limits;
mod module;
mod parallel;
mod path;
mod project;
mod prove;
mod quarantine;
mod refusal;
mod select;
mod set;
mod shared;
mod slot;

pub use build::{BuildError, Built, build, build_unproved};
pub use cache::{Cache, CacheConfig, CacheError};
pub use engine::Engine;
pub use evaluate::{Evaluator, Outcome};
#[cfg(test)]
pub(crate) use hits::tests::told;
pub use hits::{Hit, Hits, Labels};
pub use instance::Fault;
pub use limits::{RuleLimits, cut};
pub use module::{Module, digest as module_digest, read as read_module};
pub use parallel::on_all_cores;
pub use prove::{ExampleOutcome, run as prove};
pub use refusal::Refusal;
pub use set::{Member, Mode, Refused, RuleSet, SHADOW_MARK, module_files, name_of};
