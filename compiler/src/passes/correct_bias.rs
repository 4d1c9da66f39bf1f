//! `correct-bias`: aligns the mean of every channel with the ANN's, layer by layer.
//!
//! Equation: per channel `b += mean(a) − mean(s)`, with `a` the ANN's activation and `s` the neuron's mean output over T steps, both
//! averaged over calibration samples and space; repeated, since a bias changes counts in steps. Layers are visited in
//! order and each sees the spikes that the corrected layers before it send; the answers are corrected last. Source: Li et al. 2021, "light" calibration.
//!
//! Neurons with a hard reset stay as they are: they lose most where currents are large, and a bias
//! of the whole channel moves all of them.
//!
//! Precondition: after `replace-relu` and `shift-membrane`, before `normalize`. Without calibration data it works on synthetic inputs
//! matched to batch-norm statistics, and does nothing where there are none.

use super::populations::adjust_populations;
use super::{Condition, Facts, Outcome, Pass, PassError, Report, Request};
use crate::calibrate::activations::{channel_axis, channel_of};
use crate::calibrate::layerwise::{SampleBudget, Site};
use crate::calibrate::spike_train::ExpandedNeuron;
use rayon::prelude::*;
use serde::Deserialize;
use snn_ir::neuron::Reset;
use snn_ir::op::Scale;
use snn_ir::{Graph, Op, Tensor};

/// Most samples times steps.
const MOST_SAMPLE_STEPS: usize = 1 << 13;

/// The pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorrectBias {
    /// Most calibration samples used.
    pub samples: usize,
    /// Corrections per layer.
    pub iterations: usize,
}

impl Default for CorrectBias {
    fn default() -> Self {
        CorrectBias { samples: 128, iterations: 2 }
    }
}

impl Pass for CorrectBias {
    fn name(&self) -> &'static str {
        "correct-bias"
    }

    fn requires(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::UnitThresholds]
    }

    fn run(&self, graph: &mut Graph, request: &Request<'_>, facts: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        let budget = SampleBudget { samples: self.samples, sample_steps: MOST_SAMPLE_STEPS };
        adjust_populations(graph, request, facts, report, budget, |site| self.correct(site))
    }
}

impl CorrectBias {
    fn correct(&self, site: &mut Site<'_>) -> Result<Outcome, PassError> {
        if site.neuron().is_some_and(|n| n.reset == Reset::Zero) {
            return Ok(Outcome::Declined("a bias of the whole channel does not give back what a hard reset throws away".into()));
        }
        let shape = site.graph.ty(site.id).shape.clone();
        let axis = channel_axis(site.graph, site.id);
        let channels = shape.get(axis).copied().unwrap_or(1);
        let n = site.graph.ty(site.id).len();
        let channel: Vec<usize> = (0..n).map(|i| channel_of(&shape, axis, i)).collect();
        let neurons = site.neuron().map(|neuron| ExpandedNeuron::new(neuron, &shape));
        let count = (site.samples * (n / channels)) as f64;
        let reader = site.reader(site.operand())?;
        let mut bias = vec![0f32; n];
        // An answer has no counts that a bias could change in steps: once is enough.
        for _ in 0..if neurons.is_some() { self.iterations } else { 1 } {
            let errors = |sample: usize| -> Vec<f64> {
                let mut trace = reader.trace(sample);
                trace.current.chunks_exact_mut(n).for_each(|step| step.iter_mut().zip(&bias).for_each(|(i, b)| *i += b));
                let sent: Vec<f32> = match &neurons {
                    None => reader.mean(sample),
                    Some(neurons) => {
                        let counts = neurons.simulate(&trace, site.timesteps).counts(n);
                        counts.iter().zip(&neurons.threshold).map(|(&c, amplitude)| c as f32 * amplitude / site.timesteps as f32).collect()
                    }
                };
                let mut sums = vec![0f64; channels];
                for (i, (&x, y)) in trace.analog.iter().zip(sent).enumerate() {
                    sums[channel[i]] += f64::from(site.activation(x)) - f64::from(y);
                }
                sums
            };
            let sums: Vec<Vec<f64>> = (0..site.samples).into_par_iter().map(errors).collect();
            let correction: Vec<f64> = (0..channels).map(|c| sums.iter().map(|s| s[c]).sum::<f64>() / count).collect();
            bias.iter_mut().zip(&channel).for_each(|(b, &c)| *b += correction[c] as f32);
        }
        add_current(site.graph, site.id, &bias)?;
        Ok(Outcome::Changed)
    }
}

/// Adds a constant current before the population `id`.
pub(super) fn add_current(graph: &mut Graph, id: snn_ir::NodeId, bias: &[f32]) -> Result<(), PassError> {
    if bias.iter().all(|&b| b == 0.0) {
        return Ok(());
    }
    let shape = graph.ty(id).shape.clone();
    let bias: Tensor = super::normalize::compact(bias, &shape);
    let name = graph.fresh_name(&format!("{}.correction", graph.node(id).name()));
    let operand = graph.operands(id)[0];
    let corrected = graph.add(name, Op::Scale(Scale { weight: None, bias: Some(bias) }), &[operand])?;
    let op = graph.op(id).clone();
    graph.rewrite(id, op, &[corrected])?;
    Ok(())
}
