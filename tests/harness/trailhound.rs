//! The program under test: the real binary with a configuration of its own, as a child process.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::child::{Child, tail};
use crate::folder::Folder;
use crate::http;
pub use crate::http::Metrics;
use crate::kafka::free_port;
use crate::wait::{self, PATIENCE};

/// How long the program may take to stop in good order.
pub const STOP: Duration = Duration::from_secs(45);

/// A `pipeline.toml` with one pipeline, `detect`. Its parts are text in TOML, so that a test can replace any.
#[derive(Debug, Clone)]
pub struct Config {
    /// The key `instance`; left out when it is empty.
    pub instance: String,
    /// Properties of `[kafka]`.
    pub kafka: Vec<(String, String)>,
    /// Lines of `[rules]`; `FOLDER` in them is the folder with the module `root_login`.
    pub rules: String,
    /// The number of workers.
    pub workers: u32,
    /// Whether rules run. The pipeline is called `detect` all the same.
    pub detect: bool,
    /// The inline table of the source.
    pub source: String,
    /// The inline table of the sink.
    pub sink: String,
    /// The inline table of the dead letters' sink.
    pub dead_letters: String,
    /// How often a finding may be delivered.
    pub delivery: Delivery,
    /// Lines at the end of `[pipelines.detect]`, and tables after it.
    pub more: String,
    /// Modules beside that of RTM-001, by name.
    pub modules: Vec<(String, Vec<u8>)>,
}

/// What a pipeline promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// At least once, which is the default.
    AtLeastOnce,
    /// Exactly once.
    ExactlyOnce,
}

impl Delivery {
    /// Its name in `pipeline.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Delivery::AtLeastOnce => "at-least-once",
            Delivery::ExactlyOnce => "exactly-once",
        }
    }
}

