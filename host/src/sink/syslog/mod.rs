//! Syslog: RFC 5424 messages over TCP or TLS, framed by their length.
//!
//! **What is promised.** TCP syslog has no acknowledgement: a receiver never says that it has kept a message. What a
//! sender can learn is what becomes of the connection. With [`Confirm::Close`] each delivery has a connection of its own: all
//! is sent, the sending side is closed, and the receiver's close is waited for. A receiver closes once it has read the end,
//! and so all before it; one that dies with something unread makes the system reset the connection, and all is sent again.
//! So what can be lost is what the receiver had read and not yet kept when it died. With [`Confirm::Settle`] the connection
//! stays, and a delivery counts when it has been written and the connection shows no end for a while: what can be lost then
//! is also what lay in the buffers of both systems.
//!
//! There is no UDP: it would lose messages without anybody's knowing.

mod cef;
mod link;
mod message;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use super::{Outgoing, Refused, SinkError, Wait};
use link::{Link, Network};

/// A receiver as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct SyslogConfig {
    /// Host and port.
    pub address: String,
    /// TLS; None for plain TCP.
    pub tls: Option<SyslogTls>,
    /// What a message holds.
    pub form: Form,
    /// The facility, 0 to 23 (RFC 5424, section 6.2.1).
    pub facility: u8,
    /// APP-NAME: 1 to 48 printable ASCII characters.
    pub app_name: String,
    /// HOSTNAME: 1 to 255 printable ASCII characters; `-` for none.
    pub hostname: String,
    /// Bytes of a message, without its frame.
    pub message_bytes_max: usize,
    /// When a delivery counts.
    pub confirm: Confirm,
    /// How long a connection may take to be made.
    pub connect_max: Duration,
    /// How long the receiver may take to read on, and to close at the end.
    pub answer_max: Duration,
    /// The longest pause before a delivery is tried again.
    pub retry_max: Duration,
}

/// Who is trusted, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyslogTls {
    /// Certificates of authorities, PEM; None for those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Our certificate with its chain, and its key, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The OCSF event as JSON.
    Ocsf,
    /// RFC 5424's structured data, and the sentence for an analyst.
    StructuredData,
    /// ArcSight's Common Event Format.
    Cef,
}

/// When a delivery counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// When the receiver has read the end of the connection.
    Close,
    /// When the connection shows no end for so long after the last byte was written.
    Settle(Duration),
}

impl Default for SyslogConfig {
    fn default() -> Self {
        SyslogConfig {
            address: String::new(),
            tls: None,
            form: Form::Ocsf,
            facility: 13,
            app_name: "trailhound".to_owned(),
            hostname: "-".to_owned(),
            message_bytes_max: 8 << 10,
            confirm: Confirm::Close,
            connect_max: Duration::from_secs(5),
            answer_max: Duration::from_secs(30),
            retry_max: Duration::from_secs(30),
        }
    }
}

/// The pause after a first failure; doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(200);

/// Failures in a row after which the receiver counts as down.
const FAILURES_IN_ROW_MAX: u32 = 5;

/// A receiver, owned by one worker.
pub struct SyslogSink {
    config: SyslogConfig,
    network: Network,
    /// The connection that stays between deliveries.
    link: Option<Link>,
    /// Deliveries in a row that failed.
    failures: u32,
}

impl SyslogSink {
    /// A sink for `config.address`. Fails where a certificate or a key cannot be read. It connects when it first delivers.
    pub fn new(config: SyslogConfig) -> Result<SyslogSink, SinkError> {
        let failed = |what| SinkError::Target { name: config.address.clone(), what };
        let network = Network::new(&config).map_err(failed)?;
        Ok(SyslogSink { config, network, link: None, failures: 0 })
    }

    /// The receiver's address.
    pub fn name(&self) -> &str {
        &self.config.address
    }

    /// See [`super::Sink::deliver`].
    pub(super) fn deliver(
        &mut self,
        messages: &[Outgoing<'_>],
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Refused>, SinkError> {
        let (mut bytes, mut refused) = (Vec::new(), Vec::new());
        for (index, message) in messages.iter().enumerate() {
            if let Err(cause) = message::encode(&self.config, message.payload, &mut bytes) {
                refused.push(Refused { index, cause });
            }
        }
        let waiting = messages.len() - refused.len();
        while waiting > 0 {
            let stopped = || SinkError::Stopped { name: self.config.address.clone(), waiting };
            let attempt = self.network.send(&self.config, &mut self.link, &bytes, wait).ok_or_else(stopped)?;
            match attempt {
                Ok(()) => {
                    self.works(wait);
                    break;
                }
                Err(cause) => {
                    wait.metrics.retried(waiting);
                    let pause = self.fails(&cause, waiting, wait);
                    if !wait.pause(pause) {
                        return Err(SinkError::Stopped { name: self.config.address.clone(), waiting });
                    }
                }
            }
        }
        Ok(refused)
    }

    fn works(&mut self, wait: &Wait<'_>) {
        if self.failures >= FAILURES_IN_ROW_MAX {
            tracing::info!(target = self.config.address, "the receiver takes messages again");
            wait.metrics.target_down(false);
        }
        self.failures = 0;
    }

    /// Notes a failure, says so, and gives the pause before the next attempt.
    fn fails(&mut self, cause: &str, waiting: usize, wait: &Wait<'_>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let full = RETRY_MIN.saturating_mul(1 << (self.failures - 1).min(20)).min(self.config.retry_max);
        // Between a half and the whole, by chance: workers must not fall upon a receiver that comes back in step.
        let half = u64::try_from((full / 2).as_millis()).unwrap_or_default();
        let retry_ms = half + RandomState::new().build_hasher().finish() % (half + 1);
        if self.failures == FAILURES_IN_ROW_MAX {
            wait.metrics.target_down(true);
            tracing::error!(target = self.config.address, waiting, retry_ms, "the receiver counts as down: {cause}");
        } else {
            tracing::warn!(target = self.config.address, waiting, retry_ms, "not delivered yet: {cause}");
        }
        Duration::from_millis(retry_ms)
    }
}
