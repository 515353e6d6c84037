//! `make chaos`: every kind of fault, in full.

fn main() -> std::process::ExitCode {
    harness::chaos::main()
}
