//! The program `trailhound`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    trailhound::cli::main()
}
