//! Tests of the cache without a compiler: what an entry must be, whose the folder must be, and how much is kept.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::folder::check;
use super::*;

/// A folder of a test, gone with it.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Temporary {
        let path = std::env::temp_dir().join(format!("trailhound-cache-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Temporary(path)
    }

    fn config(&self, bytes_max: u64) -> CacheConfig {
        CacheConfig { directory: self.0.join("cache"), bytes_max }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn digest(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// Compiles a module that has the functions `keys`, each of which comes to 1,000 bytes, and says how many of them the
/// cache did not have.
fn compile(cache: &Cache, digest: &str, keys: &[u8]) -> usize {
    let compiled = cache.around(digest, || {
        let lacks = keys.iter().filter(|key| match cache.get(&[**key]) {
            Some(function) => {
                assert_eq!(function, vec![**key; 1_000], "another function");
                false
            }
            None => cache.insert(&[**key], vec![**key; 1_000]),
        });
        Ok::<_, ()>(lacks.count())
    });
    compiled.unwrap()
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_one_process_has_compiled_the_next_need_not() {
    let there = Temporary::new("again");
    let cache = Cache::open(&there.config(1 << 20)).unwrap();
    assert_eq!(compile(&cache, &digest(1), &[1, 2, 2, 3]), 3, "what a module has twice is compiled once");
    assert_eq!(compile(&cache, &digest(2), &[1]), 1, "an entry is one module's");
    let next = Cache::open(&there.config(1 << 20)).unwrap();
    assert_eq!(compile(&next, &digest(1), &[1, 2, 2, 3]), 0);
    // A function that has another key this time changes nothing; a compiler that has other keys replaces the entry.
    assert_eq!(compile(&next, &digest(1), &[1, 2, 4]), 1);
    assert_eq!(compile(&next, &digest(1), &[1, 2, 4]), 1);
    assert_eq!(compile(&next, &digest(1), &[1, 5, 6]), 2);
    assert_eq!(compile(&next, &digest(1), &[1, 5, 6]), 0);
    assert_eq!(compile(&next, &digest(1), &[1, 2]), 1, "what it had before is gone");
    let file = there.config(0).directory.join(digest(1));
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 2, "nothing half written is left");
    // A module that does not compile has no entry.
    assert_eq!(next.around(&digest(3), || Err::<(), _>(next.insert(&[1], vec![1]))), Err(true));
    assert!(next.get(&[1]).is_none());
    assert!(!there.config(0).directory.join(digest(3)).exists());
}

#[test]
fn what_is_damaged_is_compiled_again() {
    let there = Temporary::new("damaged");
    let cache = Cache::open(&there.config(1 << 20)).unwrap();
    let file = |number| there.config(0).directory.join(digest(number));
    compile(&cache, &digest(1), &[1, 2]);
    let whole = std::fs::read(file(1)).unwrap();
    assert_eq!(entry::decode(&digest(1), &whole).unwrap().len(), 2);
    for at in 0..whole.len() {
        let mut other = whole.clone();
        other[at] ^= 1;
        assert!(entry::decode(&digest(1), &other).is_none(), "byte {at}");
        assert!(entry::decode(&digest(1), &whole[..at]).is_none(), "cut at {at}");
    }
    assert!(entry::decode(&digest(1), &[&whole[..], b"x"].concat()).is_none());
    // Another module's, cut off, empty, not readable by the rules, no file.
    compile(&cache, &digest(2), &[3]);
    std::fs::copy(file(2), file(1)).unwrap();
    assert_eq!(compile(&cache, &digest(1), &[1, 2]), 2);
    assert_eq!(compile(&cache, &digest(1), &[1, 2]), 0, "the entry is a good one again");
    for length in [0, 40, 500] {
        std::fs::write(file(1), &whole[..length]).unwrap();
        assert_eq!(compile(&cache, &digest(1), &[1, 2]), 2);
    }
    mode(&file(1), 0o666);
    assert_eq!(compile(&cache, &digest(1), &[1, 2]), 2);
    assert_eq!(compile(&cache, &digest(1), &[1, 2]), 0);
    std::fs::remove_file(file(1)).unwrap();
    std::fs::create_dir(file(1)).unwrap();
    assert_eq!(compile(&cache, &digest(1), &[1, 2]), 2);
}

#[test]
fn so_many_bytes_are_kept() {
    let there = Temporary::new("limit");
    let cache = Cache::open(&there.config(10_000)).unwrap();
    let directory = there.config(0).directory;
    let aged = |name: &str, seconds: u64| {
        let file = std::fs::File::open(directory.join(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    let used = |number: u8, seconds: u64| aged(&digest(number), seconds);
    let kept = || {
        let names =
            std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.map(|name| name.chars().take(2).collect()).collect();
        names.sort();
        names.join(" ")
    };
    std::fs::write(directory.join("foreign"), [0; 20_000]).unwrap();
    let half = format!("{}.1-1.part", digest(9));
    std::fs::write(directory.join(&half), [0; 2_000]).unwrap();
    aged(&half, 0);
    for number in 1..=3 {
        compile(&cache, &digest(number), &[1, 2]);
        used(number, 100 - u64::from(number));
    }
    assert_eq!(kept(), "01 02 03 09 fo");
    // 8.3 of 10 KB, and 2.1 more: what is oldest goes, and what is not ours is left alone and not counted.
    compile(&cache, &digest(4), &[1, 2]);
    assert_eq!(kept(), "01 02 03 04 fo");
    // To read is to use.
    used(2, 1);
    used(4, 2);
    assert_eq!(compile(&cache, &digest(2), &[1, 2]), 0);
    compile(&cache, &digest(5), &[1, 2, 3, 4]);
    assert_eq!(kept(), "01 02 05 fo");
    // What alone is over the limit is not kept, and pushes nothing out.
    compile(&cache, &digest(6), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(kept(), "01 02 05 fo");
}

#[test]
fn what_cannot_be_written_is_no_reason_to_stop() {
    let there = Temporary::new("away");
    let cache = Cache::open(&there.config(1 << 20)).unwrap();
    std::fs::remove_dir(there.config(0).directory).unwrap();
    for _ in 0..2 {
        assert_eq!(compile(&cache, &digest(1), &[1, 2]), 2);
    }
    assert!(cache.warned.load(Ordering::Relaxed));
}

#[test]
fn the_folder_is_this_users_alone() {
    let there = Temporary::new("folder");
    let config = there.config(1 << 20);
    let refused = |config: &CacheConfig| Cache::open(config).expect_err("refused").to_string();
    Cache::open(&config).unwrap();
    let metadata = std::fs::metadata(&config.directory).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o700, "as it is made");
    for wide in [0o720, 0o702, 0o777] {
        mode(&config.directory, wide);
        assert!(refused(&config).contains(&format!("others may write in it (mode {wide:03o})")));
    }
    mode(&config.directory, 0o755);
    Cache::open(&config).unwrap();
    let other = metadata.uid() + 1;
    let foreign = check(&config.directory, other).expect_err("another's").to_string();
    assert!(foreign.contains(&format!("belongs to user {}, and this process runs as user {other}", metadata.uid())));

    // A link leads to what it led to when the cache was opened.
    let link = CacheConfig { directory: there.0.join("link"), ..config.clone() };
    symlink("cache", &link.directory).unwrap();
    let cache = Cache::open(&link).unwrap();
    std::fs::remove_file(&link.directory).unwrap();
    compile(&cache, &digest(1), &[1]);
    assert!(config.directory.join(digest(1)).exists());

    let file = there.0.join("file");
    std::fs::write(&file, "").unwrap();
    assert!(refused(&CacheConfig { directory: file.clone(), ..config.clone() }).contains("is no folder"));
    assert!(refused(&CacheConfig { directory: file.join("below"), ..config }).contains("below: "));
}
