//! Real and labelled records, where they are at hand: `TRAILHOUND_TEST_DATA`, or `shared/data` beside the repository.
//! Whatever shape they are brought into, the same records give the same findings, and every finding is valid OCSF.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use flate2::read::MultiGzDecoder;
use harness::folder::Folder;
use harness::framing::{Framing, gzip};
use harness::records::{FindingKey, Records, findings_of};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::scan::{Scan, ndjson};

/// A file of the data sets. None, which is printed, where it is absent.
fn data(file: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
    let path = std::env::var_os("TRAILHOUND_TEST_DATA").map_or_else(beside, PathBuf::from).join(file);
    if !path.exists() {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        harness::say(&format!("skipped: {test}: {file} is absent (set TRAILHOUND_TEST_DATA)"));
        return None;
    }
    Some(path)
}

/// The lines of a gzip'd data set.
fn lines(file: &str) -> Option<Vec<Value>> {
    let mut text = String::new();
    let file = std::fs::File::open(data(file)?).expect("a readable file");
    MultiGzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    Some(text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

/// OCSF's schema of the class, strict.
static SCHEMA: LazyLock<Option<Validator>> = LazyLock::new(|| {
    let text = std::fs::read_to_string(data("ocsf/detection_finding-1.6.0.schema.json")?).expect("a readable file");
    // The file names some definitions `win/…`, which a JSON pointer must write as `win~1…` (RFC 6901, section 3).
    let schema: Value = serde_json::from_str(&text.replace("#/$defs/win/", "#/$defs/win~1")).expect("JSON");
    Some(jsonschema::validator_for(&schema).expect("a schema"))
});

#[track_caller]
fn check_valid(scan: &Scan) {
    let Some(schema) = &*SCHEMA else { return };
    for finding in &scan.findings {
        let errors: Vec<String> =
            schema.iter_errors(finding).map(|error| format!("{} {error:.300}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{finding:#}");
    }
}

/// The findings that the records must lead to, by the three facts that make a root sign-in.
fn root_sign_ins(records: &[Value]) -> Vec<&Value> {
    let fires = |record: &&Value| {
        record["eventName"] == "ConsoleLogin"
            && record["userIdentity"]["type"] == "Root"
            && record["responseElements"]["ConsoleLogin"] == "Success"
    };
    records.iter().filter(fires).collect()
}

/// Scans a data set of one record a line as it lies there.
fn check_data_set(file: &str, received: u64, findings: usize, distinct: usize) {
    let Some((path, records)) = data(file).zip(lines(file)) else { return };
    let scan = Scan::of(&[&path]).well();
    assert_eq!((scan.count("received"), scan.count("evaluated")), (received, received), "{file}");
    assert_eq!((scan.findings.len(), scan.ids().len()), (findings, distinct), "{file}");
    let expected: Vec<&Value> = root_sign_ins(&records);
    assert_eq!(expected.len(), findings, "{file}");
    let events: BTreeSet<&str> = expected.iter().filter_map(|record| record["eventID"].as_str()).collect();
    let found = scan.keys();
    assert_eq!(found.iter().map(|key| key.event.as_str()).collect::<BTreeSet<_>>(), events, "{file}");
    for finding in &scan.findings {
        let record = &finding["evidences"][0]["data"];
        assert!(records.contains(record), "{file}: the evidence is the record");
        assert_eq!(record["responseElements"]["ConsoleLogin"], "Success", "none for a sign-in that failed");
    }
    check_valid(&scan);
}

#[test]
fn each_root_sign_in_of_real_records_is_found() {
    check_data_set("records/sans504.ndjson.gz", 30_477, 4, 3);
    check_data_set("records/awsdocs.ndjson.gz", 26, 2, 1);
    check_data_set("records/cribl_pack.ndjson.gz", 44, 0, 0);
    check_data_set("records/opensearch_catalog.ndjson.gz", 845, 0, 0);
}

#[test]
fn the_labelled_events_of_panther_are_read_without_loss() {
    let Some(rows) = lines("labels/panther.dev.labels.ndjson.gz") else { return };
    let events: Vec<Value> = rows.iter().map(|row| row["event"].clone()).collect();
    let scan = Scan::of_bytes(&ndjson(&events)).well();
    assert_eq!((scan.count("received"), scan.count("evaluated")), (195, 195), "{}", scan.report);
    let expected = root_sign_ins(&events);
    assert_eq!(expected.len(), 1);
    assert_eq!(scan.findings.len(), 1);
    assert_eq!(&scan.findings[0]["evidences"][0]["data"], expected[0]);
    check_valid(&scan);
}

#[test]
fn the_labelled_events_of_streamalert_are_read_as_they_were_delivered() {
    let Some(rows) = lines("labels/streamalert.labels.ndjson.gz") else { return };
    let envelopes: Vec<Value> = rows.iter().map(|row| row["envelope"].clone()).collect();
    // An EventBridge event is a record where its `detail` is one; others are another service's.
    let events: Vec<Value> = rows.iter().map(|row| row["event"].clone()).collect();
    let scan = Scan::of_bytes(&ndjson(&envelopes)).well();
    assert_eq!(scan.count("received"), 54, "{}", scan.report);
    assert_eq!((scan.count("dead_lettered"), scan.count("evaluated")), (0, 54), "{}", scan.report);
    assert_eq!(scan.findings.len(), root_sign_ins(&events).len());
    check_valid(&scan);
}

#[test]
fn envelopes_as_others_recorded_them_are_read() {
    let Some(folder) = data("framings") else { return };
    let scan = Scan::of(&[&folder]).well();
    assert_eq!(scan.count("evaluated"), 577, "{}", scan.report);
    let Some(s3) = data("framings/s3_delivery") else { return };
    let delivered = Scan::of(&[&s3]).well();
    assert_eq!((delivered.count("received"), delivered.count("evaluated")), (573, 573), "{}", delivered.report);
    check_valid(&scan);
}

/// A folder with the records in one shape.
struct Shape {
    name: String,
    folder: Folder,
}

impl Shape {
    fn new(name: impl Into<String>) -> Shape {
        Shape { name: name.into(), folder: Folder::new("shape") }
    }

    fn file(self, path: &str, bytes: impl AsRef<[u8]>) -> Shape {
        let whole = self.folder.path().join(path);
        std::fs::create_dir_all(whole.parent().expect("a folder")).expect("folders");
        std::fs::write(whole, bytes).expect("a file");
        self
    }
}

/// The records in every shape that records travel in.
fn shapes(records: &[Value]) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = Framing::ALL
        .into_iter()
        .map(|framing| {
            let files = framing.frame(records).into_iter().enumerate();
            files.fold(Shape::new(format!("{framing:?}")), |shape, (number, bytes)| {
                shape.file(&format!("{number:06}"), bytes)
            })
        })
        .collect();
    let lines = ndjson(records);
    shapes.push(Shape::new("gzip'd lines").file("records.ndjson.gz", compress(&lines)));
    let halves = lines.split_at(lines.len() / 2);
    let members = [compress(halves.0), compress(halves.1)].concat();
    shapes.push(Shape::new("two gzip members, cut within a record").file("records.gz", members));
    let pretty: Vec<String> = records.iter().map(|record| format!("{record:#}")).collect();
    shapes.push(Shape::new("pretty-printed").file("records.json", pretty.join("\n")));
    shapes.push(Shape::new("pretty-printed Records").file("a.json", format!("{:#}", json!({"Records": records}))));
    shapes.push(Shape::new("Windows lines").file("a.json", String::from_utf8_lossy(&lines).replace('\n', "\r\n")));
    let nested = records.iter().enumerate().fold(Shape::new("a file a record"), |shape, (number, record)| {
        shape.file(&format!("{}/{}/{number}.json", number % 7, number % 5), record.to_string())
    });
    shapes.push(nested);
    let tree = records.chunks(50).enumerate().fold(Shape::new("a tree as in S3"), |shape, (number, part)| {
        let (region, day) = (["eu-central-1", "us-east-1"][number % 2], number % 28 + 1);
        let name = format!("111122223333_CloudTrail_{region}_202506{day:02}T0900Z_{number:016}.json.gz");
        let path = format!("AWSLogs/o-1/111122223333/CloudTrail/{region}/2025/06/{day:02}/{name}");
        shape.file(&path, gzip(&json!({"Records": part})))
    });
    shapes.push(tree);
    // A step that has no factor in common with the number visits every place once.
    let step = (1..).map(|n| n * 2 + 617).find(|step| gcd(*step, records.len()) == 1).expect("a step");
    let shuffled: Vec<Value> = (0..records.len()).map(|at| records[at * step % records.len()].clone()).collect();
    shapes.push(Shape::new("shuffled").file("records.json", ndjson(&shuffled)));
    shapes
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// In every shape the records give the findings that they give one a line.
#[track_caller]
fn check_shapes(what: &str, records: &[Value], expected: &BTreeSet<FindingKey>) {
    let plain = Scan::of_bytes(&ndjson(records)).well();
    assert_eq!(&plain.keys(), expected, "{what}");
    assert_eq!(plain.count("evaluated"), records.len() as u64, "{what}: {}", plain.report);
    check_valid(&plain);
    for shape in shapes(records) {
        let scan = Scan::of(&[shape.folder.path()]).well();
        let how = format!("{what}, {}: {}", shape.name, scan.report);
        assert_eq!(scan.ids(), plain.ids(), "{how}");
        assert_eq!(scan.findings.len(), plain.findings.len(), "{how}");
        assert_eq!(
            (scan.count("received"), scan.count("evaluated")),
            (records.len() as u64, records.len() as u64),
            "{how}"
        );
        check_valid(&scan);
    }
}

#[test]
fn any_shape_of_made_up_records_gives_the_same_findings() {
    let records = Records::new(41).take(300, 10);
    check_shapes("made up", &records, &findings_of(&records));
}

#[test]
fn any_shape_of_real_records_gives_the_same_findings() {
    if let Some(records) = lines("records/awsdocs.ndjson.gz") {
        check_shapes("awsdocs", &records, &findings_of(&records));
    }
    if let Some(records) = lines("records/sans504.ndjson.gz") {
        let sign_in = |record: &&Value| record["eventName"] == "ConsoleLogin";
        let some: Vec<Value> = records.iter().filter(sign_in).chain(records.iter().take(1_000)).cloned().collect();
        let expected = findings_of(&some);
        assert_eq!(expected.len(), 3);
        check_shapes("sans504", &some, &expected);
    }
}
