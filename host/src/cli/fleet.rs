//! `trailhound rule publish | retract | promote | list`: an operator's tools for a fleet that follows the rules topic.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::progress::Progress;
use super::{Failure, print, refused_file};
use crate::config::{self, Config};
use crate::overview::PipelineDown;
use crate::rules::{self, Engine, Mode};
use crate::swap::{self, Key, Listing, OperateError, Publish, Published, Status};

/// What all of these commands take.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// The configuration, which names rules.topic and rules.status_topic
    #[arg(long, value_name = "FILE", default_value = "pipeline.toml")]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What all commands take that write to the rules topic.
#[derive(Debug, clap::Args)]
pub(super) struct Writing {
    #[command(flatten)]
    common: Common,
    /// Wait until every instance has taken it, for SECONDS at most; fails when one refuses it
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    wait: Option<u64>,
    /// Why, for whoever lists the modules
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// Who [default: the user's name]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct PublishArgs {
    /// The module
    file: PathBuf,
    /// The name it goes by: settings, metrics and dead letters name it [default: the file's name without .wasm]
    #[arg(long)]
    name: Option<String>,
    /// Its settings: a JSON object, or @FILE with one [default: those of each instance's pipeline.toml]
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
    /// In shadow: evaluated and counted, its findings kept apart, beside the live module of the same name
    #[arg(long)]
    shadow: bool,
    #[command(flatten)]
    writing: Writing,
}

#[derive(Debug, clap::Args)]
pub(super) struct RetractArgs {
    /// The module's name
    name: String,
    /// The one in shadow, not the live one
    #[arg(long)]
    shadow: bool,
    #[command(flatten)]
    writing: Writing,
}

#[derive(Debug, clap::Args)]
pub(super) struct PromoteArgs {
    /// The name of the module in shadow
    name: String,
    #[command(flatten)]
    writing: Writing,
}

fn mode(shadow: bool) -> Mode {
    if shadow { Mode::Shadow } else { Mode::Live }
}

pub(super) fn publish(engine: &Engine, args: &PublishArgs) -> Result<(), Failure> {
    let config = args.writing.config()?;
    let (stem, named_shadow) = rules::name_of(&args.file);
    let name = args.name.clone().unwrap_or(stem);
    let key = Key { name, mode: mode(args.shadow || named_shadow == Mode::Shadow) };
    let settings = args.settings.as_deref().map(settings).transpose()?;
    let bytes =
        rules::read_module(&args.file, &config.limits.rules).map_err(|refusal| refused_file(&args.file, &refusal))?;
    let (author, note) = (args.writing.author(), args.writing.note.clone());
    let published = swap::publish(&config, engine, &Publish { key, bytes, settings, author, note }).map_err(failure)?;
    args.writing.finish(&config, &published, "published")
}

pub(super) fn retract(args: &RetractArgs) -> Result<(), Failure> {
    let config = args.writing.config()?;
    let key = Key { name: args.name.clone(), mode: mode(args.shadow) };
    let published = swap::retract(&config, &key).map_err(failure)?;
    args.writing.finish(&config, &published, "retracted")
}

pub(super) fn promote(engine: &Engine, args: &PromoteArgs) -> Result<(), Failure> {
    let config = args.writing.config()?;
    let (author, note) = (args.writing.author(), &args.writing.note);
    let published = swap::promote(&config, engine, &args.name, &author, note).map_err(failure)?;
    args.writing.finish(&config, &published, "promoted")
}

pub(super) fn list(args: &Common) -> Result<(), Failure> {
    let config = config::load(&args.config).map_err(Failure::usage)?;
    let listing = swap::list(&config).map_err(failure)?;
    match args.json {
        true => print(format_args!("{:#}", json!(listing))),
        false => print(table(&config, &listing).trim_end()),
    }
}

/// A mistake of the operator or in the module is told by its exit code from a cluster that does not answer.
fn failure(error: OperateError) -> Failure {
    match error {
        OperateError::NoTopic(_)
        | OperateError::Name(_)
        | OperateError::Refused { .. }
        | OperateError::RefusedBy(_)
        | OperateError::Unknown { .. } => Failure::usage(error),
        OperateError::Kafka(_)
        | OperateError::Write(_)
        | OperateError::Unread { .. }
        | OperateError::NotEverywhere(_) => Failure::new(error),
    }
}

