//! The program `trailhound`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// librdkafka's too: its threads allocate each message, and a worker frees it. With glibc's allocator the two wait for each
/// other's lock (BENCHMARKS.md has what that costs).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    trailhound::cli::main()
}
