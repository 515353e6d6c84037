//! What an operator does to a fleet: publish, retract, promote and list, over the rules topic and the status topic.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::ledger::RefusedModule;
use super::offer::Key;
use super::status::{SILENT_MAX, Status};
use super::topic::{AUTHOR, DIGEST, MODE, NOTE, SETTINGS, key_of};
use crate::config::Config;
use crate::kafka::{KafkaError, TopicMessage, TopicReader, TopicWriter, WriteError};
use crate::pipeline::now_ms;
use crate::rules::{Engine, Mode, Module, Refusal, module_digest};

/// How long the brokers may take to acknowledge a message.
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// How long a topic may take to be read to its end.
const READ_MAX: Duration = Duration::from_secs(60);

/// A module to be published.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Its name and mode.
    pub key: Key,
    /// The module.
    pub bytes: Vec<u8>,
    /// A JSON object; None leaves the settings to each instance's `pipeline.toml`.
    pub settings: Option<String>,
    /// Who publishes it.
    pub author: String,
    /// Why.
    pub note: String,
}

/// A message that was written to the rules topic.
#[derive(Clone, Debug, Serialize)]
pub struct Published {
    /// What it is about.
    #[serde(flatten)]
    pub key: Key,
    /// SHA-256 of the module; empty for one that was retracted.
    pub digest: String,
    /// The topic.
    pub topic: String,
    /// The message's partition.
    pub partition: i32,
    /// The message's offset.
    pub offset: i64,
}

/// A module as the rules topic has it.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name and mode.
    #[serde(flatten)]
    pub key: Key,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// Its size.
    pub bytes: usize,
    /// The settings that were published with it.
    pub settings: Option<String>,
    /// Who published it.
    pub author: String,
    /// Why.
    pub note: String,
    /// When, in milliseconds since the epoch.
    pub time_ms: Option<i64>,
    /// The message's partition.
    pub partition: i32,
    /// The message's offset.
    pub offset: i64,
}

/// What the topic holds, and what each instance says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Listing {
    /// The modules of the rules topic.
    pub modules: Vec<Listed>,
    /// Instances that are there.
    pub instances: Vec<Status>,
    /// Instances that have said nothing for a while.
    pub silent: Vec<Status>,
}

