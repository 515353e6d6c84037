//! Trailhound: a streaming detection pipeline for AWS CloudTrail.
//!
//! Everything is one loop ([`pipeline::run`]): a [`source`] hands over a batch of messages, [`detect`] reads them
//! ([`record`]), lets the [`rules`] look at them and makes [`finding`]s, a [`sink`] delivers these, and only then do
//! the source's offsets move. A pipeline without rules [`carry`]s messages as they are, in the same loop. [`config`] says which pipelines there are; [`cli`] is the program around them.

#![forbid(unsafe_code)]

pub mod admin;
pub mod batch;
pub mod carry;
pub mod cli;
pub mod config;
pub mod counts;
pub mod dead_letters;
pub mod demo;
pub mod detect;
pub mod finding;
pub mod kafka;
pub mod metrics;
pub mod overview;
mod peek;
pub mod pipeline;
pub mod record;
pub mod rules;
pub mod secret;
pub mod shutdown;
pub mod sink;
pub mod source;
pub mod swap;
