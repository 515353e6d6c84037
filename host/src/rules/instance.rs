//! One running instance of a module: calls with limits, and what went wrong in words of a closed list.

use wasmtime::{ResourceLimiter, Store, StoreLimits, StoreLimitsBuilder, Trap};

use super::contract::{self, Level, RuleModule};
use super::engine::TICK;
use super::limits::{LOG_BYTES_MAX, LOG_MESSAGES_MAX, RuleLimits, cut};
use super::module::Module;

/// What a call into a module can go wrong with.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The call ran longer than `call_ms_max`.
    #[error("took longer than {0} ms")]
    TimedOut(u64),
    /// The guest trapped: a panic, a memory fault, memory growth beyond the limit, a stack overflow.
    #[error("trapped: {0}")]
    Trapped(String),
    /// The answer breaks the contract or a limit.
    #[error("gave a wrong answer: {0}")]
    WrongAnswer(String),
}

impl Fault {
    /// The reason under which its events become dead letters.
    pub fn reason(&self) -> &'static str {
        match self {
            Fault::TimedOut(_) => "module_timed_out",
            Fault::Trapped(_) => "module_trapped",
            Fault::WrongAnswer(_) => "module_wrong_answer",
        }
    }
}

/// What the host keeps for one instance.
pub(super) struct State {
    /// Limits of tables, and of the numbers of things.
    limits: StoreLimits,
    /// What all memories may still grow by, together, in bytes.
    memory_bytes_left: usize,
    module: String,
    logged: u32,
}

impl contract::Host for State {
    fn log(&mut self, level: Level, mut message: String) {
        self.logged = self.logged.saturating_add(1);
        if self.logged > LOG_MESSAGES_MAX {
            return;
        }
        // It may hold texts of records: nobody who writes one shall forge a line of the log or steer a terminal.
        if message.contains(char::is_control) {
            let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
            message = message.chars().take(LOG_BYTES_MAX).map(escape).collect();
        }
        cut(&mut message, LOG_BYTES_MAX);
        let module = self.module.as_str();
        match level {
            Level::Debug => tracing::debug!(module, "rule: {message}"),
            Level::Info => tracing::info!(module, "rule: {message}"),
            Level::Warn => tracing::warn!(module, "rule: {message}"),
            Level::Error => tracing::error!(module, "rule: {message}"),
        }
    }
}

impl State {
    /// Says after a call how many of its messages were dropped.
    fn end_log(&mut self) {
        let dropped = self.logged.saturating_sub(LOG_MESSAGES_MAX);
        self.logged = 0;
        if dropped > 0 {
            tracing::warn!(module = self.module.as_str(), dropped, "rule: log messages dropped");
        }
    }
}

/// Why a guest that grows its memory too far is stopped.
#[derive(Debug, thiserror::Error)]
#[error("forcing trap when growing memory beyond limits.rules.memory_bytes_max")]
struct MemoryExhausted;

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let left = self.memory_bytes_left.checked_sub(desired.saturating_sub(current)).ok_or(MemoryExhausted)?;
        self.memory_bytes_left = left;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.limits.table_growing(current, desired, maximum)
    }

    fn instances(&self) -> usize {
        self.limits.instances()
    }

    fn tables(&self) -> usize {
        self.limits.tables()
    }

    fn memories(&self) -> usize {
        self.limits.memories()
    }
}

/// An instance of a module. It belongs to one worker; after a fault it is dropped, because a `Store` frees its memory
/// only then and because a trapped guest may be in any state.
pub(super) struct Instance {
    store: Store<State>,
    bindings: RuleModule,
    call_ms_max: u64,
}

impl Instance {
    /// Instantiates `pre` and does not yet describe it.
    pub(super) fn start(
        pre: &contract::RuleModulePre<State>,
        name: &str,
        limits: &RuleLimits,
    ) -> Result<Instance, Fault> {
        let state = State {
            limits: StoreLimitsBuilder::new()
                .table_elements(100_000)
                .instances(16)
                .memories(4)
                .tables(16)
                .trap_on_grow_failure(true)
                .build(),
            memory_bytes_left: limits.memory_bytes_max,
            module: name.to_owned(),
            logged: 0,
        };
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| state);
        store.set_hostcall_fuel(limits.answer_bytes_max);
        store.epoch_deadline_trap();
        arm(&mut store, limits.call_ms_max);
        let bindings = pre.instantiate(&mut store).map_err(|e| fault(&e, limits.call_ms_max))?;
        Ok(Instance { store, bindings, call_ms_max: limits.call_ms_max })
    }

    /// An instance that is ready to evaluate: started, and given its settings.
    pub(super) fn ready(module: &Module, limits: &RuleLimits) -> Result<Instance, Fault> {
        let mut instance = Instance::start(&module.pre, &module.name, limits)?;
        match instance.describe(&module.settings)? {
            Ok(_) => Ok(instance),
            Err(error) => Err(Fault::WrongAnswer(format!("refused settings that it took before: {error}"))),
        }
    }

    /// Asks the module what it is.
    pub(super) fn describe(&mut self, settings: &str) -> Result<Result<contract::Module, String>, Fault> {
        arm(&mut self.store, self.call_ms_max);
        let answer = self.bindings.trailhound_rule_detection().call_describe(&mut self.store, settings);
        self.store.data_mut().end_log();
        answer.map_err(|e| fault(&e, self.call_ms_max))
    }

    /// Evaluates a batch. What comes back is hostile input still.
    pub(super) fn evaluate(&mut self, batch: &contract::Batch) -> Result<contract::Answer, Fault> {
        arm(&mut self.store, self.call_ms_max);
        let answer = self.bindings.trailhound_rule_detection().call_evaluate(&mut self.store, batch);
        self.store.data_mut().end_log();
        answer.map_err(|e| fault(&e, self.call_ms_max))
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Instance({})", self.store.data().module)
    }
}

/// Gives the next call its time. One tick more than the limit, since the current one has partly passed.
fn arm(store: &mut Store<State>, call_ms_max: u64) {
    let ticks = call_ms_max.div_ceil(TICK.as_millis() as u64);
    store.set_epoch_deadline(ticks + 1);
}

/// Tells a guest's trap, an interruption and a broken answer apart: only the first two carry a `Trap`.
fn fault(error: &wasmtime::Error, call_ms_max: u64) -> Fault {
    let mut text = error.root_cause().to_string();
    cut(&mut text, 300);
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => Fault::TimedOut(call_ms_max),
        Some(_) => Fault::Trapped(text),
        None if error.is::<MemoryExhausted>() || text.contains("forcing trap when growing") => Fault::Trapped(text),
        None => Fault::WrongAnswer(text),
    }
}
