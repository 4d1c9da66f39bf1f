//! How large currents can become, so that `quantize` can choose units in which no potential leaves an `i32`.
//!
//! A bound is worst case: all sources at their largest in every step of the window. Where a current without neurons feeds
//! weights again (a linear bottleneck, a sum of activation segments in front of a convolution), its integers and those of the
//! weights behind it share the bits of one potential, and are given them so that both round equally.

use super::fold_batch_norm::along_axis;
use snn_ir::op::{AvgPool, Divisor, Firing};
use snn_ir::{Graph, NodeId, Op};
use std::collections::HashMap;

/// What a potential may reach in integer steps, with room for encoded currents and initial potentials.
const POTENTIAL: f64 = (1u64 << 29) as f64;

/// Bounds on the magnitude of every temporal value in one step, per channel, in the units of the network before
/// quantisation.
#[derive(Default)]
pub(super) struct Bounds(HashMap<NodeId, Vec<f64>>);

fn channels(graph: &Graph, id: NodeId) -> usize {
    graph.ty(id).shape.first().copied().unwrap_or(1)
}

impl Bounds {
    /// The bound of each channel of `id`. Spikes count one, and so does what has no bound of its own: the front end, whose
    /// currents are clamped where they are encoded.
    pub fn of(&self, graph: &Graph, id: NodeId) -> Vec<f64> {
        self.0.get(&id).cloned().unwrap_or_else(|| vec![1.0; channels(graph, id)])
    }

    /// Works out the bound of a node that only moves its operands' elements.
    pub fn carry(&mut self, graph: &Graph, id: NodeId) {
        let operands = graph.operands(id);
        let known: Vec<Vec<f64>> = operands.iter().map(|&o| self.of(graph, o)).collect();
        let count = channels(graph, id);
        let keeps_channels = graph.ty(id).shape.len() > 1 && known.iter().all(|k| k.len() == count);
        let bound = match graph.op(id) {
            Op::Concat { axis: 0 } => known.concat(),
            Op::CumulativeMaxPool(_) | Op::CumulativeMax | Op::Pad(_) if keeps_channels => {
                (0..count).map(|c| known.iter().map(|k| k[c]).fold(0.0, f64::max)).collect()
            }
            _ => vec![known.iter().flatten().copied().fold(0.0, f64::max); count],
        };
        self.0.insert(id, bound);
    }

    /// Works out the bound of the current of layer `id`, and of what it passes on.
    pub fn layer(&mut self, graph: &Graph, id: NodeId) -> Vec<f64> {
        let Op::Layer(layer) = graph.op(id) else { return self.of(graph, id) };
        let shape = &graph.ty(id).shape;
        let mut total = match &layer.bias {
            Some(bias) => per_channel(&bias.expanded(shape), channels(graph, id)),
            None => vec![0.0; channels(graph, id)],
        };
        let mut scheduled = vec![0f64; total.len()];
        for row in layer.neuron.iter().flat_map(|n| n.schedule_rows()) {
            let row = per_channel(&row.expanded(shape), scheduled.len());
            scheduled.iter_mut().zip(row).for_each(|(s, r)| *s = s.max(r));
        }
        total.iter_mut().zip(scheduled).for_each(|(t, s)| *t += s);
        for (synapse, source) in layer.synapses.iter().zip(graph.operands(id)) {
            let bound = self.of(graph, source);
            let reach = reach(synapse, &bound, &graph.ty(source).shape, shape);
            total.iter_mut().zip(reach).for_each(|(t, r)| *t += r);
        }
        let passed_on = match &layer.neuron {
            Some(neuron) => match neuron.firing {
                Firing::Lanes(lanes) => vec![f64::from((1u32 << lanes.min(15)) - 1); total.len()],
                _ => vec![1.0; total.len()],
            },
            None => total.clone(),
        };
        self.0.insert(id, passed_on);
        total
    }
}

/// Largest magnitude in each channel.
fn per_channel(values: &[f32], channels: usize) -> Vec<f64> {
    let inner = (values.len() / channels.max(1)).max(1);
    values.chunks_exact(inner).map(|c| f64::from(c.iter().fold(0f32, |m, v| m.max(v.abs())))).collect()
}

