//! `trailhound scan` as a user runs it: what it says of files, folders and standard input, good and bad.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::folder::Folder;
use harness::framing::gzip;
use harness::records::{FindingKey, Records, finding_of, findings_of};
use serde_json::{Value, json};

use crate::program::{self, Done, peak_bytes, run, trailhound};

/// What a scan came to.
pub(crate) struct Scan {
    pub(crate) done: Done,
    pub(crate) report: Value,
    pub(crate) findings: Vec<Value>,
    /// The file of dead letters, line by line.
    pub(crate) dead: Vec<Value>,
}

impl Scan {
    /// Scans `paths` with the module of RTM-001.
    #[track_caller]
    pub(crate) fn of(paths: &[&Path]) -> Scan {
        let folder = Folder::new("scan");
        let (report, dead) = (folder.path().join("report.json"), folder.path().join("dead.ndjson"));
        let mut command = trailhound();
        command.arg("scan").arg("--rules").arg(program::root_login());
        command.arg("--report").arg(&report).arg("--dead-letters").arg(&dead).args(paths);
        let done: Done = command.output().expect("the program starts").into();
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
        let lines = |text: &str| {
            let values = text.lines().map(serde_json::from_str);
            values.collect::<Result<Vec<Value>, _>>().expect("one JSON text a line")
        };
        let report: Value = std::fs::read(&report).map_or(Value::Null, |text| {
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("report: {error}: {}", done.stderr))
        });
        let findings = lines(&done.stdout);
        let dead = lines(&std::fs::read_to_string(&dead).unwrap_or_default());
        let scan = Scan { done, report, findings, dead };
        if !scan.report.is_null() {
            scan.check_report();
        }
        scan
    }

    /// The same, of bytes in a file.
    #[track_caller]
    pub(crate) fn of_bytes(bytes: &[u8]) -> Scan {
        let folder = Folder::new("scanned");
        Scan::of(&[&folder.write("input", bytes)])
    }

    /// The same, when it has ended well.
    #[track_caller]
    pub(crate) fn well(self) -> Scan {
        assert_eq!(self.done.code, 0, "{}", self.done.stderr);
        self
    }

    /// A counter, or the sum of a family of counters.
    #[track_caller]
    pub(crate) fn count(&self, name: &str) -> u64 {
        match &self.report[name] {
            Value::Object(family) => family.values().filter_map(Value::as_u64).sum(),
            single => single.as_u64().unwrap_or_else(|| panic!("no {name}: {}", self.report)),
        }
    }

    pub(crate) fn ids(&self) -> BTreeSet<String> {
        let id = |finding: &Value| finding["finding_info"]["uid"].as_str().expect("an id").to_owned();
        self.findings.iter().map(id).collect()
    }

    /// What the findings are about.
    pub(crate) fn keys(&self) -> BTreeSet<FindingKey> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = |finding: &Value| FindingKey {
            rule: text(&finding["finding_info"]["analytic"]["uid"]),
            event: text(&finding["finding_info"]["related_events"][0]["uid"]),
            account: text(&finding["cloud"]["account"]["uid"]),
        };
        self.findings.iter().map(key).collect()
    }

    /// The report has these fields and no others, and its sums are right.
    #[track_caller]
    fn check_report(&self) {
        let names: Vec<&str> = self.report.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut expected = [
            "received",
            "evaluated",
            "skipped",
            "dead_lettered",
            "failed",
            "findings",
            "distinct_findings",
            "files",
            "files_failed",
        ];
        expected.sort_unstable();
        assert_eq!(names, expected);
        let sum = self.count("evaluated") + self.count("skipped") + self.count("dead_lettered");
        assert_eq!(self.count("received"), sum, "{}", self.report);
        assert_eq!(self.count("findings"), self.findings.len() as u64, "{}", self.report);
        assert_eq!(self.count("distinct_findings"), self.ids().len() as u64, "{}", self.report);
        assert_eq!(self.count("dead_lettered") + self.count("failed"), self.dead.len() as u64, "{}", self.report);
    }
}

