//! The keeper: one thread that knows all sources of modules and publishes rule sets. Modules are compiled and proved
//! there one after the other, so that on a small machine they take no more than one core from the workers, whatever is
//! published; workers never wait for it. Only those that are there at the start are loaded on all cores, before there
//! are workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::folder::Folder;
use super::ledger::{Ledger, RefusedModule};
use super::offer::{Change, Key};
use super::status::{Reporter, Status};
use super::topic::RulesTopic;
use crate::config::{Config, RulesConfig};
use crate::kafka::KafkaError;
use crate::metrics::Metrics;
use crate::overview::PipelineDown;
use crate::rules::{Engine, Member, Module, RuleLimits, RuleSet};
use crate::shutdown::Shutdown;

/// How often the folder is looked at. A change is taken at the second look that finds it unchanged.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long one turn may wait for messages of the rules topic.
const TURN: Duration = Duration::from_millis(100);

/// The wish to look at everything again, refused modules included: SIGHUP.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<AtomicBool>);

impl Wake {
    /// Asks for it.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// Why rules cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Modules of the folder were refused. At start there is somebody who can mend it, and nothing that runs to fall
    /// back to.
    #[error("{0}")]
    Refused(String),
    /// The folder cannot be read, or holds nothing.
    #[error("{0}")]
    Folder(String),
    /// The rules topic or the status topic.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A stop was asked for meanwhile.
    #[error("stopped before the rules were read")]
    Stopped,
}

/// Keeps the live rule set true to its sources.
pub struct Keeper {
    ledger: Ledger,
    limits: RuleLimits,
    folder: Option<Folder>,
    topic: Option<RulesTopic>,
    reporter: Option<Reporter>,
    instance: String,
    rules: Arc<ArcSwap<RuleSet>>,
    metrics: Metrics,
    looked: Instant,
    /// Threads that take each set.
    workers: usize,
    /// Modules of earlier sets that some worker may have still. They are freed here, once nobody has them: to give back
    /// a module's memory takes longer than a worker has.
    retired: Vec<Arc<Module>>,
    /// How many workers have a module in quarantine, of those that some worker has there.
    quarantined: BTreeMap<Key, u32>,
    /// The pipelines with a target that is down, as the fleet was told.
    targets_down: Vec<PipelineDown>,
}

impl Keeper {
    /// Proves what is in the folder, and asks no broker. A module that is refused is an error. Where there is a rules topic
    /// nothing is live before [`Keeper::follow`]: nobody starts on half a set.
    pub fn open(engine: &Engine, config: &Config, metrics: &Metrics) -> Result<Keeper, StartError> {
        let RulesConfig { directory, topic, settings, .. } = &config.rules;
        let limits = config.limits.rules.clone();
        let ledger = Ledger::new(engine.clone(), limits.clone(), settings.clone());
        let mut changes = Vec::new();
        let mut folder = directory.as_deref().map(Folder::new);
        if let (Some(folder), Some(directory)) = (&mut folder, directory) {
            changes = folder.first(&limits).map_err(|error| {
                StartError::Folder(format!(
                    "rules.directory: {}: {error}\nhint: check that the folder exists and may be read",
                    directory.display()
                ))
            })?;
        }
        let mut keeper = Keeper {
            ledger,
            limits,
            folder,
            topic: None,
            reporter: None,
            instance: config.instance.clone(),
            rules: Arc::default(),
            metrics: metrics.clone(),
            looked: Instant::now(),
            workers: config.pipelines.values().map(|pipeline| pipeline.workers).sum(),
            retired: Vec::new(),
            quarantined: BTreeMap::new(),
            targets_down: Vec::new(),
        };
        if topic.is_none() {
            keeper.first(changes)?;
        } else {
            all_proved(keeper.ledger.note(changes).iter())?;
        }
        Ok(keeper)
    }

    /// Reads the rules topic to its end, where there is one, and tells the fleet from now on. A module of the topic that is
    /// refused is no error, since one bad message must not keep a fleet from starting.
    pub fn follow(&mut self, config: &Config, stop: &dyn Fn() -> bool) -> Result<(), StartError> {
        let RulesConfig { topic, status_topic, properties, .. } = &config.rules;
        if let Some(name) = topic {
            let client_id = format!("trailhound-rules-{}", self.instance);
            let mut topic = RulesTopic::new(properties, name, &client_id, self.limits.module_bytes_max)?;
            self.first(topic.first(stop).ok_or(StartError::Stopped)?)?;
            self.topic = Some(topic);
        }
        if let Some(name) = status_topic {
            self.reporter = Some(Reporter::new(properties, name, &self.instance)?);
        }
        Ok(())
    }

