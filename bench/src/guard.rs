//! `make bench-guard`: instructions a record, counted by callgrind, against figures that are committed. Counts do not
//! depend on what else the machine does, so a change that costs is seen where a clock would see noise.
//!
//! The counted part runs in a process of its own under valgrind, and only what happens inside [`counted_passes`] counts:
//! neither the compiler of WebAssembly nor the making of records.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::data::DataSet;
use crate::engine;

/// Records of a case. Their first pass fills buffers and is not counted.
const RECORDS: usize = 2_000;

/// Passes that are counted.
const PASSES: u64 = 2;

/// How far over its figure a case may be.
const OVER_MAX: f64 = 0.05;

/// What is counted: the root rule, over made-up records of which none or every one fires.
const CASES: [(&str, usize); 2] = [("none fires", 0), ("all fire", 1)];

/// The committed figures.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Figures {
    /// What compiled the counted program; another compiler makes other instructions.
    rustc: String,
    /// Instructions a record, by case.
    instructions: std::collections::BTreeMap<String, u64>,
}

/// Counts all cases and compares; `update` writes the figures instead. What is printed is for people.
pub(crate) fn run(repository: &Path, target: &Path, update: bool) -> Result<String> {
    engine::build_root(repository, &target.join("rules"))?;
    let file = repository.join("bench/guard.json");
    let committed: Figures = match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| file.display().to_string())?,
        Err(_) if update => Figures::default(),
        Err(error) => return Err(error).with_context(|| file.display().to_string()),
    };
    let mut found = Figures { rustc: crate::machine::rustc(), ..Figures::default() };
    let (mut text, mut over) = (String::new(), Vec::new());
    for (case, _) in CASES {
        let count = count(case, target)?;
        let before = committed.instructions.get(case).copied();
        let ratio = before.map(|before| count as f64 / before as f64);
        text.push_str(&match ratio {
            Some(ratio) => format!("{case}: {count} instructions a record, {ratio:.3} of the committed figure\n"),
            None => format!("{case}: {count} instructions a record\n"),
        });
        if ratio.is_none_or(|ratio| ratio > 1.0 + OVER_MAX) {
            over.push(case);
        }
        found.instructions.insert(case.to_owned(), count);
    }
    if update {
        std::fs::write(&file, serde_json::to_string_pretty(&found)? + "\n")?;
        return Ok(text);
    }
    if !over.is_empty() {
        let compiler = match found.rustc == committed.rustc {
            true => String::new(),
            false => format!("\nthe figures were made with {}, this is {}", committed.rustc, found.rustc),
        };
        bail!(
            "{text}over by more than {} %: {}{compiler}\nhint: callgrind_annotate target/bench/guard.*.out says where; \
             `make bench-guard UPDATE=1` accepts what is found",
            OVER_MAX * 100.0,
            over.join(", ")
        );
    }
    Ok(text)
}

/// Instructions a record of a case: this program, run once more under callgrind.
fn count(case: &str, target: &Path) -> Result<u64> {
    let out = target.join(format!("guard.{}.out", case.replace(' ', "-")));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_passes*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["--counted", case])
        .stdout(Stdio::null())
        .output()
        .context("valgrind: is it installed?")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed:\n{said}");
    let text = std::fs::read_to_string(&out).with_context(|| out.display().to_string())?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    let total: u64 =
        total.and_then(|total| total.trim().parse().ok()).with_context(|| format!("no total in {}", out.display()))?;
    ensure!(total > 0, "nothing was counted: callgrind has not seen the function `counted_passes`");
    Ok(total / (PASSES * RECORDS as u64))
}

/// What runs under valgrind. The modules are built already.
pub(crate) fn counted(target: &Path, case: &str) -> Result<()> {
    let (_, every) = CASES.into_iter().find(|(name, _)| *name == case).with_context(|| format!("no case {case}"))?;
    let set = DataSet::made_up(case, RECORDS, every);
    let rules = engine::load_root(&target.join("rules/root_login.wasm"))?;
    let mut contender = engine::root(&rules, &set)?;
    (contender.run)()?;
    counted_passes(&mut *contender.run)
}

/// All that is counted. Its name is what callgrind looks for.
#[inline(never)]
fn counted_passes(run: &mut dyn FnMut() -> Result<u64>) -> Result<()> {
    for _ in 0..PASSES {
        std::hint::black_box(run()?);
    }
    Ok(())
}