impl Config {
    /// A pipeline from the topic `NAME.cloudtrail` to `NAME.findings` and `NAME.dead`, as the group `NAME`. Clients
    /// find a broker again at once, and a member that was killed is missed after a second.
    pub fn new(bootstrap: &str, name: &str) -> Config {
        let properties =
            [("bootstrap.servers", bootstrap), ("reconnect.backoff.ms", "20"), ("reconnect.backoff.max.ms", "200")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let quick = r#"properties = { "session.timeout.ms" = "1000", "heartbeat.interval.ms" = "200" }"#;
        Config {
            instance: String::new(),
            kafka: properties.to_vec(),
            rules: "directory = FOLDER".to_owned(),
            workers: 2,
            detect: true,
            source: format!(r#"{{ kafka = {{ topics = ["{name}.cloudtrail"], group = "{name}", {quick} }} }}"#),
            sink: format!(r#"{{ kafka = {{ topic = "{name}.findings" }} }}"#),
            dead_letters: format!(r#"{{ kafka = {{ topic = "{name}.dead" }} }}"#),
            delivery: Delivery::AtLeastOnce,
            more: String::new(),
            modules: Vec::new(),
        }
    }

    /// A pipeline without rules, from the topic `NAME.findings` to `sink`, an inline table. The dead letters are in
    /// `NAME.dead`.
    pub fn forward(bootstrap: &str, name: &str, sink: &str) -> Config {
        let mut config = Config::new(bootstrap, name);
        config.source = config.source.replace(&format!("{name}.cloudtrail"), &format!("{name}.findings"));
        Config { detect: false, rules: String::new(), sink: sink.to_owned(), ..config }
    }

    /// Sets a property of `[kafka]`, in place of the one that has its name.
    pub fn property(mut self, key: &str, value: &str) -> Config {
        self.kafka.retain(|(known, _)| known != key);
        self.kafka.push((key.to_owned(), value.to_owned()));
        self
    }

    fn toml(&self, port: u16, rules: &Path) -> String {
        let mut toml = String::new();
        if !self.instance.is_empty() {
            let _infallible = writeln!(toml, "instance = {:?}", self.instance);
        }
        toml.push_str("[kafka]\n");
        for (key, value) in &self.kafka {
            let _infallible = writeln!(toml, "{key:?} = {value:?}");
        }
        let delivery = match self.delivery {
            Delivery::AtLeastOnce => String::new(),
            other => format!("delivery = {:?}\n", other.name()),
        };
        let _infallible = write!(
            toml,
            "[admin]\nlisten = \"127.0.0.1:{port}\"\n[rules]\n{}\n[pipelines.detect]\nworkers = {}\n\
             source = {}\ndetect = {}\nsink = {}\ndead_letters = {}\n{delivery}{}\n",
            self.rules.replace("FOLDER", &format!("{rules:?}")),
            self.workers,
            self.source,
            self.detect,
            self.sink,
            self.dead_letters,
            self.more
        );
        toml
    }
}

/// A running or finished program.
#[derive(Debug)]
pub struct Trailhound {
    child: Child,
    port: u16,
    folder: Folder,
}

impl Trailhound {
    /// Starts the program and does not wait for anything.
    pub fn start(config: &Config) -> Trailhound {
        Trailhound::start_in(config, |program| program)
    }

    /// The same, with the command that starts it put into another one. It runs in [`Trailhound::folder`].
    pub fn start_in(config: &Config, wrap: impl FnOnce(Command) -> Command) -> Trailhound {
        let folder = Folder::new("program");
        let rules = folder.path().join("rules");
        std::fs::create_dir(&rules).expect("a folder for rules");
        if config.detect {
            std::fs::write(rules.join("root_login.wasm"), module("root_login")).expect("a module");
        }
        for (name, wasm) in &config.modules {
            std::fs::write(rules.join(format!("{name}.wasm")), wasm).expect("a module");
        }
        let port = free_port();
        let file = folder.write("pipeline.toml", config.toml(port, &rules));
        Trailhound::run(folder, port, &file, wrap)
    }

    /// Starts the program with a `pipeline.toml` of this text, which has no `[admin]` and no key above its first table, and
    /// does not wait for anything. There are no rules.
    pub fn start_text(text: &str) -> Trailhound {
        let (folder, port) = (Folder::new("program"), free_port());
        let file = folder.write("pipeline.toml", format!("[admin]\nlisten = \"127.0.0.1:{port}\"\n{text}"));
        Trailhound::run(folder, port, &file, |program| program)
    }

    fn run(folder: Folder, port: u16, file: &Path, wrap: impl FnOnce(Command) -> Command) -> Trailhound {
        let mut command = Command::new(binary());
        command.args(["run", "--config"]).arg(file).current_dir(folder.path());
        let mut command = wrap(command);
        // A log that shows as it would in production, whatever the tester's environment asks for.
        command.env_remove("RUST_LOG");
        let child = Child::start(&command, folder.path(), "trailhound");
        Trailhound { child, port, folder }
    }

    /// Starts the program and waits until it says that it is ready.
    #[track_caller]
    pub fn ready(config: &Config) -> Trailhound {
        let mut program = Trailhound::start(config);
        program.until_ready();
        program
    }

    /// Waits until it says that it is ready.
    #[track_caller]
    pub fn until_ready(&mut self) {
        self.until("the program to be ready", |program| {
            matches!(http::get(program.port, "/readyz"), Ok((200, _))).then_some(())
        });
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Waits for a condition while the program runs.
    ///
    /// # Panics
    /// When the program ends meanwhile, or time runs out.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Trailhound) -> Option<T>) -> T {
        let answer = wait::poll(PATIENCE, || {
            let answer = look(self);
            if answer.is_none()
                && let Some(code) = self.child.exit_code()
            {
                panic!("the program ended with {code} while waiting for {what}");
            }
            answer
        });
        answer.unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain for {what}"))
    }

    /// Waits until `workers` of it hold an assignment. Once all do, the group changes no more by itself: a worker that
    /// joins later takes partitions from one that may hold undelivered messages, which are then received twice.
    #[track_caller]
    pub fn until_joined(&mut self, workers: usize) {
        self.until("the workers to have partitions", |program| {
            let log = program.stderr();
            let held = log.matches("partitions revoked").count() + workers;
            (log.matches("partitions assigned").count() >= held).then_some(())
        });
    }

    /// Waits until it has received at least `count` entries since its start.
    #[track_caller]
    pub fn until_received(&mut self, count: u64) {
        self.until(&format!("{count} entries received"), |program| (program.received() >= count).then_some(()));
    }

    /// Waits until it has said once more that a delivery has to be tried again.
    #[track_caller]
    pub fn until_waiting(&mut self) {
        // Of a single message, and of a transaction.
        const WAITING: [&str; 2] = ["not delivered yet", "the batch is done again"];
        let said = |program: &Trailhound| {
            let log = program.stderr();
            WAITING.iter().map(|words| log.matches(words).count()).sum::<usize>()
        };
        let before = said(self);
        self.until("a delivery to be tried again", |program| (said(program) > before).then_some(()));
    }

    /// How many entries it has received since its start.
    pub fn received(&self) -> u64 {
        self.metrics().sum("trailhound_received_total", &[("pipeline", "detect")])
    }

    /// The metrics page of this moment; empty while the page does not answer.
    pub fn metrics(&self) -> Metrics {
        match http::get(self.port, "/metrics") {
            Ok((200, page)) => Metrics::parse(&page),
            _ => Metrics::default(),
        }
    }

    /// Status and body of a page of the admin server; None while it does not answer.
    pub fn page(&self, path: &str) -> Option<(u16, String)> {
        http::get(self.port, path).ok()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&mut self, name: &str) {
        self.child.signal(name);
    }

    /// Kills it without a warning.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.child.kill9();
    }

    /// Whether it has ended, by itself or not.
    pub fn has_ended(&mut self) -> bool {
        self.child.exit_code().is_some()
    }

    /// Waits for the end and returns the exit code.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> i32 {
        self.child.wait(deadline)
    }

    /// Asks it to stop, which must succeed, and returns the summary that it prints at its end.
    #[track_caller]
    pub fn stop(&mut self) -> Summary {
        self.signal("TERM");
        let code = self.wait(STOP);
        assert_eq!(code, 0, "exit code");
        self.summary()
    }

    /// The summary that it has printed at its end, of the pipeline `detect`.
    #[track_caller]
    pub fn summary(&self) -> Summary {
        self.summary_of("detect")
    }

    /// The summary that it has printed at its end, of one pipeline.
    #[track_caller]
    pub fn summary_of(&self, pipeline: &str) -> Summary {
        let stdout = self.child.stdout();
        assert_eq!(stdout.lines().count(), 1, "one line on standard output: {stdout:?}");
        let line: Value = serde_json::from_str(&stdout).expect("a summary in JSON");
        Summary(line["pipelines"][pipeline].clone())
    }

    /// What it has logged.
    pub fn stderr(&self) -> String {
        self.child.stderr()
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("pipeline.toml")
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Trailhound {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the program's log:\n{}", tail(&self.stderr()));
        }
    }
}

/// What the program says of a pipeline at its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary(pub Value);

impl Summary {
    /// A counter, or the sum of a family of counters; 0 where it says nothing of it.
    pub fn count(&self, name: &str) -> u64 {
        match &self.0[name] {
            Value::Object(family) => family.values().filter_map(Value::as_u64).sum(),
            single => single.as_u64().unwrap_or_default(),
        }
    }

    /// One counter of a family.
    pub fn of(&self, name: &str, member: &str) -> u64 {
        self.0[name][member].as_u64().unwrap_or_default()
    }

    /// Whether every entry is accounted for.
    pub fn balanced(&self) -> bool {
        let settled = ["evaluated", "forwarded", "skipped", "dead_lettered"].map(|name| self.count(name));
        self.count("received") == settled.iter().sum::<u64>()
    }

    /// Checks that every entry is accounted for.
    #[track_caller]
    pub fn assert_balanced(&self) {
        assert!(self.balanced(), "{}", self.0);
    }
}

/// The program: `TRAILHOUND_BIN`, or the release build.
pub fn binary() -> PathBuf {
    let path = built("TRAILHOUND_BIN", "release/trailhound");
    assert!(path.exists(), "{} is not there; `make test` builds it", path.display());
    path
}

/// A module as `make` builds it, by its name: from `TRAILHOUND_RULES`, or the build's.
pub fn module(name: &str) -> Vec<u8> {
    let file = built("TRAILHOUND_RULES", "rules").join(format!("{name}.wasm"));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; `make test` builds it", file.display()))
}

/// What an environment variable names, or else what lies at a path of the workspace's build folder.
fn built(variable: &str, path: &str) -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(path);
    std::env::var_os(variable).map_or_else(default, PathBuf::from)
}
