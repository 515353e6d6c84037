//! The archive on disk: nothing that was acknowledged is lost by kill -9 of the program, or by a disk that is full.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::MultiGzDecoder;
use harness::folder::Folder;
use harness::kafka::Kafka;
use harness::siem::{Finding, Forward};
use harness::trailhound::Trailhound;
use serde_json::Value;

fn forward(kafka: &Kafka, name: &str, folder: &Folder, keys: &str) -> Forward {
    let sink = format!("{{ archive = {{ directory = {:?}, retry_ms_max = 500, {keys} }} }}", folder.path());
    Forward::new(kafka, name, 2, &sink, "batch = { messages_max = 20 }")
}

/// The files with this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

/// The findings in all complete files, by id, with how often each is there.
#[track_caller]
fn archived(folder: &Path) -> BTreeMap<String, (Value, usize)> {
    let mut found = BTreeMap::new();
    for file in files(folder, ".ndjson.gz") {
        let text = std::io::read_to_string(MultiGzDecoder::new(fs::File::open(&file).expect("a file")));
        for line in text.unwrap_or_else(|error| panic!("{}: {error}", file.display())).lines() {
            let event: Value = serde_json::from_str(line).expect("a line of JSON");
            let id = event["finding_info"]["uid"].as_str().expect("an id").to_owned();
            found.entry(id).or_insert((event, 0)).1 += 1;
        }
    }
    found
}

/// Checks that exactly these are there, each as it was sent; returns how many came again.
#[track_caller]
fn check(folder: &Path, sent: &[Finding]) -> usize {
    let found = archived(folder);
    assert_eq!(found.len(), sent.len());
    for finding in sent {
        assert_eq!(found[&finding.id].0, finding.event);
    }
    assert!(files(folder, ".part").is_empty(), "{:?}", files(folder, ".part"));
    found.values().map(|(_, times)| times - 1).sum()
}

#[test]
fn siem_archive_keeps_what_was_acknowledged_over_kill_9_of_the_program() {
    const COUNT: usize = 10_000;
    let Some(kafka) = Kafka::shared() else { return };
    let folder = Folder::new("archive");
    let forward = forward(kafka, "archive-kill", &folder, "file_bytes_max = 65536");
    let client = kafka.client();
    let sent = Finding::some(0, COUNT);
    for (part, sent) in sent.chunks(COUNT / 4).enumerate() {
        if part == 3 {
            forward.produce(&client, sent, None);
            break;
        }
        // A start completes what the one before has left, so each has something to write of its own.
        let mut program = forward.ready();
        forward.produce(&client, sent, None);
        let some = (part * COUNT / 4 + COUNT / 20) as i64;
        program.until("deliveries", |_| (forward.committed(&client) >= some).then_some(()));
        program.kill9();
    }
    let torn = files(folder.path(), ".part");
    assert!(!torn.is_empty(), "a file that was being written");
    // As a machine that dies in the middle of a write leaves it.
    let mut bytes = fs::read(&torn[0]).expect("the file");
    bytes.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0]);
    fs::write(&torn[0], bytes).expect("a torn end");
    let mut program = forward.ready();
    forward.until_done(&client);
    assert_eq!(files(folder.path(), ".part").len(), 2, "a file for each worker");
    program.stop().assert_balanced();
    let again = check(folder.path(), &sent);
    assert!(again < COUNT / 2, "{again}");
    let sizes: Vec<u64> =
        files(folder.path(), ".gz").iter().map(|file| fs::metadata(file).expect("it").len()).collect();
    assert!(sizes.len() > 5 && sizes.iter().all(|size| *size <= 65_536), "{sizes:?}");
}

#[test]
fn siem_archive_completes_a_file_that_is_old_while_nothing_comes() {
    let Some(kafka) = Kafka::shared() else { return };
    let folder = Folder::new("archive");
    let forward = forward(kafka, "archive-age", &folder, "file_seconds_max = 1");
    let client = kafka.client();
    let sent = Finding::some(0, 10);
    let mut program = forward.ready();
    forward.produce(&client, &sent, Some(0));
    program.until("a complete file", |_| (archived(folder.path()).len() == 10).then_some(()));
    check(folder.path(), &sent);
    program.stop();
}

#[test]
fn siem_archive_waits_for_a_disk_that_is_full() {
    let Some(kafka) = Kafka::shared() else { return };
    let folder = Folder::new("archive");
    let forward = forward(kafka, "archive-full", &folder, "");
    let client = kafka.client();
    let sent = Finding::some(0, 2_000);
    // A limit on the size of a file fails a write in its middle, as a full disk does.
    let limited = |program: Command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"trap "" XFSZ; ulimit -S -f 32; exec "$@""#, "limited"]);
        shell.arg(program.get_program()).args(program.get_args());
        shell.current_dir(program.get_current_dir().expect("a folder"));
        shell
    };
    let mut program = Trailhound::start_in(&forward.config, limited);
    program.until_ready();
    // A worker that joins later takes a partition in the middle of a delivery, which is then repeated.
    program.until_joined(forward.config.workers as usize);
    forward.produce(&client, &sent, None);
    program.until("the folder to count as down", |program| {
        (program.metrics().sum("trailhound_target_down", &[]) >= 1).then_some(())
    });
    assert!(program.stderr().contains("not delivered yet: cannot be written"), "{}", program.stderr());
    assert!(forward.committed(&client) < 2_000);
    let room = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &program.pid().to_string()]).status();
    assert!(room.expect("prlimit").success());
    forward.until_done(&client);
    program.stop().assert_balanced();
    assert_eq!(check(folder.path(), &sent), 0, "what failed left nothing");
}
