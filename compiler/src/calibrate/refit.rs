//! Refits the weights before a population or an answer to the spikes that they get.

use super::CalibrationError;
use super::layerwise::Site;
use super::least_squares::{Factor, Gram, Rows};
use super::places::Places;
use super::rounding::Lattice;
use super::terms::{column_amplitudes, largest_currents, terms, weights};
use rayon::prelude::*;
use snn_ir::op::{Conv, Linear};
use snn_ir::{NodeId, Op, Tensor};

/// Most unknowns per output that a refit takes on.
const MOST_COLUMNS: usize = 4700;
/// Ridges that a refit chooses from by the error that is left on samples held back from it.
const RIDGES: [f64; 5] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0];
/// From so many unknowns on each ridge costs seconds.
const MANY_COLUMNS: usize = 1200;
/// Those that are tried then.
const FEW_RIDGES: [f64; 2] = [1e-2, 1e-1];
/// Ridge where no samples are held back to choose by.
const CAUTIOUS_RIDGE: f64 = 1e-1;
/// Gains below this part of a layer's largest make a channel's weights worthless for its current.
const LEAST_GAIN: f32 = 1e-3;

/// Weights before a population, with the mean spike input they get at the chosen places.
pub struct Refit {
    node: NodeId,
    groups: Vec<Group>,
    columns: usize,
    outputs_per_group: usize,
    /// What the population's current gains from one unit of the node's value, per channel.
    gains: Vec<f32>,
    /// Whether this population alone reads the node.
    pub is_exclusive: bool,
    /// Index of the ridge in use, once chosen.
    chosen: usize,
}

/// The regression of the outputs of one group.
struct Group {
    /// One row per place in the samples that are fitted to.
    fitted: (Rows, Gram),
    /// The same in those held back.
    held_back: Option<(Rows, Gram)>,
    /// Of the fitted places, one per ridge.
    factors: Vec<Factor>,
}

/// A change of weights: per output channel its columns, the bias last.
#[derive(Clone)]
pub struct WeightStep(Vec<Vec<f64>>);

/// Weights rounded to integers.
pub struct Rounded {
    /// What has to be added to them.
    pub step: WeightStep,
    /// The current of one integer step, per channel; zero where all weights are.
    pub units: Vec<f32>,
}

impl WeightStep {
    /// Adds `length` times `other`, channel by channel.
    pub fn add(&mut self, other: &WeightStep, lengths: &[f32]) {
        for ((to, from), &length) in self.0.iter_mut().zip(&other.0).zip(lengths) {
            to.iter_mut().zip(from).for_each(|(t, f)| *t += f * f64::from(length));
        }
    }
}

/// Largest change of a weight that is taken for one.
const LARGEST_STEP: f64 = 1e30;

impl Refit {
    /// The first conv or linear node that reaches the site through sums, biases and factors per channel, gets spikes, and
    /// is before nothing that was visited.
    ///
    /// # Errors
    /// When what is before it cannot be executed.
    pub fn of(site: &Site<'_>, places: &Places) -> Result<Option<Refit>, CalibrationError> {
        for term in terms(site, places) {
            if matches!(site.graph.op(term.node), Op::Conv(_) | Op::Linear(_))
                && !site.is_settled(term.node)
                && let Some(gains) = term.gains
                && let Some(refit) = Refit::on(site, term.node, places, gains, term.is_exclusive)?
            {
                return Ok(Some(refit));
            }
        }
        Ok(None)
    }

