//! Accuracy, spikes and synaptic operations against T, next to the ANN on the same samples.

use super::parallel::{fold_samples, pool};
use super::table::{Align, table};
use super::window::run_window;
use crate::data::{DataError, Dataset};
use serde::Serialize;
use snn_ir::op::{Firing, Layer};
use snn_ir::{Graph, Op, Preprocessing};
use snn_runtime::synapses::multiplications;
use snn_runtime::{CompileError, LayerStatistics, Network, RunError, Session, Statistics};
use std::collections::HashMap;
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
    #[error("the ANN cannot be run on sample {index}: {reason}")]
    Ann {
        /// Its place among the samples.
        index: usize,
        /// What it said.
        reason: String,
    },
    /// The engine refused the network.
    #[error(transparent)]
    Network(#[from] CompileError),
    /// Samples come one array at a time.
    #[error("the network has {0} inputs; a data set feeds one")]
    Inputs(usize),
    /// A label is beyond the network's classes.
    #[error("sample {index} has label {label}, but the network has {classes} outputs")]
    Label {
        /// Its place among the samples.
        index: usize,
        /// Its label, offset included.
        label: i64,
        /// Elements of the network's first output.
        classes: usize,
    },
    /// No threads could be started.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// An ANN: its first output for an input, or why it cannot be run.
pub type Ann<'a> = dyn Fn(&[f32]) -> Result<Vec<f32>, String> + Sync + 'a;

/// What to evaluate.
pub struct EvaluationRequest<'a> {
    /// The network, ready to run.
    pub network: &'a Network,
    /// Its graph.
    pub graph: &'a Graph,
    /// How pixels become its input.
    pub preprocessing: &'a Preprocessing,
    /// The samples.
    pub dataset: &'a Dataset,
    /// Added to every label: 1 for networks with a background class.
    pub label_offset: i64,
    /// Window lengths.
    pub timesteps: &'a [u32],
    /// Lead of the best class at which a sample's window ends early.
    pub early_exit: Option<f32>,
    /// Number of threads.
    pub threads: usize,
    /// The ANN it came from.
    pub ann: Option<&'a Ann<'a>>,
    /// Called after every sample.
    pub progress: &'a (dyn Fn() + Sync),
}

/// What an evaluation found. Shares are in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of samples.
    pub samples: usize,
    /// The ANN, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ann: Option<AnnResult>,
    /// The SNN, one entry per T, ascending.
    pub snn: Vec<SnnResult>,
}

/// What the ANN scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnnResult {
    /// Top-1 accuracy; absent without labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
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
    /// Top-1 accuracy; absent without labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Share of samples on which SNN and ANN have the same top-1 class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Mean number of spikes.
    pub spikes_per_sample: f64,
    /// Mean number of effective synaptic operations.
    pub synops_per_sample: f64,
    /// Mean number of multiplications with weights: of the input, and of currents without neurons between two layers.
    pub macs_per_sample: f64,
    /// Per neuron population, in topological order.
    pub layers: Vec<LayerRate>,
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

/// Index of the largest element, the lowest among equals; not-a-number never wins.
pub fn top1(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, &v) in values.iter().enumerate() {
        if v > values[best] || values[best].is_nan() && !v.is_nan() {
            best = i;
        }
    }
    best
}

/// One window of one sample.
struct Window {
    class: usize,
    steps: u32,
    settling: u32,
}

/// Counts over the samples that a thread ran.
#[derive(Default)]
struct Counts {
    samples: u64,
    ann_right: u64,
    /// One per T.
    snn: Vec<WindowCounts>,
}

/// Counts over samples at one T.
#[derive(Clone, Default)]
struct WindowCounts {
    right: u64,
    agreed: u64,
    steps: u64,
    settling: u32,
    macs: u64,
    statistics: Statistics,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.samples += other.samples;
        self.ann_right += other.ann_right;
        self.snn.resize(self.snn.len().max(other.snn.len()), WindowCounts::default());
        for (sum, other) in self.snn.iter_mut().zip(&other.snn) {
            sum.right += other.right;
            sum.agreed += other.agreed;
            sum.steps += other.steps;
            sum.settling = sum.settling.max(other.settling);
            sum.macs += other.macs;
            super::add(&mut sum.statistics, &other.statistics);
        }
    }
}

