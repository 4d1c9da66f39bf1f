//! Which layers of a compiled network lose the accuracy, and why.
//!
//! Ground: the error of the whole network is a sum over layers (Deng & Gu, ICLR 2021, section 3). Each layer's part is measured from both
//! ends: how far the ANN's output moves when this layer alone spikes, and how much nearer to it the spiking network comes when this
//! layer alone does not. The mean of the two, as squared errors, is its share of the loss. Its own error is split as the certificate does
//! ([`crate::measure::certificate`]), with the input it gets in the whole spiking network; what it was given wrong by the layers
//! before is kept apart as inherited.
//!
//! All of it is of the network in the `.snn`: its rounded and fitted weights, its thresholds, its firing rules.

mod ann;
mod hybrid;
mod rounding;
mod unfuse;
mod wave;

use crate::calibrate::CalibrationError;
use crate::data::{Samples, SamplesError};
use crate::measure::fidelity::{Comparison, Fidelity};
use crate::measure::task::{Task, task, top1};
use crate::outputs::output_names;
use crate::progress::Progress;
use ann::Ann;
use hybrid::{Hybrid, Population, Run};
use rayon::prelude::*;
use serde::Serialize;
use snn_ir::neuron::Firing;
use snn_ir::{Graph, GraphError};
use snn_runtime::CompileError;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use thiserror::Error;

/// Why nothing could be explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// One of the networks cannot be walked.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// One of the networks cannot be run.
    #[error("running the network on samples failed: {0}")]
    Network(#[from] CompileError),
    /// One of the networks cannot be run in parts.
    #[error(transparent)]
    Parts(#[from] CalibrationError),
    /// The samples are not of the networks' inputs.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// There is nothing that could lose.
    #[error("the network has no neurons: there is nothing to explain")]
    NotSpiking,
}

/// What to explain.
pub struct ExplainRequest<'a> {
    /// The ANN, as imported.
    pub ann: Graph,
    /// The network compiled from it.
    pub network: &'a Graph,
    /// The output that is explained.
    pub output: usize,
    /// Window length T.
    pub timesteps: u32,
    /// Samples to compare on.
    pub samples: &'a Samples,
    /// Told how far long work has come.
    pub progress: Progress<'a>,
}

/// Squared errors of a layer's activations, relative to the ANN's squared activations; both are counted in spikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ActivationError {
    /// Wrong input, from the layers before.
    pub inherited: f64,
    /// Activation beyond the threshold.
    pub clipping: f64,
    /// Rounding to levels.
    pub quantization: f64,
    /// Order of arrival.
    pub unevenness: f64,
    /// Rounding weights to integers, as the size of the integers lets expect.
    pub rounding: f64,
}

/// What is known of one layer. Agreements are percentages of samples with the ANN's own top-1 class; absent where the
/// output is for numbers. What is unexplained is a percentage of the variance of the ANN's output over samples; absent
/// where it does not vary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerExplanation {
    /// Name of the ANN's node.
    pub name: String,
    /// Number of neurons.
    pub neurons: usize,
    /// Share of the loss, in percent.
    pub share: f64,
    /// Its activations' error.
    pub error: ActivationError,
    /// Agreement when only this layer spikes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement_alone: Option<f64>,
    /// Agreement when all layers but this one spike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement_without: Option<f64>,
    /// Unexplained when only this layer spikes.
    pub unexplained_alone: Option<f64>,
    /// Unexplained when all layers but this one spike.
    pub unexplained_without: Option<f64>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// T.
    pub timesteps: u32,
    /// Number of samples.
    pub samples: usize,
    /// The output that is explained.
    pub output: String,
    /// All outputs.
    pub outputs: Vec<String>,
    /// What it is for.
    pub task: Task,
    /// Agreement when all layers spike; absent where the output is for numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// The output next to the ANN's.
    pub against_ann: Fidelity,
    /// What is lost, in a sentence.
    pub conclusion: String,
    /// Per layer, in the order of the network.
    pub layers: Vec<LayerExplanation>,
    /// The layers with the largest shares and what makes them smaller, the worst first.
    pub ranking: Vec<String>,
}

/// Layers that the ranking names.
const RANKED: usize = 5;

/// Sums over neurons and samples for one layer.
#[derive(Clone, Copy, Default)]
struct Tally {
    error: ActivationError,
    activation: f64,
    output_alone: f64,
    output_without: f64,
    agrees_alone: u32,
    agrees_without: u32,
}

