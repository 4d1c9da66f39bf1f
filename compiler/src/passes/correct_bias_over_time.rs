//! `correct-bias-over-time`: a bias of its own for every time step, so that the mean output is the ANN's in each.
//!
//! Equation: per channel and step `β(t) += α·(mean(s(t)) − mean(a))`, and `v −= β(t)` in step t, with `s(t)` the neurons' output in that
//! step and `a` the ANN's activation, both averaged over calibration samples and space; steps in order, each with the potentials that
//! the corrected ones before it left, the whole window `iterations` times. Layers are visited in order and each sees the spikes that
//! the corrected layers before it send. The neurons carry `−β` as their `schedule`; steps beyond T get that of step T.
//! Source: forward temporal bias correction, FTBC (Wu et al. 2024), with all samples as one batch.
//!
//! Precondition: after `replace-relu` and `shift-membrane`, before `normalize`; neurons that fire step by step. Without calibration
//! data it works on synthetic inputs matched to batch-norm statistics, and does nothing where there are none.

use super::populations::{NO_NEURONS, adjust_populations};
use super::{Condition, Facts, Outcome, Pass, PassError, Report, Request};
use crate::calibrate::activations::{channel_axis, channel_of};
use crate::calibrate::layerwise::{SampleBudget, Site};
use crate::calibrate::spike_train::{ExpandedNeuron, SampleTrace};
use rayon::prelude::*;
use serde::Deserialize;
use snn_ir::neuron::{Dynamics, Neuron};
use snn_ir::{Graph, Op};

/// The pass.
#[derive(Clone, Debug, Deserialize)]
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

impl CorrectBiasOverTime {
    fn correct(&self, site: &mut Site<'_>) -> Result<Outcome, PassError> {
        let Some(neuron) = site.neuron().cloned() else { return Ok(Outcome::NotApplicable(NO_NEURONS.into())) };
        if !neuron.firing.allows_schedule() {
            return Err(PassError::node(site.graph, site.id, "a bias for every step needs neurons that fire step by step"));
        }
        let shape = site.graph.ty(site.id).shape.clone();
        let axis = channel_axis(site.graph, site.id);
        let channels = shape.get(axis).copied().unwrap_or(1);
        let n = site.graph.ty(site.id).len();
        let channel: Vec<usize> = (0..n).map(|i| channel_of(&shape, axis, i)).collect();
        let expanded = ExpandedNeuron::new(&neuron, &shape);
        let samples = site.samples.min(CURRENT_BUDGET / (4 * n * site.timesteps)).max(1);
        let reader = site.reader(site.operand())?;
        let traces: Vec<SampleTrace> = (0..samples).into_par_iter().map(|s| reader.trace(s)).collect();
        let mut members = vec![Vec::new(); channels];
        channel.iter().enumerate().for_each(|(i, &c)| members[c].push(i));
        let of_channel = |c: usize| {
            let channel = Channel::new(&members[c], &expanded, &traces, site.timesteps, site.cap);
            let dynamics = neuron.dynamics();
            snn_ir::specialized!(dynamics => self.biases(dynamics, &channel))
        };
        let bias: Vec<Vec<f32>> = (0..channels).into_par_iter().map(of_channel).collect();
        let rows: Vec<Vec<f32>> = (0..site.timesteps).map(|t| channel.iter().map(|&c| -bias[c][t]).collect()).collect();
        let schedule = Some(super::normalize::stack(&rows, &shape));
        site.graph.set_op(site.id, Op::If(Neuron { schedule, ..neuron }))?;
        Ok(Outcome::Changed)
    }

    /// β of every step.
    #[inline(always)]
    fn biases(&self, dynamics: Dynamics, channel: &Channel) -> Vec<f32> {
        let neurons = channel.initial.len();
        let mut bias = vec![0f64; channel.timesteps];
        let mut sent = vec![0f32; neurons];
        for _ in 0..self.iterations {
            let mut v = channel.initial.clone();
            for (t, bias) in bias.iter_mut().enumerate() {
                let parameters = || channel.step(t).iter().zip(&channel.threshold);
                let before = *bias as f32;
                for ((sent, v), (i, &theta)) in sent.iter_mut().zip(&v).zip(parameters()) {
                    *sent = dynamics.fire(v + i - before, theta, 0.0, f32::INFINITY) * theta;
                }
                *bias += self.rate * (sum(&sent) / neurons as f64 - channel.target);
                let now = *bias as f32;
                for (v, (i, &theta)) in v.iter_mut().zip(parameters()) {
                    *v = *v + i - now;
                    dynamics.step(v, theta, 0.0, f32::INFINITY);
                }
            }
        }
        bias.into_iter().map(|b| b as f32).collect()
    }
}

/// The neurons of one channel in all samples, sample by sample.
struct Channel {
    threshold: Vec<f32>,
    initial: Vec<f32>,
    /// Step-major; a single step when it is the same in all.
    current: Vec<f32>,
    /// Mean of the ANN's activations.
    target: f64,
    timesteps: usize,
}

impl Channel {
    fn new(members: &[usize], neuron: &ExpandedNeuron, traces: &[SampleTrace], timesteps: usize, cap: f32) -> Self {
        let of_each_sample = |values: &[f32]| -> Vec<f32> { traces.iter().flat_map(|_| members.iter().map(|&i| values[i])).collect() };
        let steady = traces.iter().all(|trace| trace.current.len() == trace.analog.len());
        let steps = if steady { 1 } else { timesteps };
        let step = |t: usize| traces.iter().flat_map(move |trace| members.iter().map(move |&i| trace.step(t)[i]));
        let activation = |trace: &SampleTrace| members.iter().map(|&i| f64::from(trace.analog[i].clamp(0.0, cap))).sum::<f64>();
        Channel {
            threshold: of_each_sample(&neuron.threshold),
            initial: of_each_sample(&neuron.initial),
            current: (0..steps).flat_map(step).collect(),
            target: traces.iter().map(activation).sum::<f64>() / (traces.len() * members.len()) as f64,
            timesteps,
        }
    }

    fn step(&self, t: usize) -> &[f32] {
        let neurons = self.initial.len();
        let t = if self.current.len() == neurons { 0 } else { t };
        &self.current[t * neurons..][..neurons]
    }
}

/// `Σx`; not in order, because additions in `f64` wait for each other.
fn sum(x: &[f32]) -> f64 {
    let (blocks, rest) = x.as_chunks::<8>();
    let mut sums = [0f64; 8];
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x)).sum::<f64>()
}
