//! `calibrate-layers`: fits every layer to the spikes it really gets, in closed form, layer by layer.
//!
//! For each population in order, on calibration samples, with `x` the mean spike input over T steps, `z` the ANN's
//! pre-activation, `a = max(z, 0)` its activation and `N` the neuron's count:
//! 1. *refit*: the weights in front become `W + ΔW`, `ΔW = (XᵀX + λI)⁻¹ Xᵀ (z − W x − b)` (ridge regression), so that they make up
//!    for what the layers before got wrong; λ is the one that leaves the least on samples held back, and where none leaves less
//!    than there was the weights stay;
//! 2. *search*: θ, v(0) and a bias current per channel by coordinate search on the simulated counts, what a spike is
//!    amplitude by least squares (`amplitude = T·Σ N a / Σ N²`);
//! 3. *Gauss-Newton*: the refit again, on the residual `a − amplitude·N/T` of the simulated neuron, with a step length per
//!    channel chosen among 0, 1/2, 1 and 2 on samples held back, taking the change of the current to be the same in every step;
//!    then a finer search;
//! 4. *rounding*: where `quantize` will make integers of the weights, they are rounded now ([`crate::calibrate::rounding`]), θ to a whole
//!    number of their steps, so that the neurons and all layers after it are fitted to the spikes of the integer network.
//!
//! The weights before the answers are refitted to the ANN's answers in the end. Weights whose result others read, too (a residual
//! stream), are refitted once, to what the ANN has there.
//!
//! No labels and no gradients through the network. Related to the weight calibration of Li et al. 2021, which descends by
//! gradients, and to GPTQ-style layer-wise reconstruction.
//!
//! Precondition: after `replace-relu` and `shift-membrane`, before `normalize`. Without calibration data it does nothing.

use super::correct_bias::add_current;
use super::populations::adjust_with;
use super::{Condition, Facts, Outcome, Pass, PassError, Report, Request};
use crate::calibrate::activations::channel_axis;
use crate::calibrate::layerwise::{SampleBudget, Site};
use crate::calibrate::places::{Observed, Places};
use crate::calibrate::refit::{Refit, Rounded};
use crate::calibrate::search::{Entries, Score};
use rayon::prelude::*;
use serde::Deserialize;
use snn_ir::neuron::{Dynamics, Neuron};
use snn_ir::op::Scale;
use snn_ir::{Graph, Op, Tensor};
use snn_runtime::analog::NeuronParameters;

/// The pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CalibrateLayers {
    /// Most calibration samples used.
    pub samples: usize,
    /// Most calibration samples times steps used.
    pub sample_steps: usize,
    /// Places (samples × positions) per channel that are looked at.
    pub places: usize,
    /// Whether weights are refitted; else only neurons are tuned.
    pub refit: bool,
    /// Scales of the search steps, one search per entry.
    pub search: Vec<f32>,
    /// Refits on the residual of the simulated neurons.
    pub gauss_newton: usize,
}

impl Default for CalibrateLayers {
    fn default() -> Self {
        CalibrateLayers { samples: 1024, sample_steps: 8192, places: 24576, refit: true, search: vec![1.0, 0.7, 0.5], gauss_newton: 2 }
    }
}

/// Bytes that the currents at the places of one population may take.
const OBSERVED_BUDGET: usize = 512 << 20;
/// Step lengths that a Gauss-Newton step chooses from, besides none.
const STEP_LENGTHS: [f32; 3] = [0.5, 1.0, 2.0];
/// Scale of the search steps after a Gauss-Newton step.
const FINE: [f32; 1] = [0.5];

impl Pass for CalibrateLayers {
    fn name(&self) -> &'static str {
        "calibrate-layers"
    }

    fn requires(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::UnitThresholds]
    }

    fn run(&self, graph: &mut Graph, request: &Request<'_>, facts: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        let Some(samples) = request.samples.filter(|s| !s.is_empty()) else {
            report.network_declined("there are no calibration data to fit layers to");
            return Ok(());
        };
        let budget = SampleBudget { samples: self.samples, sample_steps: self.sample_steps };
        adjust_with(graph, samples, request, facts, report, budget, |site| self.fit(site))
    }
}