    /// Makes the first set live.
    fn first(&mut self, changes: Vec<Change>) -> Result<(), StartError> {
        let folder_ms = self.folder.as_ref().map_or(0, Folder::changed_ms);
        let set = self.ledger.first(changes, folder_ms).unwrap_or_default();
        all_proved(self.ledger.refused().values())?;
        self.metrics.rule_set(&set);
        self.metrics.refused_modules(self.ledger.refused().values());
        self.rules.store(Arc::new(set));
        Ok(())
    }

    /// The live rule set, for workers.
    pub fn rules(&self) -> Arc<ArcSwap<RuleSet>> {
        Arc::clone(&self.rules)
    }

    /// What is offered and not live.
    pub fn refused(&self) -> impl Iterator<Item = &RefusedModule> {
        self.ledger.refused().values()
    }

    /// Keeps the rule set until a stop is asked for.
    pub fn keep(mut self, wake: &Wake, shutdown: &Shutdown) {
        while !shutdown.requested() {
            self.turn(wake);
        }
        if let Some(reporter) = &mut self.reporter {
            reporter.farewell();
        }
    }

    /// One turn: what has come, and what has changed in the folder.
    pub fn turn(&mut self, wake: &Wake) {
        let mut changes = match &mut self.topic {
            Some(topic) => topic.next(TURN),
            None => {
                std::thread::sleep(TURN);
                Vec::new()
            }
        };
        let woken = wake.take();
        if let Some(folder) = &mut self.folder
            && (woken || self.looked.elapsed() >= LOOK_EVERY)
        {
            self.looked = Instant::now();
            if woken {
                tracing::info!("looking at all files of rules.directory again");
                folder.forget();
            }
            changes.extend(folder.look(&self.limits));
        }
        let mut is_news = !changes.is_empty();
        if is_news {
            self.take(changes);
        }
        let running = self.ledger.running().iter();
        let quarantined = running.map(|(key, running)| (key, running.module.quarantined()));
        let quarantined = quarantined.filter(|(_, workers)| *workers > 0).map(|(key, workers)| (key.clone(), workers));
        let quarantined: BTreeMap<Key, u32> = quarantined.collect();
        if quarantined != self.quarantined {
            is_news = true;
            self.metrics.quarantined(quarantined.iter().map(|(key, workers)| (key.to_string(), *workers)));
            self.quarantined = quarantined;
        }
        self.retired.retain(|module| Arc::strong_count(module) > 1);
        // Another cause is told with the next beat: a target may have a new one for each attempt.
        let told = |all: &[PipelineDown]| -> Vec<_> {
            all.iter().map(|one| (one.pipeline.clone(), one.workers, one.down.since_ms)).collect()
        };
        let targets_down = self.metrics.overview().down();
        is_news |= told(&targets_down) != told(&self.targets_down);
        self.targets_down = targets_down;
        self.report(is_news);
    }

    fn take(&mut self, changes: Vec<Change>) {
        let folder_ms = self.folder.as_ref().map_or(0, Folder::changed_ms);
        if let Some(set) = self.ledger.apply(changes, folder_ms) {
            let (generation, modules, rules) = (set.generation, set.modules.len(), set.rules_len());
            self.metrics.rule_set(&set);
            self.metrics.swapped();
            let fingerprint = set.fingerprint.clone();
            let before = self.rules.load_full();
            let is_in =
                |module: &Arc<Module>, set: &RuleSet| set.modules.iter().any(|m| Arc::ptr_eq(&m.module, module));
            for Member { module, .. } in &set.modules {
                if !is_in(module, &before) {
                    module.warm(self.workers, &self.limits);
                }
            }
            let left = before.modules.iter().filter(|member| !is_in(&member.module, &set));
            self.retired.extend(left.map(|member| Arc::clone(&member.module)));
            self.rules.store(Arc::new(set));
            tracing::info!(generation, modules, rules, set = fingerprint, "rules swapped");
            if modules == 0 {
                tracing::warn!("no module is left: records are received and detected by nothing");
            }
        }
        for one in self.ledger.take_news() {
            self.metrics.refusal(&one.step);
        }
        self.metrics.refused_modules(self.ledger.refused().values());
    }

    fn report(&mut self, is_news: bool) {
        let Keeper { reporter, topic, rules, ledger, instance, metrics, targets_down, .. } = self;
        let Some(reporter) = reporter else { return };
        reporter.report(is_news, || {
            let seen = topic.as_ref().map(|topic| topic.seen().clone()).unwrap_or_default();
            let started_ms = metrics.overview().started_ms();
            Status::of(instance, started_ms, &rules.load(), ledger, seen, targets_down.clone())
        });
    }
}

/// Fails for modules of the folder that are refused.
fn all_proved<'a>(refused: impl Iterator<Item = &'a RefusedModule>) -> Result<(), StartError> {
    let refused: Vec<String> = refused.filter(|one| one.of_folder).map(ToString::to_string).collect();
    if refused.is_empty() { Ok(()) } else { Err(StartError::Refused(refused.join("\n\n"))) }
}
