//! The traffic against the reader that the pipeline has: what was made is what is read.

use std::collections::{BTreeMap, BTreeSet};

use sonic_rs::JsonValueTrait;

use super::framing::Framing;
use super::traffic::{Expected, RECORDS_MIN, SignIn, Traffic, traffic};
use crate::record::{Entry, ReadLimits, unpack};

/// Counts what the reader finds, as the maker counted it. An oracle of its own says which records are sign-ins of root.
fn read(traffic: &Traffic) -> (Expected, Vec<SignIn>) {
    let (mut read, mut sign_ins) = (Expected::default(), Vec::new());
    let (mut ids, mut root_ids) = (BTreeSet::new(), BTreeSet::new());
    for (at, message) in traffic.messages.iter().enumerate() {
        let before = read.entries;
        unpack(message.payload.as_deref(), &ReadLimits::default(), &mut |entry| {
            read.entries += 1;
            match entry {
                Entry::Passed => {}
                Entry::Skipped(kind) => *read.skipped.entry(kind.as_str()).or_default() += 1,
                Entry::Dead(dead) => *read.dead_lettered.entry(dead.reason.as_str()).or_default() += 1,
                Entry::Record(record) => {
                    read.records += 1;
                    let text = |path: &[&str]| record.tree().pointer(path).as_str().unwrap_or_default().to_owned();
                    ids.insert(text(&["eventID"]));
                    if text(&["eventName"]) == "ConsoleLogin"
                        && text(&["userIdentity", "type"]) == "Root"
                        && text(&["responseElements", "ConsoleLogin"]) == "Success"
                        && text(&["userIdentity", "sessionContext", "assumedRoot"]) != "true"
                    {
                        read.root_sign_ins += 1;
                        root_ids.insert(text(&["eventID"]));
                        let without_mfa = text(&["additionalEventData", "MFAUsed"]) == "No";
                        sign_ins.push(SignIn { message: at, entry: record.position.entry, without_mfa });
                    }
                }
            }
        });
        let found = read.entries - before;
        assert_eq!(found, message.entries as u64, "{:?} {:?}", message.framing, message.payload);
    }
    (read.event_ids, read.root_sign_ins_distinct) = (ids.len() as u64, root_ids.len() as u64);
    (read, sign_ins)
}

#[test]
fn what_was_made_is_what_is_read() {
    for (seed, records) in [(1, 6_000), (2, 500), (3, 777), (4, RECORDS_MIN), (u64::MAX, 2_000)] {
        let traffic = traffic(seed, records);
        assert_eq!(read(&traffic), (traffic.expected.clone(), traffic.sign_ins.clone()), "seed {seed}");
        assert_eq!(traffic.expected.entries, records as u64);
    }
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_seed_others() {
    let (one, again, other) = (traffic(1, 500), traffic(1, 500), traffic(2, 500));
    assert_eq!(one.messages, again.messages);
    assert_eq!(one.expected, again.expected);
    assert_eq!(one.sign_ins, again.sign_ins);
    assert_ne!(one.messages, other.messages);
}

#[test]
fn the_fewest_records_have_every_framing_and_every_kind() {
    let traffic = traffic(5, 0);
    assert_eq!(traffic.expected.entries, RECORDS_MIN as u64);
    let framings: BTreeSet<Framing> = traffic.messages.iter().map(|message| message.framing).collect();
    assert_eq!(framings, BTreeSet::from(Framing::ALL));
    let Expected { root_sign_ins, root_sign_ins_distinct, records, event_ids, .. } = traffic.expected;
    assert_eq!((root_sign_ins, root_sign_ins_distinct), (5, 4));
    assert!(event_ids < records, "no duplicates");
    assert_eq!(traffic.expected.skipped, BTreeMap::from([("control_message", 1), ("digest", 1), ("tombstone", 1)]));
    assert_eq!(traffic.expected.dead_lettered.values().sum::<u64>(), 1);
}

#[test]
fn the_first_messages_hold_no_finding() {
    for seed in 0..50 {
        let mut traffic = traffic(seed, RECORDS_MIN);
        traffic.messages.truncate(3);
        let (read, _) = read(&traffic);
        assert_eq!((read.root_sign_ins, read.records), (0, 3), "seed {seed}");
    }
}

#[test]
fn records_are_of_documentation_accounts_and_addresses_within_three_days() {
    for message in traffic(6, 2_000).messages {
        unpack(message.payload.as_deref(), &ReadLimits::default(), &mut |entry| {
            let Entry::Record(record) = entry else { return };
            let text = |path: &[&str]| record.tree().pointer(path).as_str().unwrap_or_default().to_owned();
            let (address, time) = (text(&["sourceIPAddress"]), text(&["eventTime"]));
            let documented =
                ["192.0.2.", "198.51.100.", "203.0.113."].iter().any(|network| address.starts_with(network));
            assert!(documented || address.ends_with(".amazonaws.com"), "{address}");
            assert!(("2025-06-02T05:54".."2025-06-05T06:00").contains(&time.as_str()), "{time}");
            assert!((400..4_000).contains(&record.raw.len()), "{} bytes", record.raw.len());
        });
    }
}
