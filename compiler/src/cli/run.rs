//! `snnc run`: a spiking network on samples.

use super::arguments::{Format, all_cpus, positive, timesteps};
use super::engine::EngineArguments;
use super::{Failure, load, output, progress};
use crate::data::{Dataset, npy};
use crate::report::answers::{AnswerRequest, Answers, answers};
use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Arguments of `snnc run`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The spiking network
    #[arg(value_name = "NETWORK.snn")]
    network: PathBuf,
    /// The samples: .npy or .npz with one per row, an image, or a folder of images
    #[arg(long, value_name = "DATA")]
    input: PathBuf,
    /// Write the potentials, float32 of shape [samples, outputs..], instead of printing the best classes
    #[arg(short, long, value_name = "Y.npy")]
    output: Option<PathBuf>,
    /// Window length T [default: the one it was compiled for]
    #[arg(long, value_name = "T", value_parser = timesteps)]
    timesteps: Option<u32>,
    /// Print spikes and synaptic operations of every layer
    #[arg(long)]
    stats: bool,
    /// Best classes printed per sample
    #[arg(long, value_name = "K", default_value = "3")]
    top: NonZeroUsize,
    /// End a sample's window at a fourth step where the best class leads the next by this much potential (unit: the ANN's logits)
    #[arg(long, value_name = "MARGIN", value_parser = positive)]
    early_exit: Option<f32>,
    /// Threads [default: one per CPU]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    engine: EngineArguments,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let program = load::program(&arguments.network, &arguments.engine.limits())?;
    let network = arguments.engine.network(&program)?;
    load::only_input(&network)?;
    load::early_exit(&network, arguments.early_exit)?;
    let timesteps = load::windows(&program, arguments.timesteps.as_slice())?[0];
    let dataset = Dataset::open(&arguments.input)?;
    load::note(&network, &program, &dataset)?;
    let bar = progress::bar(dataset.len(), "running");
    let answers = answers(&AnswerRequest {
        network: &network,
        preprocessing: &program.preprocessing,
        dataset: &dataset,
        timesteps,
        early_exit: arguments.early_exit,
        threads: arguments.threads.unwrap_or_else(all_cpus).get(),
        progress: &|| bar.inc(1),
    });
    bar.finish_and_clear();
    let answers = answers?;
    if let Some(path) = &arguments.output {
        write_potentials(path, &answers)?;
        if !arguments.stats {
            return Ok(());
        }
    }
    let top = if arguments.output.is_none() { arguments.top.get() } else { 0 };
    let report = answers.report(top, arguments.stats);
    output::report(
        arguments.output.as_deref(),
        &match arguments.format {
            Format::Text => report.to_text(),
            Format::Json => output::json(&report)?,
        },
    )
}

fn write_potentials(path: &std::path::Path, answers: &Answers) -> Result<(), Failure> {
    let mut shape = vec![answers.potentials.len()];
    shape.extend(&answers.shape);
    let data = answers.potentials.concat();
    output::write(path, |sink| npy::write_f32(sink, &shape, &data))
}
