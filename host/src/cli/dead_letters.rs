//! `trailhound dead-letters list | replay`: what could not be evaluated, and its way back.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::progress::Progress;
use super::validate::unusable;
use super::{Failure, print};
use crate::config::{self, PipelineConfig, SinkConfig};
use crate::dead_letters::{Letter, Letters, LettersError, Replay, SINK_REFUSED, Selection, Time};
use crate::kafka::{self, Topic};

#[derive(Debug, Subcommand)]
pub(super) enum DeadLettersCommand {
    /// Count dead letters by reason, module, rules and origin
    ///
    /// The pipeline's dead-letter topic or file is read from its beginning to the end that it has now.
    List {
        #[command(flatten)]
        which: Which,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put the original bytes of dead letters back onto the topic that they came from
    ///
    /// A replayed record is evaluated by all rules again, not only by the one that failed. Findings keep their ids, so
    /// repeats are harmless; the same bytes are replayed once, however many letters hold them. The dead letters stay
    /// where they are. A message that is replayed has the header trailhound.replayed: the partition and the offset
    /// that it had before. Letters with the reason sink_refused of a pipeline that detects hold a finding and no record:
    /// they are only counted. Those of a pipeline that carries hold the message, and go back with its key and headers.
    /// The balance goes to standard output as one line of JSON.
    Replay {
        #[command(flatten)]
        which: Which,
        /// Only count, and write nothing
        #[arg(long)]
        dry_run: bool,
        /// Replay so many letters and then stop
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
}

/// Which letters are meant.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "pipeline.toml")]
    config: PathBuf,
    /// The pipeline; needed where there are several
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Of a rule: those of its module's failures where the rule was selected for the record
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// Of a module that failed
    #[arg(long, value_name = "NAME")]
    module: Option<String>,
    /// Of a reason, such as module_trapped or invalid_json
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Written at this time or later: RFC 3339, or a duration back such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<Time>,
    /// Written before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
    /// Of a topic that is read
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Of a partition of the topic that is read
    #[arg(long, value_name = "N")]
    partition: Option<i32>,
}

pub(super) fn dead_letters(command: &DeadLettersCommand) -> Result<(), Failure> {
    match command {
        DeadLettersCommand::List { which, json } => list(which, *json),
        DeadLettersCommand::Replay { which, dry_run, limit } => replay(which, *dry_run, *limit),
    }
}

impl Which {
    fn pipeline(&self) -> Result<(String, PipelineConfig), Failure> {
        let config = config::load(&self.config).map_err(Failure::usage)?;
        let names = config.pipelines.keys().cloned().collect::<Vec<_>>().join(", ");
        let mut pipelines = config.pipelines;
        let (name, pipeline) = match &self.pipeline {
            Some(name) => {
                let unknown = || Failure::usage(format!("--pipeline {name}: there is none\nhint: there are {names}"));
                (name.clone(), pipelines.remove(name).ok_or_else(unknown)?)
            }
            None if pipelines.len() > 1 => {
                let hint = format!("name one with --pipeline: {names}");
                return Err(Failure::usage(format!("{}: several pipelines\nhint: {hint}", self.config.display())));
            }
            None => pipelines.pop_first().ok_or_else(|| Failure::usage("there is no pipeline"))?,
        };
        if self.selection().by_time() && matches!(pipeline.dead_letters, SinkConfig::File(_)) {
            let hint = "leave --since and --until out, or have dead letters in a topic";
            return Err(Failure::usage(format!("a file does not tell when a letter was written\nhint: {hint}")));
        }
        Ok((name, pipeline))
    }

