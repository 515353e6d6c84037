//! The checks at start: can the brokers be reached, is the login good, do the topics exist; and their creation where
//! the operator asked for it.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::context::Events;
use super::properties::Properties;

/// How a topic is created that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Create {
    /// Partitions.
    pub partitions: i32,
    /// Replicas of each partition.
    pub replication: i32,
}

/// A topic that a pipeline needs.
#[derive(Clone, Debug)]
pub struct Topic<'a> {
    /// The key of `pipeline.toml` that names it, for errors.
    pub key: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Whether and how it is created when it is missing.
    pub create: Option<Create>,
    /// What it is configured with when it is created, such as `cleanup.policy`; the broker's defaults otherwise.
    pub config: &'a [(&'a str, &'a str)],
}

/// What is wrong with a cluster, for a person: what, where, hint.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No broker answered.
    #[error("{key}: no broker of `{servers}` answers: {cause}\nhint: {hint}")]
    Unreachable {
        /// The key whose client could not connect.
        key: String,
        /// `bootstrap.servers`.
        servers: String,
        /// librdkafka's words.
        cause: String,
        /// What to look at.
        hint: &'static str,
    },
    /// A topic cannot be used.
    #[error("{key}: the topic `{topic}` {cause}\nhint: {hint}")]
    Topic {
        /// The key that names it.
        key: String,
        /// The topic.
        topic: String,
        /// What is wrong with it.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// A client cannot be made of the properties.
    #[error("{key}: {cause}")]
    Client {
        /// The key whose client it is.
        key: String,
        /// librdkafka's words.
        cause: String,
    },
}

/// How long a cluster may take to answer at start.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Checks that the topics can be used with `properties`, and creates those that are missing where `create` says so.
/// A missing topic that would be created is no mistake. All topics' mistakes are returned; an unreachable cluster is
/// one mistake.
pub fn check(properties: &Properties, topics: &[Topic<'_>], may_create: bool) -> Vec<KafkaError> {
    let Some(first) = topics.first() else { return Vec::new() };
    // A consumer, because a producer's metadata request may create topics on the broker.
    let config = properties.client(
        &[("socket.connection.setup.timeout.ms", "10000")],
        &[
            ("allow.auto.create.topics", "false"),
            ("enable.auto.commit", "false"),
            ("group.id", "trailhound-check"),
            // It joins no group, but may not be shorter than a session, whose default is long.
            ("max.poll.interval.ms", "86400000"),
        ],
    );
    let consumer: BaseConsumer<Events> = match config.create_with_context(Events::default()) {
        Ok(consumer) => consumer,
        Err(error) => {
            return vec![KafkaError::Client { key: first.key.to_owned(), cause: error.to_string() }];
        }
    };
    if let Err(error) = reach(&consumer, first.key, properties) {
        return vec![error];
    }
    let problem = |topic: &Topic<'_>| look_up(&consumer, topic).err();
    topics
        .iter()
        .filter_map(|topic| match problem(topic) {
            Some(KafkaError::Topic { cause, .. }) if cause == MISSING && topic.create.is_some() => {
                if !may_create {
                    return None;
                }
                create(&config.create_with_context(Events::default()), topic)
                    .and_then(|()| appears(|| problem(topic)))
                    .err()
            }
            other => other,
        })
        .collect()
}

const MISSING: &str = "does not exist";

/// Waits for the first answer of a broker, or for the login to be refused.
pub(super) fn reach(consumer: &BaseConsumer<Events>, key: &str, properties: &Properties) -> Result<(), KafkaError> {
    let deadline = Instant::now() + ANSWER_MAX;
    loop {
        // An unknown topic's name keeps the answer small on a cluster with many topics.
        let answer = consumer.fetch_metadata(Some("trailhound-check"), Duration::from_secs(2));
        // Serves the error callback.
        let _ = consumer.poll(Duration::ZERO);
        match answer {
            Ok(_) => return Ok(()),
            Err(error) => {
                let refused = |(code, _): &(String, String)| code == "Authentication" || code.contains("Sasl");
                if Instant::now() > deadline || consumer.context().errors().iter().any(refused) {
                    let servers = properties.get("bootstrap.servers").unwrap_or_default().to_owned();
                    return Err(unreachable(key, servers, error.to_string(), &consumer.context().errors()));
                }
            }
        }
    }
}

fn unreachable(key: &str, servers: String, cause: String, events: &[(String, String)]) -> KafkaError {
    let telling = |code: &str| events.iter().rev().find(|(c, _)| c == code).map(|(_, reason)| reason.clone());
    let (cause, hint) = if let Some(reason) = telling("Authentication") {
        (reason, "the login was refused: check sasl.mechanism, sasl.username and sasl.password")
    } else if let Some(reason) = telling("Ssl") {
        (reason, "the TLS handshake failed: check security.protocol, ssl.ca.location and the brokers' certificates")
    } else if let Some(reason) = telling("Resolve") {
        (reason, "the name does not resolve: check bootstrap.servers")
    } else {
        let reason = events.iter().rev().find(|(code, _)| code != "AllBrokersDown").map(|(_, reason)| reason.clone());
        (reason.unwrap_or(cause), "check bootstrap.servers, that the brokers run, and security.protocol")
    };
    KafkaError::Unreachable { key: key.to_owned(), servers, cause, hint }
}

/// The partitions of a topic.
pub(super) fn look_up(consumer: &BaseConsumer<Events>, topic: &Topic<'_>) -> Result<Vec<i32>, KafkaError> {
    let wrong = |cause: String, hint: &str| {
        let (key, topic) = (topic.key.to_owned(), topic.name.to_owned());
        Err(KafkaError::Topic { key, topic, cause, hint: hint.to_owned() })
    };
    let metadata = match consumer.fetch_metadata(Some(topic.name), ANSWER_MAX) {
        Ok(metadata) => metadata,
        Err(error) => return wrong(format!("cannot be looked up: {error}"), "check the brokers' health"),
    };
    let found = metadata.topics().iter().find(|found| found.name() == topic.name);
    match found.and_then(|found| found.error()).map(RDKafkaErrorCode::from) {
        None => Ok(found.into_iter().flat_map(|found| found.partitions()).map(|partition| partition.id()).collect()),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => wrong(
            MISSING.to_owned(),
            "create it, or let trailhound create it with create = { partitions = 6, replication = 3 } beside its name",
        ),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            wrong("may not be described by this user".to_owned(), "grant the user DESCRIBE and READ or WRITE on it")
        }
        Some(RDKafkaErrorCode::InvalidTopic) => {
            wrong("has no valid name".to_owned(), "1 to 249 of a-z A-Z 0-9 . _ - are allowed")
        }
        Some(other) => wrong(format!("cannot be used: {other}"), "check the brokers' health"),
    }
}

