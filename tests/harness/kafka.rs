//! A real Apache Kafka broker for tests: one node that is broker and controller at once (KRaft), on free loopback
//! ports, with its data in a temporary folder. `cluster.rs` has one of several nodes.

mod acl;
mod client;
mod cluster;
mod held;
mod install;
mod tail;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::child::{Child, tail};
use crate::folder::Folder;
use crate::install::skip;
use crate::wait;

pub use client::{Client, Outgoing, Producer, Received};
pub use cluster::{BROKERS, Cluster};
use install::Install;
pub use tail::Tail;

/// The one user who may log in on the listener with SASL/PLAIN.
pub const USER: &str = "trailhound";
/// That user's password.
pub const PASSWORD: &str = "the right one";

/// How long a start may take on a loaded machine.
const START: Duration = Duration::from_secs(60);
/// The line that the broker logs when it takes requests.
const STARTED: &str = "Kafka Server started";

/// A broker.
#[derive(Debug)]
pub struct Kafka {
    install: &'static Install,
    folder: Folder,
    ports: Ports,
    /// None while the broker is down.
    process: Option<Child>,
    /// Counts the starts, so that each has a log of its own.
    starts: u32,
}

/// The ports of a broker's listeners; they stay the same over restarts.
#[derive(Debug, Clone, Copy)]
struct Ports {
    plain: u16,
    sasl: u16,
    controller: u16,
}

impl Kafka {
    /// The broker for all tests of this process that do not break it. Each has topics and groups of its own. None
    /// as in [`Kafka::start`].
    pub fn shared() -> Option<&'static Kafka> {
        static SHARED: LazyLock<Option<Kafka>> = LazyLock::new(|| install::get().ok().map(Kafka::with));
        if SHARED.is_none() {
            install::get().inspect_err(|why| skip("Kafka", why)).ok()?;
        }
        SHARED.as_ref()
    }

    /// Starts a broker of the test's own, to be broken. None where a real broker cannot be had (no Java, or no jars);
    /// the test is then skipped, which is printed, and on a build server (`CI=true`) that is a failure.
    pub fn start() -> Option<Kafka> {
        install::get().inspect_err(|why| skip("Kafka", why)).ok().map(Kafka::with)
    }

    fn with(install: &'static Install) -> Kafka {
        let folder = Folder::new("kafka");
        let ports = Ports { plain: free_port(), sasl: free_port(), controller: free_port() };
        folder.write("server.properties", properties(&folder, ports));
        install.format(&folder.path().join("data"));
        let mut kafka = Kafka { install, folder, ports, process: None, starts: 0 };
        kafka.restart();
        kafka
    }

    /// A client of this broker.
    pub fn client(&self) -> Client {
        Client::new(self.bootstrap(), 1)
    }

    /// `host:port` of the listener without a login.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// `host:port` of the listener that asks for SASL/PLAIN without TLS.
    pub fn bootstrap_sasl(&self) -> String {
        format!("127.0.0.1:{}", self.ports.sasl)
    }

    /// Kills the broker as a power cut would; what it has acknowledged is in the operating system's cache.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Stops the broker in good order.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("TERM");
            process.wait(START);
        }
    }

    /// Starts the broker again, on the same data and the same ports, after [`Kafka::kill9`] or [`Kafka::stop`].
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the broker is running");
        self.starts += 1;
        let mut java = self.install.java();
        java.arg("kafka.Kafka").arg(self.folder.path().join("server.properties"));
        let mut process = Child::start(&java, self.folder.path(), &format!("broker-{}", self.starts));
        wait_until_started(&mut process);
        self.process = Some(process);
    }
}

/// Waits for the broker's own word that it takes requests.
fn wait_until_started(process: &mut Child) {
    wait::until(START, "the broker to start", || {
        let log = process.stdout();
        if let Some(code) = process.exit_code() {
            panic!("the broker ended with {code}\n{}\n{}", tail(&log), tail(&process.stderr()));
        }
        log.contains(STARTED).then_some(())
    });
}

/// The single broker's configuration.
fn properties(folder: &Folder, ports: Ports) -> String {
    let Ports { plain, sasl, controller } = ports;
    let listeners = format!("PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl}");
    let mut all: BTreeMap<&str, String> = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT"),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        // The same for the newer group protocol, where the brokers' settings decide.
        ("group.consumer.min.session.timeout.ms", "1000"),
        ("group.consumer.session.timeout.ms", "1500"),
        ("group.consumer.min.heartbeat.interval.ms", "100"),
        ("group.consumer.heartbeat.interval.ms", "200"),
        // A transaction that is open for too long is ended when the coordinator looks: every 10 s by default.
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "200"),
        // How long the cleaner sleeps when it has found nothing to compact: 15 s by default.
        ("log.cleaner.backoff.ms", "200"),
    ]
    .into_iter()
    .chain(COMMON)
    .map(|(key, value)| (key, value.to_owned()))
    .collect();
    all.insert("controller.quorum.voters", format!("1@127.0.0.1:{controller}"));
    all.insert("listeners", format!("{listeners},CONTROLLER://127.0.0.1:{controller}"));
    all.insert("advertised.listeners", listeners);
    all.insert("listener.name.sasl.plain.sasl.jaas.config", login());
    all.insert("log.dirs", folder.path().join("data").display().to_string());
    text(&all)
}

/// What every node is told, whatever its part: small, fast to fail over, and strict about topics.
const COMMON: [(&str, &str); 12] = [
    ("controller.listener.names", "CONTROLLER"),
    ("sasl.enabled.mechanisms", "PLAIN"),
    ("auto.create.topics.enable", "false"),
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.num.partitions", "4"),
    ("group.initial.rebalance.delay.ms", "0"),
    // A consumer that is killed is missed after its session time-out; tests ask for a short one.
    ("group.min.session.timeout.ms", "1000"),
    // A killed broker may register again only when its old session is over: after 9 s by default.
    ("broker.session.timeout.ms", "1000"),
    ("broker.heartbeat.interval.ms", "200"),
    // Set apart when the broker starts, not when it is needed: 128 MB by default.
    ("log.cleaner.dedupe.buffer.size", "4194304"),
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
];

/// The login that the listener with SASL/PLAIN lets in.
fn login() -> String {
    format!("org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";")
}

/// Properties as a file.
fn text(properties: &BTreeMap<&str, String>) -> String {
    properties.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

/// A loopback port that nobody listens on. It lies below the range from which the system takes the near ends of
/// connections: while a broker is down, a client that keeps trying to connect could otherwise be given the broker's
/// own port as its near end, and be connected with itself.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Test processes that run at the same time start looking at different places.
    let seed = u64::from(now.subsec_nanos()) / 1_000 + u64::from(std::process::id()) * 97;
    let start = u16::try_from(seed % u64::from(COUNT)).unwrap_or_default();
    let _first = NEXT.compare_exchange(0, start.max(1), Ordering::Relaxed, Ordering::Relaxed);
    (0..COUNT)
        .map(|_| FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}
