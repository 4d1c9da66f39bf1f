//! How well a network answers, its spikes and synaptic operations against T, next to the ANN on the same samples.

mod run;
mod score;

use super::fidelity::Fidelity;
use super::task::{LabelError, Targets, Task, targets, task, wilson};
use super::window::{EarlyExit, barriers};
use crate::data::{DataError, Feed};
use crate::outputs::{Closing, output_names};
use run::{Counts, WindowCounts, run};
use score::{Score, Scores, Scoring};
use serde::Serialize;
use snn_ir::{Graph, Preprocessing};
use snn_runtime::{CompileError, LayerStatistics, Network, RunError};
use std::error::Error as StdError;
use std::path::PathBuf;
use thiserror::Error;

/// Why an evaluation stopped.
#[derive(Debug, Error)]
pub enum EvaluationError {
    /// A sample cannot be had.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine refused a sample.
    #[error("sample {index} cannot be run")]
    Run {
        /// Its place among the samples.
        index: usize,
        /// What the engine said.
        source: RunError,
    },
    /// The ANN refused a sample.
    #[error("the ANN cannot be run on sample {index}: {source}")]
    Ann {
        /// Its place among the samples.
        index: usize,
        /// What it said.
        source: AnnError,
    },
    /// The engine refused the network.
    #[error(transparent)]
    Network(#[from] CompileError),
    /// Labels do not suit the output.
    #[error("{}: {source}", path.display())]
    Labels {
        /// File or folder.
        path: PathBuf,
        /// Why not.
        source: LabelError,
    },
    /// No threads could be started.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Why an ANN cannot be run, from whoever runs it.
pub type AnnError = Box<dyn StdError + Send + Sync>;

/// An ANN: its outputs for a sample's inputs, or why it cannot be run.
pub type Ann<'a> = dyn Fn(&[Vec<f32>]) -> Result<Vec<Vec<f32>>, AnnError> + Sync + 'a;

/// What to evaluate.
pub struct EvaluationRequest<'a> {
    /// The network, ready to run.
    pub network: &'a Network,
    /// Its graph.
    pub graph: &'a Graph,
    /// How pixels become its input.
    pub preprocessing: &'a Preprocessing,
    /// The samples.
    pub feed: &'a Feed,
    /// The output that labels are for.
    pub output: usize,
    /// Whether the other outputs are compared with the ANN's, too.
    pub all_outputs: bool,
    /// What the ANN closes each output with.
    pub closings: &'a [Closing],
    /// Added to every label: 1 for networks with a background class.
    pub label_offset: i64,
    /// Window lengths.
    pub timesteps: &'a [u32],
    /// When a sample's window ends early.
    pub early_exit: Option<EarlyExit>,
    /// Number of threads.
    pub threads: usize,
    /// The ANN it came from.
    pub ann: Option<&'a Ann<'a>>,
    /// Whether the ANN's answers are before what the spiking network leaves out at the end, a softmax or a sigmoid.
    pub ann_before_closing: bool,
    /// Called after every sample.
    pub progress: &'a (dyn Fn() + Sync),
}

/// What an evaluation found. Shares are in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of samples.
    pub samples: usize,
    /// The output that is evaluated.
    pub output: String,
    /// All outputs.
    pub outputs: Vec<String>,
    /// What the output is scored as.
    pub task: Task,
    /// Yes is what is above this, for [`Task::Binary`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// The ANN, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ann: Option<AnnResult>,
    /// The SNN, one entry per T, ascending.
    pub snn: Vec<SnnResult>,
}

/// What the ANN scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnnResult {
    /// Share of right answers; absent without labels, and for numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Ends of its 95 % confidence interval (Wilson).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_interval: Option<[f64; 2]>,
    /// Its numbers next to labels that are numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_labels: Option<Fidelity>,
}