fn create<C: ClientContext>(
    client: &Result<AdminClient<C>, rdkafka::error::KafkaError>,
    topic: &Topic<'_>,
) -> Result<(), KafkaError> {
    let failed = |cause: String| KafkaError::Topic {
        key: topic.key.to_owned(),
        topic: topic.name.to_owned(),
        cause: format!("cannot be created: {cause}"),
        hint: "check create.partitions, create.replication against the number of brokers, and the user's rights"
            .to_owned(),
    };
    let client = client.as_ref().map_err(|error| failed(error.to_string()))?;
    let Some(wish) = topic.create else { return Ok(()) };
    let new = NewTopic::new(topic.name, wish.partitions, TopicReplication::Fixed(wish.replication));
    let new = topic.config.iter().fold(new, |new, (key, value)| new.set(key, value));
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_MAX)).request_timeout(Some(ANSWER_MAX));
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| failed(error.to_string()))?;
    let answers = runtime.block_on(client.create_topics([&new], &options)).map_err(|e| failed(e.to_string()))?;
    match answers.into_iter().next() {
        // Another worker or instance was faster.
        Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => {
            tracing::info!(topic = topic.name, partitions = wish.partitions, "topic created");
            Ok(())
        }
        Some(Err((_, code))) => Err(failed(code.to_string())),
    }
}

/// A topic that was just created takes a moment to reach every broker's metadata.
fn appears(problem: impl Fn() -> Option<KafkaError>) -> Result<(), KafkaError> {
    let deadline = Instant::now() + ANSWER_MAX;
    loop {
        match problem() {
            None => return Ok(()),
            Some(error) if Instant::now() > deadline => return Err(error),
            // Brokers do not tell when they know of it.
            Some(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
