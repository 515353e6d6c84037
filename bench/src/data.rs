//! The records that contenders go over: made up here, or real ones of the data folder where that is at hand.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::read::MultiGzDecoder;

use crate::contender::Task;
use crate::records;

/// Records one after the other in one buffer, so that all contenders read the same memory in the same order.
pub(crate) struct DataSet {
    /// What the table calls it.
    pub(crate) name: String,
    /// Hits that are known without asking a contender.
    pub(crate) known: BTreeMap<Task, u64>,
    bytes: Vec<u8>,
    records: Vec<Range<usize>>,
}

/// The seed of all that is made up.
const SEED: u64 = 20_250_602;

impl DataSet {
    /// `count` made-up records; of every `root_every` one is a sign-in of root, none where it is 0.
    pub(crate) fn made_up(name: &str, count: usize, root_every: usize) -> DataSet {
        let mut set = DataSet::empty(name);
        records::make(SEED, count, root_every).for_each(|record| set.push(record.as_bytes()));
        set.known.insert(Task::Root, count.checked_div(root_every).unwrap_or(0) as u64);
        set
    }

    /// The lines of a gzip'd file.
    pub(crate) fn file(name: &str, path: &Path) -> Result<DataSet> {
        let mut set = DataSet::empty(name);
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        let mut text = Vec::new();
        MultiGzDecoder::new(file).read_to_end(&mut text).with_context(|| path.display().to_string())?;
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| set.push(line));
        set.known.insert(Task::Root, set.iter().filter(|record| is_root_sign_in(record)).count() as u64);
        Ok(set)
    }

    fn empty(name: &str) -> DataSet {
        DataSet { name: name.to_owned(), known: BTreeMap::new(), bytes: Vec::new(), records: Vec::new() }
    }

    fn push(&mut self, record: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record);
        self.records.push(start..self.bytes.len());
    }

    /// The records in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|range| self.bytes.get(range.clone()).unwrap_or_default())
    }

    /// How many records.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The size of a record on average, in bytes.
    pub(crate) fn record_bytes(&self) -> usize {
        self.bytes.len() / self.records.len().max(1)
    }
}

/// What the module `root_login` looks for, said a second time and in the plainest way: the judge of all contenders on
/// records that were not made up here.
fn is_root_sign_in(record: &[u8]) -> bool {
    let Ok(record) = serde_json::from_slice::<serde_json::Value>(record) else { return false };
    let assumed = &record["userIdentity"]["sessionContext"]["assumedRoot"];
    let assumed = assumed.as_bool().unwrap_or(assumed.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true")));
    record["eventName"] == "ConsoleLogin"
        && record["userIdentity"]["type"] == "Root"
        && record["responseElements"]["ConsoleLogin"] == "Success"
        && !assumed
}

/// A file or folder of the data folder: `TRAILHOUND_TEST_DATA`, or `shared/data` beside the repository. None, which is
/// told, where it is absent: its records may not be given away.
pub(crate) fn folder(path: &str) -> Option<PathBuf> {
    let beside = || crate::repository().join("../shared/data");
    let found = std::env::var_os("TRAILHOUND_TEST_DATA").map_or_else(beside, PathBuf::from).join(path);
    if found.exists() {
        return Some(found);
    }
    eprintln!("skipped: {path} is absent (set TRAILHOUND_TEST_DATA)");
    None
}