/// What the SNN scores at one T.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SnnResult {
    /// T.
    pub timesteps: u32,
    /// Steps from a sample's first to its answer: T, or more with window barriers or where a network settles (the longest of all
    /// samples).
    pub latency_steps: u32,
    /// Mean number of steps that samples ran, when they may end early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_timesteps: Option<f64>,
    /// Share of right answers (top-1 class, or yes and no); absent without labels, and for numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Ends of its 95 % confidence interval (Wilson).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_interval: Option<[f64; 2]>,
    /// Share of answers that are the ANN's; absent for numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// The numbers next to the ANN's; absent where the ANN closes with a function that the SNN leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_ann: Option<Fidelity>,
    /// The numbers next to labels that are numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_labels: Option<Fidelity>,
    /// Every output next to the ANN's, where there are several and none was chosen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputResult>,
    /// Mean number of spikes.
    pub spikes_per_sample: f64,
    /// Mean number of effective synaptic operations.
    pub synops_per_sample: f64,
    /// Mean number of multiplications with weights: of the input, and of currents without neurons between two layers.
    pub macs_per_sample: f64,
    /// Per neuron population, in topological order.
    pub layers: Vec<LayerRate>,
}

/// One of several outputs next to the ANN's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputResult {
    /// Its name.
    pub name: String,
    /// What it is for, by its shape.
    pub task: Task,
    /// Share of samples with the ANN's top-1 class; absent for numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// The numbers next to the ANN's; absent where the ANN closes with a function that the SNN leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_ann: Option<Fidelity>,
}

/// Activity of one neuron population.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRate {
    /// Name of its node.
    pub name: String,
    /// Number of neurons.
    pub neurons: u64,
    /// Mean number of spikes per neuron and step.
    pub rate: f64,
}

/// What of a request is scored, and how.
struct Plan<'a> {
    request: &'a EvaluationRequest<'a>,
    /// The outputs that are scored, by their places.
    scored: Vec<usize>,
    /// One per scored output.
    scorings: Vec<Scoring<'a>>,
    /// The place of the output that labels are for among the scored ones.
    main: usize,
    /// Window lengths, ascending, each once.
    timesteps: Vec<u32>,
}

/// Evaluates a network at every T on every sample; all T of a sample in one pass over its longest window, except with
/// window barriers, where each T is a window of its own.
///
/// # Errors
/// The first sample that cannot be read or run, or labels that do not suit the output.
pub fn evaluate(request: &EvaluationRequest<'_>) -> Result<Evaluation, EvaluationError> {
    let outputs = request.network.outputs();
    let own_task = task(request.graph, request.output);
    let labels = request.feed.labels();
    let targets = labels.map(|labels| targets(&labels, request.label_offset, &outputs[request.output].shape, own_task));
    let targets = targets.transpose().map_err(|source| EvaluationError::Labels { path: request.feed.path().into(), source })?;
    let plan = Plan::new(request, targets.as_ref());
    let (scores, counts) = run(&plan)?;
    Ok(plan.evaluation(&scores, &counts))
}

impl<'a> Plan<'a> {
    fn new(request: &'a EvaluationRequest<'a>, targets: Option<&'a Targets>) -> Self {
        let outputs = request.network.outputs().len();
        let scored: Vec<usize> = if request.all_outputs { (0..outputs).collect() } else { vec![request.output] };
        let scoring = |&output: &usize| {
            let targets = targets.filter(|_| output == request.output);
            let closing = request.closings[output];
            Scoring {
                task: targets.map_or_else(|| task(request.graph, output), Targets::task),
                targets,
                closing,
                comparable: request.ann_before_closing || !closing.is_dropped(),
                ann_threshold: if closing == Closing::Logit && !request.ann_before_closing { 0.5 } else { closing.threshold() },
            }
        };
        let scorings = scored.iter().map(scoring).collect();
        let main = scored.iter().position(|&o| o == request.output).unwrap_or_default();
        let mut timesteps = request.timesteps.to_vec();
        timesteps.sort_unstable();
        timesteps.dedup();
        Plan { request, scored, scorings, main, timesteps }
    }

