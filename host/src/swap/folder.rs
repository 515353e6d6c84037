//! The watched folder: every `*.wasm` in it is a module. It is looked at again and again instead of listened to, since
//! that sees every way in which files come (rename over, rewrite in place, a symlink that is switched, network file
//! systems) and loses no event in a burst.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::offer::{Change, Key, Offer, Place};
use crate::rules::{Refusal, RuleLimits, module_files, name_of, read_module};

/// A folder of modules and what was seen of it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    files: BTreeMap<PathBuf, Seen>,
    /// The newest change that was seen, in milliseconds since the epoch.
    changed_ms: u64,
    /// Whether the folder itself could not be read when last looked at.
    unreadable: bool,
}

/// What was seen of a file.
#[derive(Debug, Default)]
struct Seen {
    /// At the last look; None when it was gone.
    last: Option<Mark>,
    /// When it was last handed over.
    taken: Option<Mark>,
}

/// What changes when a file is written or put in another's place. Symlinks are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    fn of(metadata: &Metadata) -> Mark {
        Mark {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Folder {
    pub(super) fn new(path: &Path) -> Folder {
        Folder { path: path.to_owned(), files: BTreeMap::new(), changed_ms: 0, unreadable: false }
    }

    /// When the folder or a file of it last changed, in milliseconds since the epoch.
    pub(super) fn changed_ms(&self) -> u64 {
        self.changed_ms
    }

    /// Hands every file over again at the next look that settles.
    pub(super) fn forget(&mut self) {
        self.files.values_mut().for_each(|seen| seen.taken = None);
    }

    /// The first look: everything that is there.
    pub(super) fn first(&mut self, limits: &RuleLimits) -> std::io::Result<Vec<Change>> {
        self.walk(limits, false)
    }

    /// What has changed and has settled: a file that is the same at two looks in a row is not being written any more,
    /// one that is missing at two looks is not being replaced. A folder that cannot be read changes nothing: rules are
    /// not given up because a volume is away.
    pub(super) fn look(&mut self, limits: &RuleLimits) -> Vec<Change> {
        match self.walk(limits, true) {
            Ok(changes) => {
                self.unreadable = false;
                changes
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unreadable, true) {
                    let folder = self.path.display();
                    tracing::error!("rules.directory: {folder}: {error}; the modules that were there stay live");
                }
                Vec::new()
            }
        }
    }

    fn walk(&mut self, limits: &RuleLimits, settle: bool) -> std::io::Result<Vec<Change>> {
        self.changed_ms = self.changed_ms.max(modified_ms(&std::fs::metadata(&self.path)?));
        let found = module_files(&self.path)?;
        let mut changes = Vec::new();
        self.files.retain(|file, seen| {
            if found.contains(file) {
                return true;
            }
            let gone = seen.last.take().is_none();
            if gone && seen.taken.is_some() {
                let (name, mode) = name_of(file);
                changes.push(Change::Gone { key: Key { name, mode }, place: Place::File(file.clone()) });
            }
            !gone
        });
        for file in found {
            let mark = std::fs::metadata(&file).inspect(|metadata| {
                self.changed_ms = self.changed_ms.max(modified_ms(metadata));
            });
            let seen = self.files.entry(file.clone()).or_default();
            // A symlink without a target has no mark; it is unreadable, and said to be so once.
            let mark = mark
                .map_or(Mark { device: 0, inode: 0, size: 0, modified: (0, 0), changed: (0, 0) }, |metadata| {
                    Mark::of(&metadata)
                });
            let settled = !settle || seen.last == Some(mark);
            seen.last = Some(mark);
            if !settled || seen.taken == Some(mark) {
                continue;
            }
            let bytes = read_module(&file, limits);
            // Written while it was read: the next look sees the change.
            if settle && std::fs::metadata(&file).is_ok_and(|metadata| Mark::of(&metadata) != mark) {
                continue;
            }
            seen.taken = Some(mark);
            changes.push(Change::Offered(offer(file, bytes)));
        }
        Ok(changes)
    }
}

fn offer(file: PathBuf, bytes: Result<Vec<u8>, Refusal>) -> Offer {
    let (name, mode) = name_of(&file);
    Offer {
        key: Key { name, mode },
        bytes,
        settings: None,
        place: Place::File(file),
        author: String::new(),
        note: String::new(),
        earlier: None,
    }
}

