//! A rule module: from bytes to something that may go live, step by step, each step a possible refusal.

use std::io::Read as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::finding::Constants;

use super::contract::{self, Rule, RuleModulePre};
use super::engine::Engine;
use super::instance::{Fault, Instance, State};
use super::limits::RuleLimits;
use super::path::Path;
use super::refusal::Refusal;
use super::{header, prove};

/// A module that was compiled, described itself, and proved its examples. Immutable; workers make their instances
/// of it.
pub struct Module {
    /// The operator's name for it: the file's stem. Settings, metrics and dead letters go by this name.
    pub name: String,
    /// SHA-256 of the file, in hex.
    pub digest: String,
    /// The file's size in bytes.
    pub bytes: usize,
    /// What the module says of itself.
    pub described: contract::Module,
    /// The settings it was given: a JSON object.
    pub settings: String,
    /// How many workers have set it aside at present: for the metrics alone.
    pub(super) aside: AtomicU32,
    /// Instances that no worker has: made for those that will take the module, or given back by those that have let it
    /// go. The lock is taken when a worker takes or leaves a module, never for a record.
    spare: Mutex<Vec<Instance>>,
    /// What the findings of each rule have in common.
    constants: Vec<Constants>,
    /// `described.fields`, parsed.
    pub(super) fields: Vec<Path>,
    /// Its compiled code, which modules of the same bytes share.
    pub(super) pre: Arc<RuleModulePre<State>>,
}

impl Module {
    /// Takes a module through all steps: size, parse, imports, contract version, compile, start, describe under
    /// limits, examples.
    pub fn load(
        engine: &Engine,
        name: &str,
        bytes: &[u8],
        settings: &str,
        limits: &RuleLimits,
    ) -> Result<Module, Refusal> {
        let module = Module::open(engine, name, bytes, settings, limits)?;
        let disagreements: Vec<String> = prove::run(&module, limits)?
            .into_iter()
            .filter(|outcome| !outcome.agrees())
            .map(|outcome| outcome.to_string())
            .collect();
        if disagreements.is_empty() { Ok(module) } else { Err(Refusal::Examples(disagreements)) }
    }

    /// All steps but the last: for showing a module whose examples may disagree.
    pub fn open(
        engine: &Engine,
        name: &str,
        bytes: &[u8],
        settings: &str,
        limits: &RuleLimits,
    ) -> Result<Module, Refusal> {
        if bytes.len() > limits.module_bytes_max {
            return Err(Refusal::TooLarge { bytes: bytes.len(), bytes_max: limits.module_bytes_max });
        }
        header::check(bytes)?;
        let digest = digest(bytes);
        let pre = engine.compile(&digest, bytes).map_err(Refusal::Compile)?;
        let described = Instance::start(&pre, name, limits)
            .map_err(Refusal::Start)?
            .describe(settings)
            .map_err(Refusal::Describe)?
            .map_err(Refusal::Settings)?;
        check(&described, limits)?;
        let constants = described.rules.iter().map(|rule| Constants::of(rule, name, &digest)).collect();
        Ok(Module {
            name: name.to_owned(),
            digest,
            bytes: bytes.len(),
            fields: described.fields.iter().map(|field| Path::new(field)).collect(),
            constants,
            described,
            settings: settings.to_owned(),
            aside: AtomicU32::new(0),
            spare: Mutex::default(),
            pre,
        })
    }

