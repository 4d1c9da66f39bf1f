//! `snnc bench`: how long a sample takes.

use super::arguments::{Engine, Format, Samples, timesteps};
use super::{Failure, load, output};
use crate::report::{BenchError, BenchRequest, bench};
use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Most samples that are kept in memory to take turns.
const MAX_INPUTS: usize = 1000;

/// Arguments of `snnc bench`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The spiking network
    #[arg(value_name = "NETWORK.snn")]
    network: PathBuf,
    #[command(flatten)]
    samples: Samples,
    /// Window length T [default: the one it was compiled for]
    #[arg(long, value_name = "T", value_parser = timesteps)]
    timesteps: Option<u32>,
    /// Threads
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// Samples per round, spread over the threads
    #[arg(long, value_name = "N", default_value = "1")]
    batch: NonZeroUsize,
    /// Rounds that count, after one that does not
    #[arg(long, value_name = "N", default_value = "7")]
    rounds: NonZeroUsize,
    /// Engine [default: jit where it has code for the network, reference elsewhere]
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let program = load::program(&arguments.network)?;
    let network = load::network(&program, arguments.engine)?;
    let mut dataset = arguments.samples.open()?;
    let input = load::only_input(&network)?;
    let (batch, rounds) = (arguments.batch.get(), arguments.rounds.get());
    let wanted = rounds.saturating_add(1).saturating_mul(batch).min(MAX_INPUTS);
    dataset = dataset.slice(0, Some(wanted));
    let inputs = dataset.inputs(&program.preprocessing, &input.shape, || ())?;
    let request = BenchRequest {
        timesteps: load::windows(&program, arguments.timesteps.as_slice())?[0],
        threads: arguments.threads.get(),
        batch,
        rounds,
    };
    let result = bench(&network, &inputs, request)?;
    output::print(&match arguments.format {
        Format::Text => result.to_text(),
        Format::Json => output::json(&result)?,
    })
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        Failure::from_error(&error)
    }
}
