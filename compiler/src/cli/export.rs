//! `snnc export`: a compiled network in a form that something else reads.

use super::arguments::Memory;
use super::{Failure, destination, load, output};
use clap::Args;
use snn_ir::Obstacle;
use snn_ir::file::Program;
use snnc::backend::{self, Backend, BackendError, UnknownForm};
use snnc::files;
use std::path::{Path, PathBuf};

/// Arguments of `snnc export`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The spiking network
    #[arg(value_name = "NETWORK.snn")]
    network: PathBuf,
    /// Where it goes; the name's ending says in which form
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The form, whatever the name of the file
    #[arg(long, value_name = "FORM")]
    to: Option<String>,
    #[command(flatten)]
    memory: Memory,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    // A form that is named may go into a file of any name.
    let named = arguments.to.as_deref().map(backend::named).transpose()?;
    let own = arguments.output.extension().map(|e| format!(".{}", e.to_string_lossy()));
    let endings = own.filter(|_| named.is_some()).map_or_else(backend::endings, |own| vec![own]);
    let endings: Vec<&str> = endings.iter().map(String::as_str).collect();
    destination::check(&arguments.output, &endings, &[Some(&*arguments.network)])?;
    let backend = named.map_or_else(|| of_output(&arguments.output), Ok)?;
    let program = load::program(&arguments.network, &arguments.memory.limits())?;
    write(&arguments.output, backend, &program)
}

/// The backend that the name of an output asks for.
fn of_output(path: &Path) -> Result<&'static dyn Backend, Failure> {
    if files::is_standard(path) {
        return Err(Failure::new("standard output has no name that says the form").help(format!("--to {}", forms())));
    }
    Ok(backend::of_file(path)?)
}

fn forms() -> String {
    backend::all().iter().map(|b| b.name()).collect::<Vec<_>>().join("|")
}

/// Writes `program` where nothing is in the way; else says everything that is.
pub(super) fn write(path: &Path, backend: &dyn Backend, program: &Program) -> Result<(), Failure> {
    let obstacles = backend.obstacles(program);
    if !obstacles.is_empty() {
        return Err(in_the_way(&format!("{} cannot hold this network", backend.name()), &obstacles));
    }
    let mut bytes = Vec::new();
    backend.write(program, &mut bytes)?;
    output::write(path, |sink| sink.write_all(&bytes))
}

/// All obstacles, a line each.
pub(super) fn in_the_way(what: &str, obstacles: &[Obstacle]) -> Failure {
    let lines: Vec<String> = obstacles.iter().map(|o| format!("\n  {o}")).collect();
    Failure::new(format!("{what}: {} obstacles{}", obstacles.len(), lines.concat()))
}

impl From<UnknownForm> for Failure {
    fn from(error: UnknownForm) -> Self {
        let failure = Failure::from_error(&error);
        match error.suggestion() {
            Some(name) => failure.did_you_mean(Some(&name)),
            None => failure.help("snnc export --help; the form can also be said: --to NAME"),
        }
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Failure::from_error(&error)
    }
}