/// What one sample says.
struct SampleTally {
    layers: Vec<Tally>,
    output: f64,
    agrees: bool,
    ann: Vec<f32>,
    snn: Vec<f32>,
}

/// Share of the variance, in percent, below which nothing that is left unexplained is called a loss.
const NOTHING: f64 = 0.01;

/// Explains a compiled network.
///
/// # Errors
/// [`ExplainError`].
pub fn explain(request: ExplainRequest<'_>) -> Result<Explanation, ExplainError> {
    let ExplainRequest { ann, network, output, timesteps, samples, progress } = request;
    samples.check(network)?;
    let ann = Ann::new(ann, output)?;
    let mut hybrid = Hybrid::new(&unfuse::unfused(network)?, timesteps, output)?;
    hybrid.learn_units(&ann, samples);
    let populations = hybrid.populations();
    if populations.is_empty() {
        return Err(ExplainError::NotSpiking);
    }
    let done = AtomicUsize::new(0);
    let tallies: Vec<SampleTally> = (0..samples.len())
        .into_par_iter()
        .map(|sample| {
            let tally = explain_sample(&ann, &hybrid, &populations, &samples.sample(sample), timesteps as usize);
            progress("samples explained", done.fetch_add(1, Ordering::Relaxed) + 1, samples.len());
            tally
        })
        .collect();
    let rounding = rounding::of_populations(network)?;
    let explained = Explained { output, names: output_names(network), task: task(network, output), rounding };
    Ok(summarise(&populations, &tallies, timesteps, explained))
}

fn explain_sample(ann: &Ann, hybrid: &Hybrid, populations: &[(usize, &Population)], sample: &[&[f32]], timesteps: usize) -> SampleTally {
    let ann = ann.run(sample);
    let as_ann = hybrid.as_ann(sample, &ann);
    let snn = hybrid.run(sample, |_| true, None, None);
    let answer = top1(&ann.output);
    let distance = |run: &Run| -> (f64, bool) {
        let output = hybrid.output(run);
        let squares = output.iter().zip(&ann.output).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (squares, top1(&output) == answer)
    };
    let layer = |&(at, population): &(usize, &Population)| {
        let (output_alone, agrees_alone) = distance(&hybrid.run(sample, |p| p == at, Some((&as_ann.run, at)), Some(&as_ann)));
        let (output_without, agrees_without) = distance(&hybrid.run(sample, |p| p != at, Some((&snn, at)), None));
        let (agrees_alone, agrees_without) = (u32::from(agrees_alone), u32::from(agrees_without));
        let mut tally = Tally { output_alone, output_without, agrees_alone, agrees_without, ..Tally::default() };
        let activation = as_ann.run.sent(at);
        let (current, output) = (hybrid.current(&snn, at), snn.sent(at));
        for (i, &a) in activation.iter().enumerate() {
            let rectified = population.rectified(i, current[i]);
            let clipped = population.output(i, population.clipped(i, rectified));
            let rectified = population.output(i, rectified);
            let even = population.even_output(i, current[i], timesteps);
            let squared = |value: f32| f64::from(value / population.amplitude(i)).powi(2);
            tally.activation += squared(a);
            tally.error.inherited += squared(a - rectified);
            tally.error.clipping += squared(rectified - clipped);
            tally.error.quantization += squared(clipped - even);
            tally.error.unevenness += squared(even - output[i]);
        }
        tally
    };
    let (output, agrees) = distance(&snn);
    let layers = populations.iter().map(layer).collect();
    SampleTally { layers, output, agrees, snn: hybrid.output(&snn), ann: ann.output }
}

/// The output that is explained.
struct Explained {
    output: usize,
    names: Vec<String>,
    task: Task,
    /// By population: what rounding its weights does to its current.
    rounding: HashMap<String, f64>,
}

