//! The command line: `snnc MODEL.onnx -o OUT.snn` compiles, subcommands do the rest. One file per command.
//!
//! Exit codes: 0 when all went well, 1 for a diagnostic, 2 for wrong usage, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP. Reports go to standard
//! output, everything else to standard error.

mod arguments;
mod bench;
mod compile;
mod engine;
mod eval;
mod explain;
mod failure;
mod import;
mod inspect;
mod load;
mod opt;
mod output;
mod passes;
mod progress;
mod recipes;
mod run;

pub use failure::Failure;

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::process::ExitCode;

/// Compiles a trained network (ONNX) to a spiking network of integrate-and-fire neurons, and runs it
#[derive(Parser, Debug)]
#[command(
    name = "snnc",
    bin_name = "snnc",
    version,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
#[command(override_usage = "snnc MODEL.onnx -o OUT.snn [OPTIONS]\n       snnc <COMMAND>", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compile: Option<compile::Arguments>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a spiking network on samples
    Run(run::Arguments),
    /// Measure accuracy and activity against T, next to the ANN
    Eval(eval::Arguments),
    /// Say which layers of a spiking network lose the accuracy, and why
    Explain(explain::Arguments),
    /// Measure how long a sample takes
    Bench(bench::Arguments),
    /// Say what is in an .onnx or .snn file
    Inspect(inspect::Arguments),
    /// Run passes on a graph in text form
    Opt(opt::Arguments),
    /// Describe the passes and their options
    Passes(passes::Arguments),
    /// Describe the recipes, or print one
    Recipes(recipes::Arguments),
}

/// The command line. A number below zero is a value, which the option that it follows refuses in words, and no option.
fn command() -> clap::Command {
    let values = |a: Arg| if a.get_action().takes_values() { a.allow_negative_numbers(true) } else { a };
    Cli::command().mut_args(values).mut_subcommands(|command| command.mut_args(values))
}

/// Starts the threads that all commands share: the first use would start them, too, but panic if that fails.
fn start_threads() -> Result<(), Failure> {
    rayon::ThreadPoolBuilder::new().build_global().map_err(|e| {
        let failure = Failure::from_error(&e).while_doing("cannot start as many threads as there are CPUs");
        failure.help("RAYON_NUM_THREADS=1 needs one only; ulimit -u and -v say what the system allows")
    })
}

/// Runs the program on its command line.
pub fn main() -> ExitCode {
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|e| e.exit());
    output::clean_up_on_signals();
    let result = start_threads().and_then(|()| match (cli.command, cli.compile) {
        (Some(Command::Run(arguments)), _) => run::run(&arguments),
        (Some(Command::Eval(arguments)), _) => eval::run(&arguments),
        (Some(Command::Explain(arguments)), _) => explain::run(&arguments),
        (Some(Command::Bench(arguments)), _) => bench::run(&arguments),
        (Some(Command::Inspect(arguments)), _) => inspect::run(&arguments),
        (Some(Command::Opt(arguments)), _) => opt::run(&arguments),
        (Some(Command::Passes(arguments)), _) => passes::run(&arguments),
        (Some(Command::Recipes(arguments)), _) => recipes::run(&arguments),
        (None, Some(arguments)) => compile::run(&arguments),
        (None, None) => Err(Failure::new("no model was named").help("snnc MODEL.onnx -o OUT.snn; snnc --help lists the rest")),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::FAILURE
        }
    }
}
