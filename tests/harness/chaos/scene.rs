//! What a row has to work with: topics and a group of its own, traffic, the audit, and chance from a seed.

use std::sync::Arc;
use std::time::Duration;

use super::Measure;
use crate::audit::Audit;
use crate::kafka::{Client, Cluster, PASSWORD, USER};
use crate::random::Random;
use crate::say;
use crate::traffic::{Plan, Traffic};
use crate::trailhound::{Config, Delivery, Trailhound};
use crate::verdict::Verdict;
use crate::wait::{self, PATIENCE};

/// Partitions of each topic.
const PARTITIONS: i32 = 6;

/// One row in one mode on its way.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The cluster, to be broken.
    pub cluster: &'a mut Cluster,
    /// A client that talks to the brokers directly.
    pub client: Client,
    /// The beginning of the topics' names, and the group.
    pub name: String,
    /// Chance.
    pub random: Random,
    /// What is checked.
    pub audit: Audit,
    delivery: Delivery,
    measure: Measure,
    plan: Arc<Plan>,
    traffic: Option<Traffic>,
    /// The number of the next message while there is no traffic.
    next: u32,
    notes: &'a mut Vec<String>,
}

impl<'a> Scene<'a> {
    /// Creates the topics.
    pub(super) fn new(
        row: &str,
        delivery: Delivery,
        cluster: &'a mut Cluster,
        measure: Measure,
        notes: &'a mut Vec<String>,
    ) -> Scene<'a> {
        let name = format!("{row}.{}", delivery.name());
        let client = cluster.client();
        client.create_topics(&name, PARTITIONS, &[OPEN]);
        let plan = Arc::new(Plan::new(measure.seed));
        let audit = Audit::new(&client, &name, Arc::clone(&plan));
        let random = Random::new(measure.seed);
        Scene { cluster, client, name, random, audit, delivery, measure, plan, traffic: None, next: 0, notes }
    }

    /// What the pipeline promises.
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// How many faults there are to be.
    pub fn rounds(&self) -> u32 {
        self.measure.rounds
    }

    /// The findings' topic.
    pub fn findings(&self) -> String {
        format!("{}.findings", self.name)
    }

    /// The configuration of a program whose traffic goes through the proxies.
    pub fn config(&self) -> Config {
        self.config_of(&self.cluster.proxied())
    }

    /// The configuration of a program that knows the brokers by these addresses. Batches are small, so that whatever
    /// happens finds one in hand.
    pub fn config_of(&self, bootstrap: &str) -> Config {
        let mut config = Config::new(bootstrap, &self.name)
            .property("retry.backoff.ms", "20")
            .property("topic.metadata.refresh.fast.interval.ms", "20");
        config.more = "batch = { messages_max = 500 }".to_owned();
        config.delivery = self.delivery;
        match self.delivery {
            Delivery::AtLeastOnce => config,
            // What a killed program has left open hides what comes after it, for so long.
            Delivery::ExactlyOnce => config.property("transaction.timeout.ms", "5000"),
        }
    }

    /// The configuration of a program that has logged in, so that it can be forbidden something. It goes to the brokers
    /// directly.
    pub fn config_logged_in(&self) -> Config {
        self.config_of(&self.cluster.bootstrap_sasl())
            .property("security.protocol", "SASL_PLAINTEXT")
            .property("sasl.mechanism", "PLAIN")
            .property("sasl.username", USER)
            .property("sasl.password", PASSWORD)
    }

    /// Lets records arrive, until [`Scene::stop_traffic`] or the end of the row.
    pub fn traffic(&mut self) {
        self.traffic_at(1);
    }

    /// The same, at a fraction of the rate.
    pub fn traffic_at(&mut self, fraction: u32) {
        self.traffic_of(self.measure.per_second / fraction);
    }

    /// The same, so many messages a second.
    pub fn traffic_of(&mut self, per_second: u32) {
        let topic = format!("{}.cloudtrail", self.name);
        let plan = Arc::clone(&self.plan);
        self.traffic = Some(Traffic::start(&self.client, &topic, plan, self.next, per_second));
    }

    /// Stops the traffic.
    pub fn stop_traffic(&mut self) {
        if let Some(traffic) = self.traffic.take() {
            self.next = traffic.finish();
        }
    }

    /// Waits until everything that has arrived is committed, for as long as the group gets on. There must be no traffic.
    #[track_caller]
    pub fn until_all_committed(&self) {
        let ends: i64 = self.client.end_offsets(&format!("{}.cloudtrail", self.name)).iter().sum();
        loop {
            let before = self.audit.committed();
            if before == ends {
                return;
            }
            let what = format!("{} to commit what is left: {} of {ends} messages", self.name, ends - before);
            wait::until_true(PATIENCE, &what, || self.audit.committed() > before);
        }
    }

    /// Waits until the group commits something.
    #[track_caller]
    pub fn until_offsets_move(&self) {
        let before = self.audit.committed();
        wait::until_true(PATIENCE, "offsets to move", || self.audit.committed() > before);
    }

    /// From now on a program that has logged in can produce nothing to the findings' topic, and all else goes on.
    pub fn forbid_findings(&self) {
        self.client.deny_write(&self.findings());
    }

    /// The end of [`Scene::forbid_findings`].
    pub fn allow_findings(&self) {
        self.client.allow_write(&self.findings());
    }

    /// Gives the findings' topic these settings besides its normal ones, and takes all others back.
    pub fn configure_findings(&self, settings: &[(&str, &str)]) {
        self.client.configure_topic(&self.findings(), &[&[OPEN], settings].concat());
    }

    /// Creates the findings' topic again after it was deleted; the audit reads it from its beginning.
    pub fn findings_anew(&mut self) {
        self.client.create_topic(&self.findings(), PARTITIONS, &[OPEN]);
        self.audit.findings_anew();
    }

    /// A time by chance.
    pub fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(least_ms + self.random.below(most_ms - least_ms + 1))
    }

    /// Ends a round: says so, and checks that nothing is committed that was not delivered. In a pipeline of
    /// transactions an open one may hide what is there, so there the check is made at the end only.
    pub fn round_done(&mut self, round: u32, what: &str) {
        if self.delivery == Delivery::AtLeastOnce {
            self.audit.check_committed();
        }
        let sent = self.traffic.as_ref().map_or(self.next, Traffic::next);
        say(&format!("{}: {}/{}: {what}; {sent} messages so far", self.name, round + 1, self.measure.rounds));
    }

    /// Keeps a remark for the report.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Stops a program in good order, and takes its summary into account.
    #[track_caller]
    pub fn stop(&mut self, mut program: Trailhound) {
        self.audit.stopped(&program.stop(), None);
    }

    /// Waits for the rest to be done, stops everything in good order, and checks.
    #[track_caller]
    pub(super) fn finish(mut self, programs: Vec<Trailhound>) -> Verdict {
        self.stop_traffic();
        self.until_all_committed();
        for mut program in programs {
            let metrics = program.metrics();
            self.audit.stopped(&program.stop(), Some(&metrics));
        }
        self.audit.verdict(self.next)
    }
}

/// A topic's normal setting.
const OPEN: (&str, &str) = ("min.insync.replicas", "2");