fn summarise(populations: &[(usize, &Population)], tallies: &[SampleTally], timesteps: u32, explained: Explained) -> Explanation {
    let count = tallies.len().max(1) as f64;
    let Explained { output, names, task, rounding } = explained;
    let mut comparison = Comparison::default();
    tallies.iter().for_each(|t| comparison.add(&t.snn, &t.ann));
    let share = |agreeing: f64| (task != Task::Values).then_some(100.0 * agreeing / count);
    let unexplained = |squares: f64| comparison.reference_variance().map(|v| 100.0 * squares / v);
    let total: f64 = tallies.iter().map(|t| t.output).sum();
    let sum = |layer: usize, of: fn(&Tally) -> f64| -> f64 { tallies.iter().map(|t| of(&t.layers[layer])).sum() };
    let parts: Vec<f64> =
        (0..populations.len()).map(|l| (sum(l, |t| t.output_alone) + (total - sum(l, |t| t.output_without)).max(0.0)) / 2.0).collect();
    let whole = parts.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let layers: Vec<LayerExplanation> = populations
        .iter()
        .enumerate()
        .map(|(l, (_, population))| {
            let norm = sum(l, |t| t.activation).max(f64::MIN_POSITIVE);
            LayerExplanation {
                name: population.name.clone(),
                neurons: population.neurons.threshold.len(),
                share: 100.0 * parts[l] / whole,
                error: ActivationError {
                    inherited: sum(l, |t| t.error.inherited) / norm,
                    clipping: sum(l, |t| t.error.clipping) / norm,
                    quantization: sum(l, |t| t.error.quantization) / norm,
                    unevenness: sum(l, |t| t.error.unevenness) / norm,
                    rounding: rounding.get(&population.name).copied().unwrap_or(0.0),
                },
                agreement_alone: share(sum(l, |t| f64::from(t.agrees_alone))),
                agreement_without: share(sum(l, |t| f64::from(t.agrees_without))),
                unexplained_alone: unexplained(sum(l, |t| t.output_alone)),
                unexplained_without: unexplained(sum(l, |t| t.output_without)),
            }
        })
        .collect();
    let mut worst: Vec<(&LayerExplanation, Firing)> =
        layers.iter().zip(populations.iter().map(|(_, p)| p.neurons.dynamics.firing)).collect();
    worst.retain(|(layer, _)| layer.share > 0.0);
    worst.sort_by(|(a, _), (b, _)| b.share.total_cmp(&a.share));
    let ranking = worst.iter().take(RANKED).map(|(layer, firing)| layer.in_words(*firing, timesteps)).collect();
    let agreement = share(tallies.iter().filter(|t| t.agrees).count() as f64);
    let lost = unexplained(total);
    Explanation {
        timesteps,
        samples: tallies.len(),
        output: names[output].clone(),
        outputs: names,
        task,
        agreement,
        against_ann: comparison.fidelity(),
        conclusion: conclusion(agreement, lost, tallies.len()),
        layers,
        ranking,
    }
}

/// How a conclusion starts where there is nothing to mend.
const NOTHING_IS_LOST: &str = "nothing is lost";

/// What is lost: answers, or where there are none, variance.
fn conclusion(agreement: Option<f64>, unexplained: Option<f64>, samples: usize) -> String {
    let variance = unexplained.map(|u| format!("{u:.2} % of the variance of the ANN's output is left unexplained"));
    let variance = variance.unwrap_or_else(|| "the ANN's output does not vary".into());
    match (agreement, unexplained) {
        (Some(100.0), _) => format!("{NOTHING_IS_LOST}: all {samples} samples keep the ANN's class; {variance}"),
        (None, Some(lost)) if lost < NOTHING => format!("{NOTHING_IS_LOST} on these {samples} samples: {variance}"),
        (Some(agreement), _) => format!("the spiking network agrees with the ANN on {agreement:.1} % of the samples; {variance}"),
        (None, _) => variance,
    }
}

impl LayerExplanation {
    /// Share, the largest of its own errors, and what would make that smaller.
    fn in_words(&self, firing: Firing, timesteps: u32) -> String {
        let longer = timesteps.saturating_mul(2);
        let lanes = if firing.written_lanes().is_some() { "more lanes" } else { "lanes" };
        let errors = [
            (
                self.error.clipping,
                "clipping",
                "try a larger threshold (a higher percentile, or thresholds chosen for a longer window)".to_string(),
            ),
            (self.error.quantization, "quantisation", format!("try T >= {longer}, or {lanes}")),
            (self.error.unevenness, "unevenness", format!("try two-phase, or T >= {longer}")),
            (
                self.error.rounding,
                "rounding to integers",
                "its weights are very small integers: try --weights i16, or a shorter window, which leaves them more bits".to_string(),
            ),
        ];
        let [first, rest @ ..] = errors;
        let worst = rest.into_iter().fold(first, |worst, e| if e.0 > worst.0 { e } else { worst });
        format!("{}: {:.0}% of the loss, {}; {}", self.name, self.share, worst.1, worst.2)
    }
}

impl Explanation {
    /// Whether there is something to mend.
    pub fn loses(&self) -> bool {
        !self.conclusion.starts_with(NOTHING_IS_LOST)
    }
}