    fn on(site: &Site<'_>, node: NodeId, places: &Places, gains: Vec<f32>, is_exclusive: bool) -> Result<Option<Refit>, CalibrationError> {
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
        let of_sample = |sample: usize| -> Vec<Vec<f32>> {
            let mean = reader.mean(sample);
            let positions: Vec<usize> = places.of(sample, 0).iter().map(|&e| e % space).collect();
            (0..groups).map(|g| positions.iter().flat_map(|&p| taps.row(&mean, g, p)).collect()).collect()
        };
        let per_sample: Vec<Vec<Vec<f32>>> = (0..site.samples).into_par_iter().map(of_sample).collect();
        let fitted = places.count(site.fitted) * columns;
        let ridges: &[f64] = match columns {
            _ if site.fitted == site.samples => &[CAUTIOUS_RIDGE],
            MANY_COLUMNS.. => &FEW_RIDGES,
            _ => &RIDGES,
        };
        let group = |g: usize| -> Option<Group> {
            let rows: Vec<f32> = per_sample.iter().flat_map(|s| s[g].iter().copied()).collect();
            let equations = |rows: &[f32]| {
                let rows = Rows::new(rows.to_vec(), columns);
                let gram = rows.gram();
                (rows, gram)
            };
            let held_back = (fitted < rows.len()).then(|| equations(&rows[fitted..]));
            let fitted = equations(&rows[..fitted]);
            let factors = ridges.iter().map(|&ridge| fitted.1.factor(ridge)).collect::<Option<Vec<_>>>()?;
            Some(Group { fitted, held_back, factors })
        };
        let Some(groups) = (0..groups).into_par_iter().map(group).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let outputs_per_group = outputs / groups.len();
        Ok(Some(Refit { node, groups, columns, outputs_per_group, gains, is_exclusive, chosen: ridges.len() - 1 }))
    }

