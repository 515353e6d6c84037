//! A rule set: the modules that are live together, with the index that selects among their rules.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::Engine;
use super::limits::RuleLimits;
use super::module::Module;
use super::refusal::Refusal;
use super::select::{Candidate, Index};
use crate::record::Skimmed;

/// An immutable set of modules. A worker takes one snapshot a batch, so a record meets exactly one generation.
#[derive(Debug)]
pub struct RuleSet {
    /// The number of the set, which grows with every swap; each finding carries it. See `swap` for where it comes from.
    pub generation: u64,
    /// The modules, by name, then mode.
    pub modules: Vec<Member>,
    /// The set's identity: 12 hex digits over names, digests, settings and modes. Equal wherever the same modules are
    /// live, whatever the generation.
    pub fingerprint: String,
    pub(super) index: Index,
}

/// A module of a set, and what its findings are for.
#[derive(Clone, Debug)]
pub struct Member {
    /// The module, shared with other sets that have it too.
    pub module: Arc<Module>,
    /// Whether its findings count.
    pub mode: Mode,
}

impl From<Arc<Module>> for Member {
    fn from(module: Arc<Module>) -> Member {
        Member { module, mode: Mode::Live }
    }
}

/// What a module's findings are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are delivered.
    #[default]
    Live,
    /// They are counted and kept apart, until the module is promoted.
    Shadow,
}

impl Mode {
    /// The mode's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Live => "live",
            Mode::Shadow => "shadow",
        }
    }
}

/// A module that was refused, by its file or name.
#[derive(Debug, thiserror::Error)]
#[error("module {name}: refused at step `{}`: {refusal}", refusal.step())]
pub struct Refused {
    /// The file's path, or the module's name.
    pub name: String,
    /// Why.
    #[source]
    pub refusal: Refusal,
}

impl Default for RuleSet {
    fn default() -> RuleSet {
        RuleSet { generation: 0, modules: Vec::new(), fingerprint: fingerprint(&[]), index: Index::default() }
    }
}

impl RuleSet {
    /// Builds a set. A rule id may come from one live module only, since it is part of a finding's identity, and from
    /// one in shadow beside it: that is how a new version is compared with the old one.
    pub fn new(generation: u64, mut modules: Vec<Member>) -> Result<RuleSet, Refused> {
        modules.sort_by(|a, b| (&a.module.name, a.mode).cmp(&(&b.module.name, b.mode)));
        let mut index = Index::default();
        let mut owners: HashMap<(&str, Mode), &str> = HashMap::new();
        for (number, Member { module, mode }) in modules.iter().enumerate() {
            for (rule_number, rule) in module.described.rules.iter().enumerate() {
                if let Some(other) = owners.insert((&rule.id, *mode), &module.name) {
                    let cause = format!("the rule {} is in the module {other} already", rule.id);
                    return Err(Refused { name: module.name.clone(), refusal: Refusal::Set(cause) });
                }
                index.add(Candidate { module: number as u32, rule: rule_number as u32 }, rule);
            }
        }
        let fingerprint = fingerprint(&modules);
        Ok(RuleSet { generation, modules, fingerprint, index })
    }

    /// Whether some rule selects every record; then nothing is gained by skimming.
    pub fn selects_all(&self) -> bool {
        self.index.selects_all()
    }

    /// Whether some rule may select a record that was skimmed.
    pub fn may_select(&self, record: &Skimmed<'_>) -> bool {
        self.index.may_select(record)
    }

    /// Loads every `*.wasm` of a folder, and single files, into one set; every module that is refused at once.
    /// `settings` gives a module's settings by its name.
    pub fn load(
        engine: &Engine,
        paths: &[&Path],
        settings: &dyn Fn(&str) -> String,
        limits: &RuleLimits,
    ) -> Result<RuleSet, Vec<Refused>> {
        let mut refused = Vec::new();
        let mut modules: Vec<Member> = Vec::new();
        let mut files = Vec::new();
        for path in paths {
            match module_files(path) {
                Ok(found) => files.extend(found),
                Err(error) => {
                    refused.push(Refused { name: path.display().to_string(), refusal: Refusal::Unreadable(error) })
                }
            }
        }
        for file in files {
            let (name, mode) = name_of(&file);
            let loaded = if modules.iter().any(|other| other.module.name == name && other.mode == mode) {
                Err(Refusal::Set(format!("a module `{name}` is in the set already")))
            } else if modules.len() >= limits.modules_max {
                Err(Refusal::Set(format!("over the limit of {} modules", limits.modules_max)))
            } else {
                super::module::read(&file, limits)
                    .and_then(|bytes| Module::load(engine, &name, &bytes, &settings(&name), limits))
            };
            match loaded {
                Ok(module) => modules.push(Member { module: Arc::new(module), mode }),
                Err(refusal) => refused.push(Refused { name: file.display().to_string(), refusal }),
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        RuleSet::new(1, modules).map_err(|one| vec![one])
    }

    /// How many rules the set holds.
    pub fn rules_len(&self) -> usize {
        self.modules.iter().map(|member| member.module.described.rules.len()).sum()
    }
}

fn fingerprint(modules: &[Member]) -> String {
    let mut all = Vec::new();
    for Member { module, mode } in modules {
        for part in [&module.name, &module.digest, &module.settings, mode.as_str()] {
            all.extend_from_slice(part.as_bytes());
            all.push(0);
        }
    }
    let mut digest = super::module::digest(&all);
    digest.truncate(12);
    digest
}

/// What marks a module's name when it runs in shadow: `NAME@shadow.wasm`, so that it can lie beside `NAME.wasm`.
pub const SHADOW_MARK: &str = "@shadow";

/// A module's name and mode by its file: the stem, without the mark of a module in shadow.
pub fn name_of(file: &Path) -> (String, Mode) {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    match stem.strip_suffix(SHADOW_MARK) {
        Some(name) => (name.to_owned(), Mode::Shadow),
        None => (stem.into_owned(), Mode::Live),
    }
}

/// A folder's `*.wasm` files in the order of their names, or the file itself.
pub fn module_files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let paths: Vec<PathBuf> =
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    let mut files: Vec<PathBuf> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "wasm")).collect();
    files.sort();
    Ok(files)
}
