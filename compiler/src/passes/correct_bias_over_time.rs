//! `correct-bias-over-time`: a bias of its own for every time step, so that the mean output is the ANN's in each.
//!
//! Equation: per channel and step `β(t) += α·(mean(s(t)) − mean(a))`, and `v −= β(t)` in step t, with `s(t)` the neurons' output in that
//! step and `a` the ANN's activation, both averaged over calibration samples and space; steps in order, each with the potentials that
//! the corrected ones before it left, the whole window `iterations` times. Layers are visited in order and each sees the spikes that
//! the corrected layers before it send. The neurons carry `−β` as their `schedule`; steps beyond T get that of step T.
//! Source: forward temporal bias correction, FTBC (Wu et al. 2024), with all samples as one batch.
//!
//! Precondition: behind `replace-relu` and `shift-membrane`, before `normalize`; neurons that fire step by step. Without calibration
//! data it works on synthetic inputs matched to batch-norm statistics, and does nothing where there are none.

use super::{Context, Pass, PassError};
use crate::calibrate::activations::{channel_axis, channel_of};
use crate::calibrate::layerwise::{SampleBudget, Site, visit};
use crate::calibrate::matched::with_samples;
use crate::calibrate::spike_train::{ExpandedNeuron, SampleTrace};
use rayon::prelude::*;
use serde::Deserialize;
use snn_ir::op::{Firing, Neuron, Reset};
use snn_ir::{Graph, Op};

/// The pass.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorrectBiasOverTime {
    /// Most calibration samples used.
    pub samples: usize,
    /// Times that the window is gone through.
    pub iterations: usize,
    /// α.
    pub rate: f64,
}

impl Default for CorrectBiasOverTime {
    fn default() -> Self {
        CorrectBiasOverTime { samples: 128, iterations: 10, rate: 0.5 }
    }
}

/// Most samples times steps.
const MOST_SAMPLE_STEPS: usize = 1 << 12;

/// Bytes that the currents of one layer may take over all samples; fewer samples are used where it would be more.
const CURRENT_BUDGET: usize = 512 << 20;

impl Pass for CorrectBiasOverTime {
    fn name(&self) -> &'static str {
        "correct-bias-over-time"
    }

    fn run(&self, graph: &mut Graph, context: &mut Context<'_>) -> Result<usize, PassError> {
        let budget = SampleBudget { samples: self.samples, sample_steps: MOST_SAMPLE_STEPS };
        with_samples(graph, context, |graph, samples| visit(graph, samples, budget, context, |site| self.correct(site)))
    }
}

impl CorrectBiasOverTime {
    fn correct(&self, site: &mut Site<'_>) -> Result<bool, PassError> {
        let Some(neuron) = site.neuron().cloned() else { return Ok(false) };
        if !matches!(neuron.firing, Firing::Binary | Firing::Lanes(_)) {
            return Err(PassError::node(site.graph, site.id, "a bias for every step needs neurons that fire step by step"));
        }
        let shape = site.graph.ty(site.id).shape.clone();
        let axis = channel_axis(site.graph, site.id);
        let channels = shape.get(axis).copied().unwrap_or(1);
        let n = site.graph.ty(site.id).len();
        let channel: Vec<usize> = (0..n).map(|i| if shape.is_empty() { 0 } else { channel_of(&shape, axis, i) }).collect();
        let expanded = ExpandedNeuron::new(&neuron, &shape);
        let samples = site.samples.min(CURRENT_BUDGET / (4 * n * site.timesteps)).max(1);
        let reader = site.reader(site.operand())?;
        let traces: Vec<SampleTrace> = (0..samples).into_par_iter().map(|s| reader.trace(s)).collect();
        let per_channel = (samples * (n / channels)) as f64;
        let mean =
            |sums: Vec<Vec<f64>>| -> Vec<f64> { (0..channels).map(|c| sums.iter().map(|s| s[c]).sum::<f64>() / per_channel).collect() };
        let target = mean(
            traces
                .par_iter()
                .map(|trace| {
                    let mut sums = vec![0f64; channels];
                    trace.analog.iter().zip(&channel).for_each(|(&x, &c)| sums[c] += f64::from(x.clamp(0.0, site.cap)));
                    sums
                })
                .collect(),
        );
        let quanta = |v: f32, theta: f32| match neuron.firing {
            Firing::Lanes(lanes) => (v / theta).floor().clamp(0.0, ((1u32 << lanes.min(15)) - 1) as f32),
            _ => f32::from(v >= theta),
        };
        let mut bias = vec![vec![0f64; channels]; site.timesteps];
        for _ in 0..self.iterations {
            let mut potentials: Vec<Vec<f32>> = vec![expanded.initial.clone(); samples];
            for (t, bias) in bias.iter_mut().enumerate() {
                let step = |v: f32, trace: &SampleTrace, i: usize, bias: &[f64]| v + trace.step(t)[i] - bias[channel[i]] as f32;
                let sent = mean(
                    potentials
                        .par_iter()
                        .zip(&traces)
                        .map(|(potential, trace)| {
                            let mut sums = vec![0f64; channels];
                            for (i, &v) in potential.iter().enumerate() {
                                let theta = expanded.threshold[i];
                                sums[channel[i]] += f64::from(quanta(step(v, trace, i, bias), theta) * theta);
                            }
                            sums
                        })
                        .collect(),
                );
                bias.iter_mut().zip(sent.iter().zip(&target)).for_each(|(b, (s, a))| *b += self.rate * (s - a));
                potentials.par_iter_mut().zip(&traces).for_each(|(potential, trace)| {
                    for (i, v) in potential.iter_mut().enumerate() {
                        let theta = expanded.threshold[i];
                        let reached = step(*v, trace, i, bias);
                        let fired = quanta(reached, theta);
                        *v = if neuron.reset == Reset::Zero && fired > 0.0 { 0.0 } else { reached - fired * theta };
                    }
                });
            }
        }
        let rows: Vec<Vec<f32>> = bias.iter().map(|row| channel.iter().map(|&c| -row[c] as f32).collect()).collect();
        let schedule = Some(super::normalize::stack(&rows, &shape));
        site.graph.set_op(site.id, Op::If(Neuron { schedule, ..neuron }))?;
        Ok(true)
    }
}
