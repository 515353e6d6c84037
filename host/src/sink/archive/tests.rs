//! Members, rotation, and what is left of a torn file.

use std::fs::{self, OpenOptions};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::*;

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("trailhound-archive-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn sink(&self, file_bytes_max: u64) -> ArchiveSink {
        let config = ArchiveConfig { folder: self.0.clone(), file_bytes_max, ..ArchiveConfig::default() };
        ArchiveSink::open(config).unwrap()
    }

    /// The names in it with this ending, in order.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let all = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = all.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
        files.sort();
        files
    }

    /// All lines of all complete files.
    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.files(".ndjson.gz").iter().flat_map(|file| lines(file)).collect();
        lines.sort();
        lines
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lines(file: &Path) -> Vec<String> {
    let text = std::io::read_to_string(MultiGzDecoder::new(fs::File::open(file).unwrap())).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A member of these messages, and the places of those that are refused.
fn of(payloads: &[&str]) -> (Vec<u8>, Vec<usize>) {
    let mut parcels = Parcels::default();
    for payload in payloads {
        parcels.push(|to| line(payload.as_bytes(), to));
    }
    let refused = parcels.refused.iter().map(|refused| refused.index).collect();
    let pieces = parcels.pieces(usize::MAX);
    (member(&parcels.body(&pieces.concat())).unwrap(), refused)
}

#[test]
fn a_message_is_a_line_and_what_is_no_json_is_refused() {
    let folder = Folder::new("lines");
    let (member, refused) = of(&["{\"a\":1}", "{", "{\r\n \"b\":\n2}\n", "", "\"x\"\n\"y\""]);
    assert_eq!(refused, [1, 3, 4]);
    let mut sink = folder.sink(1 << 20);
    sink.files.append(&member).unwrap();
    assert!(folder.lines().is_empty(), "not complete");
    drop(sink);
    assert_eq!(folder.lines(), ["{   \"b\": 2} ", "{\"a\":1}"]);
    assert!(folder.files(".part").is_empty());
}

#[test]
fn a_file_is_complete_before_it_is_too_large() {
    let folder = Folder::new("size");
    let (member, _) = of(&["{}"]);
    let mut sink = folder.sink(2 * member.len() as u64);
    for _ in 0..5 {
        sink.files.append(&member).unwrap();
    }
    assert_eq!(folder.files(".ndjson.gz").len(), 2);
    // One delivery alone may exceed it, in a file of its own.
    let (large, _) = of(&[&format!("\"{}\"", (0..4_000_u64).map(|n| n.pow(3).to_string()).collect::<String>())]);
    sink.files.append(&large).unwrap();
    sink.files.append(&member).unwrap();
    drop(sink);
    let sizes: Vec<usize> = folder.files(".ndjson.gz").iter().map(|file| lines(file).len()).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (5, 7), "{sizes:?}");
}

#[test]
fn a_file_that_is_old_is_complete_while_nothing_comes() {
    let folder = Folder::new("age");
    let mut sink = folder.sink(1 << 20);
    let (member, _) = of(&["{}"]);
    sink.files.append(&member).unwrap();
    sink.idle();
    assert_eq!(folder.lines().len(), 0);
    sink.files.config.file_age_max = Duration::ZERO;
    sink.idle();
    assert_eq!(folder.lines().len(), 1);
    sink.idle();
}

#[test]
fn what_a_worker_left_is_completed_up_to_its_last_whole_member() {
    let (first, _) = of(&["1"]);
    let (second, _) = of(&["2", "3"]);
    let torn = [&b""[..], &second[..1], &second[..12], &second[..second.len() - 1], b"\0\0\0\0", b"garbage"];
    for (number, torn) in torn.into_iter().enumerate() {
        let folder = Folder::new(&format!("torn-{number}"));
        let name = folder.0.join("trailhound-20260102T030405Z-0123456789abcdef.ndjson.gz.part");
        fs::write(&name, [&first, torn].concat()).unwrap();
        let sink = folder.sink(1 << 20);
        assert_eq!(folder.lines(), ["1"], "{torn:?}");
        assert!(folder.files(".part").is_empty());
        // What nobody acknowledged at all leaves nothing.
        fs::write(&name, torn).unwrap();
        drop((sink, folder.sink(1 << 20)));
        assert_eq!(folder.lines(), ["1"], "{torn:?}");
        assert!(folder.files(".part").is_empty());
    }
}

#[test]
fn what_somebody_writes_is_left_alone() {
    let folder = Folder::new("shared");
    fs::write(folder.0.join("another.part"), "x").unwrap();
    let (member, _) = of(&["1"]);
    let mut one = folder.sink(1 << 20);
    one.files.append(&member).unwrap();
    let mut other = folder.sink(1 << 20);
    assert!(folder.lines().is_empty());
    other.files.append(&member).unwrap();
    one.files.append(&member).unwrap();
    drop((one, other));
    assert_eq!(folder.lines(), ["1", "1", "1"]);
    assert_eq!(folder.files(".part").len(), 1, "not ours");
}

#[test]
fn a_write_that_fails_is_cut_back_and_tried_again() {
    let folder = Folder::new("failing");
    let (member, _) = of(&["1"]);
    let mut sink = folder.sink(1 << 20);
    sink.files.append(&member).unwrap();
    // As if the disk had taken half of a member.
    let path = folder.files(".part").remove(0);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&member[..5]).unwrap();
    let part = sink.files.part.as_mut().unwrap();
    part.cut_back().unwrap();
    sink.files.append(&member).unwrap();
    drop(sink);
    assert_eq!(folder.lines(), ["1", "1"]);
    // A folder that is gone comes back.
    let mut sink = folder.sink(1 << 20);
    fs::rename(&folder.0, folder.0.with_extension("away")).unwrap();
    assert!(sink.files.append(&member).is_err());
    fs::rename(folder.0.with_extension("away"), &folder.0).unwrap();
    sink.files.append(&member).unwrap();
    drop(sink);
    assert_eq!(folder.lines().len(), 3);
}
