//! The command line: `snnc MODEL.onnx -o OUT.snn` compiles, subcommands do the rest. One file per command.
//!
//! Exit codes: 0 when all went well, 1 for a diagnostic, 2 for wrong usage, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP. Reports go to standard
//! output, everything else to standard error.

mod arguments;
mod bench;
mod calibration;
mod check;
mod compile;
mod destination;
mod engine;
mod eval;
mod explain;
mod export;
mod failure;
mod import;
mod inspect;
mod load;
mod opt;
mod output;
mod passes;
mod preprocessing;
mod progress;
mod recipes;
mod run;
mod targets;

pub use failure::Failure;

use clap::error::ErrorKind;
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use snnc::suggest::nearest;
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::Path;
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
#[command(override_usage = "snnc MODEL.onnx -o OUT.snn [OPTIONS]\n       snnc <COMMAND>")]
#[command(after_help = "Exit codes: 0 when all went well, 1 for a diagnostic, 2 for wrong usage, 130 after Ctrl-C")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compile: Option<compile::Arguments>,
}

impl Cli {
    /// The number of threads that the user says.
    fn threads(&self) -> Option<NonZeroUsize> {
        match (&self.command, &self.compile) {
            (Some(Command::Compile(arguments)), _) | (None, Some(arguments)) => arguments.threads,
            (Some(Command::Run(arguments)), _) => arguments.threads,
            (Some(Command::Eval(arguments)), _) => arguments.threads,
            (Some(Command::Explain(arguments)), _) => arguments.threads,
            // The threads of `bench` are those that it measures.
            _ => None,
        }
    }
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Compile a trained network to a spiking one: what snnc does without a command
    Compile(compile::Arguments),
    /// Run a spiking network on samples
    Run(run::Arguments),
    /// Measure accuracy and activity as a function of T, side by side with the ANN
    Eval(eval::Arguments),
    /// Say which layers of a spiking network lose the accuracy, and why
    Explain(explain::Arguments),
    /// Measure how long a sample takes
    Bench(bench::Arguments),
    /// Say what is in an .onnx or .snn file
    Inspect(inspect::Arguments),
    /// Say everything in a network that a target cannot hold
    Check(check::Arguments),
    /// Write a network in a form that something else reads
    Export(export::Arguments),
    /// Run passes on a graph in text form
    Opt(opt::Arguments),
    /// Describe the passes and their options
    Passes(passes::Arguments),
    /// Describe the recipes, or print one
    Recipes(recipes::Arguments),
    /// Describe the targets, or print one's limits
    Targets(targets::Arguments),
}

/// The command line. A number below zero is a value, which the option that it follows refuses in words, and no option.
fn command() -> clap::Command {
    let values = |a: Arg| if a.get_action().takes_values() { a.allow_negative_numbers(true) } else { a };
    Cli::command().mut_args(values).mut_subcommands(|command| command.mut_args(values))
}

/// What is wrong with `first` where a command or a model should be: it is no command, and neither the name of a model nor
/// of a file.
fn unknown_command(first: &OsStr) -> Option<clap::Error> {
    let mut cli = command();
    let names: Vec<String> = cli.get_subcommands().map(|c| c.get_name().to_string()).chain(["help".to_string()]).collect();
    let (path, first) = (Path::new(first), &*first.to_string_lossy());
    if first.starts_with('-') || names.iter().any(|n| n == first) || load::is_onnx(path) || path.exists() {
        return None;
    }
    let tip = match nearest(first, names.iter().map(String::as_str)) {
        Some(name) => format!("a similar command exists: '{name}'"),
        None => format!("commands are {}; a model's name ends in .onnx", names.join(", ")),
    };
    Some(cli.error(ErrorKind::InvalidSubcommand, format!("there is no command and no file '{first}'\n\n  tip: {tip}")))
}

/// Starts the threads that all commands share, `threads` or one per CPU: the first use would start them, too, but panic
/// if that fails.
fn start_threads(threads: Option<NonZeroUsize>) -> Result<(), Failure> {
    // Zero leaves the number to rayon, which asks RAYON_NUM_THREADS before it counts CPUs.
    let number = threads.map_or(0, NonZeroUsize::get);
    rayon::ThreadPoolBuilder::new().num_threads(number).build_global().map_err(|e| {
        let (action, help) = match threads {
            Some(threads) => (format!("cannot start {threads} threads"), "a smaller --threads"),
            None => ("cannot start as many threads as there are CPUs".to_string(), "RAYON_NUM_THREADS=1"),
        };
        let failure = Failure::from_error(&e).while_doing(action);
        failure.help(format!("{help} needs fewer; ulimit -u and -v say what the system allows"))
    })
}

/// Runs the program on its command line.
pub fn main() -> ExitCode {
    if let Some(error) = std::env::args_os().nth(1).and_then(|first| unknown_command(&first)) {
        error.exit();
    }
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|e| e.exit());
    output::clean_up_on_signals();
    let result = start_threads(cli.threads()).and_then(|()| match (cli.command, cli.compile) {
        (Some(Command::Compile(arguments)), _) | (None, Some(arguments)) => compile::run(&arguments),
        (Some(Command::Run(arguments)), _) => run::run(&arguments),
        (Some(Command::Eval(arguments)), _) => eval::run(&arguments),
        (Some(Command::Explain(arguments)), _) => explain::run(&arguments),
        (Some(Command::Bench(arguments)), _) => bench::run(&arguments),
        (Some(Command::Inspect(arguments)), _) => inspect::run(&arguments),
        (Some(Command::Check(arguments)), _) => check::run(&arguments),
        (Some(Command::Export(arguments)), _) => export::run(&arguments),
        (Some(Command::Opt(arguments)), _) => opt::run(&arguments),
        (Some(Command::Passes(arguments)), _) => passes::run(&arguments),
        (Some(Command::Recipes(arguments)), _) => recipes::run(&arguments),
        (Some(Command::Targets(arguments)), _) => targets::run(&arguments),
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