    /// The step that makes up for `residual` of the current, given per channel and place, with the ridge that leaves the least
    /// on samples held back; `None` when no ridge leaves less than there was.
    pub fn fit(&mut self, residual: &[Vec<f32>], fitted: usize) -> Option<WeightStep> {
        let (fitted_part, held_back_part): (Vec<Vec<f32>>, Vec<Vec<f32>>) =
            self.in_weight_units(residual).into_iter().map(|r| (r[..fitted].to_vec(), r[fitted..].to_vec())).unzip();
        let moments = self.moments(&fitted_part, |g| Some(&g.fitted.0));
        let judges = self.moments(&held_back_part, |g| g.held_back.as_ref().map(|(rows, _)| rows));
        let ridges = self.groups[0].factors.len();
        let tried: Vec<(f64, WeightStep)> = (0..ridges)
            .map(|ridge| {
                let step = self.solve(&moments, ridge);
                let left = |c: usize| {
                    let (w, group) = (&step.0[c], &self.groups[c / self.outputs_per_group]);
                    let (moment, gram) = match &group.held_back {
                        Some((_, gram)) => (&judges[c], gram),
                        None => (&moments[c], &group.fitted.1),
                    };
                    let products: f64 = moment.iter().zip(w).map(|(m, w)| m * w).sum();
                    (gram.quadratic(w) - 2.0 * products) * f64::from(self.gains[c]).powi(2)
                };
                let errors: Vec<f64> = (0..step.0.len()).into_par_iter().map(left).collect();
                (errors.iter().sum::<f64>(), step)
            })
            .collect();
        let (ridge, (error, step)) = tried.into_iter().enumerate().min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0))?;
        if error >= 0.0 {
            return None;
        }
        self.chosen = ridge;
        Some(step)
    }

    /// The step that makes up for `residual` on fitted samples, with the ridge that [`Refit::fit`] chose.
    pub fn refine(&self, residual: &[Vec<f32>], fitted: usize) -> WeightStep {
        let fitted: Vec<Vec<f32>> = self.in_weight_units(residual).into_iter().map(|r| r[..fitted].to_vec()).collect();
        self.solve(&self.moments(&fitted, |g| Some(&g.fitted.0)), self.chosen)
    }

    /// What `step` adds to the mean current, per channel and place.
    pub fn change(&self, step: &WeightStep) -> Vec<Vec<f32>> {
        let of_group = |(group, steps): (&Group, &[Vec<f64>])| {
            let steps: Vec<&[f64]> = steps.iter().map(Vec::as_slice).collect();
            let mut values = group.fitted.0.values(&steps);
            if let Some((rows, _)) = &group.held_back {
                values.iter_mut().zip(rows.values(&steps)).for_each(|(fitted, held_back)| fitted.extend(held_back));
            }
            values
        };
        let mut all: Vec<Vec<f32>> =
            self.groups.par_iter().zip(step.0.par_chunks(self.outputs_per_group)).map(of_group).collect::<Vec<_>>().concat();
        all.iter_mut().zip(&self.gains).for_each(|(values, gain)| values.iter_mut().for_each(|v| *v *= gain));
        all
    }

    /// The integers that `quantize` will make of the weights once `total` is added to them; `None` where it will not round them to
    /// integers of the width of weights before neurons, or to a step that is not known yet.
    ///
    /// # Errors
    /// When what is before them cannot be executed.
    pub fn round(&self, site: &Site<'_>, places: &Places, total: &WeightStep) -> Result<Option<Rounded>, CalibrationError> {
        let (Some(range), true) = (site.weight_range, self.is_exclusive) else { return Ok(None) };
        let Some(amplitudes) = column_amplitudes(site, self.node)? else { return Ok(None) };
        let columns = self.columns - 1;
        let mut largest = vec![0f64; self.gains.len()];
        let mut synapses = vec![site.graph.op(self.node)];
        for term in terms(site, places).into_iter().filter(|t| t.node != self.node) {
            let Some(others) = largest_currents(site, &term)? else { return Ok(None) };
            largest.iter_mut().zip(others).for_each(|(l, o)| *l = l.max(o));
            if matches!(site.graph.op(term.node), Op::Conv(_) | Op::Linear(_)) && !site.reader(term.node)?.is_steady() {
                synapses.push(site.graph.op(term.node));
            }
        }
        let most = range.of(synapses.into_iter());
        let weights = weights(site.graph.op(self.node));
        let lattices: Vec<Lattice> =
            self.groups.par_iter().enumerate().map(|(g, group)| Lattice::new(&group.fitted.1, amplitudes.of_group(g, columns))).collect();
        let row = |c: usize| -> (Vec<f64>, f32) {
            let lattice = &lattices[c / self.outputs_per_group];
            let gain = f64::from(self.gains[c].abs());
            let row: Vec<f64> = weights[c * columns..(c + 1) * columns].iter().zip(&total.0[c]).map(|(&w, s)| f64::from(w) + s).collect();
            let unit = (lattice.largest(&row) * gain).max(largest[c]) / most;
            if unit <= 0.0 || gain == 0.0 {
                return (vec![0.0; self.columns], 0.0);
            }
            (lattice.step(&row, unit / gain, most), unit as f32)
        };
        let (steps, units) = (0..self.gains.len()).into_par_iter().map(row).unzip();
        Ok(Some(Rounded { step: WeightStep(steps), units }))
    }

    /// A step that changes nothing.
    pub fn no_step(&self) -> WeightStep {
        WeightStep(vec![vec![0.0; self.columns]; self.gains.len()])
    }

    /// Adds `step` to the weights.
    ///
    /// # Errors
    /// When the graph refuses the new weights.
    pub fn apply(&self, site: &mut Site<'_>, step: &WeightStep) -> Result<(), CalibrationError> {
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

    fn in_weight_units(&self, residual: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let largest = self.gains.iter().fold(0f32, |m, g| m.max(g.abs()));
        let worthwhile = |gain: f32| gain.abs() > LEAST_GAIN * largest;
        let scaled = |(r, &gain): (&Vec<f32>, &f32)| r.iter().map(|v| if worthwhile(gain) { v / gain } else { 0.0 }).collect();
        residual.iter().zip(&self.gains).map(scaled).collect()
    }

    fn moments<'g>(&'g self, targets: &[Vec<f32>], rows: impl Fn(&'g Group) -> Option<&'g Rows> + Sync) -> Vec<Vec<f64>> {
        let of_group = |(group, targets): (&'g Group, &[Vec<f32>])| {
            rows(group).map_or_else(Vec::new, |rows| rows.moments(&targets.iter().map(Vec::as_slice).collect::<Vec<_>>()))
        };
        self.groups.par_iter().zip(targets.par_chunks(self.outputs_per_group)).map(of_group).collect::<Vec<_>>().concat()
    }

    fn solve(&self, moments: &[Vec<f64>], ridge: usize) -> WeightStep {
        let solve = |(c, m): (usize, &Vec<f64>)| {
            let step = self.groups[c / self.outputs_per_group].factors[ridge].solve(m);
            // Weights that the floats do not hold are no solution.
            if step.iter().all(|s| s.abs() < LARGEST_STEP) { step } else { vec![0.0; step.len()] }
        };
        WeightStep(moments.par_iter().enumerate().map(solve).collect())
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