/// One JSON text a line.
pub(crate) fn ndjson(records: &[Value]) -> Vec<u8> {
    records.iter().flat_map(|record| format!("{record}\n").into_bytes()).collect()
}

#[test]
fn files_folders_and_standard_input_are_read() {
    let records = Records::new(31).take(90, 9);
    let expected = findings_of(&records);
    assert_eq!(expected.len(), 10);
    let folder = Folder::new("input");
    let parts: Vec<PathBuf> = records
        .chunks(30)
        .enumerate()
        .map(|(number, part)| folder.write(&format!("part-{number}.json"), ndjson(part)))
        .collect();
    for paths in [vec![folder.path()], parts.iter().map(PathBuf::as_path).collect()] {
        let scan = Scan::of(&paths).well();
        assert_eq!((scan.count("received"), scan.count("evaluated"), scan.count("files")), (90, 90, 3));
        assert_eq!(scan.keys(), expected);
        assert_eq!(scan.report["findings"], json!({"RTM-001": 10}));
        let summary = scan.done.stderr.lines().last().unwrap_or_default();
        assert!(summary.contains("90 received = 90 evaluated + 0 skipped + 0 dead-lettered"), "{summary}");
    }
    // The same file twice: everything twice, under the same ids.
    let scan = Scan::of(&[&parts[0], &parts[0]]).well();
    assert_eq!((scan.count("received"), scan.count("files")), (60, 2));
    assert_eq!(scan.count("findings"), 2 * scan.count("distinct_findings"));

    for arguments in [&["-"][..], &[]] {
        let mut command = trailhound();
        command.arg("scan").arg("--rules").arg(program::root_login()).args(arguments);
        command.stdin(std::fs::File::open(&parts[0]).expect("the file"));
        let done = Done::from(command.output().expect("the program starts")).well();
        assert_eq!(done.stdout.lines().count(), findings_of(&records[..30]).len(), "{arguments:?}");
        assert!(done.stdout.contains(r#""topic":"-""#), "the origin is standard input");
    }
}

#[test]
fn a_module_may_be_named_alone() {
    let folder = Folder::new("input");
    let mut record = Records::new(1).root_sign_in();
    record["additionalEventData"]["MFAUsed"] = "No".into();
    let file = folder.write("record.json", record.to_string());
    let module = program::root_login();
    let done = run(&[&"scan", &"--rules", &module, &file]).well();
    assert_eq!(done.stdout.lines().count(), 1);
    // Neither in a folder `rules` here nor named: the one beside the program, where RTM-002 fires too.
    let mut command = trailhound();
    command.arg("scan").arg(&file).current_dir(folder.path());
    let done: Done = command.output().expect("the program starts").into();
    if std::env::var_os("TRAILHOUND_BIN").is_none() {
        assert_eq!(done.well().stdout.lines().count(), 2);
    }
}

#[test]
fn an_empty_file_is_skipped_and_counted() {
    for (bytes, kind) in [
        (&b""[..], "empty"),
        (b"\n \n", "empty"),
        (br#"{"Records":[]}"#, "empty"),
        (&gzip(&json!({"Records": []})), "empty"),
        (&harness::framing::control_message(), "control_message"),
    ] {
        let scan = Scan::of_bytes(bytes).well();
        assert_eq!((scan.count("received"), scan.count("skipped"), scan.count("files")), (1, 1, 1));
        assert_eq!(scan.report["skipped"], json!({kind: 1}));
        assert!(scan.findings.is_empty() && scan.dead.is_empty());
    }
    let folder = Folder::new("nothing");
    let scan = Scan::of(&[folder.path()]).well();
    assert_eq!((scan.count("received"), scan.count("files")), (0, 0));
}

#[test]
fn hidden_files_are_left_out() {
    let folder = Folder::new("hidden");
    let record = Records::new(2).root_sign_in().to_string();
    folder.write("seen.json", &record);
    folder.write(".hidden.json", &record);
    std::fs::create_dir(folder.path().join(".cache")).expect("a folder");
    folder.write(".cache/seen.json", &record);
    assert_eq!(Scan::of(&[folder.path()]).well().count("files"), 1);
}

#[test]
fn a_file_that_cannot_be_read_stops_no_other() {
    let folder = Folder::new("unreadable");
    let mut supply = Records::new(3);
    folder.write("a.json", supply.root_sign_in().to_string());
    folder.write("c.json", supply.root_sign_in().to_string());
    // Opens, and fails when it is read at its beginning, whoever asks.
    std::os::unix::fs::symlink("/proc/self/mem", folder.path().join("b.json")).expect("a link");
    let scan = Scan::of(&[folder.path()]);
    assert_eq!(scan.done.code, 1, "{}", scan.done.stderr);
    assert_eq!((scan.count("files"), scan.count("files_failed"), scan.findings.len()), (2, 1, 2));
    assert!(scan.done.stderr.contains("b.json"), "{}", scan.done.stderr);
    assert!(scan.done.stderr.contains("1 of 3 files could not be read"), "{}", scan.done.stderr);
}

#[test]
fn what_is_wrong_with_the_arguments_is_said_before_anything_is_read() {
    let folder = Folder::new("arguments");
    let file = folder.write("record.json", Records::new(4).root_sign_in().to_string());
    let missing = folder.path().join("missing.json");
    let bad = folder.write("bad.wasm", "no module");
    let worse = folder.write("worse.wasm", b"\0asm\x01\0\0\0");
    std::fs::create_dir(folder.path().join("empty")).expect("a folder");
    let (rules, empty) = (program::rules(), folder.path().join("empty"));
    let check = |arguments: &[&Path], texts: &[&str]| {
        let done: Done = trailhound().arg("scan").args(arguments).output().expect("the program starts").into();
        assert_eq!(done.code, 64, "{arguments:?}: {}", done.stderr);
        for text in texts {
            assert!(done.stderr.contains(text), "{text} in {}", done.stderr);
        }
        assert!(done.stdout.is_empty(), "{}", done.stdout);
    };
    let [flag, report] = ["--rules", "--report"].map(Path::new);
    check(&[flag, &rules, &file, &missing], &["missing.json", "hint:"]);
    check(&[flag, &bad, &file], &["bad.wasm: refused at step `parse`", "hint:"]);
    check(&[flag, folder.path(), &file], &["bad.wasm: refused", "worse.wasm: refused", "core WebAssembly module"]);
    check(&[flag, &empty, &file], &["no module in", "hint:"]);
    check(&[flag, &folder.path().join("nowhere"), &file], &["nowhere: refused at step `read`", "hint:"]);
    check(&[flag, &rules, report, &missing.join("report.json"), &file], &["--report"]);
    check(&[Path::new("--no-such-flag")], &["--no-such-flag"]);
    drop(worse);
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() {
    let folder = Folder::new("pipe");
    let mut supply = Records::new(5);
    let records: Vec<Value> = (0..2_000).map(|_| supply.root_sign_in()).collect();
    let file = folder.write("records.json", ndjson(&records));
    let mut command = trailhound();
    command.arg("scan").arg("--rules").arg(program::root_login()).arg(&file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("a line");
    drop(output);
    let done: Done = child.wait_with_output().expect("its end").into();
    assert!(serde_json::from_str::<Value>(&line).is_ok(), "the first line is whole: {line}");
    assert!(matches!(done.code, 0 | 1), "{}: {}", done.code, done.stderr);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
}

#[test]
fn dead_letters_hold_the_original_bytes() {
    let mut supply = Records::new(6);
    let whole = supply.root_sign_in().to_string();
    let cut = &whole.as_bytes()[..whole.find("userIdentity").expect("the name") + 4];
    let not_text = [br#"{"eventVersion":"1.11","eventName":""#, &b"\xff\xfe"[..], b"\"}"].concat();
    let lines: [(&str, Vec<u8>); 5] = [
        ("", whole.clone().into_bytes()),
        ("invalid_json", br#"{"eventName": "ConsoleLogin", }"#.to_vec()),
        ("not_cloudtrail", br#"{"number": 1}"#.to_vec()),
        ("invalid_utf8", not_text),
        ("truncated", cut.to_vec()),
    ];
    let scan = Scan::of_bytes(&lines.iter().map(|(_, line)| line.as_slice()).collect::<Vec<_>>().join(&b'\n')).well();
    assert_eq!((scan.count("received"), scan.count("evaluated"), scan.findings.len()), (5, 1, 1));
    let mut offset = 0;
    let mut dead = scan.dead.iter();
    for (reason, line) in &lines {
        if !reason.is_empty() {
            let letter = dead.next().expect("a dead letter");
            assert_eq!(letter["reason"], *reason, "{letter}");
            let original = STANDARD.decode(letter["original_base64"].as_str().expect("a text")).expect("base64");
            assert!(original == *line, "{reason}: {}", String::from_utf8_lossy(&original));
            assert!(letter["topic"].as_str().is_some_and(|name| name.ends_with("input")), "{letter}");
            assert_eq!(letter["offset"], offset.to_string(), "{letter}");
            assert!(letter["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{letter}");
        }
        offset += line.len() + 1;
    }
    assert!(dead.next().is_none());
    let by_reason: BTreeMap<&str, u64> = lines[1..].iter().map(|(reason, _)| (*reason, 1)).collect();
    assert_eq!(scan.report["dead_lettered"], json!(by_reason));
}

#[test]
fn a_record_that_was_cut_is_kept_to_its_last_byte() {
    for cut in [r#"{"eventVersion":"1.11""#, r#"{"eventVersion":"1.11","#, r#"{"eventVersion":"1.11", "#, r#"{"a":[1,"#]
    {
        let scan = Scan::of_bytes(cut.as_bytes()).well();
        let original = STANDARD.decode(scan.dead[0]["original_base64"].as_str().expect("a text")).expect("base64");
        assert_eq!(String::from_utf8_lossy(&original), cut);
    }
}

#[test]
fn a_file_larger_than_memory_is_streamed() {
    const BYTES: usize = 300 << 20;
    const PEAK_MAX: u64 = 150 << 20;
    // One object around everything, as a log file in S3 is, so that nothing of it is whole before its end.
    let records = Records::new(7).take(2_000, 20);
    let expected = findings_of(&records).len();
    let part: Vec<u8> = records.iter().flat_map(|record| format!("{record},").into_bytes()).collect();
    let folder = Folder::new("large");
    let report = folder.path().join("report.json");
    let mut command = trailhound();
    command.arg("scan").arg("--rules").arg(program::root_login()).arg("--report").arg(&report);
    let output = std::fs::File::create(folder.path().join("findings.ndjson")).expect("a file");
    let mut child = command.stdin(Stdio::piped()).stdout(output).stderr(Stdio::piped()).spawn().expect("a start");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(br#"{"Records":["#).expect("it reads");
    let parts = BYTES.div_ceil(part.len());
    for _ in 0..parts {
        input.write_all(&part).expect("it reads");
    }
    input.write_all(format!("{}]}}", records[0]).as_bytes()).expect("it reads");
    // All but what a pipe holds has been read, and it waits for more.
    let peak = peak_bytes(child.id());
    drop(input);
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("its log");
    assert!(child.wait().expect("its end").success(), "{stderr}");
    harness::say(&format!("scan of {} MB: at most {} MB of memory", BYTES >> 20, peak >> 20));
    assert!(peak < PEAK_MAX, "{} MB", peak >> 20);
    let report: Value = serde_json::from_slice(&std::fs::read(report).expect("a report")).expect("JSON");
    assert_eq!(report["received"], parts * records.len() + 1);
    assert_eq!(report["findings"]["RTM-001"], parts * expected + usize::from(finding_of(&records[0]).is_some()));
    assert_eq!(report["distinct_findings"], expected);
}
