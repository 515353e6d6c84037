//! A real rsyslog that receives over TCP or TLS: Debian's packages, unpacked into a folder and not installed.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::{Certificate, until_started};
use crate::child::Child;
use crate::folder::{Folder, read_lossy};
use crate::install::{prepared, skip, succeeds};
use crate::kafka::free_port;

/// The packages that a minimal Debian lacks.
const PACKAGES: [&str; 5] = ["libestr0", "libfastjson4", "liblognorm5", "rsyslog", "rsyslog-openssl"];

/// What a receiver shows and asks for with TLS.
#[derive(Debug, Clone)]
pub struct RsyslogTls {
    /// Its certificate.
    pub certificate: Certificate,
    /// The authority that it trusts, PEM.
    pub ca: PathBuf,
    /// Whether a client must show a certificate of that authority.
    pub asks_clients: bool,
}

/// When a receiver writes what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Before it reads on.
    AtOnce,
    /// When it comes to it: until then a message lies in a queue in its memory, which is its default.
    Later,
}

/// A receiver.
#[derive(Debug)]
pub struct Rsyslog {
    root: &'static PathBuf,
    folder: Folder,
    port: u16,
    /// None while it is down.
    process: Option<Child>,
    starts: u32,
    /// How far its file has been counted: bytes, and messages.
    counted: Cell<(u64, usize)>,
}

impl Rsyslog {
    /// Starts a receiver; without `tls` it listens on plain TCP.
    pub fn start(tls: Option<&RsyslogTls>, writes: Writes) -> Option<Rsyslog> {
        let root = install().inspect_err(|why| skip("rsyslog", why)).ok()?;
        let (folder, port) = (Folder::new("rsyslog"), free_port());
        folder.write("rsyslog.conf", configuration(&folder, port, tls, writes));
        let mut rsyslog = Rsyslog { root, folder, port, process: None, starts: 0, counted: Cell::default() };
        rsyslog.restart();
        Some(rsyslog)
    }

    /// The port that it listens on, the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it without a warning: what it had received and not yet written is gone.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Lets it stand still: its system takes connections and what comes on them, and nobody reads that.
    pub fn freeze(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal("STOP");
        }
    }

    /// Stops it in good order: what it has received, it writes.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("TERM");
            process.wait(super::START);
        }
    }

    /// Starts it again on the same file and port.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the receiver is running");
        self.starts += 1;
        let libraries = libraries(self.root);
        let mut command = Command::new(self.root.join("usr/sbin/rsyslogd"));
        command.env("LD_LIBRARY_PATH", &libraries).arg("-n");
        command.arg("-f").arg(self.folder.path().join("rsyslog.conf"));
        command.arg("-i").arg(self.folder.path().join(format!("{}.pid", self.starts)));
        command.arg("-M").arg(libraries.join("rsyslog"));
        let mut process = Child::start(&command, self.folder.path(), &format!("rsyslog-{}", self.starts));
        let port = self.port;
        until_started("rsyslog", &mut process, |_| is_listening(port).then_some(()));
        self.process = Some(process);
    }

    /// What it says of itself: refused clients among it.
    pub fn log(&self) -> String {
        let logs = (1..=self.starts).map(|start| self.folder.path().join(format!("rsyslog-{start}.err")));
        logs.map(|log| read_lossy(&log)).collect::<String>() + &read_lossy(&self.folder.path().join("own.log"))
    }

    /// How many messages are in its file.
    pub fn count(&self) -> usize {
        let (mut bytes, mut messages) = self.counted.get();
        if let Ok(mut file) = File::open(self.file()) {
            let mut more = Vec::new();
            file.seek(SeekFrom::Start(bytes)).and_then(|_| file.read_to_end(&mut more)).expect("a readable file");
            bytes += more.len() as u64;
            messages += more.iter().filter(|byte| **byte == b'\n').count();
        }
        self.counted.set((bytes, messages));
        messages
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("messages.ndjson")
    }

    /// The messages as they arrived, whole, in the order in which they were written.
    pub fn messages(&self) -> Vec<String> {
        let text = read_lossy(&self.file());
        // A line that a kill has torn is no message.
        let raw = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        raw.filter_map(|line| line["rawmsg"].as_str().map(str::to_owned)).collect()
    }
}

/// Whether somebody listens on a loopback port, asked without a connection: one that ends before TLS begins leaves an error
/// in rsyslog's OpenSSL, which a later connection pays for. See proc(5), `/proc/net/tcp`: 0A is a socket that listens.
fn is_listening(port: u16) -> bool {
    let wanted = format!(": 0100007F:{port:04X} 00000000:0000 0A ");
    read_lossy(Path::new("/proc/net/tcp")).lines().any(|line| line.contains(&wanted))
}

fn libraries(root: &Path) -> PathBuf {
    root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}

/// One listener; each message is a line of JSON in a file, its own words in another.
fn configuration(folder: &Folder, port: u16, tls: Option<&RsyslogTls>, writes: Writes) -> String {
    let path = folder.path().display();
    let (files, driver) = match tls {
        None => (String::new(), String::new()),
        Some(tls) => {
            let files = format!(
                r#"defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{}"
       defaultNetstreamDriverCertFile="{}" defaultNetstreamDriverKeyFile="{}""#,
                tls.ca.display(),
                tls.certificate.certificate.display(),
                tls.certificate.key.display()
            );
            let mode = if tls.asks_clients { "x509/certvalid" } else { "anon" };
            let driver = format!(
                r#"StreamDriver.Name="ossl" StreamDriver.Mode="1"
       StreamDriver.AuthMode="{mode}""#
            );
            (files, driver)
        }
    };
    // What is in the queue when it is asked to stop, it writes.
    let queue = if writes == Writes::AtOnce { "Direct" } else { "LinkedList" };
    format!(
        r#"global(workDirectory="{path}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off"
       {files})
main_queue(queue.type="{queue}" queue.timeoutshutdown="30000")
module(load="imtcp" {driver})
input(type="imtcp" address="127.0.0.1" port="{port}")
template(name="whole" type="list") {{ constant(value="{{") property(name="rawmsg" outname="rawmsg" format="jsonf") constant(value="}}\n") }}
if $inputname == "imtcp" then {{
    action(type="omfile" file="{path}/messages.ndjson" template="whole")
    stop
}}
action(type="omfile" file="{path}/own.log")
"#
    )
}

/// Where the packages are unpacked, done at the first call; or why it cannot be done.
fn install() -> Result<&'static PathBuf, &'static str> {
    static INSTALL: LazyLock<Result<PathBuf, String>> = LazyLock::new(make);
    INSTALL.as_ref().map_err(String::as_str)
}

fn make() -> Result<PathBuf, String> {
    let folder = prepared("siem/rsyslog", |folder| {
        let download = || succeeds(Command::new("apt-get").arg("download").args(PACKAGES).current_dir(folder));
        // A machine that was made from an image has no lists of packages.
        download()
            .or_else(|_| succeeds(Command::new("apt-get").args(["--quiet", "update"])).and_then(|()| download()))?;
        let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let packages = entries.flatten().map(|entry| entry.path());
        for package in packages.filter(|path| path.extension().is_some_and(|ending| ending == "deb")) {
            succeeds(Command::new("dpkg").arg("-x").arg(package).arg(folder.join("root")))?;
        }
        let mut version = Command::new(folder.join("root/usr/sbin/rsyslogd"));
        succeeds(version.env("LD_LIBRARY_PATH", libraries(&folder.join("root"))).arg("-v"))
    })?;
    Ok(folder.join("root"))
}
