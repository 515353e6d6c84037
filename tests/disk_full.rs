//! A disk that is really full: what was acknowledged is there, what was not is not committed, and with room again everything
//! is there. Skipped where this user may not mount a disk (see `harness::disk`), also on a build server.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use harness::disk::Disk;
use harness::kafka::{Client, Kafka, Outgoing};
use harness::siem::{Finding, Forward};
use harness::trailhound::{Config, STOP, Trailhound};
use serde_json::Value;

/// How often each finding is in the archive's files with this ending. A torn end is no matter of a file that is written.
#[track_caller]
fn archived(folder: &Path, ending: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the folder") {
        let file = entry.expect("an entry").path();
        if !file.to_string_lossy().ends_with(ending) {
            continue;
        }
        let mut bytes = Vec::new();
        let read = std::io::Read::read_to_end(&mut MultiGzDecoder::new(fs::File::open(&file).expect("it")), &mut bytes);
        assert!(read.is_ok() || ending == ".part", "{}: {read:?}", file.display());
        for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let event: Value = serde_json::from_slice(line).expect("a line of JSON");
            *found.entry(event["finding_info"]["uid"].as_str().expect("an id").to_owned()).or_default() += 1;
        }
    }
    found
}

#[test]
fn an_archive_waits_for_room_and_loses_and_repeats_nothing() {
    const COUNT: usize = 20_000;
    let (Some(kafka), Some(disk)) = (Kafka::shared(), Disk::new(256)) else { return };
    let client = kafka.client();
    let sink =
        format!("{{ archive = {{ directory = {:?}, retry_ms_max = 300, file_bytes_max = 32768 }} }}", disk.path());
    let forward = Forward::new(kafka, "full-archive", 2, &sink, "batch = { messages_max = 100 }");
    let mut program = Trailhound::start_in(&forward.config, |program| disk.within(&program));
    program.until_ready();
    // A worker that joins later takes a partition in the middle of a delivery, which is then repeated.
    program.until_joined(forward.config.workers as usize);
    let sent = Finding::some(0, COUNT);
    forward.produce(&client, &sent, None);
    let down = |program: &Trailhound| program.metrics().sum("trailhound_target_down", &[]);
    program.until("both workers to find it full", |program| (down(program) == 2).then_some(()));
    assert!(program.stderr().contains("cannot be written: No space left on device"), "{}", program.stderr());
    let (_, status) = program.page("/status").expect("the page");
    assert!(status.contains("No space left on device"), "{status}");
    // Of all that is committed each finding is there, once, whether its file is complete or not.
    let committed = forward.committed(&client);
    let [complete, part] = [".ndjson.gz", ".part"].map(|ending| archived(&disk.seen(), ending));
    let there = complete.len() + part.len();
    assert!(there as i64 >= committed && there < COUNT, "{there} are there, {committed} are committed");
    assert!(complete.values().chain(part.values()).all(|times| *times == 1));

    // A little room for a while, then enough.
    disk.resize(384);
    program.until("more to be written", |_| (forward.committed(&client) > committed).then_some(()));
    program.until("it to be full again", |program| (down(program) == 2).then_some(()));
    disk.resize(64 << 10);
    forward.until_done(&client);
    program.stop().assert_balanced();
    let found = archived(&disk.seen(), ".ndjson.gz");
    let ids: BTreeSet<&String> = sent.iter().map(|finding| &finding.id).collect();
    assert_eq!(found.keys().collect::<BTreeSet<_>>(), ids);
    assert!(found.values().all(|times| *times == 1), "what failed left nothing");
    assert!(archived(&disk.seen(), ".part").is_empty());
}

/// The places of the dead letters in a file, each of whose lines is whole.
#[track_caller]
fn letters(file: &Path) -> BTreeSet<(i32, i64)> {
    let text = fs::read_to_string(file).expect("the file");
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
    let place = |line: &str| {
        let letter: Value = serde_json::from_str(line).expect("a line of JSON");
        let number = |name: &str| letter[name].as_str().expect("a number").parse::<i64>().expect("a number");
        (i32::try_from(number("partition")).expect("a partition"), number("offset"))
    };
    text.lines().map(place).collect()
}

/// How many messages of each partition are committed.
fn committed(client: &Client, name: &str) -> Vec<i64> {
    client.committed(name, &format!("{name}.cloudtrail")).into_iter().map(|offset| offset.unwrap_or(0)).collect()
}

#[test]
fn a_file_of_dead_letters_stops_the_program_with_every_letter_that_is_committed() {
    const COUNT: usize = 3_000;
    let (Some(kafka), Some(disk)) = (Kafka::shared(), Disk::new(128)) else { return };
    let (client, name) = (kafka.client(), "full-letters");
    client.create_topics(name, 4, &[]);
    let mut config = Config::new(&kafka.bootstrap(), name);
    let file = disk.path().join("dead.ndjson");
    config.workers = 4;
    config.dead_letters = format!("{{ file = {{ path = {file:?} }} }}");
    config.more = "batch = { messages_max = 10 }".to_owned();
    let bad: Vec<Outgoing> = (0..COUNT).map(|number| Outgoing::value(format!("no JSON: {number}"))).collect();
    let topic = format!("{name}.cloudtrail");
    client.produce(&topic, &bad, &[("sticky.partitioning.linger.ms", "0"), ("linger.ms", "0")]);
    let check = || {
        let there = letters(&disk.seen().join("dead.ndjson"));
        for (partition, offset) in (0..).zip(committed(&client, name)) {
            let lost: Vec<i64> = (0..offset).filter(|at| !there.contains(&(partition, *at))).collect();
            assert!(lost.is_empty(), "partition {partition}: {lost:?} are committed and are no dead letters");
        }
        there.len()
    };
    // Workers share the file: what one of them could not write takes nothing of another's along. Each start finds the room
    // that the one before has left, and a little more.
    for kibibytes in [128, 160, 192] {
        disk.resize(kibibytes);
        let mut program = Trailhound::start_in(&config, |program| disk.within(&program));
        assert_eq!(program.wait(STOP), 1, "{}", program.stderr());
        let log = program.stderr();
        assert!(log.contains("dead.ndjson: cannot be written: No space left on device"), "{log}");
        let there = check();
        assert!(there > 0 && there < COUNT, "{there}");
    }
    disk.resize(64 << 10);
    let mut program = Trailhound::start_in(&config, |program| disk.within(&program));
    client.until_committed(name, &topic);
    program.stop().assert_balanced();
    assert_eq!(check(), COUNT);
}
