//! The program: arguments become one of its commands, and its result an exit code.

mod dead_letters;
mod demo;
mod fleet;
mod log;
mod progress;
mod rule;
mod run;
mod scan;
mod siem;
mod validate;
mod workers;

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::rules::Refusal;

/// Exit code of a failure at run time.
const FAILURE: u8 = 1;

/// Exit code of a mistake in the configuration, in a module or in the arguments: EX_USAGE of sysexits.h.
const USAGE: u8 = 64;

/// Detects in AWS CloudTrail records: Kafka in, WebAssembly rules, findings out.
///
/// Exit codes: 0 fine, 1 failure, 64 a mistake in the configuration, in a module or in the arguments.
#[derive(Debug, Parser)]
#[command(name = "trailhound", version, long_version = long_version(), max_term_width = 110)]
struct Cli {
    /// What is logged to standard error: a level, or levels by target as in `info,librdkafka=debug`
    #[arg(long, global = true, value_name = "FILTER", default_value = "info,librdkafka=warn")]
    log: String,
    /// How it is logged
    #[arg(long, global = true, value_enum, default_value_t = log::Format::Text)]
    log_format: log::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all pipelines of a configuration until SIGTERM or SIGINT
    ///
    /// On a stop each worker finishes its batch, commits, and leaves its group; what is not acknowledged within
    /// limits.drain_ms_max is read again by the next start. The balance of all counters goes to standard output as
    /// one line of JSON.
    Run {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "pipeline.toml")]
        config: PathBuf,
    },
    /// Report all mistakes of a configuration at once, and load and prove its modules
    Validate {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "pipeline.toml")]
        config: PathBuf,
        /// Also ask the brokers and the targets: the login, the topics, what a SIEM answers
        #[arg(long)]
        connect: bool,
    },
    /// Run the rules over files and folders: findings to standard output, one JSON text a line
    Scan(scan::Args),
    /// Look at what could not be evaluated, and evaluate it again
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Show the whole way on an in-process Kafka with made-up traffic; needs nothing and ends by itself
    Demo(demo::Args),
    /// What a SIEM must be told before it takes findings
    #[command(subcommand)]
    Siem(siem::SiemCommand),
    /// Build, inspect and test rule modules; publish them to a running fleet
    #[command(subcommand)]
    Rule(rule::RuleCommand),
}

fn long_version() -> &'static str {
    static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    TEXT.get_or_init(|| {
        format!(
            "{}\nrule contract {}\nOCSF {}\nlibrdkafka {}",
            env!("CARGO_PKG_VERSION"),
            crate::rules::contract::VERSION,
            crate::finding::OCSF_VERSION,
            crate::kafka::version()
        )
    })
}

/// A command's end that is not a success: what to say, and the exit code.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(message: impl Display) -> Failure {
        Failure { code: FAILURE, message: message.to_string() }
    }

    fn usage(message: impl Display) -> Failure {
        Failure { code: USAGE, message: message.to_string() }
    }
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` are errors to clap, and no failures.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let result = log::start(&cli.log, cli.log_format).and_then(|()| match &cli.command {
        Command::Run { config } => run::run(config),
        Command::Validate { config, connect } => validate::validate(config, *connect),
        Command::Scan(args) => scan::scan(args),
        Command::DeadLetters(command) => dead_letters::dead_letters(command),
        Command::Demo(args) => demo::demo(args),
        Command::Siem(command) => siem::siem(command),
        Command::Rule(command) => rule::rule(command),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A reader of our output that goes away early is no reason to panic.
            let _ = writeln!(std::io::stderr(), "error: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Writes machine output, which is what standard output is for.
fn print(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("standard output: {error}")))
}

/// A module's file that was refused.
fn refused_file(file: &Path, refusal: &Refusal) -> Failure {
    let (file, step, hint) = (file.display(), refusal.step(), refusal.hint());
    Failure::usage(format!("{file}: refused at step `{step}`: {refusal}\nhint: {hint}"))
}

/// All modules that were refused, each with its step and a hint.
fn refused(all: &[crate::rules::Refused]) -> Failure {
    let each: Vec<String> = all.iter().map(|one| format!("{one}\nhint: {}", one.refusal.hint())).collect();
    Failure::usage(each.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