fn modified_ms(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of a test, gone with it.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Temporary {
            let path = std::env::temp_dir().join(format!("trailhound-folder-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Temporary(path)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// What a look says, in words.
    fn check(folder: &mut Folder, expect: &[&str]) {
        let changes = folder.look(&RuleLimits::default());
        let words: Vec<String> = changes
            .iter()
            .map(|change| match change {
                Change::Offered(offer) => match &offer.bytes {
                    Ok(bytes) => format!("{} = {}", offer.key, String::from_utf8_lossy(bytes)),
                    Err(refusal) => format!("{} refused at {}", offer.key, refusal.step()),
                },
                Change::Gone { key, .. } => format!("{key} is gone"),
            })
            .collect();
        assert_eq!(words, expect);
    }

    #[test]
    fn a_file_is_taken_once_it_has_settled() {
        let there = Temporary::new("settle");
        std::fs::write(there.file("a.wasm"), "1").unwrap();
        std::fs::write(there.file("b.txt"), "1").unwrap();
        let mut folder = Folder::new(&there.0);
        assert_eq!(folder.first(&RuleLimits::default()).unwrap().len(), 1);
        check(&mut folder, &[]);
        // Written in pieces.
        std::fs::write(there.file("c@shadow.wasm"), "ha").unwrap();
        check(&mut folder, &[]);
        std::fs::write(there.file("c@shadow.wasm"), "half").unwrap();
        check(&mut folder, &[]);
        check(&mut folder, &["c@shadow = half"]);
        check(&mut folder, &[]);
        // Renamed over: same size, other file.
        std::fs::write(there.file("new"), "2").unwrap();
        std::fs::rename(there.file("new"), there.file("a.wasm")).unwrap();
        check(&mut folder, &[]);
        check(&mut folder, &["a = 2"]);
        // Gone for a moment is not gone.
        std::fs::remove_file(there.file("a.wasm")).unwrap();
        check(&mut folder, &[]);
        std::fs::write(there.file("a.wasm"), "3").unwrap();
        check(&mut folder, &[]);
        check(&mut folder, &["a = 3"]);
        std::fs::remove_file(there.file("a.wasm")).unwrap();
        check(&mut folder, &[]);
        check(&mut folder, &["a is gone"]);
        check(&mut folder, &[]);
    }

    #[test]
    fn a_symlink_that_is_switched_is_a_change() {
        use std::os::unix::fs::symlink;
        // As Kubernetes mounts a ConfigMap: NAME -> ..data/NAME, and ..data -> a folder with a time in its name.
        let there = Temporary::new("symlink");
        for (version, text) in [("..1", "1"), ("..2", "2")] {
            std::fs::create_dir(there.file(version)).unwrap();
            std::fs::write(there.file(version).join("a.wasm"), text).unwrap();
        }
        symlink("..1", there.file("..data")).unwrap();
        symlink("..data/a.wasm", there.file("a.wasm")).unwrap();
        let mut folder = Folder::new(&there.0);
        check(&mut folder, &[]);
        check(&mut folder, &["a = 1"]);
        let before = folder.changed_ms();
        symlink("..2", there.file("..new")).unwrap();
        std::fs::rename(there.file("..new"), there.file("..data")).unwrap();
        std::fs::remove_dir_all(there.file("..1")).unwrap();
        check(&mut folder, &[]);
        check(&mut folder, &["a = 2"]);
        assert!(folder.changed_ms() >= before);
        // A link without a target is refused, and comes back with it.
        std::fs::rename(there.file("..2"), there.file("..3")).unwrap();
        check(&mut folder, &[]);
        check(&mut folder, &["a refused at read"]);
        check(&mut folder, &[]);
    }

    #[test]
    fn a_folder_that_is_away_takes_nothing_with_it() {
        let there = Temporary::new("away");
        std::fs::write(there.file("a.wasm"), "1").unwrap();
        let mut folder = Folder::new(&there.0);
        check(&mut folder, &[]);
        check(&mut folder, &["a = 1"]);
        let away = there.0.with_extension("away");
        std::fs::rename(&there.0, &away).unwrap();
        check(&mut folder, &[]);
        check(&mut folder, &[]);
        std::fs::rename(&away, &there.0).unwrap();
        check(&mut folder, &[]);
        folder.forget();
        check(&mut folder, &["a = 1"]);
    }
}
