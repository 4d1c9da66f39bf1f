//! How large currents can become, so that `quantize` can choose units in which no potential leaves an `i32`.
//!
//! A bound is worst case: every source as large or as small as it can be, whichever drives a potential further, in every step of the
//! window. Where a current without neurons feeds weights again (a linear bottleneck, a sum of activation segments in front of a
//! convolution), its integers and those of the weights behind it share the bits of one potential, and are given them so that both round
//! equally. `snn_ir::bounds` proves the same of the integers that come of it.

use super::fold_batch_norm::along_axis;
use snn_ir::op::{AvgPool, Divisor, Firing};
use snn_ir::{Graph, NodeId, Op};
use std::collections::HashMap;

/// What a potential may reach in integer steps, with room for initial potentials and for weights that are rounded up.
const POTENTIAL: f64 = 0.8 * (1u64 << 31) as f64;
/// The same where encoded currents arrive, which are bounded in integers only.
const ENCODED_POTENTIAL: f64 = (1u64 << 29) as f64;

/// What a value lies between. It contains zero: some of what adds up may be missing at an edge, and in whatever order an engine adds, no
/// partial sum may leave the range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Interval {
    low: f64,
    high: f64,
}

impl Interval {
    fn symmetric(magnitude: f64) -> Interval {
        Interval { low: -magnitude, high: magnitude }
    }

    fn magnitude(self) -> f64 {
        self.high.max(-self.low)
    }

    fn times(self, factor: f64) -> Interval {
        let (a, b) = (self.low * factor, self.high * factor);
        Interval { low: a.min(b), high: a.max(b) }
    }

    fn add(&mut self, other: Interval) {
        self.low += other.low;
        self.high += other.high;
    }