/// Evaluates a network at every T on every sample; all T of a sample in one pass over its longest window, except with
/// window barriers, where each T is a window of its own.
///
/// # Errors
/// The first sample that cannot be read or run, or a label that is no class.
pub fn evaluate(request: &EvaluationRequest<'_>) -> Result<Evaluation, EvaluationError> {
    let [input] = request.network.inputs() else { return Err(EvaluationError::Inputs(request.network.inputs().len())) };
    let classes = request.network.outputs()[0].len();
    let labels = labels(request, classes)?;
    let mut timesteps = request.timesteps.to_vec();
    timesteps.sort_unstable();
    timesteps.dedup();
    let multiplications = multiplications(request.graph)?;
    let pool = pool(request.threads, request.dataset.len())?;
    let parts = fold_samples(
        &pool,
        request.dataset.len(),
        || request.network.session(),
        |session, counts: &mut Counts, index| {
            let x = request.dataset.input(index, request.preprocessing, &input.shape)?;
            let ann = request.ann.map(|ann| ann(&x).map_err(|reason| EvaluationError::Ann { index, reason })).transpose()?;
            let ann = ann.map(|y| top1(&y));
            let label = labels.as_ref().map(|l| l[index]);
            counts.samples += 1;
            counts.ann_right += u64::from(ann.is_some() && ann == label);
            counts.snn.resize(timesteps.len(), WindowCounts::default());
            let mut at = counts.snn.iter_mut();
            let book = |window: Window, statistics: &Statistics| {
                let Some(counts) = at.next() else { return };
                counts.right += u64::from(label == Some(window.class));
                counts.agreed += u64::from(ann == Some(window.class));
                counts.steps += u64::from(window.steps);
                counts.settling = counts.settling.max(window.settling);
                counts.macs += multiplications.in_steps(u64::from(window.steps) + u64::from(window.settling));
                super::add(&mut counts.statistics, statistics);
            };
            run_windows(request, session, &x, &timesteps, book).map_err(|source| EvaluationError::Run { index, source })?;
            (request.progress)();
            Ok::<_, EvaluationError>(())
        },
    )?;
    let mut counts = Counts::default();
    parts.iter().for_each(|part| counts.add(part));

    let mean = |count: u64| count as f64 / counts.samples as f64;
    let share = |count: u64| 100.0 * mean(count);
    let ann = request.ann.map(|_| AnnResult { accuracy: labels.as_ref().map(|_| share(counts.ann_right)) });
    let depth = barriers(request.graph);
    let result = |(&timesteps, window): (&u32, &WindowCounts)| {
        let layer = |l: &LayerStatistics| LayerRate {
            name: l.name.clone(),
            neurons: l.neurons,
            rate: l.spikes as f64 / (l.neurons.max(1) * window.steps.max(1)) as f64,
        };
        SnnResult {
            timesteps,
            mean_timesteps: request.early_exit.map(|_| mean(window.steps)),
            latency_steps: timesteps.saturating_mul(1 + depth).saturating_add(window.settling),
            accuracy: labels.as_ref().map(|_| share(window.right)),
            agreement: request.ann.map(|_| share(window.agreed)),
            spikes_per_sample: mean(window.statistics.spikes()),
            synops_per_sample: mean(window.statistics.synops()),
            macs_per_sample: mean(window.macs),
            layers: window.statistics.layers.iter().map(layer).collect(),
        }
    };
    let snn = timesteps.iter().zip(&counts.snn).map(result).collect();
    Ok(Evaluation { samples: request.dataset.len(), ann, snn })
}

fn labels(request: &EvaluationRequest<'_>, classes: usize) -> Result<Option<Vec<usize>>, EvaluationError> {
    let class = |(index, &label): (usize, &u32)| {
        let label = i64::from(label) + request.label_offset;
        usize::try_from(label).ok().filter(|&l| l < classes).ok_or(EvaluationError::Label { index, label, classes })
    };
    request.dataset.labels().map(|labels| labels.iter().enumerate().map(class).collect()).transpose()
}

