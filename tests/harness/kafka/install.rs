//! Getting Apache Kafka: its jars from Maven, once, and what makes a broker start fast.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::{Ports, free_port, properties, wait_until_started};
use crate::child::Child;
use crate::folder::Folder;
use crate::install::{class_path, maven, prepared, runs, succeeds};

/// The broker's version.
const KAFKA: &str = "4.1.1";
/// The version of its logging back end, without which the broker says nothing.
const LOG4J: &str = "2.24.3";
/// The cluster's id; every test broker is a cluster of its own, so they may share it.
const CLUSTER: &str = "5L6g3nShTxeMCtKtX86sw1";

/// A Kafka that is ready to start.
#[derive(Debug)]
pub(super) struct Install {
    folder: PathBuf,
    /// Every jar by name: a class-data archive is not used with a wildcard.
    class_path: String,
}

impl Install {
    /// Java with the broker's classes, the class-data archive and little memory; the main class is still to be named.
    pub(super) fn java(&self) -> Command {
        let mut java = self.java_without_archive();
        java.arg(format!("-XX:SharedArchiveFile={}", self.archive().display()));
        java
    }

    /// Makes `data` a formatted, empty log folder.
    pub(super) fn format(&self, data: &Path) {
        copy_files(&self.folder.join("formatted"), data);
    }

    /// The same for a node of a cluster: node and folder need ids that no other node has.
    pub(super) fn format_as(&self, data: &Path, node: usize) {
        const META: &str = "meta.properties";
        self.format(data);
        let meta = fs::read_to_string(data.join(META)).expect("what the tool has written");
        let lines = meta.lines().map(|line| match line.split_once('=') {
            Some(("node.id", _)) => format!("node.id={node}\n"),
            // Sixteen bytes in base64: another first letter is another id.
            Some(("directory.id", id)) => {
                let letter = char::from(b'a' + u8::try_from(node % 26).unwrap_or(0));
                format!("directory.id={letter}{}\n", &id[1..])
            }
            _ => format!("{line}\n"),
        });
        fs::write(data.join(META), lines.collect::<String>()).expect("the node's own ids");
    }

    fn archive(&self) -> PathBuf {
        self.folder.join("classes.jsa")
    }

    fn java_without_archive(&self) -> Command {
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=INFO"]);
        java.args(["-cp", &self.class_path]);
        java
    }
}

/// The installation, made at the first call; or why it cannot be made.
pub(super) fn get() -> Result<&'static Install, &'static str> {
    static INSTALL: LazyLock<Result<Install, String>> = LazyLock::new(make);
    INSTALL.as_ref().map_err(String::as_str)
}

/// Makes the installation in `target/kafka`, or takes it from there.
fn make() -> Result<Install, String> {
    runs("java", "-version")?;
    let folder = prepared(&format!("kafka/{KAFKA}"), |folder| {
        let logging = format!("org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J}");
        maven(folder, &[&format!("org.apache.kafka:kafka_2.13:{KAFKA}"), &logging])?;
        let install = Install { class_path: class_path(&folder.join("jars"))?, folder: folder.to_owned() };
        format(&install)?;
        archive(&install)
    })?;
    Ok(Install { class_path: class_path(&folder.join("jars"))?, folder })
}

/// Formats an empty log folder, to be copied for every broker: a run of the tool takes as long as a broker's start.
fn format(install: &Install) -> Result<(), String> {
    let scratch = Folder::new("kafka-format");
    let config = scratch.write("server.properties", properties(&scratch, some_ports()));
    let mut java = install.java_without_archive();
    java.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]).arg(config);
    succeeds(&mut java)?;
    copy_files(&scratch.path().join("data"), &install.folder.join("formatted"));
    Ok(())
}

/// Runs a broker once and keeps the classes that it has loaded: later starts take a third of the time.
fn archive(install: &Install) -> Result<(), String> {
    let scratch = Folder::new("kafka-archive");
    install.format(&scratch.path().join("data"));
    let config = scratch.write("server.properties", properties(&scratch, some_ports()));
    let mut java = install.java_without_archive();
    java.arg(format!("-XX:ArchiveClassesAtExit={}", install.archive().display()));
    java.arg("kafka.Kafka").arg(config);
    let mut broker = Child::start(&java, scratch.path(), "broker");
    wait_until_started(&mut broker);
    broker.signal("TERM");
    broker.wait(super::START);
    if install.archive().exists() { Ok(()) } else { Err("the broker has left no class-data archive".to_owned()) }
}

fn some_ports() -> Ports {
    Ports { plain: free_port(), sasl: free_port(), controller: free_port() }
}

/// Copies the files of a flat folder into a new one.
fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a formatted log folder").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a file to copy");
    }
}