    fn selection(&self) -> Selection {
        Selection {
            rule: self.rule.clone(),
            module: self.module.clone(),
            reason: self.reason.clone(),
            since: self.since,
            until: self.until,
            topic: self.topic.clone(),
            partition: self.partition,
        }
    }
}

/// Unique among the clients of the brokers, for their logs.
fn client_id() -> String {
    format!("trailhound-dead-letters-{}", std::process::id())
}

fn open(name: &str, pipeline: &PipelineConfig, client_id: &str) -> Result<Letters, Failure> {
    Letters::open(&pipeline.dead_letters, client_id).map_err(|error| failed(name, &error))
}

fn failed(name: &str, error: &LettersError) -> Failure {
    Failure::new(format!("pipelines.{name}.dead_letters: {error}"))
}

/// Goes through all letters. `take` is given those that are meant, and answers whether it wants more. Gives how many
/// letters there were, and how many messages or lines that are none.
fn each(
    name: &str,
    letters: &mut Letters,
    selection: &Selection,
    mut take: impl FnMut(Letter) -> Result<bool, Failure>,
) -> Result<(u64, u64), Failure> {
    /// So many that cannot be read are told one by one.
    const TOLD_MAX: u64 = 5;
    let (mut read, mut unreadable, mut progress) = (0, 0, Progress::new());
    while let Some(letter) = letters.next_letter().map_err(|error| failed(name, &error))? {
        match letter {
            Ok(letter) => {
                read += 1;
                if selection.holds(&letter) && !take(letter)? {
                    break;
                }
            }
            Err(what) => {
                unreadable += 1;
                if unreadable <= TOLD_MAX {
                    tracing::warn!("{}: no dead letter: {what}", letters.name());
                }
            }
        }
        progress.show(|| {
            let unit = if matches!(letters, Letters::File(..)) { "bytes" } else { "letters" };
            format!("{read} letters read, {} {unit} left", letters.left())
        });
    }
    progress.clear();
    Ok((read, unreadable))
}

/// Says in one line that nothing is meant, which is no failure.
fn say_nothing(letters: &Letters, read: u64, unreadable: u64) {
    let unreadable = if unreadable > 0 { format!(", and {unreadable} are no dead letters") } else { String::new() };
    say(&format!("nothing selected of {read} dead letters in {}{unreadable}", letters.name()));
}

/// Talks to a person.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Letters that have reason, module, rules and topic in common.
#[derive(Debug, Serialize)]
struct Group {
    reason: String,
    module: Option<String>,
    rules: Vec<String>,
    topic: String,
    letters: u64,
    /// How many came from each partition of the topic.
    partitions: BTreeMap<i32, u64>,
    #[serde(serialize_with = "rfc3339")]
    first: Option<i64>,
    #[serde(serialize_with = "rfc3339")]
    last: Option<i64>,
    /// The last letter's own words.
    detail: String,
}

fn text_of(ms: Option<i64>) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms?).ok().map(|time| time.to_string())
}

fn rfc3339<S: serde::Serializer>(ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    text_of(*ms).serialize(serializer)
}

/// All of `list --json`.
#[derive(Debug, Serialize)]
struct Listing<'a> {
    letters: u64,
    selected: u64,
    unreadable: u64,
    groups: Vec<&'a Group>,
}

fn list(which: &Which, json: bool) -> Result<(), Failure> {
    let (name, pipeline) = which.pipeline()?;
    let mut letters = open(&name, &pipeline, &client_id())?;
    let mut groups: BTreeMap<(String, Option<String>, Vec<String>, String), Group> = BTreeMap::new();
    let (read, unreadable) = each(&name, &mut letters, &which.selection(), |letter| {
        let key = (letter.reason.clone(), letter.module.clone(), letter.rules.clone(), letter.topic.clone());
        let group = groups.entry(key).or_insert_with(|| Group {
            reason: letter.reason,
            module: letter.module,
            rules: letter.rules,
            topic: letter.topic,
            letters: 0,
            partitions: BTreeMap::new(),
            first: None,
            last: None,
            detail: String::new(),
        });
        group.first = [group.first, letter.time_ms].into_iter().flatten().min();
        group.last = [group.last, letter.time_ms].into_iter().flatten().max();
        group.letters += 1;
        *group.partitions.entry(letter.partition).or_default() += 1;
        group.detail = letter.detail;
        Ok(true)
    })?;
    let mut groups: Vec<&Group> = groups.values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.letters));
    let selected = groups.iter().map(|group| group.letters).sum();
    if selected == 0 {
        say_nothing(&letters, read, unreadable);
    }
    if json {
        let listing = Listing { letters: read, selected, unreadable, groups };
        let text = serde_json::to_string_pretty(&listing).map_err(Failure::new)?;
        return print(text);
    }
    if selected > 0 {
        print(table(&groups))?;
        say(&format!("{selected} of {read} dead letters in {}; {unreadable} unreadable", letters.name()));
    }
    Ok(())
}

