//! The `snnc` program as a binary of this crate, so that cargo builds it for the command-line tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    snnc::cli::main()
}
