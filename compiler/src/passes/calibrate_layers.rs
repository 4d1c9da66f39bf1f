//! `calibrate-layers`: fits every layer to the spikes it really gets, in closed form, layer by layer.
//!
//! For each population in order, on calibration samples, with `x` the mean spike input over T steps, `z` the ANN's
//! pre-activation, `a = max(z, 0)` its activation and `N` the neuron's count:
//! 1. *refit*: the weights in front become `W + ΔW`, `ΔW = (XᵀX + λI)⁻¹ Xᵀ (z − W x − b)` (ridge regression), so that they make up
//!    for what the layers before got wrong;
//! 2. *search*: θ, v(0) and a bias current per channel by coordinate search on the simulated counts, what a spike is
//!    worth by least squares (`amplitude = T·Σ N a / Σ N²`);
//! 3. *Gauss-Newton*: the refit again, on the residual `a − amplitude·N/T` of the simulated neuron, with a step length per
//!    channel chosen among 0, 1/2, 1 and 2; then a finer search.
//!
//! No labels and no gradients through the network. Related to the weight calibration of Li et al. 2021, which descends by
//! gradients, and to GPTQ-style layer-wise reconstruction.
//!
//! Precondition: behind `replace-relu` and `shift-membrane`, before `normalize`. Without calibration data it does nothing.

use super::correct_bias::add_current;
use super::{Context, Pass, PassError};
use crate::calibrate::activations::{channel_axis, channel_of};
use crate::calibrate::layerwise::{Reader, Site, visit};
use crate::calibrate::least_squares::NormalEquations;
use crate::calibrate::search::{Entries, Parameters, Score};
use rayon::prelude::*;
use serde::Deserialize;
use snn_ir::op::{Conv, Firing, Linear, Neuron, Scale};
use snn_ir::{Graph, NodeId, Op, Tensor};

/// The pass.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CalibrateLayers {
    /// Most calibration samples used.
    pub samples: usize,
    /// Places (samples × positions) per channel that are looked at.
    pub places: usize,
    /// λ of the ridge regression, relative to the mean of the diagonal; 0 leaves the weights alone.
    pub ridge: f64,
    /// Scales of the search steps, one search per entry.
    pub search: Vec<f32>,
    /// Refits on the residual of the simulated neurons.
    pub gauss_newton: usize,
}

impl Default for CalibrateLayers {
    fn default() -> Self {
        CalibrateLayers { samples: 256, places: 16384, ridge: 1e-3, search: vec![1.0, 0.7, 0.5], gauss_newton: 2 }
    }
}

/// Most unknowns per output that a refit takes on.
const MOST_COLUMNS: usize = 4700;
/// Step lengths that a Gauss-Newton step chooses from, besides none.
const STEP_LENGTHS: [f32; 3] = [0.5, 1.0, 2.0];
/// Scale of the search steps after a Gauss-Newton step.
const FINE: [f32; 1] = [0.5];

impl Pass for CalibrateLayers {
    fn name(&self) -> &'static str {
        "calibrate-layers"
    }

    fn run(&self, graph: &mut Graph, context: &mut Context<'_>) -> Result<usize, PassError> {
        let Some(calibration) = context.calibration.filter(|c| !c.samples.is_empty()) else { return Ok(0) };
        visit(graph, calibration, self.samples, context, |site| self.fit(site))
    }
}

/// Which elements of a population are looked at: the same positions for every channel.
struct Places {
    /// Elements of each channel at the chosen positions: `channels × positions per sample`, for each sample.
    elements: Vec<Vec<usize>>,
    channels: usize,
    positions: usize,
}

impl Places {
    /// Spreads about `most / samples` positions over the population, others for each sample.
    fn choose(shape: &[usize], axis: usize, samples: usize, most: usize) -> Places {
        let n: usize = shape.iter().product();
        let channels = shape.get(axis).copied().unwrap_or(1);
        let mut of_channel: Vec<Vec<usize>> = vec![Vec::new(); channels];
        (0..n).for_each(|i| of_channel[if shape.is_empty() { 0 } else { channel_of(shape, axis, i) }].push(i));
        let space = n / channels;
        let positions = (most / samples).clamp(1, space);
        let elements = (0..samples)
            .map(|s| {
                // A stride through the positions that is odd against powers of two, from a start that moves with the sample.
                let chosen: Vec<usize> = (0..positions).map(|k| (k * space / positions + s * 7919) % space).collect();
                of_channel.iter().flat_map(|elements| chosen.iter().map(|&p| elements[p]).collect::<Vec<_>>()).collect()
            })
            .collect();
        Places { elements, channels, positions }
    }
}

/// Currents and targets at the chosen places, channel by channel.
struct Observed {
    /// Per channel, step-major.
    current: Vec<Vec<f32>>,
    /// The ANN's pre-activation, per channel.
    analog: Vec<Vec<f32>>,
}

