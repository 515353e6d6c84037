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

use std::path::PathBuf;
use std::time::Duration;

use super::http::{Courier, Parcels, Verdict};
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

/// A receiver, owned by one worker.
pub struct SyslogSink {
    config: SyslogConfig,
    network: Network,
    /// The connection that stays between deliveries.
    link: Option<Link>,
    courier: Courier,
}

impl SyslogSink {
    /// A sink for `config.address`. Fails where a certificate or a key cannot be read. It connects when it first delivers.
    pub fn new(config: SyslogConfig) -> Result<SyslogSink, SinkError> {
        let failed = |what| SinkError::Target { name: config.address.clone(), what };
        let network = Network::new(&config).map_err(failed)?;
        let courier = Courier::to(config.address.clone(), (RETRY_MIN.min(config.retry_max), config.retry_max));
        Ok(SyslogSink { config, network, link: None, courier })
    }

    /// The receiver's address.
    pub fn name(&self) -> &str {
        &self.config.address
    }

    /// Connects, sends nothing, and says what became of it.
    pub fn check(&self) -> Result<String, String> {
        self.network.check(&self.config).map(|()| "by taking a connection".to_owned())
    }

    /// See [`super::Sink::deliver`].
    pub(super) fn deliver(
        &mut self,
        messages: &[Outgoing<'_>],
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Refused>, SinkError> {
        let Self { config, network, link, courier } = self;
        let parcels = Parcels::of(messages, |message, to| message::encode(config, message.payload, to));
        courier.deliver(parcels, wait, |parcels, piece, wait| {
            let stopped = || SinkError::Stopped { name: config.address.clone(), waiting: piece.len() };
            let sent = network.send(config, link, &parcels.body(piece), wait).ok_or_else(stopped)?;
            Ok(sent.map_or_else(|cause| Verdict::Again { after: None, cause }, |()| Verdict::Accepted))
        })
    }
}
