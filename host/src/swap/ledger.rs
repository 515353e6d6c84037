//! The ledger: what the sources offer, what of it is live, what is refused and why. From it comes the next rule set.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::offer::{Change, Key, Offer, Place};
use crate::pipeline::now_ms;
use crate::rules::{Engine, Member, Mode, Module, Refusal, RuleLimits, RuleSet, module_digest, on_all_cores};

/// A module that is offered and not live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedModule {
    /// Its name and mode.
    #[serde(flatten)]
    pub key: Key,
    /// SHA-256 of its bytes; empty where they could not be read.
    pub digest: String,
    /// The file, or topic, partition and offset.
    pub place: String,
    /// The step that refused it.
    pub step: String,
    /// Why.
    pub cause: String,
    /// What to do about it.
    pub hint: String,
    /// When, in milliseconds since the epoch.
    pub time_ms: i64,
    /// Whether it is a file of the folder.
    #[serde(default, skip_serializing)]
    pub(super) of_folder: bool,
}

impl std::fmt::Display for RefusedModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "module {}: {}: refused at step `{}`: {}", self.key, self.place, self.step, self.cause)?;
        write!(f, "\nhint: {}", self.hint)
    }
}

/// What one source has under a key.
#[derive(Debug)]
struct Entry {
    place: Place,
    author: String,
    note: String,
    state: Result<Arc<Module>, RefusedModule>,
    /// What the source had before, where this was refused at start.
    earlier: Option<Running>,
}

/// A module that is live, and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) module: Arc<Module>,
    pub(super) place: Place,
    pub(super) author: String,
    pub(super) note: String,
}

/// What a module is loaded as: the same bytes under another name or with other settings may prove something else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    name: String,
    digest: String,
    settings: String,
}

/// The keeper's book. All slow work (compiling, proving) happens here, one module after the other but for the first set.
pub(super) struct Ledger {
    engine: Engine,
    limits: RuleLimits,
    /// Of `pipeline.toml`, by module.
    settings: BTreeMap<String, String>,
    folder: BTreeMap<Key, Entry>,
    topic: BTreeMap<Key, Entry>,
    running: BTreeMap<Key, Running>,
    refused: BTreeMap<Key, RefusedModule>,
    /// Modules of the first set that were loaded and not yet taken in.
    loaded: BTreeMap<Wanted, Result<Module, Refusal>>,
    /// Refusals since they were last asked for.
    news: Vec<RefusedModule>,
    /// The next offset after the last message of each partition of the rules topic that counted.
    counted: BTreeMap<i32, i64>,
    position: u64,
    folder_ms: u64,
    generation: u64,
}

impl Ledger {
    pub(super) fn new(engine: Engine, limits: RuleLimits, settings: BTreeMap<String, String>) -> Ledger {
        Ledger {
            engine,
            limits,
            settings,
            folder: BTreeMap::new(),
            topic: BTreeMap::new(),
            running: BTreeMap::new(),
            refused: BTreeMap::new(),
            loaded: BTreeMap::new(),
            news: Vec::new(),
            counted: BTreeMap::new(),
            position: 0,
            folder_ms: 0,
            generation: 0,
        }
    }

    /// What is live, by key.
    pub(super) fn running(&self) -> &BTreeMap<Key, Running> {
        &self.running
    }

    /// What is offered and not live, by key.
    pub(super) fn refused(&self) -> &BTreeMap<Key, RefusedModule> {
        &self.refused
    }

    /// The refusals since this was last called.
    pub(super) fn take_news(&mut self) -> Vec<RefusedModule> {
        std::mem::take(&mut self.news)
    }

    /// Takes in what is there at the start.
    pub(super) fn first(&mut self, changes: Vec<Change>, folder_ms: u64) -> Option<RuleSet> {
        self.load_all(&changes);
        let set = self.apply(changes, folder_ms);
        self.loaded.clear();
        set
    }

    /// Proves what is there at the start before all is known that is to be live. Gives what is refused.
    pub(super) fn note(&mut self, changes: Vec<Change>) -> Vec<RefusedModule> {
        self.load_all(&changes);
        let mut refused = Vec::new();
        for change in changes {
            self.take(change, &mut refused);
        }
        self.loaded.clear();
        refused.iter().for_each(say);
        refused
    }

