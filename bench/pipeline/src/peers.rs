//! Whole pipelines of others: the same topic, the same predicate, the same broker, the same cores.
//!
//! Why it is fair: both are built from their released sources (`bench/peers`, versions pinned), take all cores, parse a
//! record once, and write what matches to a topic. Benthos has large batches and a high checkpoint limit, Kafka Streams a
//! thread a core. Both commit as often as ours does, so that progress is seen equally well, and the start of neither is
//! in its figures.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use harness::child::Child;
use harness::folder::Folder;
use harness::say;

use crate::contender::{Bench, Contender, Names, succeeds};

/// Rows that ratios are made of.
pub(crate) const BENTHOS: &str = "Benthos";
pub(crate) const STREAMS: &str = "Kafka Streams: at least once";
pub(crate) const STREAMS_EXACTLY_ONCE: &str = "Kafka Streams: exactly_once_v2";

/// Kafka Streams' word.
pub(crate) const EXACTLY_ONCE: &str = "exactly_once_v2";

/// Benthos, built.
pub(crate) struct Benthos {
    program: PathBuf,
}

/// Kafka Streams, built.
pub(crate) struct Streams {
    pub(crate) name: &'static str,
    pub(crate) guarantee: &'static str,
    class_path: String,
}

/// Builds the peers. One whose tools are missing is skipped, which is told.
pub(crate) fn contenders(repository: &Path, target: &Path) -> Result<Vec<Contender>> {
    let mut all = Vec::new();
    match benthos(repository, target) {
        Ok(program) => all.push(Contender::Benthos(Benthos { program })),
        Err(why) => say(&format!("skipped: Benthos: {why:#}")),
    }
    match streams(repository, target) {
        Ok(class_path) => {
            for (name, guarantee) in [(STREAMS, "at_least_once"), (STREAMS_EXACTLY_ONCE, EXACTLY_ONCE)] {
                all.push(Contender::Streams(Streams { name, guarantee, class_path: class_path.clone() }));
            }
        }
        Err(why) => say(&format!("skipped: Kafka Streams: {why:#}")),
    }
    Ok(all)
}

/// What was built, as the peers' own files pin it.
pub(crate) fn versions() -> Vec<String> {
    let go = include_str!("../../peers/benthos/go.mod").lines().find_map(|line| line.strip_prefix("require "));
    let pom = include_str!("../../peers/streams/pom.xml");
    let of = |artifact: &str| {
        let (_, rest) = pom.split_once(&format!("<artifactId>{artifact}</artifactId>"))?;
        let (version, _) = rest.split_once("<version>")?.1.split_once("</version>")?;
        Some(format!("{artifact} {version}"))
    };
    [go.map(str::to_owned), of("kafka-streams"), of("jackson-databind")].into_iter().flatten().collect()
}

fn benthos(repository: &Path, target: &Path) -> Result<PathBuf> {
    let (folder, program) = (repository.join("bench/peers/benthos"), target.join("benthos"));
    let installed = Path::new("/usr/local/go/bin/go");
    let go = if installed.exists() { installed } else { Path::new("go") };
    succeeds(Command::new(go).args(["build", "-o"]).arg(&program).arg("."), &folder).context("go build")?;
    Ok(program)
}

fn streams(repository: &Path, target: &Path) -> Result<String> {
    let (folder, out) = (repository.join("bench/peers/streams"), target.join("streams"));
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "compile", "dependency:copy-dependencies"]);
    maven.arg(format!("-Dout={}", out.display())).arg(format!("-DoutputDirectory={}", out.join("jars").display()));
    succeeds(&mut maven, &folder).context("mvn compile")?;
    Ok(format!("{}:{}/*", out.join("classes").display(), out.join("jars").display()))
}

impl Benthos {
    pub(crate) fn start(&self, bench: &Bench<'_>, names: &Names, folder: &Folder) -> Child {
        let (bootstrap, topic) = (bench.kafka.bootstrap(), &bench.topic.name);
        let Names { group, findings, .. } = names;
        let config = format!(
            r#"
http: {{enabled: false}}
logger: {{level: WARN}}
input:
  kafka_franz:
    seed_brokers: ["{bootstrap}"]
    topics: ["{topic}"]
    consumer_group: "{group}"
    checkpoint_limit: 10000
    commit_period: 500ms
    batching: {{count: 500, period: 20ms}}
pipeline:
  processors:
    - mapping: |
        let user = this.userIdentity
        root = if this.eventName == "ConsoleLogin" && $user.type == "Root" && this.responseElements.ConsoleLogin == "Success" && $user.sessionContext.assumedRoot.or("false").string().lowercase() != "true" {{
          {{"rule": "RTM-001", "record": this}}
        }} else {{ deleted() }}
output:
  kafka_franz:
    seed_brokers: ["{bootstrap}"]
    topic: "{findings}"
    max_in_flight: 64
    batching: {{count: 500, period: 20ms}}
"#
        );
        let file = folder.write("benthos.yaml", config);
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(file);
        Child::start(&command, folder.path(), "benthos")
    }
}

impl Streams {
    pub(crate) fn start(&self, bench: &Bench<'_>, names: &Names, folder: &Folder) -> Child {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let properties = format!(
            "application.id={}\nbootstrap.servers={}\nprocessing.guarantee={}\nnum.stream.threads={cores}\n\
             auto.offset.reset=earliest\ncommit.interval.ms=500\nstate.dir={}\n",
            names.group,
            bench.kafka.bootstrap(),
            self.guarantee,
            folder.path().join("state").display()
        );
        let file = folder.write("streams.properties", properties);
        let mut command = Command::new("java");
        command.args(["-cp", &self.class_path, "RootLogin"]).arg(file).args([&bench.topic.name, &names.findings]);
        Child::start(&command, folder.path(), "streams")
    }
}
