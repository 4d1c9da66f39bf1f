//! `snnc eval`: accuracy and activity against T, next to the ANN.

use super::arguments::{Format, SampleArguments, all_cpus, positive, threads, timesteps};
use super::engine::EngineArguments;
use super::import::ModelFile;
use super::{Failure, load, output, progress};
use clap::Args;
use serde::Serialize;
use snn_ir::file::Program;
use snn_ir::{Graph, NodeId};
use snn_runtime::analog::AnalogNetwork;
use snnc::data::Feed;
use snnc::files;
use snnc::frontend::onnx::Oracle;
use snnc::frontend::onnx::model::Model;
use snnc::measure::certificate::{Certificate, CertificateRequest, certify};
use snnc::measure::evaluation::{AnnError, Evaluation, EvaluationError, EvaluationRequest, evaluate};
use snnc::measure::task::{Task, task};
use snnc::outputs::{Closing, closings, output_names};
use snnc::passes::{self, canonicalize::canonicalize};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Arguments of `snnc eval`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The spiking network
    #[arg(value_name = "NETWORK.snn")]
    network: PathBuf,
    #[command(flatten)]
    samples: SampleArguments,
    /// The ANN it came from, evaluated on the same samples
    #[arg(long, value_name = "MODEL.onnx")]
    onnx: Option<PathBuf>,
    /// The output to evaluate, which labels are for [default: the first]
    #[arg(long, value_name = "NAME")]
    output_name: Option<String>,
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

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let program = load::program(&arguments.network, &arguments.engine.limits())?;
    let graph = &program.graph;
    let output = load::output_or_first(graph, arguments.output_name.as_deref())?;
    let network = arguments.engine.network(&program)?;
    let early_exit = load::early_exit(&network, graph, output, arguments.early_exit)?;
    let feed = arguments.samples.open(graph)?;
    load::note(&network, &program, &feed)?;
    if feed.labels().is_none() && arguments.onnx.is_none() {
        let failure = Failure::new(format!("{} has no labels", feed.path().display()));
        return Err(failure.help("give --onnx MODEL.onnx to count how often SNN and ANN agree, or data with labels"));
    }
    let timesteps = load::windows(&program, &arguments.timesteps)?;
    let ann = arguments.onnx.as_deref().map(|path| Ann::new(path, graph)).transpose()?;
    let notes = &program.provenance.notes;
    let closings = match &ann {
        Some(ann) => ann.closings.clone(),
        None => output_names(graph).iter().map(|name| Closing::from_notes(name, notes)).collect(),
    };
    let run_ann = |x: &[Vec<f32>]| ann.as_ref().expect("called only with an ANN").run(x);
    let bar = progress::bar(feed.len(), "evaluating");
    let evaluation = evaluate(&EvaluationRequest {
        network: &network,
        graph,
        preprocessing: &program.preprocessing,
        feed: &feed,
        output,
        all_outputs: arguments.output_name.is_none(),
        closings: &closings,
        label_offset: arguments.label_offset,
        timesteps: &timesteps,
        early_exit,
        threads: arguments.threads.unwrap_or_else(all_cpus).get(),
        ann: ann.is_some().then_some(&run_ann),
        ann_before_closing: ann.as_ref().is_some_and(Ann::is_before_closing),
        progress: &|| bar.inc(1),
    });
    bar.finish_and_clear();
    let evaluation = evaluation?;
    let certificates = if arguments.certify { certificates(arguments, &program, &feed, &timesteps)? } else { Vec::new() };
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

fn certificates(arguments: &Arguments, program: &Program, feed: &Feed, timesteps: &[u32]) -> Result<Vec<Certificate>, Failure> {
    let bar = progress::bar(feed.len() * timesteps.len(), "certifying");
    let certify = |&timesteps: &u32| {
        certify(&CertificateRequest {
            graph: &program.graph,
            preprocessing: &program.preprocessing,
            feed,
            timesteps,
            threads: arguments.threads.unwrap_or_else(all_cpus).get(),
            progress: &|| bar.inc(1),
        })
    };
    let certificates: Result<Vec<Certificate>, EvaluationError> = timesteps.iter().map(certify).collect();
    bar.finish_and_clear();
    Ok(certificates?)
}

/// The ANN that the network came from, for inputs of the shapes the SNN takes.
struct Ann {
    closings: Vec<Closing>,
    runner: Runner,
}

/// Who runs the ANN.
enum Runner {
    /// tract, from the file.
    File(Box<Oracle>),
    /// The imported graph without the functions that the spiking network leaves out at the end.
    BeforeClosing(Box<AnalogNetwork>),
}

impl Ann {
    fn new(path: &Path, snn: &Graph) -> Result<Ann, Failure> {
        let of = |graph: &Graph, ids: &[NodeId]| ids.iter().map(|&i| graph.ty(i).shape.clone()).collect::<Vec<_>>();
        let model = ModelFile::new(path)?;
        let imported = load::ann(&Model::load(model.path())?, snn)?;
        let mut graph = imported.graph;
        if of(&graph, &graph.inputs()) != of(snn, &snn.inputs()) || of(&graph, graph.outputs()) != of(snn, snn.outputs()) {
            let failure = Failure::new(format!("{} has other inputs or outputs than the spiking network", files::name(path)));
            return Err(failure.help("name the model that the network was compiled from"));
        }
        let closings = closings(&graph);
        let numbers = |(output, closing): (usize, &Closing)| closing.is_dropped() && task(&graph, output) != Task::Classes;
        let runner = if closings.iter().enumerate().any(numbers) {
            // The file's numbers are after a function that the spiking network's are before.
            canonicalize(&mut graph, &mut passes::Report::default()).map_err(|e| Failure::from_error(&e))?;
            Runner::BeforeClosing(Box::new(AnalogNetwork::new(&graph).map_err(|e| Failure::from_error(&e))?))
        } else {
            let batched: Vec<Vec<usize>> = imported.facts.inputs.iter().map(|f| f.shape.clone()).collect();
            let tensors: Vec<&str> = imported.facts.outputs.iter().map(|o| o.tensor.as_str()).collect();
            Runner::File(Box::new(Oracle::load(model.path(), &batched, &tensors)?))
        };
        Ok(Ann { closings, runner })
    }

    fn run(&self, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, AnnError> {
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        match &self.runner {
            Runner::File(oracle) => Ok(oracle.run(&inputs)?),
            Runner::BeforeClosing(network) => Ok(network.run(&inputs, &mut |_, _| {})),
        }
    }

    fn is_before_closing(&self) -> bool {
        matches!(self.runner, Runner::BeforeClosing(_))
    }
}

impl From<EvaluationError> for Failure {
    fn from(error: EvaluationError) -> Self {
        match error {
            EvaluationError::Data(error) => error.into(),
            EvaluationError::Labels { ref source, .. } => Failure::from_error(&error).help(source.help()),
            error => Failure::from_error(&error),
        }
    }
}