/// What the neurons of each channel should reproduce, and how they fire.
struct Goal {
    targets: Vec<Vec<f32>>,
    timesteps: usize,
    dynamics: Dynamics,
    /// First place of a sample held back from fits.
    fitted: usize,
}

impl Goal {
    fn entries<'a>(&'a self, channel: usize, current: &'a [f32]) -> Entries<'a> {
        Entries { current, target: &self.targets[channel], timesteps: self.timesteps, dynamics: self.dynamics }
    }

    fn search(&self, observed: &Observed, from: &[NeuronParameters], rounds: &[f32]) -> Vec<(NeuronParameters, Score)> {
        (0..from.len()).into_par_iter().map(|c| self.entries(c, &observed.current[c]).search(from[c], rounds)).collect()
    }

    /// The same neurons with thresholds that are whole numbers of `units`, as integers will make them.
    fn whole_thresholds(&self, observed: &Observed, found: &[(NeuronParameters, Score)], units: &[f32]) -> Vec<(NeuronParameters, Score)> {
        let of = |c: usize| {
            let (parameters, score) = found[c];
            if units[c] <= 0.0 {
                return (parameters, score);
            }
            let threshold = (parameters.threshold / units[c]).round().max(1.0) * units[c];
            let whole = NeuronParameters { threshold, ..parameters };
            (whole, self.entries(c, &observed.current[c]).score(&whole))
        };
        (0..found.len()).into_par_iter().map(of).collect()
    }

    /// What the neurons miss, per channel and place.
    fn residual(&self, observed: &Observed, found: &[(NeuronParameters, Score)]) -> Vec<Vec<f32>> {
        let of = |c: usize| -> Vec<f32> {
            let entries = self.entries(c, &observed.current[c]);
            let counts = entries.counts(&found[c].0);
            let amplitude = found[c].1.amplitude / self.timesteps as f32;
            entries.target.iter().zip(&counts).map(|(x, n)| x - amplitude * n).collect()
        };
        (0..found.len()).into_par_iter().map(of).collect()
    }

    /// Per channel, how much of a change of the current leaves the least error on samples held back (on all, where none are).
    fn step_lengths(&self, observed: &Observed, change: &[Vec<f32>], found: &[(NeuronParameters, Score)]) -> Vec<f32> {
        let of = |c: usize| -> f32 {
            let places = self.targets[c].len();
            let judges = if self.fitted < places { self.fitted..places } else { 0..places };
            let target = &self.targets[c][judges.clone()];
            let error = |length: f32| {
                let current: Vec<f32> = observed.current[c]
                    .chunks_exact(places)
                    .flat_map(|step| step[judges.clone()].iter().zip(&change[c][judges.clone()]).map(|(i, d)| i + length * d))
                    .collect();
                let entries = Entries { current: &current, target, timesteps: self.timesteps, dynamics: self.dynamics };
                entries.score(&found[c].0).error
            };
            let mut best = (error(0.0), 0.0);
            for length in STEP_LENGTHS {
                let error = error(length);
                if error < best.0 {
                    best = (error, length);
                }
            }
            best.1
        };
        (0..found.len()).into_par_iter().map(of).collect()
    }
}

