//! A real Apache Kafka cluster for tests that break it: one controller and three brokers, each a process of its own.
//! Everything is kept three times, and two replicas must have it before it is acknowledged.
//!
//! The harness talks to the brokers directly. The program under test is given [`Cluster::proxied`]: that listener is
//! advertised at a proxy's port, so all its traffic goes through what a test can cut or slow down.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::install::{self, Install};
use super::{COMMON, Client, free_port, login, text, wait_until_started};
use crate::child::Child;
use crate::folder::Folder;
use crate::install::skip;
use crate::proxy::Proxy;
use crate::wait::{self, PATIENCE};

/// How many brokers there are, and replicas of everything.
pub const BROKERS: usize = 3;

/// The controller's node id.
const CONTROLLER: usize = 9;

/// A cluster; its processes end with it.
#[derive(Debug)]
pub struct Cluster {
    install: &'static Install,
    folder: Folder,
    brokers: Vec<Broker>,
    /// Never disturbed: who leads is decided by it, and one controller alone has no successor.
    _controller: Child,
}

/// A broker, and the proxy before it.
#[derive(Debug)]
struct Broker {
    plain: u16,
    sasl: u16,
    proxy: Proxy,
    /// None while it is down.
    process: Option<Child>,
    /// Counts the starts, so that each has a log of its own.
    starts: u32,
}

impl Cluster {
    /// Starts a cluster. None where a real Kafka cannot be had; the test is then skipped, which is printed, and on a
    /// build server (`CI=true`) that is a failure.
    pub fn start() -> Option<Cluster> {
        install::get().inspect_err(|why| skip("Kafka", why)).ok().map(Cluster::with)
    }

    fn with(install: &'static Install) -> Cluster {
        let folder = Folder::new("cluster");
        let voter = free_port();
        let shared = shared(voter);
        write_node(install, &folder, CONTROLLER, controller(shared.clone(), voter));
        let mut controller = start(install, &folder, CONTROLLER, 1);
        let brokers = (1..=BROKERS).map(|node| {
            let (plain, sasl, behind) = (free_port(), free_port(), free_port());
            let proxy = Proxy::start(behind);
            write_node(install, &folder, node, broker(shared.clone(), [plain, sasl, behind], proxy.port()));
            Broker { plain, sasl, proxy, process: Some(start(install, &folder, node, 1)), starts: 1 }
        });
        let mut brokers: Vec<Broker> = brokers.collect();
        wait_until_started(&mut controller);
        brokers.iter_mut().filter_map(|broker| broker.process.as_mut()).for_each(wait_until_started);
        Cluster { install, folder, brokers, _controller: controller }
    }

    /// All brokers of the listener without a login, `host:port,…`.
    pub fn bootstrap(&self) -> String {
        join(self.brokers.iter().map(|broker| broker.plain))
    }

    /// All brokers of the listener that asks for SASL/PLAIN. Its user is subject to [`Client::deny_write`].
    pub fn bootstrap_sasl(&self) -> String {
        join(self.brokers.iter().map(|broker| broker.sasl))
    }

    /// All brokers behind their proxies.
    pub fn proxied(&self) -> String {
        join(self.brokers.iter().map(|broker| broker.proxy.port()))
    }

    /// The proxy before a broker, 0 to [`BROKERS`].
    pub fn proxy(&self, broker: usize) -> &Proxy {
        &self.brokers[broker].proxy
    }

    /// A client that talks to the brokers directly and gives its topics three replicas.
    pub fn client(&self) -> Client {
        Client::new(self.bootstrap(), i32::try_from(BROKERS).unwrap_or(1))
    }

    /// The broker, from 0, that coordinates what has this id: a group in `__consumer_offsets`, or a transactional id in
    /// `__transaction_state`. It leads the partition that the hash of the id, as Java has it, names.
    pub fn coordinator(&self, topic: &str, id: &str) -> usize {
        let hash = id.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
        let consumer: BaseConsumer = self.client().config().create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        let partitions = metadata.topics()[0].partitions();
        let number = hash.unsigned_abs() % u32::try_from(partitions.len()).expect("few partitions");
        let found = partitions.iter().find(|partition| u32::try_from(partition.id()) == Ok(number));
        usize::try_from(found.expect("all partitions").leader() - 1).expect("a leader")
    }

    /// Kills a broker as a power cut would; what it has written is in the operating system's cache.
    pub fn kill9(&mut self, broker: usize) {
        if let Some(mut process) = self.brokers[broker].process.take() {
            process.kill9();
        }
    }