/// What the neurons of each channel should reproduce, and how they fire.
struct Goal {
    targets: Vec<Vec<f32>>,
    timesteps: usize,
    firing: Firing,
}

impl Goal {
    fn entries<'a>(&'a self, channel: usize, current: &'a [f32]) -> Entries<'a> {
        Entries { current, target: &self.targets[channel], timesteps: self.timesteps, firing: self.firing }
    }
}

fn observe(reader: &Reader<'_>, places: &Places, samples: usize) -> Observed {
    let traces: Vec<(Vec<f32>, Vec<f32>)> = (0..samples)
        .into_par_iter()
        .map(|sample| {
            let trace = reader.trace(sample);
            let n = trace.analog.len();
            let at = &places.elements[sample];
            let current = trace.current.chunks_exact(n).flat_map(|step| at.iter().map(|&e| step[e])).collect();
            (at.iter().map(|&e| trace.analog[e]).collect(), current)
        })
        .collect();
    let (per_sample, positions) = (places.channels * places.positions, places.positions);
    let steps = traces.first().map_or(0, |t| t.1.len() / per_sample);
    let of_channel = |values: &[f32], c: usize| values[c * positions..(c + 1) * positions].to_vec();
    let current = |c: usize| (0..steps).flat_map(|t| traces.iter().flat_map(move |(_, i)| of_channel(&i[t * per_sample..], c))).collect();
    let analog = |c: usize| traces.iter().flat_map(|(z, _)| of_channel(z, c)).collect();
    Observed { current: (0..places.channels).map(current).collect(), analog: (0..places.channels).map(analog).collect() }
}

impl CalibrateLayers {
    fn fit(&self, site: &mut Site<'_>) -> Result<bool, PassError> {
        let shape = site.graph.ty(site.id).shape.clone();
        let axis = channel_axis(site.graph, site.id);
        let places = Places::choose(&shape, axis, site.samples, self.places);
        let neuron = site.neuron();
        let per_channel = |t: &Tensor| {
            let all = t.expanded(&shape);
            (0..places.channels).map(|c| all[places.elements[0][c * places.positions]]).collect::<Vec<f32>>()
        };
        let start: Vec<Parameters> = per_channel(&neuron.threshold)
            .into_iter()
            .zip(per_channel(&neuron.initial))
            .map(|(threshold, initial)| Parameters { threshold, initial, bias: 0.0 })
            .collect();

        let mut refit = if self.ridge > 0.0 { Refit::of(site, &places, self.ridge)? } else { None };
        if let Some(refit) = &mut refit {
            let reader = site.reader(site.operand())?;
            let residual: Vec<Vec<f32>> = refit.mean_residual(&reader, &places, site.samples);
            let step = refit.solve(&residual);
            refit.apply(site, &step)?;
        }

        let mut observed = observe(&site.reader(site.operand())?, &places, site.samples);
        let targets: Vec<Vec<f32>> = observed.analog.iter().map(|z| z.iter().map(|&z| site.activation(z)).collect()).collect();
        let goal = Goal { targets, timesteps: site.timesteps, firing: neuron.firing };
        let search = |observed: &Observed, from: &[Parameters], rounds: &[f32]| -> Vec<(Parameters, Score)> {
            (0..places.channels).into_par_iter().map(|c| goal.entries(c, &observed.current[c]).search(from[c], rounds)).collect()
        };
        let mut found = search(&observed, &start, &self.search);

        if let Some(refit) = &mut refit {
            for _ in 0..self.gauss_newton {
                let residual: Vec<Vec<f32>> = (0..places.channels)
                    .into_par_iter()
                    .map(|c| {
                        let (mut v, mut counts) = (Vec::new(), Vec::new());
                        let entries = goal.entries(c, &observed.current[c]);
                        entries.counts(&found[c].0, &mut v, &mut counts);
                        let worth = found[c].1.amplitude / goal.timesteps as f32;
                        entries.target.iter().zip(&counts).map(|(x, n)| x - worth * n).collect()
                    })
                    .collect();
                let step = refit.solve(&residual);
                let whole = refit.trial(site, &step, &places)?;
                // Currents are linear in the weights: any step length is a mixture of none and the whole step.
                let lengths: Vec<f32> = (0..places.channels)
                    .into_par_iter()
                    .map(|c| {
                        let (mut v, mut counts) = (Vec::new(), Vec::new());
                        let mut best = (found[c].1.error, 0.0);
                        for &length in &STEP_LENGTHS {
                            let mixed: Vec<f32> =
                                observed.current[c].iter().zip(&whole.current[c]).map(|(a, b)| a + length * (b - a)).collect();
                            let error = goal.entries(c, &mixed).score(&found[c].0, &mut v, &mut counts).error;
                            if error < best.0 {
                                best = (error, length);
                            }
                        }
                        best.1
                    })
                    .collect();
                refit.apply(site, &step.scaled(&lengths))?;
                observed.current.par_iter_mut().zip(&whole.current).zip(&lengths).for_each(|((now, whole), length)| {
                    now.iter_mut().zip(whole).for_each(|(a, b)| *a += length * (b - *a));
                });
                let from: Vec<Parameters> = found.iter().map(|f| f.0).collect();
                found = search(&observed, &from, &FINE);
            }
        }
        write_back(site, &neuron, &shape, axis, &found)?;
        Ok(true)
    }
}

