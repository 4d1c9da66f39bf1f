//! `snnc eval`: accuracy and activity against T, next to the ANN.

use super::arguments::{Format, Samples, all_cpus, positive, timesteps};
use super::engine::EngineArguments;
use super::import::ModelFile;
use super::{Failure, load, output, progress};
use crate::data::Dataset;
use crate::frontend::onnx::{Oracle, import};
use crate::report::certificate::{Certificate, CertificateRequest, certify};
use crate::report::evaluation::{Evaluation, EvaluationError, EvaluationRequest, evaluate};
use clap::Args;
use serde::Serialize;
use snn_ir::Graph;
use snn_ir::file::Program;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Arguments of `snnc eval`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The spiking network
    #[arg(value_name = "NETWORK.snn")]
    network: PathBuf,
    #[command(flatten)]
    samples: Samples,
    /// The ANN it came from, evaluated on the same samples
    #[arg(long, value_name = "MODEL.onnx")]
    onnx: Option<PathBuf>,
    /// Window lengths T, as in 4,8,16,32 [default: the one it was compiled for]
    #[arg(long, value_name = "T,..", value_delimiter = ',', value_parser = timesteps)]
    timesteps: Vec<u32>,
    /// Added to every label: 1 for networks with a background class
    #[arg(long, value_name = "K", default_value_t = 0, allow_negative_numbers = true)]
    label_offset: i64,
    /// Print the mean rate of every layer, too
    #[arg(long)]
    rates: bool,
    /// Say which share of counts is provably exact, too, and why the others are not (slow: the reference engine)
    #[arg(long)]
    certify: bool,
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
    load::early_exit(&network, arguments.early_exit)?;
    let dataset = arguments.samples.open()?;
    dataset.check_labels()?;
    load::note(&network, &program, &dataset)?;
    if dataset.labels().is_none() && arguments.onnx.is_none() {
        let failure = Failure::new(format!("{} has no labels", dataset.path().display()));
        return Err(failure.help("give --onnx MODEL.onnx to count how often SNN and ANN agree, or data with labels"));
    }
    let timesteps = load::windows(&program, &arguments.timesteps)?;
    let oracle = arguments.onnx.as_deref().map(|path| ann(path, &program.graph)).transpose()?;
    let ann = |x: &[f32]| {
        let mut outputs = oracle.as_ref().expect("called only with an ANN").run(&[x]).map_err(|e| e.to_string())?;
        Ok(outputs.swap_remove(0))
    };
    let bar = progress::bar(dataset.len(), "evaluating");
    let evaluation = evaluate(&EvaluationRequest {
        network: &network,
        graph: &program.graph,
        preprocessing: &program.preprocessing,
        dataset: &dataset,
        label_offset: arguments.label_offset,
        timesteps: &timesteps,
        early_exit: arguments.early_exit,
        threads: arguments.threads.unwrap_or_else(all_cpus).get(),
        ann: oracle.is_some().then_some(&ann),
        progress: &|| bar.inc(1),
    });
    bar.finish_and_clear();
    let evaluation = evaluation?;
    let certificates = if arguments.certify { certificates(arguments, &program, &dataset, &timesteps)? } else { Vec::new() };
    output::print(&match arguments.format {
        Format::Text => {
            let texts = certificates.iter().map(|c| format!("\n{}", c.to_text()));
            std::iter::once(evaluation.to_text(arguments.rates)).chain(texts).collect()
        }
        Format::Json => output::json(&Report { evaluation, certificates })?,
    })
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    evaluation: Evaluation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<Certificate>,
}

fn certificates(arguments: &Arguments, program: &Program, dataset: &Dataset, timesteps: &[u32]) -> Result<Vec<Certificate>, Failure> {
    let bar = progress::bar(dataset.len() * timesteps.len(), "certifying");
    let certify = |&timesteps: &u32| {
        certify(&CertificateRequest {
            graph: &program.graph,
            preprocessing: &program.preprocessing,
            dataset,
            timesteps,
            threads: arguments.threads.unwrap_or_else(all_cpus).get(),
            progress: &|| bar.inc(1),
        })
    };
    let certificates: Result<Vec<Certificate>, EvaluationError> = timesteps.iter().map(certify).collect();
    bar.finish_and_clear();
    Ok(certificates?)
}

/// The ANN as tract runs it, for inputs of the shape the SNN takes.
fn ann(path: &Path, snn: &Graph) -> Result<Oracle, Failure> {
    let model = ModelFile::new(path)?;
    let path = model.path();
    let shapes: Vec<Vec<usize>> = snn.inputs().iter().map(|&i| snn.ty(i).shape.clone()).collect();
    let imported = import(path, &load::import_options(snn))?;
    let own: Vec<Vec<usize>> = imported.graph.inputs().iter().map(|&i| imported.graph.ty(i).shape.clone()).collect();
    if own != shapes {
        let failure = Failure::new(format!("{} takes other inputs than the spiking network", path.display()));
        return Err(failure.help("name the model that the network was compiled from"));
    }
    let batched: Vec<Vec<usize>> = imported.facts.inputs.iter().map(|f| f.shape.clone()).collect();
    Ok(Oracle::load(path, &batched)?)
}

impl From<EvaluationError> for Failure {
    fn from(error: EvaluationError) -> Self {
        match error {
            EvaluationError::Data(error) => error.into(),
            error @ EvaluationError::Label { .. } => {
                Failure::from_error(&error).help("are these the network's classes? --label-offset 1 suits networks with a background class")
            }
            error => Failure::from_error(&error),
        }
    }
}
