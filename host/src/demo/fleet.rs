//! The demo's fleet: one instance that keeps its rules as `trailhound run` does, and an operator at work, who does what
//! `trailhound rule` does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::kafka::{Cluster, RULES, STATUS};
use super::run::DemoError;
use crate::config::{Config, RulesConfig};
use crate::detect::DetectLimits;
use crate::kafka::TopicWriter;
use crate::metrics::Metrics;
use crate::rules::{Engine, Module, Refusal, RuleLimits, RuleSet, module_digest, name_of, read_module};
use crate::shutdown::Shutdown;
use crate::swap::{self, Keeper, Key, OperateError, Publish, Published, Wake};

/// Who publishes.
const AUTHOR: &str = "demo";

/// How long the instance may take to read what was published: proving a module takes some tenths of a second.
const TAKEN_MAX: Duration = Duration::from_secs(30);

/// A module that the demo has at hand.
#[derive(Debug)]
pub struct Offered {
    /// The module, proved.
    pub module: Module,
    /// Its file.
    pub bytes: Vec<u8>,
}

impl Offered {
    /// Reads a module's file and takes it through all steps.
    pub fn open(engine: &Engine, file: &Path) -> Result<Offered, Refusal> {
        let limits = RuleLimits::default();
        let bytes = read_module(file, &limits)?;
        let module = Module::load(engine, &name_of(file).0, &bytes, "{}", &limits)?;
        Ok(Offered { module, bytes })
    }
}

/// What an operator does, or somebody else to the rules topic.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// `trailhound rule publish --wait`.
    Publish(Key, Vec<u8>),
    /// `trailhound rule promote --wait`.
    Promote(String),
    /// Another tool, which proves nothing, writes to the topic: a value, and the digest that the message claims.
    Smuggle { key: Key, bytes: Vec<u8>, digest: Option<String> },
}

/// What came of a deed.
#[derive(Debug)]
pub(super) struct Done {
    /// The message; of a promotion, the second.
    pub(super) published: Published,
    /// The instance's words, where it has refused the module.
    pub(super) refused: Option<String>,
    /// How long it took until the instance had said so.
    pub(super) took: Duration,
}

/// The instance and the operator. Dropped, both end.
pub(super) struct Fleet {
    config: Arc<Config>,
    engine: Engine,
    rules: Arc<ArcSwap<RuleSet>>,
    shutdown: Arc<Shutdown>,
    keeper: Option<JoinHandle<()>>,
    deed: Option<JoinHandle<Result<Done, OperateError>>>,
}

/// Publishes `first`, if there is one, and starts the instance, which reads the rules topic to its end.
pub(super) fn start(
    cluster: &Cluster,
    engine: &Engine,
    first: Option<&Offered>,
    metrics: &Metrics,
) -> Result<Fleet, DemoError> {
    let rules = RulesConfig {
        topic: Some(RULES.to_owned()),
        status_topic: Some(STATUS.to_owned()),
        properties: cluster.properties(),
        ..RulesConfig::default()
    };
    let config = Arc::new(Config {
        instance: "demo".to_owned(),
        rules,
        limits: DetectLimits::default(),
        drain_max: Duration::ZERO,
        admin: None,
        pipelines: BTreeMap::new(),
    });
    if let Some(first) = first {
        let key = Key::parse(&first.module.name);
        swap::publish(&config, engine, &publish(key, first.bytes.clone()))?;
    }
    let mut keeper = Keeper::open(engine, &config, metrics)?;
    keeper.follow(&config, &|| false)?;
    let (rules, shutdown) = (keeper.rules(), Arc::new(Shutdown::new(Duration::ZERO)));
    let stop = Arc::clone(&shutdown);
    let keep = move || keeper.keep(&Wake::default(), &stop);
    let keeper = std::thread::Builder::new().name("rules".to_owned()).spawn(keep).map_err(DemoError::Thread)?;
    Ok(Fleet { config, engine: engine.clone(), rules, shutdown, keeper: Some(keeper), deed: None })
}

impl Fleet {
    /// The live rule set.
    pub(super) fn rules(&self) -> &Arc<ArcSwap<RuleSet>> {
        &self.rules
    }

    /// Has the operator begin a deed. Records flow meanwhile.
    pub(super) fn begin(&mut self, deed: Deed) -> Result<(), DemoError> {
        let (config, engine) = (Arc::clone(&self.config), self.engine.clone());
        let work = move || perform(&config, &engine, deed);
        let thread = std::thread::Builder::new().name("operator".to_owned());
        self.deed = Some(thread.spawn(work).map_err(DemoError::Thread)?);
        Ok(())
    }

    /// What came of the deed, once it is done.
    pub(super) fn done(&mut self) -> Result<Option<Done>, DemoError> {
        match self.deed.take_if(|deed| deed.is_finished()) {
            Some(deed) => Ok(Some(deed.join().map_err(|_| DemoError::Panicked)??)),
            None => Ok(None),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shutdown.request();
        let _ = self.deed.take().map(JoinHandle::join);
        let _ = self.keeper.take().map(JoinHandle::join);
    }
}

fn publish(key: Key, bytes: Vec<u8>) -> Publish {
    Publish { key, bytes, settings: None, author: AUTHOR.to_owned(), note: String::new() }
}

fn perform(config: &Config, engine: &Engine, deed: Deed) -> Result<Done, OperateError> {
    let begun = Instant::now();
    let published = match deed {
        Deed::Publish(key, bytes) => swap::publish(config, engine, &publish(key, bytes))?,
        Deed::Promote(name) => swap::promote(config, engine, &name, AUTHOR, "")?,
        Deed::Smuggle { key, bytes, digest } => smuggle(config, key, &bytes, digest.as_deref())?,
    };
    let refused = match swap::wait(config, &published, TAKEN_MAX, &mut |_, _| {}) {
        Ok(_) => None,
        Err(OperateError::RefusedBy(words)) => Some(words.join("\n")),
        Err(error) => return Err(error),
    };
    Ok(Done { published, refused, took: begun.elapsed() })
}

fn smuggle(config: &Config, key: Key, bytes: &[u8], digest: Option<&str>) -> Result<Published, OperateError> {
    let mut writer = TopicWriter::new(&config.rules.properties, RULES, "another-tool")?;
    let headers: Vec<(&str, &[u8])> = digest.map(|digest| ("digest", digest.as_bytes())).into_iter().collect();
    let (partition, offset) = writer.send(key.to_string().as_bytes(), Some(bytes), &headers, TAKEN_MAX)?;
    // What its message belies has no digest in the status.
    let digest = if digest.is_some() { String::new() } else { module_digest(bytes) };
    Ok(Published { key, digest, topic: RULES.to_owned(), partition, offset })
}