    /// Makes `count` instances ready, off the data path, so that workers that take the module need not. What cannot be
    /// made now is tried again, and told, where it is needed.
    pub fn warm(&self, count: usize, limits: &RuleLimits) {
        let ready: Vec<Instance> = (0..count).map_while(|_| Instance::ready(self, limits).ok()).collect();
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).extend(ready);
    }

    /// An instance that is ready: a spare one if there is one.
    pub(super) fn instance(&self, limits: &RuleLimits) -> Result<Instance, Fault> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.map_or_else(|| Instance::ready(self, limits), Ok)
    }

    /// Takes back an instance of a worker that has let the module go: to free it takes longer than a worker has.
    pub(super) fn give_back(&self, instance: Instance) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
    }

    /// How many workers have set it aside at present.
    pub fn quarantined(&self) -> u32 {
        self.aside.load(Ordering::Relaxed)
    }

    /// The rule at `index`, as hits name it.
    pub fn rule(&self, index: u32) -> Option<&Rule> {
        self.described.rules.get(index as usize)
    }

    /// What the findings of the rule at `index` have in common.
    pub fn constants(&self, index: u32) -> Option<&Constants> {
        self.constants.get(index as usize)
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Module({} {})", self.name, self.digest)
    }
}

/// Reads a module's file. One that is too large is refused by its size and not read.
pub fn read(file: &std::path::Path, limits: &RuleLimits) -> Result<Vec<u8>, Refusal> {
    let file = std::fs::File::open(file).map_err(Refusal::Unreadable)?;
    let bytes_max = limits.module_bytes_max;
    let size = usize::try_from(file.metadata().map_err(Refusal::Unreadable)?.len()).unwrap_or(usize::MAX);
    if size > bytes_max {
        return Err(Refusal::TooLarge { bytes: size, bytes_max });
    }
    let mut bytes = Vec::with_capacity(size);
    // One byte more than allowed, if it has grown meanwhile: then `Module::open` refuses it.
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(Refusal::Unreadable)?;
    Ok(bytes)
}

/// SHA-256 in hex.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Holds a description against the contract and the limits; every mistake at once.
fn check(module: &contract::Module, limits: &RuleLimits) -> Result<(), Refusal> {
    let mut wrong = Vec::new();
    let mut require = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    require(!module.name.is_empty(), "the module has no name".to_owned());
    let (rules, rules_max) = (module.rules.len(), limits.rules_max);
    require(rules > 0, "it has no rules".to_owned());
    require(rules <= rules_max, format!("{rules} rules, over the limit of {rules_max}"));
    let examples: usize = module.rules.iter().map(|rule| rule.examples.len()).sum();
    let examples_max = limits.examples_max;
    require(examples <= examples_max, format!("{examples} examples, over the limit of {examples_max}"));
    let (fields, fields_max) = (module.fields.len(), limits.fields_max);
    require(fields <= fields_max, format!("{fields} fields, over the limit of {fields_max}"));
    for field in &module.fields {
        require(Path::is_valid(field), format!("the field `{}` is not a path", field.escape_debug()));
    }
    for (index, rule) in module.rules.iter().take(rules_max).enumerate() {
        let id = &rule.id;
        require(
            is_id(id),
            format!("rule {index}: the id `{}` must be 1 to 128 of A-Z a-z 0-9 . _ : -", id.escape_debug()),
        );
        require(!rule.title.is_empty(), format!("{id}: no title"));
        require(!rule.version.is_empty(), format!("{id}: no version"));
        let earlier = module.rules.iter().take(index).any(|other| other.id == *id);
        require(!earlier, format!("{id}: the id occurs twice"));
        for condition in &rule.select {
            let field = condition.field.escape_debug();
            require(Path::is_valid(&condition.field), format!("{id}: select: the field `{field}` is not a path"));
            require(!condition.any_of.is_empty(), format!("{id}: select: no values for `{field}`"));
        }
        let fires = rule.examples.iter().any(|example| example.fires);
        let quiet = rule.examples.iter().any(|example| !example.fires);
        require(fires && quiet, format!("{id}: needs at least one example that fires and one that stays quiet"));
    }
    wrong.truncate(20);
    if wrong.is_empty() { Ok(()) } else { Err(Refusal::Description(wrong)) }
}

/// A rule's id goes into Kafka headers, metric labels and finding ids, so it is kept plain.
fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}
