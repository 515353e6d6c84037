//! A child process that dies with the test, whose output goes to files and whose end can be waited for.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Shell, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::folder::read_lossy;
use crate::wait;

/// Runs "$@" with its output in files ($OUT, $ERR), prints its pid, and ends with its exit code. A guard kills it
/// when the shell's standard input closes, which happens in whatever way the test process ends.
const GUARDED: &str = r#"
out=$1; err=$2; shift 2
exec 3<&0
"$@" </dev/null >>"$out" 2>>"$err" 3<&- &
pid=$!
echo "$pid"
( read -r _ <&3; kill -9 "$pid" ) >/dev/null 2>&1 &
guard=$!
exec 2>/dev/null
exec 3<&- >/dev/null
wait "$pid"
code=$?
kill "$guard" 2>/dev/null
exit "$code"
"#;

/// A running or finished child process.
#[derive(Debug)]
pub struct Child {
    shell: Shell,
    pid: u32,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts `command` (its program, arguments, environment and folder; its streams are set here). Output is
    /// appended to `NAME.out` and `NAME.err` in `logs`.
    pub fn start(command: &Command, logs: &Path, name: &str) -> Child {
        let stdout = logs.join(format!("{name}.out"));
        let stderr = logs.join(format!("{name}.err"));
        let mut guarded = Command::new("sh");
        guarded.args(["-c", GUARDED, "guard"]).arg(&stdout).arg(&stderr);
        guarded.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(key, value),
                None => guarded.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            guarded.current_dir(folder);
        }
        // A group of its own: an interrupt from the keyboard reaches the test, and the guard then does its work.
        guarded.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut shell = guarded.spawn().expect("sh");
        let mut line = String::new();
        let output = shell.stdout.take().expect("a pipe from the shell");
        BufReader::new(output).read_line(&mut line).expect("the child's pid");
        let pid = line.trim().parse().expect("the child's pid");
        Child { shell, pid, stdout, stderr, ended: None }
    }

    /// The process id of the program itself.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has written to standard output.
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// What it has written to standard error.
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// The exit code when it has ended: 128 plus the signal's number when a signal ended it.
    pub fn exit_code(&mut self) -> Option<i32> {
        if self.ended.is_none() {
            self.ended = self.shell.try_wait().expect("a child to wait for");
        }
        self.ended.and_then(|status| status.code())
    }

    /// Sends a signal by its name, such as `TERM`. Nothing happens when the child has ended.
    pub fn signal(&mut self, name: &str) {
        if self.exit_code().is_some() {
            return;
        }
        // It may end by itself at this moment: kill's complaint about that is of no interest.
        let _sent =
            Command::new("kill").args([format!("-{name}"), self.pid.to_string()]).stderr(Stdio::null()).status();
    }

    /// Waits for the end and returns the exit code.
    ///
    /// # Panics
    /// When it does not end within `deadline`; the message holds the last of what it has logged.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> i32 {
        match wait::poll(deadline, || self.exit_code()) {
            Some(code) => code,
            None => panic!("process {} did not end within {deadline:?}\n{}", self.pid, tail(&self.stderr())),
        }
    }

    /// Kills it without a warning and waits until it is gone.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.signal("KILL");
        self.wait(wait::PATIENCE);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit_code().is_none() {
            self.signal("KILL");
            let _code = wait::poll(Duration::from_secs(10), || self.exit_code());
        }
    }
}

/// What a person wants to see of a log in a failed test: its last lines, and of those that differ only in numbers the
/// first few.
pub fn tail(log: &str) -> String {
    const SAME: usize = 3;
    const LINES: usize = 80;
    let mut seen = BTreeMap::new();
    let is_news = |line: &&str| {
        let words: String = line.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        let times = seen.entry(words).or_insert(0);
        *times += 1;
        *times <= SAME
    };
    let lines: Vec<&str> = log.lines().filter(is_news).collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
}