    /// Loads modules on all cores, since no worker detects yet.
    fn load_all(&mut self, changes: &[Change]) {
        let is_file = |offer: &&Offer| matches!(offer.place, Place::File(_));
        let offered = || changes.iter().filter_map(Change::offered);
        let names_max = self.names_max();
        let offers = offered().filter(is_file).take(names_max);
        let offers = offers.chain(offered().filter(|offer| !is_file(offer)).take(names_max));
        let bytes = offers.filter_map(|offer| Some((self.wanted(offer), offer.bytes.as_deref().ok()?)));
        // Live and in shadow, or in the folder and in the topic, it may be the same one.
        let modules: Vec<(Wanted, &[u8])> = bytes.collect::<BTreeMap<_, _>>().into_iter().collect();
        let loaded = on_all_cores(&modules, |(wanted, bytes)| self.load(wanted, bytes));
        self.loaded = modules.into_iter().map(|(wanted, _)| wanted).zip(loaded).collect();
    }

    /// Takes changes in, and gives the next set where there is one. `folder_ms` is when the folder last changed.
    pub(super) fn apply(&mut self, changes: Vec<Change>, folder_ms: u64) -> Option<RuleSet> {
        let mut refused = Vec::new();
        for change in changes {
            self.take(change, &mut refused);
        }
        let before = std::mem::take(&mut self.refused);
        let next = self.compose();
        // A conflict is news when it was not there before.
        let conflicts = self.refused.iter().filter(|(key, one)| one.step == "set" && !before.contains_key(*key));
        refused.extend(conflicts.map(|(_, one)| one.clone()));
        refused.iter().for_each(say);
        self.news.extend(refused);
        self.publish(next, folder_ms)
    }

    fn take(&mut self, change: Change, refused: &mut Vec<RefusedModule>) {
        match change {
            Change::Gone { key, place } => {
                self.count(&place);
                let gone = self.source(&place).remove(&key).is_some();
                tracing::info!(place = %place, gone, "module {key} taken away");
            }
            Change::Offered(mut offer) => {
                let key = offer.key.clone();
                // A name that is new when there are as many as can be live and in shadow together. Not kept: whoever
                // writes names without end must not fill the memory.
                let (names, names_max) = (self.source(&offer.place).len(), self.names_max());
                if names >= names_max && !self.source(&offer.place).contains_key(&key) {
                    let refusal = Refusal::Set(format!("over the limit of {names_max} names in one place"));
                    refused.push(refuse(&key, String::new(), &offer.place, &refusal));
                    return;
                }
                let earlier = offer.earlier.take().filter(|_| !self.running.contains_key(&key));
                let mut entry = self.prove(offer);
                if let Err(one) = &entry.state {
                    refused.push(one.clone());
                    entry.earlier = earlier.and_then(|offer| self.fall_back(*offer));
                }
                self.source(&entry.place).insert(key, entry);
            }
        }
    }

    /// The version before one that was refused at start, which the running instances still have.
    fn fall_back(&mut self, offer: Offer) -> Option<Running> {
        let (key, earlier) = (offer.key.clone(), self.prove(offer));
        let module = earlier.state.as_ref().ok()?;
        tracing::warn!(digest = module.digest, place = %earlier.place, "module {key}: the version before it is live");
        Some(earlier.running(module))
    }

    fn source(&mut self, place: &Place) -> &mut BTreeMap<Key, Entry> {
        match place {
            Place::File(_) => &mut self.folder,
            Place::Topic { .. } => &mut self.topic,
        }
    }

    /// Notes how far the rules topic has got: all that changes the set counts, what is refused does not.
    fn count(&mut self, place: &Place) {
        if let Place::Topic { partition, offset, .. } = place {
            let next = self.counted.entry(*partition).or_default();
            *next = (*next).max(offset + 1);
        }
    }

    /// How many names one place may have: as many as can be live and in shadow together.
    fn names_max(&self) -> usize {
        2 * self.limits.modules_max
    }

