//! The `snnc` program as a binary of this crate, so that cargo builds it for the command-line tests.

#[path = "../../../compiler/src/cli/mod.rs"]
mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
