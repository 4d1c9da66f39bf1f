//! `correct-bias`: aligns the mean of every channel with the ANN's, layer by layer.
//!
//! Equation: per channel `b += mean(a) − mean(s)`, with `a` the ANN's activation and `s` the neuron's mean output over T steps, both
//! averaged over calibration samples and space; repeated, since a bias changes counts in steps. Layers are visited in
//! order and each sees the spikes that the corrected layers before it send. Source: Li et al. 2021, "light" calibration.
//!
//! Precondition: behind `replace-relu` and `shift-membrane`, before `normalize`. Without calibration data it does nothing.

use super::{Context, Pass, PassError};
use crate::calibrate::activations::{channel_axis, channel_of};
use crate::calibrate::layerwise::{Adjustment, ExpandedNeuron, Site, simulate, visit};
use rayon::prelude::*;
use serde::Deserialize;
use snn_ir::op::{Neuron, Scale};
use snn_ir::{Graph, Op, Tensor};

/// The pass.
#[derive(Debug, Deserialize)]
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

    fn run(&self, graph: &mut Graph, context: &mut Context<'_>) -> Result<usize, PassError> {
        let Some(calibration) = context.calibration.filter(|c| !c.samples.is_empty()) else { return Ok(0) };
        let snapshot = graph.clone();
        let adjustments = visit(&snapshot, calibration, self.samples, context, |site| Ok(Some(self.correction(&snapshot, site))))?;
        let changes = adjustments.len();
        for (id, adjustment) in adjustments {
            add_current(graph, id, &adjustment.bias)?;
        }
        Ok(changes)
    }
}

impl CorrectBias {
    fn correction(&self, graph: &Graph, site: &Site<'_>) -> Adjustment {
        let Op::If(neuron) = graph.op(site.id) else { unreachable!("only populations are visited") };
        let shape = &graph.ty(site.id).shape;
        let axis = channel_axis(graph, site.id);
        let channels = shape.get(axis).copied().unwrap_or(1);
        let n = graph.ty(site.id).len();
        let channel: Vec<usize> = (0..n).map(|i| if shape.is_empty() { 0 } else { channel_of(shape, axis, i) }).collect();
        let expanded = ExpandedNeuron::new(neuron, shape);
        let count = (site.traces.len() * (n / channels)) as f64;

        let mut target = vec![0f64; channels];
        for trace in site.traces {
            trace.analog.iter().zip(&channel).for_each(|(&x, &c)| target[c] += f64::from(site.activation(x)));
        }
        let mut bias = vec![0f32; n];
        for _ in 0..self.iterations {
            let sums: Vec<Vec<f64>> = site
                .traces
                .par_iter()
                .map(|trace| {
                    let mut sums = vec![0f64; channels];
                    let spikes = simulate(&expanded, trace, &bias, site.timesteps);
                    for step in spikes.chunks_exact(n) {
                        step.iter()
                            .enumerate()
                            .filter(|(_, s)| **s != 0)
                            .for_each(|(i, &s)| sums[channel[i]] += f64::from(s) * f64::from(expanded.threshold[i]));
                    }
                    sums
                })
                .collect();
            let mean = |c: usize| sums.iter().map(|s| s[c]).sum::<f64>() / site.timesteps as f64;
            let correction: Vec<f64> = (0..channels).map(|c| (target[c] - mean(c)) / count).collect();
            bias.iter_mut().zip(&channel).for_each(|(b, &c)| *b += correction[c] as f32);
        }
        Adjustment { bias, neuron: Neuron { ..neuron.clone() } }
    }
}

/// Adds a constant current in front of the population `id`.
fn add_current(graph: &mut Graph, id: snn_ir::NodeId, bias: &[f32]) -> Result<(), PassError> {
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
