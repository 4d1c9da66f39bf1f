//! `snnc run`: a spiking network on samples.

use super::arguments::{Format, SampleArguments, all_cpus, positive, threads, timesteps};
use super::engine::EngineArguments;
use super::{Failure, destination, load, output, progress};
use clap::Args;
use snnc::data::{npy, npz};
use snnc::files;
use snnc::measure::answers::{AnswerRequest, Answers, OutputAnswers, answers};
use snnc::outputs::{Closing, output_names};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Arguments of `snnc run`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The spiking network
    #[arg(value_name = "NETWORK.snn")]
    network: PathBuf,
    /// The samples: .npy or .npz with one per row (with several inputs an .npz with an array for each, by name), an image, or a folder of images
    #[arg(long, value_name = "DATA", alias = "data")]
    input: PathBuf,
    /// Use at most this many samples
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Leave out the first N samples
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// Write the potentials instead of printing answers: float32 of shape [samples, output..]; .npz has every output by its name, .npy holds one
    #[arg(short, long, value_name = "Y.npz|Y.npy")]
    output: Option<PathBuf>,
    /// Print or write only the output of this name
    #[arg(long, value_name = "NAME")]
    output_name: Option<String>,
    /// Window length T [default: the one it was compiled for]
    #[arg(long, value_name = "T", value_parser = timesteps)]
    timesteps: Option<u32>,
    /// Print spikes and synaptic operations of every layer
    #[arg(long)]
    stats: bool,
    /// Best classes printed per sample
    #[arg(long, value_name = "K", default_value = "3")]
    top: NonZeroUsize,
    /// Stop a sample early (checked every 4 steps) once the best class leads the next by this much potential (unit: the ANN's logits)
    #[arg(long, value_name = "MARGIN", value_parser = positive)]
    early_exit: Option<f32>,
    /// Threads [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
    #[command(flatten)]
    engine: EngineArguments,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Names of files that are written.
const ENDINGS: [&str; 2] = [".npz", ".npy"];

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(path) = &arguments.output {
        let inputs = [Some(&*arguments.network), Some(&*arguments.input), arguments.engine.cost_model()];
        destination::check(path, &ENDINGS, &inputs)?;
    }
    let program = load::program(&arguments.network, &arguments.engine.limits())?;
    let graph = &program.graph;
    let outputs = match &arguments.output_name {
        Some(name) => vec![load::output(graph, name)?],
        None => (0..graph.outputs().len()).collect(),
    };
    let names = output_names(graph);
    if let (Some(path), [_, _, ..]) = (arguments.output.as_deref().filter(|p| !is_archive(p)), &outputs[..]) {
        let (what, archive) = match files::is_standard(path) {
            true => ("standard output".to_string(), Path::new("OUT.npz").to_path_buf()),
            false => (path.display().to_string(), path.with_extension("npz")),
        };
        let failure = Failure::new(format!("{what} holds one array, the network has {} outputs", outputs.len()));
        return Err(failure.help(format!("-o {} takes all, --output-name one of {}", archive.display(), names.join(", "))));
    }
    for &output in &outputs {
        let closing = Closing::from_notes(&names[output], &program.provenance.notes);
        closing.note(&names[output]).iter().for_each(output::note);
    }
    let network = arguments.engine.network(&program)?;
    let early_exit = load::early_exit(&network, graph, outputs[0], arguments.early_exit)?;
    let timesteps = load::windows(&program, arguments.timesteps.as_slice())?[0];
    let feed = SampleArguments { data: arguments.input.clone(), limit: arguments.limit, skip: arguments.skip }.open(graph)?;
    load::note(&network, &program, &feed)?;
    let bar = progress::bar(feed.len(), "running");
    let answers = answers(&AnswerRequest {
        network: &network,
        graph,
        preprocessing: &program.preprocessing,
        feed: &feed,
        outputs: &outputs,
        timesteps,
        early_exit,
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

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"))
}

fn write_potentials(path: &Path, answers: &Answers) -> Result<(), Failure> {
    let shape = |o: &OutputAnswers| [&[answers.samples], &o.shape[..]].concat();
    match &answers.outputs[..] {
        [only] if !is_archive(path) => output::write(path, |sink| npy::write_f32(sink, &shape(only), &only.potentials)),
        outputs => {
            let arrays: Vec<_> = outputs.iter().map(|o| (&*o.name, shape(o), &o.potentials[..])).collect();
            output::write(path, |sink| npz::write(sink, &arrays))
        }
    }
}
