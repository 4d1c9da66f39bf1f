//! `snnc bench`: how long a sample takes, and what kernels cost.

use super::arguments::{Format, SampleArguments, at_most_a_million, threads, timesteps};
use super::engine::EngineArguments;
use super::{Failure, destination, load, output, progress};
use clap::Args;
use snn_runtime::CostModel;
use snnc::measure::time::{BenchError, BenchRequest, bench};
use snnc::report::costs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Most samples that are kept in memory to take turns.
const MAX_INPUTS: usize = 1000;

/// Arguments of `snnc bench`.
#[derive(Args, Debug)]
#[command(override_usage = "snnc bench [OPTIONS] --data <DATA> <NETWORK.snn>\n       snnc bench --calibrate-cost-model [-o FILE]")]
pub struct Arguments {
    /// The spiking network
    #[arg(value_name = "NETWORK.snn", required_unless_present = "calibrate_cost_model", requires = "data")]
    network: Option<PathBuf>,
    #[command(flatten)]
    samples: Option<SampleArguments>,
    /// Window length T [default: the one it was compiled for]
    #[arg(long, value_name = "T", value_parser = timesteps)]
    timesteps: Option<u32>,
    /// Threads
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    threads: NonZeroUsize,
    /// Samples per round, spread over the threads
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_most_a_million)]
    batch: NonZeroUsize,
    /// Rounds that count, after one that does not
    #[arg(long, value_name = "N", default_value = "7", value_parser = at_most_a_million)]
    rounds: NonZeroUsize,
    /// Measure what each family of kernels costs on this machine (seconds; leave it idle), for --cost-model
    #[arg(long, conflicts_with_all = ["network", "data", "cpu_level", "cost_model", "engine"])]
    calibrate_cost_model: bool,
    /// Write the cost model to this file instead of printing it
    #[arg(short, long, value_name = "FILE", requires = "calibrate_cost_model")]
    output: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArguments,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.calibrate_cost_model {
        return calibrate(arguments.output.as_deref());
    }
    let (Some(path), Some(samples)) = (&arguments.network, &arguments.samples) else {
        return Err(Failure::new("a network and its data were not named").help("snnc bench NETWORK.snn --data DATA"));
    };
    let program = load::program(path, &arguments.engine.limits())?;
    let network = arguments.engine.network(&program)?;
    let feed = samples.open(&program.graph)?;
    let (batch, rounds) = (arguments.batch.get(), arguments.rounds.get());
    let wanted = rounds.saturating_add(1).saturating_mul(batch).min(MAX_INPUTS);
    let feed = feed.slice(0, Some(wanted));
    load::note(&network, &program, &feed)?;
    let shapes: Vec<&[usize]> = network.inputs().iter().map(|ty| &ty.shape[..]).collect();
    let inputs = feed.all(&program.preprocessing, &shapes, || ())?;
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

/// Measures a cost model. What is printed is what [`CostModel::from_json`] reads.
fn calibrate(path: Option<&std::path::Path>) -> Result<(), Failure> {
    if let Some(path) = path {
        destination::check(path, &[".json"], &[])?;
    }
    let bar = progress::Stages::new();
    let measured = CostModel::measure(|done, total| bar.show("measuring", done, total));
    bar.finish();
    let measured = measured.map_err(|e| Failure::from_error(&e).while_doing("cannot measure"))?;
    let text = format!("{}\n", measured.model.to_json());
    match path {
        Some(path) => output::write(path, |sink| sink.write_all(text.as_bytes()))?,
        None => output::print(&text)?,
    }
    output::tell(&costs::deviations(&measured));
    Ok(())
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        Failure::from_error(&error)
    }
}
