//! What a running process has: memory, threads and open files, as the kernel tells (proc_pid_status(5)).

use std::fmt;

/// A process at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// Resident memory, in bytes (`VmRSS`).
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub files: u64,
}

impl Process {
    /// Looks at a process that runs.
    pub fn of(pid: u32) -> Process {
        let status = status(pid);
        let number = |name| number(&status, name);
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count();
        Process { resident_bytes: number("VmRSS:") << 10, threads: number("Threads:"), files: files as u64 }
    }

    /// The most resident memory that a process has had at any time, in bytes (`VmHWM`).
    pub fn most_resident_bytes(pid: u32) -> u64 {
        number(&status(pid), "VmHWM:") << 10
    }

    /// The most that it had of each.
    fn most(samples: &[Process]) -> Process {
        let most = |part: fn(&Process) -> u64| samples.iter().map(part).max().unwrap_or_default();
        Process {
            resident_bytes: most(|one| one.resident_bytes),
            threads: most(|one| one.threads),
            files: most(|one| one.files),
        }
    }
}

fn status(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs")
}

/// A number of the status, as it stands there.
fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of the status");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

/// Fails unless a process had in the last third of its samples no more than in the third before, give or take what an
/// allocator keeps and a connection that is made anew. The first third is for what fills up once. Gives both in words.
#[track_caller]
pub fn assert_flat(samples: &[Process]) -> String {
    const SLACK_BYTES: u64 = 24 << 20;
    let third = samples.len() / 3;
    let [before, after] = [&samples[third..2 * third], &samples[2 * third..]].map(Process::most);
    let told = format!("at most {before} in the middle third, {after} in the last");
    assert!(after.resident_bytes <= before.resident_bytes + before.resident_bytes / 10 + SLACK_BYTES, "{told}");
    assert!(after.threads <= before.threads + 2 && after.files <= before.files + 8, "{told}");
    told
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = self.resident_bytes >> 20;
        write!(f, "{mebibytes} MiB, {} threads, {} open files", self.threads, self.files)
    }
}
