//! `trailhound rule build`: from a rule crate's folder to a proved module.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::engine::Engine;
use super::limits::RuleLimits;
use super::module::Module;
use super::refusal::Refusal;

/// What `build` made.
#[derive(Debug)]
pub struct Built {
    /// Where the module was written.
    pub file: PathBuf,
    /// The module, proved.
    pub module: Module,
}

/// Why a rule crate did not become a module.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The folder holds no crate that makes a module.
    #[error("{}: {cause}", dir.display())]
    NotARule {
        /// The folder.
        dir: PathBuf,
        /// What is missing.
        cause: String,
    },
    /// Cargo cannot be run.
    #[error("cannot run cargo: {0}")]
    NoCargo(#[source] std::io::Error),
    /// The compiler refused the crate; it has said why on standard error.
    #[error("{}: cargo build failed", .0.display())]
    Compile(PathBuf),
    /// The compiled module cannot be made into a component.
    #[error("cannot make a component of {}: {cause}", file.display())]
    Component {
        /// The core module.
        file: PathBuf,
        /// wit-component's words.
        cause: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// The module was refused.
    #[error("refused at step `{step}`: {0}", step = .0.step())]
    Refused(#[source] Refusal),
}

/// The target: its output imports nothing but the contract, where the WASI targets import fifteen interfaces.
const TARGET: &str = "wasm32-unknown-unknown";

/// Small modules: they compile faster in every host that loads them, and panics become traps. With `opt-level=3` a record that fires
/// costs 2.5 % fewer instructions, 60 modules start a third later from a filled cache, and two workers take 20 MiB more for them.
const PROFILE: [&str; 5] = ["opt-level=\"s\"", "lto=true", "codegen-units=1", "panic=\"abort\"", "strip=true"];

/// Compiles the rule crate in `dir`, makes a component of it, proves it, and writes `NAME.wasm` into `out`; without
/// `out` into the folder `rules` of cargo's target folder.
pub fn build(engine: &Engine, dir: &Path, out: Option<&Path>, limits: &RuleLimits) -> Result<Built, BuildError> {
    let krate = Crate::of(dir)?;
    let component = compile(dir, &krate)?;
    let module = Module::load(engine, &krate.name, &component, "{}", limits).map_err(BuildError::Refused)?;
    let file = out.unwrap_or(&krate.target.join("rules")).join(format!("{}.wasm", krate.name));
    write(&file, &component)?;
    Ok(Built { file, module })
}

/// Compiles the rule crate in `dir` and makes a component of it, which is not proved, in a folder of its own.
pub fn build_unproved(dir: &Path) -> Result<PathBuf, BuildError> {
    let krate = Crate::of(dir)?;
    let component = compile(dir, &krate)?;
    let file = krate.target.join("rule-build").join(format!("{}.wasm", krate.name));
    write(&file, &component)?;
    Ok(file)
}

fn compile(dir: &Path, krate: &Crate) -> Result<Vec<u8>, BuildError> {
    let mut cargo = cargo();
    cargo.current_dir(dir).args(["build", "--release", "--target", TARGET, "--lib"]);
    // A folder of its own, because the profile differs from the host's.
    let target = krate.target.join("rule-build");
    cargo.arg("--target-dir").arg(&target);
    for setting in PROFILE {
        cargo.arg("--config").arg(format!("profile.release.{setting}"));
    }
    if !cargo.status().map_err(BuildError::NoCargo)?.success() {
        return Err(BuildError::Compile(dir.to_owned()));
    }
    let core = target.join(TARGET).join("release").join(format!("{}.wasm", krate.name));
    let bytes = std::fs::read(&core).map_err(|source| BuildError::Io { path: core.clone(), source })?;
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| BuildError::Component { file: core, cause: format!("{error:#}") })
}

/// Written beside and renamed, so that a host which watches the folder never sees half a module.
fn write(file: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let half = file.with_extension("wasm.part");
    file.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&half, bytes))
        .and_then(|()| std::fs::rename(&half, file))
        .map_err(|source| BuildError::Io { path: file.to_owned(), source })
}

/// A rule crate, as cargo knows it.
struct Crate {
    /// The library's name.
    name: String,
    /// Cargo's target folder.
    target: PathBuf,
}

impl Crate {
    fn of(dir: &Path) -> Result<Crate, BuildError> {
        let not_a_rule = |cause: String| BuildError::NotARule { dir: dir.to_owned(), cause };
        let manifest = dir.join("Cargo.toml").canonicalize().map_err(|error| not_a_rule(error.to_string()))?;
        let output = cargo()
            .current_dir(dir)
            .args(["metadata", "--format-version=1", "--no-deps"])
            .output()
            .map_err(BuildError::NoCargo)?;
        if !output.status.success() {
            return Err(not_a_rule(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let metadata: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(|error| not_a_rule(error.to_string()))?;
        let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
        let library = list(&metadata["packages"])
            .iter()
            .filter(|package| package["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest))
            .flat_map(|package| list(&package["targets"]))
            .find(|target| list(&target["crate_types"]).iter().any(|kind| kind == "cdylib"))
            .and_then(|target| target["name"].as_str().map(|name| name.replace('-', "_")))
            .ok_or_else(|| not_a_rule("no library of the crate type `cdylib` in Cargo.toml".to_owned()))?;
        let target = PathBuf::from(metadata["target_directory"].as_str().unwrap_or("target"));
        Ok(Crate { name: library, target })
    }
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
