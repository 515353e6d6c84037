//! What was measured, and on what: without it a figure means nothing.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// Machine, compiler and versions.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    /// The compiler that is installed, which is the one that `make bench` builds with.
    rustc: String,
    /// What all contenders were compiled for, of what parsers make use of.
    cpu_features: Vec<&'static str>,
    commit: String,
    /// Whether the work tree differs from the commit.
    changed: bool,
    /// Of peers and parsers, as they are locked.
    versions: Vec<Version>,
    /// Processes that were running or waiting for a core before anything was timed, on average over a minute. Above 1 the
    /// machine had other work.
    load_before: String,
}

#[derive(Debug, Serialize)]
struct Version {
    name: String,
    version: String,
}

impl Machine {
    /// Asks the system; `packages` are those whose version matters.
    pub(crate) fn new(repository: &Path, packages: &[&str]) -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let cpu = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
        let git = |arguments: &[&str]| output(Command::new("git").current_dir(repository).args(arguments));
        Machine {
            cpu: cpu.unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            rustc: rustc(),
            cpu_features: features(),
            commit: git(&["rev-parse", "HEAD"]),
            changed: !git(&["status", "--porcelain"]).is_empty(),
            versions: versions(packages),
            load_before: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// In a few lines.
    pub(crate) fn describe(&self) -> String {
        let Machine { cpu, cores, rustc, commit, load_before, .. } = self;
        let versions: Vec<String> =
            self.versions.iter().map(|Version { name, version }| format!("{name} {version}")).collect();
        let changed = if self.changed { ", changed" } else { "" };
        let features = self.cpu_features.join(" ");
        format!(
            "{cpu}, {cores} cores, load before {load_before}; {rustc}, for {features}; commit {commit}{changed}\n{}\n",
            versions.join(", ")
        )
    }
}

/// The compiler's name and version.
pub(crate) fn rustc() -> String {
    output(Command::new("rustc").arg("--version"))
}

fn output(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// Vector instructions that the compiler was allowed to use.
fn features() -> Vec<&'static str> {
    let all = [
        ("sse2", cfg!(target_feature = "sse2")),
        ("sse4.2", cfg!(target_feature = "sse4.2")),
        ("pclmulqdq", cfg!(target_feature = "pclmulqdq")),
        ("avx2", cfg!(target_feature = "avx2")),
        ("avx512bw", cfg!(target_feature = "avx512bw")),
        ("neon", cfg!(target_feature = "neon")),
    ];
    all.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

fn versions(of: &[&str]) -> Vec<Version> {
    let locked = include_str!("../Cargo.lock").split("[[package]]").filter_map(|package| {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.map(|text| text.trim_matches('"').to_owned())
        };
        Some(Version { name: value("name")?, version: value("version")? })
    });
    locked.filter(|package| of.contains(&package.name.as_str())).collect()
}