/// Puts the found parameters into the graph. A spike is worth θ there, so a neuron whose spikes are worth `a` becomes one
/// with threshold `a` whose potential, bias and current are `a/θ` times what they were.
fn write_back(site: &mut Site<'_>, neuron: &Neuron, shape: &[usize], axis: usize, found: &[(Parameters, Score)]) -> Result<(), PassError> {
    let along = |f: &dyn Fn(&Parameters, f32) -> f32| {
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

/// The weights in front of a population, with the spike input they get at the chosen places.
struct Refit {
    node: NodeId,
    /// Per group, row-major, one row per place, ending in the constant 1.
    rows: Vec<Vec<f32>>,
    equations: Vec<NormalEquations>,
    columns: usize,
    outputs_per_group: usize,
}

/// A change of weights: per output channel its columns, the bias last.
struct WeightStep(Vec<Vec<f64>>);

impl WeightStep {
    fn scaled(&self, lengths: &[f32]) -> WeightStep {
        WeightStep(self.0.iter().zip(lengths).map(|(w, &l)| w.iter().map(|v| v * f64::from(l)).collect()).collect())
    }
}

impl Refit {
    /// The first conv or linear node that reaches the population through sums and biases alone and gets spikes.
    fn of(site: &Site<'_>, places: &Places, ridge: f64) -> Result<Option<Refit>, PassError> {
        let mut candidates = vec![site.operand()];
        while let Some(id) = candidates.pop() {
            if site.graph.use_count(id) != 1 {
                continue;
            }
            match site.graph.op(id) {
                Op::Add => candidates.extend(site.graph.operands(id).into_iter().rev()),
                Op::Scale(s) if s.weight.is_none() => candidates.extend(site.graph.operands(id)),
                Op::Conv(_) | Op::Linear(_) => {
                    if let Some(refit) = Refit::on(site, id, places, ridge)? {
                        return Ok(Some(refit));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn on(site: &Site<'_>, node: NodeId, places: &Places, ridge: f64) -> Result<Option<Refit>, PassError> {
        let source = site.graph.operands(node)[0];
        let reader = site.reader(source)?;
        if reader.is_steady() {
            return Ok(None);
        }
        let source_shape = &site.graph.ty(source).shape;
        let result_shape = &site.graph.ty(node).shape;
        let (groups, columns, outputs) = match site.graph.op(node) {
            Op::Conv(c) => (c.groups, c.weight.len() / c.weight.shape()[0] + 1, c.weight.shape()[0]),
            Op::Linear(l) if source_shape.len() == 1 => (1, l.weight.shape()[1] + 1, l.weight.shape()[0]),
            _ => return Ok(None),
        };
        if columns > MOST_COLUMNS || places.channels != outputs {
            return Ok(None);
        }
        let taps = Taps::of(site.graph.op(node), source_shape, result_shape);
        let space: usize = result_shape.iter().skip(1).product();
        let per_sample: Vec<Vec<Vec<f32>>> = (0..site.samples)
            .into_par_iter()
            .map(|sample| {
                let mean = reader.mean(sample);
                let positions: Vec<usize> = places.elements[sample][..places.positions].iter().map(|&e| e % space).collect();
                (0..groups).map(|g| positions.iter().flat_map(|&p| taps.row(&mean, g, p)).collect()).collect()
            })
            .collect();
        let rows: Vec<Vec<f32>> = (0..groups).map(|g| per_sample.iter().flat_map(|s| s[g].iter().copied()).collect()).collect();
        let equations: Option<Vec<NormalEquations>> = rows.iter().map(|r| NormalEquations::new(r, columns, ridge)).collect();
        Ok(equations.map(|equations| Refit { node, rows, equations, columns, outputs_per_group: outputs / groups }))
    }

    /// The ANN's pre-activation less the mean current, per channel and place.
    fn mean_residual(&self, reader: &Reader<'_>, places: &Places, samples: usize) -> Vec<Vec<f32>> {
        let differences: Vec<Vec<f32>> = (0..samples)
            .into_par_iter()
            .map(|sample| {
                let (mean, analog) = (reader.mean(sample), reader.analog(sample));
                places.elements[sample].iter().map(|&e| analog[e] - mean[e]).collect()
            })
            .collect();
        let positions = places.positions;
        (0..places.channels).map(|c| differences.iter().flat_map(|d| d[c * positions..(c + 1) * positions].to_vec()).collect()).collect()
    }

    fn solve(&self, residual: &[Vec<f32>]) -> WeightStep {
        let solve = |(c, y): (usize, &Vec<f32>)| {
            let group = c / self.outputs_per_group;
            self.equations[group].solve(&self.rows[group], |i| y[i])
        };
        WeightStep(residual.par_iter().enumerate().map(solve).collect())
    }

    /// Adds `step` to the weights.
    fn apply(&self, site: &mut Site<'_>, step: &WeightStep) -> Result<(), PassError> {
        let add = |weight: &Tensor| {
            let columns = self.columns - 1;
            let values = weight.as_f32().iter().enumerate().map(|(i, w)| w + step.0[i / columns][i % columns] as f32).collect::<Vec<_>>();
            Tensor::f32(weight.shape(), values)
        };
        let outputs = step.0.len();
        let bias = |bias: &Option<Tensor>| {
            let before = bias.as_ref().map_or_else(|| vec![0.0; outputs], |b| b.as_f32().to_vec());
            Some(Tensor::f32([outputs], before.iter().zip(&step.0).map(|(b, s)| b + s[self.columns - 1] as f32).collect::<Vec<_>>()))
        };
        let op = match site.graph.op(self.node) {
            Op::Conv(c) => Op::Conv(Conv { weight: add(&c.weight), bias: bias(&c.bias), ..c.clone() }),
            Op::Linear(l) => Op::Linear(Linear { weight: add(&l.weight), bias: bias(&l.bias) }),
            _ => unreachable!("only convolutions and linear operations are refitted"),
        };
        site.graph.set_op(self.node, op)?;
        Ok(())
    }

    /// What the population would see after the whole of `step`.
    fn trial(&self, site: &mut Site<'_>, step: &WeightStep, places: &Places) -> Result<Observed, PassError> {
        let before = site.graph.op(self.node).clone();
        self.apply(site, step)?;
        let observed = observe(&site.reader(site.operand())?, places, site.samples);
        site.graph.set_op(self.node, before)?;
        Ok(observed)
    }
}

/// Which source elements a convolution or linear operation multiplies for one output position.
struct Taps {
    /// Per position, per tap: offset within a channel's plane, or `None` in the padding.
    offsets: Vec<Vec<Option<usize>>>,
    channels_per_group: usize,
    plane: usize,
}

impl Taps {
    fn of(op: &Op, source: &[usize], result: &[usize]) -> Taps {
        let Op::Conv(c) = op else {
            return Taps { offsets: vec![vec![Some(0)]], channels_per_group: source[0], plane: 1 };
        };
        let w = &c.window;
        let unravel = |mut i: usize, extents: &[usize]| {
            let mut at = vec![0; extents.len()];
            for a in (0..extents.len()).rev() {
                at[a] = i % extents[a];
                i /= extents[a];
            }
            at
        };
        let space: usize = result[1..].iter().product();
        let offsets = (0..space)
            .map(|position| {
                let out = unravel(position, &result[1..]);
                (0..w.taps())
                    .map(|tap| {
                        let tap = unravel(tap, &w.kernel);
                        (0..w.rank()).try_fold(0, |offset, a| {
                            let i = (out[a] * w.stride[a] + tap[a] * w.dilation[a]).checked_sub(w.pad_begin[a])?;
                            (i < source[a + 1]).then_some(offset * source[a + 1] + i)
                        })
                    })
                    .collect()
            })
            .collect();
        Taps { offsets, channels_per_group: c.weight.shape()[1], plane: source[1..].iter().product() }
    }

    /// The row of the regression for one position: the values under the taps, channel by channel, and a 1.
    fn row(&self, values: &[f32], group: usize, position: usize) -> Vec<f32> {
        let first = group * self.channels_per_group;
        let offsets = &self.offsets[position];
        let mut row = Vec::with_capacity(self.channels_per_group * offsets.len() + 1);
        for channel in first..first + self.channels_per_group {
            row.extend(offsets.iter().map(|o| o.map_or(0.0, |o| values[channel * self.plane + o])));
        }
        row.push(1.0);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_within_the_population_and_the_same_for_every_channel() {
        let places = Places::choose(&[3, 4, 5], 0, 10, 60);
        assert_eq!((places.channels, places.positions, places.elements.len()), (3, 6, 10));
        for elements in &places.elements {
            for (i, &e) in elements.iter().enumerate() {
                assert_eq!(e / 20, i / 6);
                assert_eq!(e % 20, elements[i % 6] % 20);
            }
        }
    }
}