/// Absolute row sums of a synapse's weights, each weight multiplied by the bound of its source channel.
fn reach(synapse: &Op, bound: &[f64], source: &[usize], shape: &[usize]) -> Vec<f64> {
    let count = shape.first().copied().unwrap_or(1);
    let largest = bound.iter().copied().fold(0.0, f64::max);
    let same = |c: usize| bound.get(c).copied().unwrap_or(largest);
    let mut sums = vec![0.0; count];
    match synapse {
        Op::Conv(c) => {
            let (rows, columns, taps) = (c.weight.shape()[0], c.weight.shape()[1], c.window.taps());
            let per_group = rows / c.groups;
            for (i, w) in c.weight.as_f32().iter().enumerate() {
                let row = i / (columns * taps);
                sums[row] += f64::from(w.abs()) * same(row / per_group * columns + i / taps % columns);
            }
        }
        Op::ConvTranspose(c) => {
            let (inputs, per_group, taps) = (c.weight.shape()[0], c.weight.shape()[1], c.window.taps());
            for (i, w) in c.weight.as_f32().iter().enumerate() {
                let input = i / (per_group * taps);
                sums[input / (inputs / c.groups) * per_group + i / taps % per_group] += f64::from(w.abs()) * same(input);
            }
        }
        Op::Linear(l) => {
            let columns = l.weight.shape()[1];
            let flat = shape.len() == 1;
            let rows = l
                .weight
                .as_f32()
                .chunks_exact(columns)
                .map(|row| row.iter().enumerate().map(|(i, w)| f64::from(w.abs()) * if flat { same(i) } else { largest }).sum::<f64>());
            if flat {
                sums = rows.collect();
            } else {
                sums.fill(rows.fold(0.0, f64::max));
            }
        }
        Op::Scale(s) => match along_axis(s.weight.as_ref(), shape, 0, 1.0) {
            Some(weights) => sums.iter_mut().zip(weights).enumerate().for_each(|(c, (s, w))| *s = f64::from(w.abs()) * same(c)),
            None => {
                let weight = s.weight.as_ref().map_or(1.0, |w| w.as_f32().iter().fold(0f32, |m, v| m.max(v.abs())));
                sums.iter_mut().enumerate().for_each(|(c, s)| *s = f64::from(weight) * same(c));
            }
        },
        Op::AvgPool(AvgPool { window, divisor: Divisor::One }) => {
            sums.iter_mut().enumerate().for_each(|(c, s)| *s = window.taps() as f64 * same(c));
        }
        Op::Reduce(r) => {
            let count = if r.mean { 1.0 } else { r.axes.iter().map(|&a| source[a] as f64).product() };
            sums.iter_mut().enumerate().for_each(|(c, s)| *s = count * if r.axes.contains(&0) { largest } else { same(c) });
        }
        _ => sums.iter_mut().enumerate().for_each(|(c, s)| *s = same(c)),
    }
    sums
}

/// How many integer steps of current each step of the window may bring to a potential.
pub(super) fn steps_per_timestep(timesteps: u32) -> f64 {
    POTENTIAL / f64::from(timesteps.max(1))
}

/// The integer range of the current of layer `id`, which has no neurons, if weights read it: the geometric middle
/// between its own range and that of the weights behind it, each relative to the number of weights that add up.
pub(super) fn range_for_weights(graph: &Graph, id: NodeId, bound: &[f64], timesteps: u32) -> Option<f64> {
    let behind = weights_behind(graph, id)?;
    let Op::Layer(layer) = graph.op(id) else { return None };
    let largest = layer.synapses.iter().flat_map(|s| s.parameters()).flat_map(|(_, t)| t.as_f32().to_vec());
    let largest = f64::from(largest.fold(0f32, |m, v| m.max(v.abs()))).max(1e-30);
    let own = (bound.iter().copied().fold(0.0, f64::max) / largest).max(1.0);
    Some((steps_per_timestep(timesteps) * own / behind).sqrt())
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
                    let sums = reach(synapse, &vec![1.0; channels(graph, id)], source, &graph.ty(user).shape);
                    let tensor = synapse.parameters()[0].1;
                    let largest = f64::from(tensor.as_f32().iter().fold(0f32, |m, v| m.max(v.abs()))).max(1e-30);
                    see(Some((sums.into_iter().fold(0.0, f64::max) / largest).max(1.0)));
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