    fn hull(self, other: Interval) -> Interval {
        Interval { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

/// Bounds on every temporal value in one step, per channel, in the units of the network before quantisation.
#[derive(Default)]
pub(super) struct Bounds(HashMap<NodeId, Vec<Interval>>);

fn channels(graph: &Graph, id: NodeId) -> usize {
    graph.ty(id).shape.first().copied().unwrap_or(1)
}

fn hull(intervals: &[Interval]) -> Interval {
    intervals.iter().copied().reduce(Interval::hull).unwrap_or_default()
}

impl Bounds {
    /// The largest magnitude that each channel of `id` can have.
    pub fn magnitudes(&self, graph: &Graph, id: NodeId) -> Vec<f64> {
        self.of(graph, id).into_iter().map(Interval::magnitude).collect()
    }

    /// The bound of each channel of `id`. What has none of its own is the front end, whose currents are clamped where they are encoded.
    fn of(&self, graph: &Graph, id: NodeId) -> Vec<Interval> {
        self.0.get(&id).cloned().unwrap_or_else(|| vec![Interval::symmetric(1.0); channels(graph, id)])
    }

    /// Works out the bound of a node that only moves its operands' elements.
    pub fn carry(&mut self, graph: &Graph, id: NodeId) {
        let operands = graph.operands(id);
        let known: Vec<Vec<Interval>> = operands.iter().map(|&o| self.of(graph, o)).collect();
        let count = channels(graph, id);
        let keeps_channels = graph.ty(id).shape.len() > 1 && known.iter().all(|k| k.len() == count);
        let bound = match graph.op(id) {
            Op::Concat { axis: 0 } => known.concat(),
            Op::CumulativeMaxPool(_) | Op::CumulativeMax | Op::Pad(_) if keeps_channels => {
                (0..count).map(|c| known.iter().fold(Interval::default(), |all, k| all.hull(k[c]))).collect()
            }
            _ => vec![hull(&known.concat()); count],
        };
        self.0.insert(id, bound);
    }

    /// Works out the bound of the current of layer `id`, and of what it passes on; returns the current's magnitude.
    pub fn layer(&mut self, graph: &Graph, id: NodeId) -> Vec<f64> {
        let Op::Layer(layer) = graph.op(id) else { return self.magnitudes(graph, id) };
        let shape = &graph.ty(id).shape;
        let count = channels(graph, id);
        let mut total = vec![Interval::default(); count];
        let constants = layer.bias.iter().map(|bias| per_channel(&bias.expanded(shape), count)).collect::<Vec<_>>();
        let scheduled = layer.neuron.iter().flat_map(|n| n.schedule_rows()).map(|row| per_channel(&row.expanded(shape), count));
        let scheduled = scheduled.reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| a.hull(b)).collect());
        let sources = layer.synapses.iter().zip(graph.operands(id));
        let reached = sources.map(|(synapse, source)| reach(synapse, &self.of(graph, source), &graph.ty(source).shape, shape));
        for part in constants.into_iter().chain(scheduled).chain(reached) {
            total.iter_mut().zip(part).for_each(|(t, p)| t.add(p));
        }
        let magnitudes = total.iter().map(|t| t.magnitude()).collect();
        let passed_on = match &layer.neuron {
            Some(neuron) => {
                let most = f64::from(neuron.firing.quanta());
                let takes_back = neuron.signed || neuron.firing == Firing::Ternary;
                vec![Interval { low: if takes_back { -most } else { 0.0 }, high: most }; count]
            }
            None => total,
        };
        self.0.insert(id, passed_on);
        magnitudes
    }
}

/// What the values of each channel lie between.
fn per_channel(values: &[f32], channels: usize) -> Vec<Interval> {
    let inner = (values.len() / channels.max(1)).max(1);
    let reach = |c: &[f32]| c.iter().fold(Interval::default(), |i, &v| Interval { low: i.low.min(v.into()), high: i.high.max(v.into()) });
    values.chunks_exact(inner).map(reach).collect()
}

/// What a synapse makes of the bounds of its source's channels.
fn reach(synapse: &Op, bound: &[Interval], source: &[usize], shape: &[usize]) -> Vec<Interval> {
    let count = shape.first().copied().unwrap_or(1);
    let widest = hull(bound);
    let same = |c: usize| bound.get(c).copied().unwrap_or(widest);
    let mut sums = vec![Interval::default(); count];
    match synapse {
        Op::Conv(c) => {
            let (rows, columns, taps) = (c.weight.shape()[0], c.weight.shape()[1], c.window.taps());
            let per_group = rows / c.groups;
            for (i, &w) in c.weight.as_f32().iter().enumerate() {
                let row = i / (columns * taps);
                sums[row].add(same(row / per_group * columns + i / taps % columns).times(w.into()));
            }
        }
        Op::ConvTranspose(c) => {
            let (inputs, per_group, taps) = (c.weight.shape()[0], c.weight.shape()[1], c.window.taps());
            for (i, &w) in c.weight.as_f32().iter().enumerate() {
                let input = i / (per_group * taps);
                sums[input / (inputs / c.groups) * per_group + i / taps % per_group].add(same(input).times(w.into()));
            }
        }
        Op::Linear(l) => {
            let columns = l.weight.shape()[1];
            let flat = shape.len() == 1;
            let rows = l.weight.as_f32().chunks_exact(columns).map(|row| {
                let mut sum = Interval::default();
                row.iter().enumerate().for_each(|(i, &w)| sum.add(if flat { same(i) } else { widest }.times(w.into())));
                sum
            });
            let rows: Vec<Interval> = rows.collect();
            sums = if flat { rows } else { vec![hull(&rows); count] };
        }
        Op::Scale(s) => match along_axis(s.weight.as_ref(), shape, 0, 1.0) {
            Some(weights) => sums.iter_mut().zip(weights).enumerate().for_each(|(c, (s, w))| *s = same(c).times(w.into())),
            None => {
                let weight = s.weight.as_ref().map_or(1.0, |w| w.as_f32().iter().fold(0f32, |m, v| m.max(v.abs())));
                sums.iter_mut().enumerate().for_each(|(c, s)| *s = Interval::symmetric(same(c).magnitude() * f64::from(weight)));
            }
        },
        Op::AvgPool(AvgPool { window, divisor: Divisor::One }) => {
            sums.iter_mut().enumerate().for_each(|(c, s)| *s = same(c).times(window.taps() as f64));
        }
        Op::Reduce(r) => {
            let count = if r.mean { 1.0 } else { r.axes.iter().map(|&a| source[a] as f64).product() };
            sums.iter_mut().enumerate().for_each(|(c, s)| *s = if r.axes.contains(&0) { widest } else { same(c) }.times(count));
        }
        _ => sums.iter_mut().enumerate().for_each(|(c, s)| *s = same(c)),
    }
    sums
}

/// How many integer steps of current each step of the window may bring to a potential, which encoded currents may reach, too.
pub(super) fn steps_per_timestep(timesteps: u32, reads_input: bool) -> f64 {
    (if reads_input { ENCODED_POTENTIAL } else { POTENTIAL }) / f64::from(timesteps.max(1))
}

/// The integer range of the current of layer `id`, which has no neurons, if weights read it: the geometric middle
/// between its own range and that of the weights behind it, each relative to the number of weights that add up.
pub(super) fn range_for_weights(graph: &Graph, id: NodeId, bound: &[f64], timesteps: u32) -> Option<f64> {
    let behind = weights_behind(graph, id)?;
    let Op::Layer(layer) = graph.op(id) else { return None };
    let largest = layer.synapses.iter().flat_map(|s| s.parameters()).flat_map(|(_, t)| t.as_f32().to_vec());
    let largest = f64::from(largest.fold(0f32, |m, v| m.max(v.abs()))).max(1e-30);
    let own = (bound.iter().copied().fold(0.0, f64::max) / largest).max(1.0);
    Some((steps_per_timestep(timesteps, false) * own / behind).sqrt())
}

/// How many elements of the current `id` are added up behind it before weights or neurons read the sum.
pub(super) fn sums_behind(graph: &Graph, id: NodeId) -> f64 {
    let source = &graph.ty(id).shape;
    let of_synapse = |synapse: &Op| match synapse {
        Op::AvgPool(p) => Some(p.window.taps() as f64),
        Op::Reduce(r) => Some(r.axes.iter().map(|&a| source[a] as f64).product()),
        Op::Identity | Op::Scale(_) => Some(1.0),
        _ => None,
    };
    let behind = |user: NodeId| match graph.op(user) {
        Op::Layer(l) if l.neuron.is_none() => {
            let synapses = l.synapses.iter().zip(graph.operands(user)).filter(|(_, source)| *source == id);
            let most = synapses.filter_map(|(s, _)| of_synapse(s)).fold(0.0, f64::max);
            if most > 0.0 { most * sums_behind(graph, user) } else { 1.0 }
        }
        Op::Layer(_) | Op::Readout { .. } => 1.0,
        _ => sums_behind(graph, user),
    };
    graph.users(id).into_iter().map(behind).fold(1.0, f64::max)
}

/// The number of weights of full size that add up behind the value of `id`, times the elements that sums over space in
/// between add up; `None` where no weights read it.
fn weights_behind(graph: &Graph, id: NodeId) -> Option<f64> {
    let mut most: Option<f64> = None;
    let mut see = |value: Option<f64>| most = value.into_iter().chain(most).reduce(f64::max);
    for user in graph.users(id) {
        let op = graph.op(user);
        let Op::Layer(layer) = op else {
            if !matches!(op, Op::Readout { .. }) {
                see(weights_behind(graph, user));
            }
            continue;
        };
        for (synapse, _) in layer.synapses.iter().zip(graph.operands(user)).filter(|(_, source)| *source == id) {
            let source = &graph.ty(id).shape;
            match synapse {
                Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear(_) => {
                    let sums = reach(synapse, &vec![Interval::symmetric(1.0); channels(graph, id)], source, &graph.ty(user).shape);
                    let tensor = synapse.parameters()[0].1;
                    let largest = f64::from(tensor.as_f32().iter().fold(0f32, |m, v| m.max(v.abs()))).max(1e-30);
                    see(Some((sums.into_iter().map(Interval::magnitude).fold(0.0, f64::max) / largest).max(1.0)));
                }
                Op::AvgPool(p) if layer.neuron.is_none() => see(weights_behind(graph, user).map(|w| w * p.window.taps() as f64)),
                Op::Reduce(r) if layer.neuron.is_none() => {
                    let count: usize = r.axes.iter().map(|&a| source[a]).product();
                    see(weights_behind(graph, user).map(|w| w * count as f64));
                }
                _ if layer.neuron.is_none() => see(weights_behind(graph, user)),
                _ => {}
            }
        }
    }
    most
}
