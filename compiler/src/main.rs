//! The `snnc` program: see [`snnc::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    snnc::cli::main()
}
