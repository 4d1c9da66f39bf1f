//! `snnc explain`: which layers lose the accuracy, and why.

use super::arguments::{Format, Memory, SampleArguments, threads};
use super::calibration::check_finite;
use super::{Failure, load, output, progress};
use clap::Args;
use snn_ir::Graph;
use snn_ir::file::Program;
use snnc::explain::{ExplainError, ExplainRequest, explain};
use snnc::files;
use snnc::frontend::onnx::ImportError;
use snnc::frontend::onnx::model::Model;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Arguments of `snnc explain`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The trained network
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// The spiking network that was compiled from it
    #[arg(value_name = "NETWORK.snn")]
    network: PathBuf,
    /// Samples on which the two are compared; labels are not used
    #[arg(long, value_name = "DATA")]
    data: PathBuf,
    /// Use at most this many samples
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Leave out the first N samples (those used for calibration, say)
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// The output to explain [default: the first]
    #[arg(long, value_name = "NAME")]
    output_name: Option<String>,
    /// Threads [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
    #[command(flatten)]
    memory: Memory,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (model, network) = (&arguments.model, &arguments.network);
    if load::is_onnx(network) && !load::is_onnx(model) {
        let failure = Failure::new("model and network are in the wrong order");
        return Err(failure.help(format!("snnc explain {} {} ..", network.display(), model.display())));
    }
    let program = load::program(network, &arguments.memory.limits())?;
    let output = load::output_or_first(&program.graph, arguments.output_name.as_deref())?;
    let timesteps = load::windows(&program, &[])?[0];
    let ann = ann(model, network, &program)?;
    let samples = SampleArguments { data: arguments.data.clone(), limit: Some(arguments.limit), skip: arguments.skip };
    let inputs = program.graph.inputs();
    let shapes: Vec<&[usize]> = inputs.iter().map(|&i| &program.graph.ty(i).shape[..]).collect();
    let samples = samples.open(&program.graph)?.all(&program.preprocessing, &shapes, || {})?;
    check_finite(&samples, &arguments.data)?;
    let bar = progress::Stages::new();
    let explanation = explain(ExplainRequest {
        ann,
        network: &program.graph,
        output,
        timesteps,
        samples: &samples,
        progress: &|what, done, total| bar.show(what, done, total),
    });
    bar.finish();
    let explanation = explanation?;
    output::print(&match arguments.format {
        Format::Text => explanation.to_text(),
        Format::Json => output::json(&explanation)?,
    })
}

/// The ANN in the file that the network says it was compiled from.
fn ann(path: &Path, network: &Path, program: &Program) -> Result<Graph, Failure> {
    let bytes = files::read(path, files::MAX_MODEL).map_err(|source| ImportError::Read { path: path.into(), source })?;
    if crc32fast::hash(&bytes) != program.provenance.model_crc32 {
        let message =
            format!("{} was not compiled from {}, but from another {}", network.display(), path.display(), program.provenance.model);
        return Err(Failure::new(message).help("name the model that it was compiled from, or compile again"));
    }
    Ok(load::ann(&Model::decode(path, &bytes)?, &program.graph)?.graph)
}

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Self {
        Failure::from_error(&error)
    }
}
