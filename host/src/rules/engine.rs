//! The WebAssembly engine: one a process, with a clock that can interrupt every call.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine as Wasmtime, OptLevel};

use super::cache::Cache;
use super::contract::{RuleModule, RuleModulePre};
use super::instance::State;
use super::shared::Shared;

/// How often the epoch moves; the resolution of a call's time limit.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Compiles modules and interrupts their calls.
#[derive(Clone)]
pub struct Engine {
    wasmtime: Wasmtime,
    /// What has been compiled, for as long as some module has it.
    compiled: Arc<Shared<RuleModulePre<State>>>,
    /// What was compiled by earlier processes.
    cache: Option<Arc<Cache>>,
}

impl Engine {
    /// Makes an engine and starts its ticker, an OS thread that moves the epoch for as long as the engine lives.
    /// Every store has a deadline, so without the ticker an endless loop in a guest would never end.
    pub fn new() -> wasmtime::Result<Engine> {
        Engine::with_cache(None)
    }

    /// The same, with what earlier processes have compiled.
    pub fn with_cache(cache: Option<Cache>) -> wasmtime::Result<Engine> {
        let mut config = Config::new();
        config.wasm_component_model(true);
        config.epoch_interruption(true);
        config.cranelift_opt_level(OptLevel::Speed);
        let cache = cache.map(Arc::new);
        if let Some(cache) = &cache {
            config.enable_incremental_compilation(Arc::<Cache>::clone(cache))?;
        }
        let wasmtime = Wasmtime::new(&config)?;
        let weak = wasmtime.weak();
        std::thread::Builder::new().name("epoch-ticker".to_owned()).spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                // This is the clock that calls are limited by.
                std::thread::sleep(TICK);
            }
        })?;
        Ok(Engine { wasmtime, compiled: Arc::default(), cache })
    }

    /// Compiles and links a module's bytes, unless a module of this digest is alive: then they share its code.
    pub(super) fn compile(&self, digest: &str, bytes: &[u8]) -> wasmtime::Result<Arc<RuleModulePre<State>>> {
        self.compiled.get(digest, || {
            let compile = || Component::new(&self.wasmtime, bytes);
            let component = self.cache.as_ref().map_or_else(compile, |cache| cache.around(digest, compile))?;
            let mut linker = Linker::new(&self.wasmtime);
            RuleModule::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State| state)?;
            RuleModulePre::new(linker.instantiate_pre(&component)?)
        })
    }

    /// Makes this thread ready to call modules, which otherwise the first call would do.
    pub(super) fn ready_thread() {
        Wasmtime::tls_eager_initialize();
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({} compiled)", self.compiled.len())
    }
}
