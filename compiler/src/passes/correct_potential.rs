//! `correct-potential`: every neuron starts at the potential that makes its mean output the ANN's.
//!
//! Equation: per neuron `v(0) += T·(mean(a) − mean(s))`, with `a` the ANN's activation and `s` the neuron's output per step, both averaged
//! over calibration samples. It corrects what differs from neuron to neuron of a channel, borders for example, which `correct-bias`
//! cannot; it costs one potential per neuron to store and holds for the T of the calibration. Layers are visited in order and each sees
//! the spikes that the corrected layers before it send. Source: Li et al. 2021, potential calibration.
//!
//! Precondition: after `replace-relu` and `shift-membrane`, before `normalize`. Without calibration data it works on synthetic inputs
//! matched to batch-norm statistics, and does nothing where there are none.

use super::populations::{NO_NEURONS, adjust_populations};
use super::{Condition, Facts, Outcome, Pass, PassError, Report, Request};
use crate::calibrate::layerwise::{SampleBudget, Site};
use crate::calibrate::spike_train::ExpandedNeuron;
use rayon::prelude::*;
use serde::Deserialize;
use snn_ir::neuron::Neuron;
use snn_ir::{Graph, Op};

/// Most samples times steps.
const MOST_SAMPLE_STEPS: usize = 1 << 13;

/// The pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorrectPotential {
    /// Most calibration samples used.
    pub samples: usize,
    /// Corrections per layer.
    pub iterations: usize,
}

impl Default for CorrectPotential {
    fn default() -> Self {
        CorrectPotential { samples: 256, iterations: 1 }
    }
}

impl Pass for CorrectPotential {
    fn name(&self) -> &'static str {
        "correct-potential"
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

impl CorrectPotential {
    fn correct(&self, site: &mut Site<'_>) -> Result<Outcome, PassError> {
        let shape = site.graph.ty(site.id).shape.clone();
        let n = site.graph.ty(site.id).len();
        let Some(neuron) = site.neuron().cloned() else { return Ok(Outcome::NotApplicable(NO_NEURONS.into())) };
        let mut expanded = ExpandedNeuron::new(&neuron, &shape);
        let reader = site.reader(site.operand())?;
        for _ in 0..self.iterations {
            // Per neuron: T·a less what was sent, summed over samples; chunks of samples keep memory at one layer a thread.
            let missing = |sample: usize, sums: &mut Vec<f64>| {
                let trace = reader.trace(sample);
                for (sum, &x) in sums.iter_mut().zip(&trace.analog) {
                    *sum += f64::from(x.clamp(0.0, site.cap)) * site.timesteps as f64;
                }
                let sent = expanded.simulate(&trace, site.timesteps).counts(n);
                for ((sum, count), &amplitude) in sums.iter_mut().zip(sent).zip(&expanded.threshold) {
                    *sum -= f64::from(count) * f64::from(amplitude);
                }
            };
            const CHUNK: usize = 16;
            let sums: Vec<Vec<f64>> = (0..site.samples.div_ceil(CHUNK))
                .into_par_iter()
                .map(|chunk| {
                    let mut sums = vec![0f64; n];
                    (chunk * CHUNK..((chunk + 1) * CHUNK).min(site.samples)).for_each(|sample| missing(sample, &mut sums));
                    sums
                })
                .collect();
            for (i, v) in expanded.initial.iter_mut().enumerate() {
                *v += (sums.iter().map(|s| s[i]).sum::<f64>() / site.samples as f64) as f32;
            }
        }
        let initial = super::normalize::compact(&expanded.initial, &shape);
        site.graph.set_op(site.id, Op::If(Neuron { initial, ..neuron }))?;
        Ok(Outcome::Changed)
    }
}
