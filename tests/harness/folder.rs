//! A temporary folder that is removed when the test is done with it, or dies.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// Waits for its standard input to close, then removes the folder. What writes into the folder is killed at the same
/// moment by its own guard, so the removal is repeated until it succeeds.
const KEEPER: &str =
    r#"read -r _; n=0; until rm -rf "$1" 2>/dev/null || [ $n -ge 20 ]; do n=$((n+1)); sleep 0.1; done"#;

/// A temporary folder. A child process removes it when its standard input closes: when the value is dropped, and
/// also when this process ends in whatever way (values in statics are never dropped).
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    keeper: Child,
}

impl Folder {
    /// Makes a new empty folder whose name starts with `name`.
    pub fn new(name: &str) -> Folder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("trailhound-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh");
        Folder { path, keeper }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into it and returns the file's path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        std::fs::write(&path, content).expect("a file in the temporary folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _removed = self.keeper.wait();
    }
}

/// Reads a whole file as text, whatever its bytes; empty when it does not exist.
pub fn read_lossy(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = std::fs::File::open(path) {
        file.read_to_end(&mut bytes).expect("a readable file");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