/// Why an operator's wish was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The configuration names no rules topic, or no status topic.
    #[error("{0} is not set\nhint: add it to pipeline.toml: the compacted topic that the fleet reads too")]
    NoTopic(&'static str),
    /// The name cannot be published.
    #[error("`{0}` is no name for a module\nhint: 1 to 128 of a-z A-Z 0-9 . _ - are allowed; choose one with --name")]
    Name(String),
    /// The module was refused before it was published.
    #[error("{name}: refused at step `{step}`: {refusal}\nhint: {hint}", step = refusal.step(), hint = refusal.hint())]
    Refused {
        /// The module.
        name: Key,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// The topic has no such module.
    #[error("the topic `{topic}` has no module `{key}`\nhint: `trailhound rule list` shows what it has")]
    Unknown {
        /// The topic.
        topic: String,
        /// The module.
        key: Key,
    },
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The message was not written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A topic was not read to its end.
    #[error("the topic `{topic}` was not read to its end within {waited:?}: {left} messages are left")]
    Unread {
        /// The topic.
        topic: String,
        /// How long it was tried.
        waited: Duration,
        /// At most so many.
        left: u64,
    },
    /// Instances do not follow.
    #[error("{}", .0.join("\n"))]
    NotEverywhere(Vec<String>),
    /// Instances have refused the module.
    #[error("{}", .0.join("\n"))]
    RefusedBy(Vec<String>),
}

fn topic_of<'a>(topic: &'a Option<String>, key: &'static str) -> Result<&'a str, OperateError> {
    topic.as_deref().ok_or(OperateError::NoTopic(key))
}

/// Proves a module with the code that the host itself uses, and publishes it.
pub fn publish(config: &Config, engine: &Engine, publish: &Publish) -> Result<Published, OperateError> {
    let Publish { key, bytes, settings, author, note } = publish;
    topic_of(&config.rules.topic, "rules.topic")?;
    if !key.is_plain() {
        return Err(OperateError::Name(key.name.clone()));
    }
    let own = config.rules.settings.get(&key.name).map_or("{}", String::as_str);
    Module::load(engine, &key.name, bytes, settings.as_deref().unwrap_or(own), &config.limits.rules)
        .map_err(|refusal| OperateError::Refused { name: key.clone(), refusal })?;
    let digest = module_digest(bytes);
    let mut headers = vec![
        (DIGEST, digest.as_bytes()),
        (MODE, key.mode.as_str().as_bytes()),
        (AUTHOR, author.as_bytes()),
        (NOTE, note.as_bytes()),
    ];
    if let Some(settings) = settings {
        headers.push((SETTINGS, settings.as_bytes()));
    }
    write(config, key, Some(bytes), &headers, digest.clone())
}

/// Takes a module away from the fleet.
pub fn retract(config: &Config, key: &Key) -> Result<Published, OperateError> {
    let topic = topic_of(&config.rules.topic, "rules.topic")?;
    if !rules_topic(config)?.contains_key(&key.to_string()) {
        return Err(OperateError::Unknown { topic: topic.to_owned(), key: key.clone() });
    }
    write(config, key, None, &[], String::new())
}

/// Makes the module that runs in shadow as `name` the live one: publishes the same bytes and settings as live, then
/// retracts the shadow. Gives the second message, which whoever has read it has read the first.
pub fn promote(
    config: &Config,
    engine: &Engine,
    name: &str,
    author: &str,
    note: &str,
) -> Result<Published, OperateError> {
    let topic = topic_of(&config.rules.topic, "rules.topic")?;
    let [live, shadow] = [Mode::Live, Mode::Shadow].map(|mode| Key { name: name.to_owned(), mode });
    let message = rules_topic(config)?.remove(&shadow.to_string());
    let unknown = || OperateError::Unknown { topic: topic.to_owned(), key: shadow.clone() };
    let message = message.ok_or_else(unknown)?;
    let settings = message.header(SETTINGS).map(str::to_owned);
    let bytes = message.value.unwrap_or_default();
    let (author, note) = (author.to_owned(), note.to_owned());
    let promoted = publish(config, engine, &Publish { key: live.clone(), bytes, settings, author, note })?;
    let retracted = write(config, &shadow, None, &[], String::new())?;
    Ok(Published { key: live, digest: promoted.digest, ..retracted })
}

/// What the rules topic holds and what the fleet says. Without a status topic no instance is listed.
pub fn list(config: &Config) -> Result<Listing, OperateError> {
    let listed = |(text, message): (String, TopicMessage)| {
        let key = key_of(&text, &message);
        let header = |name: &str| message.header(name).unwrap_or_default().to_owned();
        let (settings, author, note) = (message.header(SETTINGS).map(str::to_owned), header(AUTHOR), header(NOTE));
        let value = message.value.unwrap_or_default();
        Listed {
            key,
            digest: module_digest(&value),
            bytes: value.len(),
            settings,
            author,
            note,
            time_ms: message.timestamp_ms,
            partition: message.partition,
            offset: message.offset,
        }
    };
    let mut modules = Vec::new();
    if config.rules.topic.is_some() {
        modules = rules_topic(config)?.into_iter().map(listed).collect();
    }
    let (mut instances, mut silent) = (Vec::new(), Vec::new());
    if let Some(topic) = &config.rules.status_topic {
        for (_, message) in last_of_each(reader(config, topic)?)? {
            let Some(status) = status_of(&message) else { continue };
            if is_silent(&status) { silent.push(status) } else { instances.push(status) }
        }
    }
    Ok(Listing { modules, instances, silent })
}

/// Waits until every instance that is there has read up to `published`; `told` hears how many have, of how many.
/// Gives their number.
pub fn wait(
    config: &Config,
    published: &Published,
    wait: Duration,
    told: &mut dyn FnMut(usize, usize),
) -> Result<usize, OperateError> {
    let topic = topic_of(&config.rules.status_topic, "rules.status_topic")?;
    let deadline = Instant::now() + wait;
    let mut reader = reader(config, topic)?;
    let mut fleet: BTreeMap<String, Status> = BTreeMap::new();
    loop {
        if let Some(message) = reader.poll(Duration::from_millis(100)) {
            let instance = String::from_utf8_lossy(message.key.as_deref().unwrap_or_default()).into_owned();
            match status_of(&message) {
                Some(status) => drop(fleet.insert(instance, status)),
                None => drop(fleet.remove(&instance)),
            }
        }
        if !reader.caught_up() && Instant::now() < deadline {
            continue;
        }
        let there: Vec<&Status> = fleet.values().filter(|status| !is_silent(status)).collect();
        let has_read =
            |status: &&&Status| status.seen.get(&published.partition).is_some_and(|next| *next > published.offset);
        let behind: Vec<&&Status> = there.iter().filter(|status| !has_read(status)).collect();
        told(there.len() - behind.len(), there.len());
        if behind.is_empty() && !there.is_empty() {
            let refusal = |one: &&RefusedModule| one.key == published.key && one.digest == published.digest;
            let refused: Vec<String> = there
                .iter()
                .filter_map(|status| Some((status, status.refused.iter().find(refusal)?)))
                .map(|(status, one)| format!("instance {}: {one}", status.instance))
                .collect();
            return if refused.is_empty() { Ok(there.len()) } else { Err(OperateError::RefusedBy(refused)) };
        }
        if Instant::now() >= deadline {
            let late = |status: &&&Status| format!("instance {} has not read it within {wait:?}", status.instance);
            let mut words: Vec<String> = behind.iter().map(late).collect();
            if there.is_empty() {
                words.push(format!("no instance has said anything on the topic `{topic}` within {wait:?}"));
            }
            words.push(
                "hint: the message is written, and whoever starts will read it; see `trailhound rule list`".to_owned(),
            );
            return Err(OperateError::NotEverywhere(words));
        }
    }
}

fn is_silent(status: &Status) -> bool {
    now_ms() - status.time_ms > i64::try_from(SILENT_MAX.as_millis()).unwrap_or(i64::MAX)
}

fn status_of(message: &TopicMessage) -> Option<Status> {
    serde_json::from_slice(message.value.as_deref()?).ok()
}

fn client_id() -> String {
    format!("trailhound-rule-{}", std::process::id())
}

fn reader(config: &Config, topic: &str) -> Result<TopicReader, OperateError> {
    Ok(TopicReader::new(&config.rules.properties, topic, &client_id())?)
}

/// The last message of each key of the rules topic, without those that were retracted.
fn rules_topic(config: &Config) -> Result<BTreeMap<String, TopicMessage>, OperateError> {
    last_of_each(reader(config, topic_of(&config.rules.topic, "rules.topic")?)?)
}

fn last_of_each(mut reader: TopicReader) -> Result<BTreeMap<String, TopicMessage>, OperateError> {
    let start = Instant::now();
    let mut last = BTreeMap::new();
    while !reader.caught_up() {
        if start.elapsed() > READ_MAX {
            return Err(OperateError::Unread {
                topic: reader.topic().to_owned(),
                waited: READ_MAX,
                left: reader.left(),
            });
        }
        let Some(message) = reader.poll(Duration::from_millis(100)) else { continue };
        let key = String::from_utf8_lossy(message.key.as_deref().unwrap_or_default()).into_owned();
        match message.value {
            Some(_) => drop(last.insert(key, message)),
            None => drop(last.remove(&key)),
        }
    }
    Ok(last)
}

fn write(
    config: &Config,
    key: &Key,
    value: Option<&[u8]>,
    headers: &[(&str, &[u8])],
    digest: String,
) -> Result<Published, OperateError> {
    let topic = topic_of(&config.rules.topic, "rules.topic")?.to_owned();
    let mut writer = TopicWriter::new(&config.rules.properties, &topic, &client_id())?;
    let (partition, offset) = writer.send(key.to_string().as_bytes(), value, headers, ACKNOWLEDGED_MAX)?;
    Ok(Published { key: key.clone(), digest, topic, partition, offset })
}
