//! Write a Trailhound detection rule: name the fields, write a function, list the examples.
//!
//! ```
//! use trailhound_rule::prelude::*;
//!
//! fields! { Deletion {
//!     user:    "userIdentity.userName",
//!     outcome: "errorCode",
//! } }
//!
//! fn trail_deleted(e: &Deletion) -> Option<Hit> {
//!     let deleted = e.outcome().is_absent();
//!     deleted.then(|| Hit::new().label("user", e.user()))
//! }
//!
//! module! { trail_deleted, version: "1.0.0", rules: [
//!     rule("EX-001", "A trail was deleted")
//!         .severity(High)
//!         .select("eventName", ["DeleteTrail"])
//!         .fires("a deletion", r#"{ "eventName": "DeleteTrail", "userIdentity": { "userName": "ada" } }"#)
//!         .quiet("a refused one", r#"{ "eventName": "DeleteTrail", "errorCode": "AccessDenied" }"#)
//!         .when(trail_deleted),
//! ] }
//! # fn main() { trailhound_rule::testing::assert_examples(module()) }
//! ```
//!
//! A second rule is one more function and one more `rule(…)`. Rules may share a `fields!` or have one each, so a
//! large module is many small files: each offers `pub fn rules() -> Vec<Rule>`, and `module!` takes any `Vec` of them.
//!
//! The crate of a rule module has `crate-type = ["cdylib"]` and depends on nothing but this crate. It is built for
//! `wasm32-unknown-unknown`, and what comes out imports nothing but the contract's `log`. A rule is a function of one
//! event: it has no clock, no randomness, no files and no memory of other events, and should keep none in statics. A
//! rule that panics traps: the host dead-letters the event for that rule and goes on.

#![deny(unsafe_code)]

pub mod contract;
mod field;
mod fields;
mod hit;
pub mod log;
mod module;
mod rule;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use field::Field;
pub use fields::{Fields, Row};
pub use hit::Hit;
pub use module::Module;
pub use rule::{Draft, Rule, rule};

/// All that a rule file needs: `use trailhound_rule::prelude::*;`
pub mod prelude {
    pub use crate::contract::exports::trailhound::rule::detection::Severity::{
        self, Critical, Fatal, High, Informational, Low, Medium,
    };
    pub use crate::{Field, Hit, Rule, fields, log, module, rule};
}