/// Runs a sample's windows, in order; `book` is given each with the counts of its neurons.
fn run_windows(
    request: &EvaluationRequest<'_>,
    session: &mut Session<'_>,
    x: &[f32],
    timesteps: &[u32],
    mut book: impl FnMut(Window, &Statistics),
) -> Result<(), RunError> {
    let network = request.network;
    let whole = network.has_window_barrier() || network.settles() || request.early_exit.is_some();
    for (at, &t) in timesteps.iter().enumerate() {
        if at == 0 || whole {
            session.start(&[x])?;
        }
        let settling = run_window(network, session, t, request.early_exit)?;
        book(Window { class: top1(&session.potentials()[0]), steps: session.steps(), settling }, session.statistics());
    }
    Ok(())
}

/// Most window barriers on a way through the network: each delays the answer by a whole window.
pub(crate) fn barriers(graph: &Graph) -> u32 {
    let mut depth: HashMap<_, u32> = HashMap::new();
    for id in graph.topological().unwrap_or_default() {
        let two_phase = match graph.op(id) {
            Op::If(neuron) | Op::Layer(Layer { neuron: Some(neuron), .. }) => neuron.firing == Firing::TwoPhase,
            _ => false,
        };
        let before = graph.operands(id).iter().filter_map(|o| depth.get(o)).max().copied().unwrap_or(0);
        depth.insert(id, before + u32::from(two_phase));
    }
    graph.outputs().iter().filter_map(|o| depth.get(o)).max().copied().unwrap_or(0)
}

impl Evaluation {
    /// The report for people; `rates` adds the activity of every layer.
    pub fn to_text(&self, rates: bool) -> String {
        let percent = |share: Option<f64>| share.map_or("-".to_string(), |s| format!("{s:.2}"));
        let mut text = match &self.ann {
            Some(AnnResult { accuracy: Some(accuracy) }) => format!("{} samples, ANN accuracy {accuracy:.2} %\n\n", self.samples),
            _ => format!("{} samples\n\n", self.samples),
        };
        let headings = ["T", "accuracy %", "same as ANN %", "spikes/sample", "SynOps/sample", "MACs/sample", "latency (steps)"];
        let mut columns: Vec<_> = headings.map(|h| (h, Align::Right)).to_vec();
        let early = self.snn.iter().any(|s| s.mean_timesteps.is_some());
        columns.extend(early.then_some(("mean T", Align::Right)));
        let rows: Vec<Vec<String>> = self
            .snn
            .iter()
            .map(|s| {
                let mut row = vec![
                    s.timesteps.to_string(),
                    percent(s.accuracy),
                    percent(s.agreement),
                    format!("{:.0}", s.spikes_per_sample),
                    format!("{:.0}", s.synops_per_sample),
                    format!("{:.0}", s.macs_per_sample),
                    s.latency_steps.to_string(),
                ];
                row.extend(s.mean_timesteps.map(|t| format!("{t:.2}")));
                row
            })
            .collect();
        text += &table(&columns, &rows);
        if rates && let Some(first) = self.snn.first() {
            let headings: Vec<String> = self.snn.iter().map(|s| format!("T={}", s.timesteps)).collect();
            let mut columns = vec![("mean rate of layer", Align::Left), ("neurons", Align::Right)];
            columns.extend(headings.iter().map(|h| (h.as_str(), Align::Right)));
            let rows: Vec<Vec<String>> = first
                .layers
                .iter()
                .enumerate()
                .map(|(i, layer)| {
                    let mut row = vec![layer.name.clone(), layer.neurons.to_string()];
                    row.extend(self.snn.iter().map(|s| format!("{:.4}", s.layers[i].rate)));
                    row
                })
                .collect();
            text += "\n";
            text += &table(&columns, &rows);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_of_equal_classes_wins() {
        assert_eq!(top1(&[0.0, 2.0, 2.0]), 1);
        assert_eq!(top1(&[f32::NAN, -1.0, f32::NAN]), 1);
        assert_eq!(top1(&[]), 0);
    }
}