    fn wanted(&self, offer: &Offer) -> Wanted {
        let Offer { key: Key { name, .. }, bytes, settings, .. } = offer;
        let settings = settings.as_ref().or_else(|| self.settings.get(name));
        Wanted {
            name: name.clone(),
            digest: bytes.as_ref().map(|bytes| module_digest(bytes)).unwrap_or_default(),
            settings: settings.map_or("{}", String::as_str).to_owned(),
        }
    }

    fn load(&self, wanted: &Wanted, bytes: &[u8]) -> Result<Module, Refusal> {
        Module::load(&self.engine, &wanted.name, bytes, &wanted.settings, &self.limits)
    }

    /// Takes a module through all steps, unless the same one is known: a republished or promoted module is not loaded
    /// again.
    fn prove(&mut self, offer: Offer) -> Entry {
        let wanted = self.wanted(&offer);
        let Offer { key, bytes, place, author, note, .. } = offer;
        let proved = bytes.and_then(|bytes| match self.known(&wanted) {
            Some(module) => Ok(module),
            None => {
                let module = self.loaded.remove(&wanted).unwrap_or_else(|| self.load(&wanted, &bytes))?;
                let (digest, rules) = (&module.digest, module.described.rules.len());
                tracing::info!(digest, rules, place = %place, "module {key} has proved itself");
                Ok(Arc::new(module))
            }
        });
        let state = proved.map_err(|refusal| refuse(&key, wanted.digest, &place, &refusal));
        Entry { place, author, note, state, earlier: None }
    }

    fn known(&self, wanted: &Wanted) -> Option<Arc<Module>> {
        let offered = self.folder.values().chain(self.topic.values()).filter_map(|entry| entry.state.as_ref().ok());
        let mut all = offered.chain(self.running.values().map(|running| &running.module));
        let Wanted { name, digest, settings } = wanted;
        let same =
            |module: &&Arc<Module>| module.digest == *digest && module.name == *name && module.settings == *settings;
        all.find(same).map(Arc::clone)
    }

    /// What is to be live. What a name has in both sources is decided here: the topic's counts, since it is what an
    /// operator says to the whole fleet. Where that is refused, what was live stays.
    fn compose(&mut self) -> BTreeMap<Key, Running> {
        let keys: BTreeSet<&Key> = self.topic.keys().chain(self.folder.keys()).collect();
        let mut wanted: Vec<(Key, Running)> = Vec::new();
        let mut next: BTreeMap<Key, Running> = BTreeMap::new();
        for key in keys {
            let mut entries = [self.topic.get(key), self.folder.get(key)].into_iter().flatten();
            let (Some(first), second) = (entries.next(), entries.next()) else { continue };
            let running = self.running.get(key);
            if let Some(running) = running {
                next.insert(key.clone(), running.clone());
            }
            match &first.state {
                Ok(module) => wanted.push((key.clone(), first.running(module))),
                Err(refused) => {
                    self.refused.insert(key.clone(), refused.clone());
                    let earlier = first.earlier.clone();
                    let other =
                        || second.and_then(|entry| entry.state.as_ref().ok().map(|module| entry.running(module)));
                    if running.is_none()
                        && let Some(running) = earlier.or_else(other)
                    {
                        wanted.push((key.clone(), running));
                    }
                }
            }
        }
        let conflicts = settle(&mut next, wanted, self.limits.modules_max);
        self.refused.extend(conflicts);
        next
    }

    /// Makes a set of `next` if it is another than the one before. The generation comes from the sources, so that it is
    /// the same after a restart and, with a rules topic alone, on every instance: the position of the topic after the
    /// last message that counted, plus the time of the folder's last change in milliseconds.
    fn publish(&mut self, next: BTreeMap<Key, Running>, folder_ms: u64) -> Option<RuleSet> {
        for running in next.values() {
            self.count(&running.place);
        }
        let position: u64 = self.counted.values().map(|next| u64::try_from(*next).unwrap_or_default()).sum();
        let same = |(a, b): (&Running, &Running)| Arc::ptr_eq(&a.module, &b.module);
        let unchanged = next.keys().eq(self.running.keys()) && next.values().zip(self.running.values()).all(same);
        self.running = next;
        // Before anything has come, the set is the empty one of generation 0.
        if unchanged && position == self.position {
            return None;
        }
        if !unchanged {
            self.folder_ms = folder_ms;
        }
        self.position = position;
        self.generation = (position + self.folder_ms).max(self.generation + 1);
        let member = |(key, running): (&Key, &Running)| Member { module: Arc::clone(&running.module), mode: key.mode };
        match RuleSet::new(self.generation, self.running.iter().map(member).collect()) {
            Ok(set) => Some(set),
            Err(refused) => {
                // `settle` has seen to it that this cannot be.
                tracing::error!("the rule set stays as it is: {refused}");
                None
            }
        }
    }
}

