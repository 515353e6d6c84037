//! All black-box tests, in one binary: one link step, and one broker for every test that does not break it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod carry;
mod chaos;
mod configuration;
mod contract;
mod corpus;
mod data_sets;
mod dead_letters;
mod detection;
mod disk_full;
mod end_to_end;
mod exactly_once;
mod hostile_calls;
mod hostile_modules;
mod hostile_program;
mod ingest;
mod ingest_kills;
mod kafka_errors;
mod kafka_topics;
mod program;
mod real_kafka;
mod restarts;
mod scan;
mod siem_archive;
mod siem_hec;
mod siem_neighbours;
mod siem_opensearch;
mod siem_syslog;
mod siem_webhook;
mod siem_whole_way;
mod sink_down;
mod start;
mod start_carrying;
mod status;
mod swaps;
mod tidy;
