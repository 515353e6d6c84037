//! The table of faults.

use super::{Scene, brokers, failing, rules, sinks, workers};
use crate::trailhound::{Delivery, Trailhound};

/// Messages a second in full: two cores carry the cluster, the program and the check besides.
pub(super) const PER_SECOND: u32 = 10_000;

/// What the program can promise. A row runs once for each.
pub const MODES: &[Delivery] = &[Delivery::AtLeastOnce, Delivery::ExactlyOnce];

/// A kind of fault.
#[derive(Debug)]
pub struct Row {
    /// Its name, and the beginning of its topics' names.
    pub name: &'static str,
    /// What happens, and what must not, in a line.
    pub what: &'static str,
    /// Faults in full.
    pub full: u32,
    /// Faults in short.
    pub short: u32,
    /// Whether a pipeline that delivers exactly once can have this fault.
    pub exactly_once: bool,
    /// Starts programs, causes `scene.rounds()` faults, and returns the programs that run.
    pub act: fn(&mut Scene<'_>) -> Vec<Trailhound>,
}

impl Row {
    /// What a pipeline may promise in this row.
    pub fn modes(&self) -> impl Iterator<Item = Delivery> {
        [Delivery::AtLeastOnce, Delivery::ExactlyOnce]
            .into_iter()
            .filter(|delivery| self.exactly_once || *delivery == Delivery::AtLeastOnce)
    }
}

/// All kinds of faults.
pub const ROWS: &[Row] = &[
    Row {
        name: "kill9-worker",
        what: "a program is killed at any moment, as offsets move, and while its sink holds it up",
        full: 50,
        short: 3,
        exactly_once: true,
        act: workers::kill9,
    },
    Row {
        name: "brokers",
        what: "one broker after the other is killed, and now and then two at once",
        full: 20,
        short: 3,
        exactly_once: true,
        act: brokers::kill9,
    },
    Row {
        name: "members",
        what: "programs join, leave, have one name, and freeze for longer than the session and than the poll interval",
        full: 30,
        short: 5,
        exactly_once: true,
        act: workers::members,
    },
    Row {
        name: "network",
        what: "the network to one broker is cut, stalls, or is slow",
        full: 20,
        short: 3,
        exactly_once: true,
        act: brokers::network,
    },
    Row {
        name: "sink-refuses",
        what: "the findings' topic takes nothing of that size, is deleted, or is forbidden",
        full: 6,
        short: 3,
        exactly_once: true,
        act: sinks::refuses,
    },
    Row {
        name: "dead-letter-file",
        what: "the disk of the dead letters' file is full, or read-only",
        full: 2,
        short: 2,
        exactly_once: false,
        act: sinks::dead_letter_file,
    },
    Row {
        name: "swaps",
        what: "a module is swapped for another version, at full rate",
        full: 1_000,
        short: 40,
        exactly_once: false,
        act: rules::swaps,
    },
    Row {
        name: "swaps-broker-down",
        what: "ten swaps with a broker down, one broker after the other",
        full: 6,
        short: 1,
        exactly_once: true,
        act: rules::swaps_broker_down,
    },
    Row {
        name: "bad-modules",
        what: "what must not go live is published, or put into the folder",
        full: 30,
        short: 15,
        exactly_once: false,
        act: rules::bad_modules,
    },
    Row {
        name: "failing-modules",
        what: "a module traps, loops, eats memory or lies on some events, is set aside, is mended, and sees what it missed",
        full: 10,
        short: 4,
        exactly_once: true,
        act: failing::modules,
    },
    Row {
        name: "soak",
        what: "a swap a second for a long time, at a tenth of the rate: memory, threads and files stay",
        full: 600,
        short: 10,
        exactly_once: false,
        act: rules::soak,
    },
    Row {
        name: "swap-cost",
        what: "what lies ready is worked off, in turn without swaps and with one a second: both rates are in the notes",
        full: 6,
        short: 2,
        exactly_once: false,
        act: rules::cost,
    },
];
