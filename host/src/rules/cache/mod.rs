//! Compiled functions on the disk, so that a start need not compile again what an earlier one has compiled.
//!
//! An entry holds the functions of one module, each under the compiler's own key: a hash of its code, of the compiler's
//! version and settings and of the processor's features. So an entry of another version or machine is merely of no use.
//! The machine code in it is run as it is, and that it comes from this program is what `folder.rs` sees to (the folder
//! is this user's alone) and `entry.rs` (nothing in it was damaged, cut or put under another name).

mod entry;
mod folder;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::CacheStore;

pub use folder::CacheError;
use folder::Folder;

/// Where compiled modules are kept, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// A folder of this process's user, in which nobody else may write. Made where it is missing.
    pub directory: PathBuf,
    /// All entries together, in bytes; those that were not used for longest go first.
    pub bytes_max: u64,
}

/// The cache of one process. What goes wrong with it once it is open costs time and nothing else.
#[derive(Debug)]
pub struct Cache {
    folder: Folder,
    /// Whether it was said that entries cannot be written: once is enough.
    warned: AtomicBool,
}

/// Compiled functions by the compiler's key.
type Functions = HashMap<Vec<u8>, Vec<u8>>;

thread_local! {
    /// The module that this thread compiles. The compiler asks for functions and does not say of which module; it
    /// compiles on the thread that has called it.
    static OPEN: RefCell<Open> = RefCell::default();
}

/// The functions of a module that is being compiled.
#[derive(Default)]
struct Open {
    /// Those of its entry.
    there: Functions,
    /// Those that it has turned out to have: the next entry, if it is to be written.
    used: Functions,
    /// How many of them had to be compiled.
    compiled: usize,
}

impl Cache {
    /// Opens the cache, when its folder can be trusted.
    pub fn open(config: &CacheConfig) -> Result<Cache, CacheError> {
        Ok(Cache { folder: Folder::open(config)?, warned: AtomicBool::new(false) })
    }

    /// Compiles the module of this digest with what its entry holds, and writes the entry if that was of little use.
    ///
    /// A few functions in a hundred are compiled each time, since wasmtime's key of them depends on what the process has
    /// compiled before. An entry that lacks no more than those stays as it is, so that a start writes nothing.
    pub(super) fn around<T, E>(&self, digest: &str, compile: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        OPEN.set(Open { there: self.read(digest), ..Open::default() });
        let result = compile();
        let Open { used, compiled, .. } = OPEN.take();
        tracing::debug!(digest, functions = used.len(), compiled, "module compiled");
        if 2 * compiled > used.len() && result.is_ok() {
            self.write(digest, &used);
        }
        result
    }

    fn read(&self, digest: &str) -> Functions {
        let read = self.folder.read(digest).and_then(|bytes| match bytes {
            None => Ok(Functions::default()),
            Some(bytes) => entry::decode(digest, &bytes).ok_or_else(|| std::io::Error::other("it is damaged")),
        });
        read.unwrap_or_else(|error| {
            tracing::warn!(digest, "rules.cache: an entry cannot be used: {error}; its module is compiled again");
            Functions::default()
        })
    }

    fn write(&self, digest: &str, functions: &Functions) {
        if let Err(error) = self.folder.write(digest, &entry::encode(digest, functions))
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("rules.cache: cannot be written: {error}; modules are compiled again at the next start");
        }
    }
}

impl CacheStore for Cache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        OPEN.with_borrow_mut(|open| {
            let function = open.used.get(key).or_else(|| open.there.get(key))?.clone();
            open.used.entry(key.to_owned()).or_insert_with(|| function.clone());
            Some(Cow::Owned(function))
        })
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        OPEN.with_borrow_mut(|open| {
            open.compiled += 1;
            open.used.insert(key.to_owned(), value);
        });
        true
    }
}

#[cfg(test)]
mod tests;
