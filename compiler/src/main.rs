//! The `snnc` program. It decides nothing that the library does not: see [`snnc::Compiler`].

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
