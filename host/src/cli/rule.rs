//! `trailhound rule build | inspect | test`: a rule author's tools, with the code that the host itself uses. The
//! operator's are in `fleet.rs`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::{Failure, fleet, print, refused_file};
use crate::rules::contract::{self, Rule};
use crate::rules::{self, BuildError, Engine, Module, RuleLimits};

#[derive(Debug, Subcommand)]
pub(super) enum RuleCommand {
    /// Compile a rule crate into a module, and prove it
    Build {
        /// The crate's folder
        dir: PathBuf,
        /// Where to write NAME.wasm [default: the folder `rules` in cargo's target folder]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what a module says of itself
    Inspect {
        /// The module
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a module's examples, each alone and all in one batch
    Test {
        /// A module, a folder of modules, or a rule crate's folder, which is built first
        path: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Prove a module and publish it on rules.topic: every instance that runs takes it at its next batch
    Publish(fleet::PublishArgs),
    /// Take a module away from every instance
    Retract(fleet::RetractArgs),
    /// Make the module in shadow the live one
    Promote(fleet::PromoteArgs),
    /// Show what rules.topic holds, and what every instance runs
    List(fleet::Common),
}

pub(super) fn rule(command: &RuleCommand) -> Result<(), Failure> {
    let engine = Engine::new().map_err(Failure::new)?;
    match command {
        RuleCommand::Build { dir, out, json } => {
            let built = build(&engine, dir, out.as_deref())?;
            if *json {
                let mut value = describe_json(&built.module);
                value["file"] = json!(built.file);
                print(format_args!("{value:#}"))
            } else {
                print(format_args!("{}\n{}", built.file.display(), describe(&built.module, false).trim_end()))
            }
        }
        RuleCommand::Inspect { file, json } => {
            let module = open(&engine, file)?;
            match json {
                true => print(format_args!("{:#}", describe_json(&module))),
                false => print(describe(&module, true).trim_end()),
            }
        }
        RuleCommand::Test { path, json } => test(&engine, path, *json),
        RuleCommand::Publish(args) => fleet::publish(&engine, args),
        RuleCommand::Retract(args) => fleet::retract(args),
        RuleCommand::Promote(args) => fleet::promote(&engine, args),
        RuleCommand::List(args) => fleet::list(args),
    }
}

fn build(engine: &Engine, dir: &Path, out: Option<&Path>) -> Result<rules::Built, Failure> {
    rules::build(engine, dir, out, &RuleLimits::default()).map_err(|error| {
        let hint = match &error {
            BuildError::Refused(refusal) => refusal.hint(),
            BuildError::NotARule { .. } => "a rule crate has a Cargo.toml with [lib] crate-type = [\"cdylib\"]",
            BuildError::NoCargo(_) => "install Rust, or set CARGO",
            BuildError::Compile(_) => {
                "see above; a missing target is added with `rustup target add wasm32-unknown-unknown`"
            }
            BuildError::Component { .. } | BuildError::Io { .. } => "",
        };
        let hint = if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") };
        Failure::usage(format!("{error}{hint}"))
    })
}

fn open(engine: &Engine, file: &Path) -> Result<Module, Failure> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let limits = RuleLimits::default();
    rules::read_module(file, &limits)
        .and_then(|bytes| Module::open(engine, &name, &bytes, "{}", &limits))
        .map_err(|refusal| refused_file(file, &refusal))
}

fn test(engine: &Engine, path: &Path, json: bool) -> Result<(), Failure> {
    let files = if path.join("Cargo.toml").is_file() {
        // Examples that disagree are what this command is to show, so the module is built without proving it.
        vec![rules::build_unproved(path).map_err(|error| Failure::usage(error.to_string()))?]
    } else {
        rules::module_files(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?
    };
    if files.is_empty() {
        return Err(Failure::usage(format!("{}: no module (*.wasm) and no Cargo.toml", path.display())));
    }
    let (mut report, mut failed, mut all) = (Vec::new(), 0, 0);
    for file in &files {
        let module = open(engine, file)?;
        let outcomes = rules::prove(&module, &RuleLimits::default())
            .map_err(|fault| Failure::new(format!("{}: the module {fault}", file.display())))?;
        all += outcomes.len();
        failed += outcomes.iter().filter(|outcome| !outcome.agrees()).count();
        if json {
            report.push(json!({ "file": file, "digest": module.digest, "examples": outcomes }));
            continue;
        }
        print(format_args!("{}", file.display()))?;
        for outcome in &outcomes {
            print(format_args!("  {}  {outcome}", if outcome.agrees() { "ok  " } else { "FAIL" }))?;
        }
    }
    match json {
        true => print(format_args!("{:#}", json!({ "examples": all, "failed": failed, "modules": report })))?,
        false => print(format_args!("{all} examples, {failed} failed"))?,
    }
    if failed == 0 { Ok(()) } else { Err(Failure::new(format!("{failed} of {all} examples disagree"))) }
}

fn describe_json(module: &Module) -> serde_json::Value {
    json!({
        "name": module.name,
        "digest": module.digest,
        "bytes": module.bytes,
        "contract": contract::VERSION,
        "module": module.described,
    })
}

fn describe(module: &Module, whole: bool) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "{} {}: {} rules, {} bytes, sha256 {}",
        module.described.name,
        module.described.version,
        module.described.rules.len(),
        module.bytes,
        module.digest
    );
    if whole {
        let _ = writeln!(text, "contract {}; reads {}", contract::VERSION, module.described.fields.join(", "));
    }
    for rule in &module.described.rules {
        let _ = writeln!(text, "  {} {} ({}): {}", rule.id, rule.version, rule.severity.as_str(), rule.title);
        if whole {
            describe_rule(&mut text, rule);
        }
    }
    text
}

fn describe_rule(text: &mut String, rule: &Rule) {
    let select: Vec<String> =
        rule.select.iter().map(|condition| format!("{} in {:?}", condition.field, condition.any_of)).collect();
    let attacks: Vec<String> = rule
        .attacks
        .iter()
        .map(|attack| format!("{} {} ({})", attack.technique, attack.technique_name, attack.tactic_name))
        .collect();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "    {name}: {value}");
        }
    };
    line("select", &select.join(" and "));
    line("description", &rule.description);
    line("rationale", &rule.rationale);
    line("remediation", &rule.remediation);
    line("compliance", &rule.compliance.join(", "));
    line("attack", &attacks.join(", "));
    line("references", &rule.references.join(" "));
    for example in &rule.examples {
        line(if example.fires { "fires on" } else { "quiet on" }, &example.name);
    }
}