/// Reads `--settings`.
fn settings(text: &str) -> Result<String, Failure> {
    let text = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(Path::new(file))
            .map_err(|error| Failure::usage(format!("--settings @{file}: {error}")))?,
        None => text.to_owned(),
    };
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!(
            "--settings: no JSON object: {error}\nhint: for example '{{\"accounts\": [\"123456789012\"]}}'"
        ))
    })?;
    Ok(serde_json::Value::Object(object).to_string())
}

impl Writing {
    fn config(&self) -> Result<Config, Failure> {
        config::load(&self.common.config).map_err(Failure::usage)
    }

    fn author(&self) -> String {
        self.author.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_default()
    }

    /// Waits for the fleet if that was asked for, and says what was done.
    fn finish(&self, config: &Config, published: &Published, done: &str) -> Result<(), Failure> {
        let mut instances = None;
        if let Some(seconds) = self.wait {
            let mut progress = Progress::new();
            let mut told = |have: usize, all: usize| progress.show(|| format!("{have} of {all} instances have it"));
            let waited = swap::wait(config, published, Duration::from_secs(seconds), &mut told);
            progress.clear();
            instances = Some(waited.map_err(failure)?);
        }
        if self.common.json {
            let mut value = json!(published);
            value["instances"] = json!(instances);
            return print(format_args!("{value:#}"));
        }
        let Published { key, digest, topic, partition, offset } = published;
        let digest = digest.get(..12).map(|digest| format!(" sha256 {digest}…")).unwrap_or_default();
        let everywhere = instances.map(|count| format!("; {count} instances have it")).unwrap_or_default();
        print(format_args!("{done} {key}{digest} at {topic} partition {partition} offset {offset}{everywhere}"))
    }
}

/// The listing for a person.
fn table(config: &Config, listing: &Listing) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    if let Some(topic) = &config.rules.topic {
        let _ = writeln!(text, "topic {topic}: {} modules", listing.modules.len());
        for one in &listing.modules {
            let time = one.time_ms.map(time).unwrap_or_default();
            let (key, digest) = (one.key.to_string(), one.digest.get(..12).unwrap_or_default());
            let by = [("by ", &one.author), ("", &one.note)]
                .map(|(word, text)| if text.is_empty() { String::new() } else { format!("  {word}{text}") });
            let _ = writeln!(
                text,
                "  {key:<32} {digest}  {:>9} bytes  offset {:<5} {time}{}{}",
                one.bytes, one.offset, by[0], by[1]
            );
        }
    }
    if config.rules.status_topic.is_none() {
        let _ = writeln!(text, "rules.status_topic is not set, so nothing is known of running instances");
        return text;
    }
    let newest = listing.instances.iter().map(|status| status.generation).max().unwrap_or_default();
    let current = listing.instances.iter().filter(|status| status.generation == newest).count();
    let _ = writeln!(text, "{current} of {} instances run generation {newest}", listing.instances.len());
    for status in &listing.instances {
        describe(&mut text, status, "");
    }
    for status in &listing.silent {
        describe(&mut text, status, "  SILENT: it has said nothing for a while");
    }
    text
}

/// A time in milliseconds since the epoch, for a person.
fn time(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms);
    time.map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}

fn describe(text: &mut String, status: &Status, mark: &str) {
    let Status { instance, generation, set, modules_len, .. } = status;
    let _ = writeln!(text, "  {instance}: generation {generation}, set {set}, {modules_len} modules{mark}");
    for one in &status.modules {
        let digest = one.digest.get(..12).unwrap_or_default();
        let quarantined = match one.quarantined {
            0 => String::new(),
            workers => format!("  QUARANTINED by {workers} workers"),
        };
        let _ = writeln!(
            text,
            "    {:<30} {digest}  {} ({} rules)  {}{quarantined}",
            one.key.to_string(),
            one.version,
            one.rules,
            one.place
        );
    }
    for one in &status.refused {
        let _ = writeln!(text, "    REFUSED {}: {} at step `{}`: {}", one.key, one.place, one.step, one.cause);
    }
    for PipelineDown { pipeline, workers, down } in &status.targets_down {
        let (target, since, cause) = (&down.target, time(down.since_ms), &down.cause);
        let _ = writeln!(text, "    TARGET DOWN {pipeline}: {target} since {since}, for {workers} workers: {cause}");
    }
}