impl Entry {
    fn running(&self, module: &Arc<Module>) -> Running {
        let (place, author, note) = (self.place.clone(), self.author.clone(), self.note.clone());
        Running { module: Arc::clone(module), place, author, note }
    }
}

/// Logs that a module is refused.
fn say(one: &RefusedModule) {
    let (step, digest) = (&one.step, &one.digest);
    tracing::error!(step, digest, place = one.place, "module {} refused: {}; {}", one.key, one.cause, one.hint);
}

fn refuse(key: &Key, digest: String, place: &Place, refusal: &Refusal) -> RefusedModule {
    RefusedModule {
        key: key.clone(),
        digest,
        place: place.to_string(),
        step: refusal.step().to_owned(),
        cause: refusal.to_string(),
        hint: refusal.hint().to_owned(),
        time_ms: now_ms(),
        of_folder: matches!(place, Place::File(_)),
    }
}

/// Puts what is wanted into `next`, one by one, as far as rule ids stay unique and there is room. What does not fit
/// leaves its predecessor where it is. A rule that moves from one module to another fits once the other has given it
/// up, so what does not fit is tried again as long as something else did.
fn settle(
    next: &mut BTreeMap<Key, Running>,
    mut wanted: Vec<(Key, Running)>,
    modules_max: usize,
) -> Vec<(Key, RefusedModule)> {
    // Published first, first served; files after the topic, by name.
    wanted.sort_by_key(|(_, running)| match &running.place {
        Place::Topic { partition, offset, .. } => (0, *offset, *partition),
        Place::File(_) => (1, 0, 0),
    });
    let mut owners: HashMap<(Mode, String), Key> = HashMap::new();
    let ids = |key: &Key, running: &Running| -> Vec<(Mode, String)> {
        running.module.described.rules.iter().map(|rule| (key.mode, rule.id.clone())).collect()
    };
    for (key, running) in next.iter() {
        owners.extend(ids(key, running).into_iter().map(|id| (id, key.clone())));
    }
    loop {
        let mut left = Vec::new();
        let before = wanted.len();
        for (key, running) in wanted {
            if let Some(there) = next.get_mut(&key)
                && Arc::ptr_eq(&there.module, &running.module)
            {
                *there = running;
                continue;
            }
            let all = ids(&key, &running);
            let taken =
                all.iter().find_map(|id| owners.get(id).filter(|owner| **owner != key).map(|owner| (id, owner)));
            let cause = match taken {
                Some(((_, id), owner)) => Some(format!("the rule {id} is in the module {owner} already")),
                None if !next.contains_key(&key) && next.len() >= modules_max => {
                    Some(format!("over the limit of {modules_max} modules"))
                }
                None => None,
            };
            if let Some(cause) = cause {
                left.push((key, running, cause));
                continue;
            }
            if let Some(before) = next.get(&key) {
                ids(&key, before).iter().for_each(|id| drop(owners.remove(id)));
            }
            owners.extend(all.into_iter().map(|id| (id, key.clone())));
            next.insert(key, running);
        }
        if left.is_empty() || left.len() == before {
            return left
                .into_iter()
                .map(|(key, running, cause)| {
                    let refusal = Refusal::Set(cause);
                    let refused = refuse(&key, running.module.digest.clone(), &running.place, &refusal);
                    (key, refused)
                })
                .collect();
        }
        wanted = left.into_iter().map(|(key, running, _)| (key, running)).collect();
    }
}
