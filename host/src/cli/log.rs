//! Logging: structured lines on standard error, text for people or JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::Failure;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Starts logging for the rest of the process.
pub(super) fn start(filter: &str, format: Format) -> Result<(), Failure> {
    let targets: Targets = filter
        .parse()
        .map_err(|error| Failure::usage(format!("--log {filter}: {error}\nhint: for example info,librdkafka=debug")))?;
    let layer = match format {
        Format::Text => {
            let ansi = std::io::stderr().is_terminal();
            fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_target(false).boxed()
        }
        Format::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
    };
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
    Ok(())
}