    fn evaluation(&self, scores: &Scores, counts: &Counts) -> Evaluation {
        let (request, names) = (self.request, output_names(self.request.graph));
        let scoring = &self.scorings[self.main];
        let depth = barriers(request.graph);
        let windows = self.timesteps.iter().zip(&counts.snn).zip(&scores.snn);
        Evaluation {
            samples: request.feed.len(),
            output: names[request.output].clone(),
            task: scoring.task,
            threshold: (scoring.task == Task::Binary).then(|| scoring.closing.threshold()),
            ann: request.ann.map(|_| AnnResult {
                accuracy: self.accuracy(&scores.ann),
                accuracy_interval: self.accuracy_interval(&scores.ann),
                against_labels: self.against_labels(&scores.ann),
            }),
            snn: windows.map(|((&t, window), scores)| self.result(t, depth, counts.samples, window, scores, &names)).collect(),
            outputs: names,
        }
    }

    /// What the network scores in windows of `timesteps` steps.
    fn result(&self, timesteps: u32, depth: u32, samples: u64, window: &WindowCounts, scores: &[Score], names: &[String]) -> SnnResult {
        let mean = |count: u64| count as f64 / samples as f64;
        let layer = |l: &LayerStatistics| LayerRate {
            name: l.name.clone(),
            neurons: l.neurons,
            rate: l.spikes as f64 / (l.neurons.max(1) * window.steps.max(1)) as f64,
        };
        let output = |((score, scoring), &output): ((&Score, &Scoring<'_>), &usize)| OutputResult {
            name: names[output].clone(),
            task: scoring.task,
            agreement: self.agreement(score, scoring),
            against_ann: self.against_ann(score, scoring),
        };
        let several = self.request.ann.is_some() && self.scored.len() > 1;
        let outputs = scores.iter().zip(&self.scorings).zip(&self.scored);
        let (score, scoring) = (&scores[self.main], &self.scorings[self.main]);
        SnnResult {
            timesteps,
            mean_timesteps: self.request.early_exit.map(|_| mean(window.steps)),
            latency_steps: timesteps.saturating_mul(1 + depth).saturating_add(window.settling),
            accuracy: self.accuracy(score),
            accuracy_interval: self.accuracy_interval(score),
            agreement: self.agreement(score, scoring),
            against_ann: self.against_ann(score, scoring),
            against_labels: self.against_labels(score),
            outputs: if several { outputs.map(output).collect() } else { Vec::new() },
            spikes_per_sample: mean(window.statistics.spikes()),
            synops_per_sample: mean(window.statistics.synops()),
            macs_per_sample: mean(window.macs),
            layers: window.statistics.layers.iter().map(layer).collect(),
        }
    }

    /// What labels ask for, where there are labels.
    fn labelled(&self) -> Option<Task> {
        self.scorings[self.main].targets.map(Targets::task)
    }

    fn accuracy(&self, score: &Score) -> Option<f64> {
        self.labelled().filter(|&t| t != Task::Values).map(|_| score.share(score.right))
    }

    fn accuracy_interval(&self, score: &Score) -> Option<[f64; 2]> {
        self.labelled().filter(|&t| t != Task::Values).map(|_| wilson(score.right, score.answers))
    }

    fn against_labels(&self, score: &Score) -> Option<Fidelity> {
        self.labelled().filter(|&t| t == Task::Values).map(|_| score.against_labels.fidelity())
    }

    fn agreement(&self, score: &Score, scoring: &Scoring<'_>) -> Option<f64> {
        (self.request.ann.is_some() && scoring.task != Task::Values).then(|| score.share(score.agreed))
    }

    fn against_ann(&self, score: &Score, scoring: &Scoring<'_>) -> Option<Fidelity> {
        (self.request.ann.is_some() && scoring.comparable).then(|| score.against_ann.fidelity())
    }
}