impl CalibrateLayers {
    fn fit(&self, site: &mut Site<'_>) -> Result<Outcome, PassError> {
        let shape = site.graph.ty(site.id).shape.clone();
        let axis = channel_axis(site.graph, site.id);
        let channels = shape.get(axis).copied().unwrap_or(1);
        let affordable = OBSERVED_BUDGET / (size_of::<f32>() * channels * site.steps);
        let places = Places::choose(&shape, axis, site.samples, self.places.min(affordable));
        let fitted = places.count(site.fitted);
        let mut refit = if self.refit { Refit::of(site, &places)? } else { None };
        if let Some(refit) = &mut refit {
            let reader = site.reader(site.operand())?;
            let residual = places.gather(|sample| {
                let (mean, analog) = (reader.mean(sample), reader.analog(sample));
                analog.iter().zip(mean).map(|(a, m)| a - m).collect()
            });
            if let Some(step) = refit.fit(&residual, fitted) {
                refit.apply(site, &step)?;
            }
        }
        let Some(neuron) = site.neuron().cloned() else {
            let unfitted = || Outcome::Declined("no weights before it could be fitted to the ANN's answers".into());
            return Ok(refit.map_or_else(unfitted, |_| Outcome::Changed));
        };

        let start = |t: &Tensor| places.per_channel(&t.expanded(&shape));
        let start: Vec<NeuronParameters> = start(&neuron.threshold)
            .into_iter()
            .zip(start(&neuron.initial))
            .map(|(threshold, initial)| NeuronParameters { threshold, initial, bias: 0.0 })
            .collect();
        let mut observed = places.observe(&site.reader(site.operand())?);
        let targets: Vec<Vec<f32>> = observed.analog.iter().map(|z| z.iter().map(|&z| site.activation(z)).collect()).collect();
        let goal = Goal { targets, timesteps: site.timesteps, dynamics: neuron.dynamics(), fitted };
        let mut found = goal.search(&observed, &start, &self.search);

        if let Some(refit) = refit.filter(|r| r.is_exclusive) {
            let mut total = refit.no_step();
            for _ in 0..self.gauss_newton {
                let step = refit.refine(&goal.residual(&observed, &found), fitted);
                let change = refit.change(&step);
                let lengths = goal.step_lengths(&observed, &change, &found);
                total.add(&step, &lengths);
                observed.add(&change, &lengths);
                let from: Vec<NeuronParameters> = found.iter().map(|f| f.0).collect();
                found = goal.search(&observed, &from, &FINE);
            }
            if let Some(Rounded { step, units }) = refit.round(site, &places, &total)? {
                let change = refit.change(&step);
                total.add(&step, &vec![1.0; units.len()]);
                observed.add(&change, &vec![1.0; units.len()]);
                let from: Vec<NeuronParameters> = found.iter().map(|f| f.0).collect();
                found = goal.whole_thresholds(&observed, &goal.search(&observed, &from, &FINE), &units);
            }
            refit.apply(site, &total)?;
        }
        write_back(site, &neuron, &shape, axis, &found)?;
        Ok(Outcome::Changed)
    }
}

/// Puts the found parameters into the graph. A spike has amplitude θ there, so a neuron whose spikes have amplitude `a` becomes one
/// with threshold `a` whose potential, bias and current are `a/θ` times what they were.
fn write_back(
    site: &mut Site<'_>,
    neuron: &Neuron,
    shape: &[usize],
    axis: usize,
    found: &[(NeuronParameters, Score)],
) -> Result<(), PassError> {
    let along = |f: &dyn Fn(&NeuronParameters, f32) -> f32| {
        let mut full = vec![1; shape.len()];
        if let Some(extent) = full.get_mut(axis) {
            *extent = found.len();
        }
        Tensor::f32(full, found.iter().map(|(p, s)| f(p, s.amplitude)).collect::<Vec<_>>())
    };
    add_current(site.graph, site.id, &along(&|p, _| p.bias).expanded(shape))?;
    let name = site.graph.fresh_name(&format!("{}.worth", site.graph.node(site.id).name()));
    let scale = Op::Scale(Scale { weight: Some(along(&|p, a| a / p.threshold)), bias: None });
    let operand = site.operand();
    let scaled = site.graph.add(name, scale, &[operand])?;
    let neuron = Neuron { threshold: along(&|_, a| a), initial: along(&|p, a| p.initial * a / p.threshold), ..neuron.clone() };
    site.graph.rewrite(site.id, Op::If(neuron), &[scaled])?;
    Ok(())
}
