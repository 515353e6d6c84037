//! Why a module was refused: the step, the cause, and what to do about it.

use super::contract;
use super::instance::Fault;

/// A module that does not go live. The running rule set stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    /// The file is over `module_bytes_max`.
    #[error("{bytes} bytes, over the limit of {bytes_max}")]
    TooLarge {
        /// The file's size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The message of the rules topic that brings it is wrong.
    #[error("{0}")]
    Message(String),
    /// The bytes are not WebAssembly, or are cut off.
    #[error("not a WebAssembly component: {0}")]
    NotWasm(#[source] wasmparser::BinaryReaderError),
    /// A core module, not a component.
    #[error("a core WebAssembly module, not a component")]
    CoreModule,
    /// It holds a component that instantiates components.
    #[error("a component within it instantiates components")]
    Nested,
    /// It is made of too many instances.
    #[error("it is made of more than {instances_max} instances")]
    ManyInstances {
        /// The limit.
        instances_max: u32,
    },
    /// It imports something else than the contract's host interface.
    #[error("imports `{name}`, which is not part of the contract")]
    ForeignImport {
        /// The import's name.
        name: String,
    },
    /// It does not export the contract.
    #[error("does not export `{}@{}`", contract::DETECTION, contract::VERSION)]
    NoContract,
    /// It was built for another version of the contract.
    #[error("built for version {theirs} of the contract; this host speaks version {}", contract::VERSION)]
    OtherVersion {
        /// The module's version.
        theirs: String,
    },
    /// The compiler or the linker refuses it.
    #[error("does not compile: {0:#}")]
    Compile(#[source] wasmtime::Error),
    /// It cannot be instantiated within the limits.
    #[error("cannot be started: {0}")]
    Start(#[source] Fault),
    /// `describe` failed.
    #[error("`describe` failed: {0}")]
    Describe(#[source] Fault),
    /// `describe` answered with an error, usually about its settings.
    #[error("the module refuses its settings: {0}")]
    Settings(String),
    /// What it says of itself breaks the contract or a limit.
    #[error("its description is wrong: {}", .0.join("; "))]
    Description(Vec<String>),
    /// Examples disagree.
    #[error("{} of its examples disagree: {}", .0.len(), .0.join("; "))]
    Examples(Vec<String>),
    /// Its examples take too long.
    #[error("its examples take longer than {prove_ms_max} ms: {examples} were done by then")]
    Slow {
        /// Examples that were done when the time was over.
        examples: usize,
        /// The limit.
        prove_ms_max: u64,
    },
    /// It does not fit into the rule set.
    #[error("{0}")]
    Set(String),
}

impl Refusal {
    /// The step at which it was refused, in the order of the steps.
    pub fn step(&self) -> &'static str {
        match self {
            Refusal::Unreadable(_) | Refusal::Message(_) => "read",
            Refusal::TooLarge { .. } => "size",
            Refusal::NotWasm(_) | Refusal::CoreModule | Refusal::Nested | Refusal::ManyInstances { .. } => "parse",
            Refusal::ForeignImport { .. } => "imports",
            Refusal::NoContract | Refusal::OtherVersion { .. } => "contract",
            Refusal::Compile(_) => "compile",
            Refusal::Start(_) => "start",
            Refusal::Describe(_) | Refusal::Description(_) => "describe",
            Refusal::Settings(_) => "settings",
            Refusal::Examples(_) | Refusal::Slow { .. } => "examples",
            Refusal::Set(_) => "set",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::Unreadable(_) => "check that the file exists and that its permissions let this user read it",
            Refusal::Message(_) => "publish it with `trailhound rule publish FILE`",
            Refusal::TooLarge { .. } => {
                "build with `trailhound rule build`, which strips and optimises, or raise limits.rules.module_bytes_max"
            }
            Refusal::NotWasm(_) => "build it again with `trailhound rule build DIR`; the file may be cut off",
            Refusal::Nested | Refusal::ManyInstances { .. } => {
                "build it with `trailhound rule build DIR`, as one component"
            }
            Refusal::CoreModule => "make a component of it with `trailhound rule build DIR`",
            Refusal::ForeignImport { .. } => {
                "a rule has no clock, randomness, files or network: build for wasm32-unknown-unknown, not for WASI"
            }
            Refusal::NoContract => "write the rule with the crate `trailhound-rule` and its `module!` macro",
            Refusal::OtherVersion { .. } => "build it again with the `trailhound-rule` of this host's version",
            Refusal::Compile(_) => "the file is damaged or uses a WebAssembly proposal that is not supported",
            Refusal::Start(_) | Refusal::Describe(_) => {
                "the module must start and describe itself within limits.rules.call_ms_max and memory_bytes_max"
            }
            Refusal::Settings(_) => "see [rules.settings.NAME] in pipeline.toml",
            Refusal::Description(_) => "correct the module's metadata",
            Refusal::Examples(_) => "run `trailhound rule test` on it: the rule or the example is wrong",
            Refusal::Slow { .. } => {
                "a rule takes microseconds for a record: find what loops, or raise limits.rules.prove_ms_max"
            }
            Refusal::Set(_) => "every rule id may come from one module only",
        }
    }
}
