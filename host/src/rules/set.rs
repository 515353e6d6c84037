//! A rule set: the modules that are live together, with the index that selects among their rules.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::Engine;
use super::limits::RuleLimits;
use super::module::Module;
use super::refusal::Refusal;
use super::select::{Candidate, Index};

/// An immutable set of modules. A worker takes one snapshot a batch, so a record meets exactly one generation.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// Counts the sets of this process from 1; each finding carries it.
    pub generation: u64,
    /// The modules, by name.
    pub modules: Vec<Arc<Module>>,
    pub(super) index: Index,
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

impl RuleSet {
    /// Builds a set. A rule id may come from one module only, since it is part of a finding's identity.
    pub fn new(generation: u64, mut modules: Vec<Arc<Module>>) -> Result<RuleSet, Refused> {
        modules.sort_by(|a, b| a.name.cmp(&b.name));
        let mut index = Index::default();
        let mut owners: HashMap<&str, &str> = HashMap::new();
        for (number, module) in modules.iter().enumerate() {
            for (rule_number, rule) in module.described.rules.iter().enumerate() {
                if let Some(other) = owners.insert(&rule.id, &module.name) {
                    let cause = format!("the rule {} is in the module {other} already", rule.id);
                    return Err(Refused { name: module.name.clone(), refusal: Refusal::Set(cause) });
                }
                index.add(Candidate { module: number as u32, rule: rule_number as u32 }, rule);
            }
        }
        Ok(RuleSet { generation, modules, index })
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
        let mut modules: Vec<Arc<Module>> = Vec::new();
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
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let loaded = if modules.iter().any(|module| module.name == name) {
                Err(Refusal::Set(format!("a module `{name}` is in the set already")))
            } else if modules.len() >= limits.modules_max {
                Err(Refusal::Set(format!("over the limit of {} modules", limits.modules_max)))
            } else {
                super::module::read(&file, limits)
                    .and_then(|bytes| Module::load(engine, &name, &bytes, &settings(&name), limits))
            };
            match loaded {
                Ok(module) => modules.push(Arc::new(module)),
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
        self.modules.iter().map(|module| module.described.rules.len()).sum()
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