/// One line a group, in columns that are as wide as they must be.
fn table(groups: &[&Group]) -> String {
    let mut rows = vec![["letters", "reason", "module", "rules", "origin", "first", "last"].map(str::to_owned)];
    for group in groups {
        let time = |ms| text_of(ms).unwrap_or_else(|| "-".to_owned());
        rows.push([
            group.letters.to_string(),
            plain(&group.reason),
            group.module.as_deref().map_or("-".to_owned(), plain),
            if group.rules.is_empty() { "-".to_owned() } else { plain(&group.rules.join(",")) },
            plain(&group.topic),
            time(group.first),
            time(group.last),
        ]);
    }
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A text without what a terminal would act on: whoever may write to the topic writes it.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn replay(which: &Which, dry_run: bool, limit: Option<u64>) -> Result<(), Failure> {
    let (name, pipeline) = which.pipeline()?;
    let client_id = client_id();
    let mut letters = open(&name, &pipeline, &client_id)?;
    let source = pipeline.source.kafka().ok_or_else(|| {
        let hint = "its letters are listed, and whoever sent the records sends them again";
        Failure::usage(format!("pipelines.{name}.source: is no topic to put records back onto\nhint: {hint}"))
    })?;
    if !dry_run {
        let key = format!("pipelines.{name}.source.kafka");
        let topic = |topic| Topic { key: &key, name: topic, create: None, config: &[] };
        let topics: Vec<Topic<'_>> = source.topics.iter().map(|name| topic(name)).collect();
        let mistakes = kafka::check(&source.properties, &topics, false);
        if !mistakes.is_empty() {
            return Err(unusable(&mistakes));
        }
    }
    let mut replay = Replay::new(&source.properties, &source.topics, &client_id, !pipeline.detect, limit, dry_run);
    let read = each(&name, &mut letters, &which.selection(), |letter| replay.take(letter).map_err(Failure::new));
    let finished = replay.finish().map_err(Failure::new);
    let counts = &mut replay.counts;
    if let Ok((letters, unreadable)) = &read {
        (counts.letters, counts.unreadable) = (*letters, *unreadable);
    }
    // The balance is said of a replay that failed, too: what is acknowledged is on its topic.
    print(serde_json::to_string(counts).map_err(Failure::new)?)?;
    read?;
    finished?;
    if counts.selected == 0 {
        say_nothing(&letters, counts.letters, counts.unreadable);
    }
    let skipped = |why| counts.skipped.get(why).copied().unwrap_or_default();
    if skipped(SINK_REFUSED) > 0 {
        say(&format!(
            "{} letters hold a finding that its topic refused, and no record: raise max.message.bytes of the findings' \
             topic, and put the records of their origin on the topic again, or `trailhound scan` them",
            skipped(SINK_REFUSED)
        ));
    }
    if skipped("other_topic") > 0 {
        let topics = source.topics.join(", ");
        say(&format!(
            "{} letters come from topics that this pipeline does not read ({topics})",
            skipped("other_topic")
        ));
    }
    match skipped("too_large") {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} letters are too large for their topic\nhint: raise its max.message.bytes and run it again: \
             a record that is evaluated twice makes the same findings"
        ))),
    }
}
