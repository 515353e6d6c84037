//! The program and the modules as `make` builds them, for tests that run a command and look at what it says.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// The same, when it has ended well.
    #[track_caller]
    pub(crate) fn well(self) -> Done {
        assert_eq!(self.code, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Done {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done {
            // A signal has no code; a panic has 101.
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// The program: `TRAILHOUND_BIN`, or the release build.
pub(crate) fn trailhound() -> Command {
    let mut command = Command::new(built("TRAILHOUND_BIN", "release/trailhound"));
    // Nothing of the tester's environment decides what is said, and nothing is read from the terminal.
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the program with these arguments to its end.
pub(crate) fn run(arguments: &[&dyn AsRef<OsStr>]) -> Done {
    trailhound().args(arguments.iter().map(AsRef::as_ref)).output().expect("the program starts").into()
}

/// The folder of the modules: `TRAILHOUND_RULES`, or the build's.
pub(crate) fn rules() -> PathBuf {
    built("TRAILHOUND_RULES", "rules")
}

/// The module of RTM-001 alone, for tests that count findings: a record may fire several of the rules that come along.
pub(crate) fn root_login() -> PathBuf {
    rules().join("root_login.wasm")
}

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn built(variable: &str, path: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(|| repository().join("target").join(path), PathBuf::from);
    path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}; `make test` builds it", path.display()))
}

/// The most memory that a running process has had at any time, in bytes (`VmHWM` of proc_pid_status(5)).
#[track_caller]
pub(crate) fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kibibytes = line.trim().strip_suffix("kB").and_then(|number| number.trim().parse::<u64>().ok());
    kibibytes.expect("a number of kB") << 10
}