    /// Starts a broker again, on the same data and ports, and returns when it says that it is up.
    pub fn restart(&mut self, broker: usize) {
        let (node, broker) = (broker + 1, &mut self.brokers[broker]);
        assert!(broker.process.is_none(), "broker {node} is running");
        broker.starts += 1;
        let mut process = start(self.install, &self.folder, node, broker.starts);
        wait_until_started(&mut process);
        broker.process = Some(process);
    }

    /// Waits until the cluster has noticed that so many brokers are gone. Before that the lists of in-sync replicas
    /// are those of old, and say that all is well.
    pub fn until_missed(&self, brokers: usize) {
        self.until_replicas("killed brokers to be missed", |in_sync| in_sync <= BROKERS - brokers);
    }

    /// Waits until every partition of every topic has all its replicas in sync.
    pub fn until_in_sync(&self) {
        self.until_replicas("all replicas to be in sync", |in_sync| in_sync == BROKERS);
    }

    fn until_replicas(&self, what: &str, holds: impl Fn(usize) -> bool) {
        let consumer: BaseConsumer = self.client().config().create().expect("a consumer");
        wait::until_true(PATIENCE, what, || {
            let Ok(metadata) = consumer.fetch_metadata(None, PATIENCE) else { return false };
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            partitions.all(|partition| holds(partition.isr().len()))
        });
    }

    /// Undoes whatever a test has left: every broker up, nothing cut or slow, everything in sync.
    pub fn heal(&mut self) {
        for broker in 0..BROKERS {
            self.proxy(broker).pass();
            if self.brokers[broker].process.is_none() {
                self.restart(broker);
            }
        }
        self.until_in_sync();
    }
}

fn join(ports: impl Iterator<Item = u16>) -> String {
    ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

fn start(install: &Install, folder: &Folder, node: usize, starts: u32) -> Child {
    let mut java = install.java();
    java.arg("kafka.Kafka").arg(folder.path().join(format!("node-{node}.properties")));
    Child::start(&java, folder.path(), &format!("node-{node}-{starts}"))
}

/// Writes a node's properties and formats its data.
fn write_node(install: &Install, folder: &Folder, node: usize, mut properties: BTreeMap<&'static str, String>) {
    let data = folder.path().join(format!("data-{node}"));
    install.format_as(&data, node);
    properties.insert("node.id", node.to_string());
    properties.insert("log.dirs", data.display().to_string());
    folder.write(&format!("node-{node}.properties"), text(&properties));
}

/// What the controller and the brokers are told alike. A broker that is killed is replaced within about a second.
fn shared(voter: u16) -> BTreeMap<&'static str, String> {
    let mut all: BTreeMap<&str, String> = [
        ("default.replication.factor", "3"),
        ("min.insync.replicas", "2"),
        ("offsets.topic.replication.factor", "3"),
        ("transaction.state.log.replication.factor", "3"),
        ("transaction.state.log.min.isr", "2"),
        // A transaction that its owner has left open hides what comes after it until it is given up.
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500"),
        ("replica.lag.time.max.ms", "1000"),
        ("controller.quorum.election.timeout.ms", "500"),
        ("controller.quorum.fetch.timeout.ms", "1000"),
        ("leader.imbalance.check.interval.seconds", "1"),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        // Who has not logged in, the brokers among them, may do everything; who has, what no list forbids.
        ("super.users", "User:ANONYMOUS"),
        ("allow.everyone.if.no.acl.found", "true"),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT",
        ),
    ]
    .into_iter()
    .chain(COMMON)
    .map(|(key, value)| (key, value.to_owned()))
    .collect();
    all.insert("controller.quorum.voters", format!("{CONTROLLER}@127.0.0.1:{voter}"));
    all
}

fn controller(mut all: BTreeMap<&'static str, String>, voter: u16) -> BTreeMap<&'static str, String> {
    all.insert("process.roles", "controller".to_owned());
    all.insert("listeners", format!("CONTROLLER://127.0.0.1:{voter}"));
    all
}

fn broker(
    mut all: BTreeMap<&'static str, String>,
    [plain, sasl, behind]: [u16; 3],
    proxy: u16,
) -> BTreeMap<&'static str, String> {
    let listeners =
        |proxied: u16| format!("PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},PROXIED://127.0.0.1:{proxied}");
    all.insert("process.roles", "broker".to_owned());
    all.insert("inter.broker.listener.name", "PLAINTEXT".to_owned());
    all.insert("listeners", listeners(behind));
    all.insert("advertised.listeners", listeners(proxy));
    all.insert("listener.name.sasl.plain.sasl.jaas.config", login());
    all
}
