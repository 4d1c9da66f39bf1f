//! How many synapses a spike crosses: the base of the effective synaptic operations that engines report.
//!
//! A spike crosses one synapse for every neuron (or readout element) that it reaches through a linear operation with a
//! non-zero weight. Borders are exact: a spike in a corner reaches fewer neurons than one in the middle. Operations that
//! only move elements, and those that weight nothing of their own (sums, means, elementwise factors: they fold into a
//! neighbour's weights), pass the question on; where nothing but such stands between a spike and a neuron, that is one
//! synapse. Behind a linear operation without neurons the current goes on, and what it crosses next is counted as well.
//!
//! Max-pools have no synapses; what their own spikes cross is counted for the population whose spikes they pooled.

use crate::dense::{Geometry, Moves};
use crate::error::CompileError;
use snn_ir::op::{AvgPool, Divisor, Layer};
use snn_ir::{Graph, NodeId, Op, Signal, Tensor};
use std::collections::HashMap;

/// A node that sends spikes: a neuron population, or a max-pool of spikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpikeSource {
    /// The node.
    pub node: NodeId,
    /// Index of the population that its synaptic operations are counted for, in [`crate::Statistics::layers`].
    pub population: usize,
    /// For every element, the synapses that one spike crosses.
    pub synapses: Vec<u64>,
}

/// Whether a node is a neuron population.
pub fn is_population(op: &Op) -> bool {
    matches!(op, Op::If(_) | Op::Layer(Layer { neuron: Some(_), .. }))
}

/// All spike sources of a graph in topological order.
///
/// # Errors
/// When the graph has a cycle.
pub fn spike_sources(graph: &Graph) -> Result<Vec<SpikeSource>, CompileError> {
    let order = graph.topological()?;
    let mut crossed: HashMap<NodeId, Crossed> = HashMap::new();
    let mut sources = Vec::new();
    for &id in order.iter().rev() {
        let ty = graph.ty(id);
        let op = graph.op(id);
        let own = crossed.remove(&id).unwrap_or_else(|| Crossed::nothing(ty.len()));
        let operands = graph.operands(id);
        let mut parts: Vec<Crossed> = operands.iter().map(|&o| Crossed::nothing(graph.ty(o).len())).collect();
        let shapes: Vec<&[usize]> = operands.iter().map(|&o| graph.ty(o).shape.as_slice()).collect();
        go_back(op, &shapes, &ty.shape, &own, &mut parts);
        for (operand, part) in operands.into_iter().zip(parts) {
            match crossed.get_mut(&operand) {
                Some(c) => c.add(&part),
                None => drop(crossed.insert(operand, part)),
            }
        }
        if is_population(op) || (matches!(op, Op::CumulativeMaxPool(_) | Op::CumulativeMax) && ty.signal == Signal::Spikes) {
            sources.push(SpikeSource { node: id, population: 0, synapses: own.spike });
        }
    }
    sources.reverse();
    let mut populations: HashMap<NodeId, usize> = HashMap::new();
    for source in &mut sources {
        if is_population(graph.op(source.node)) {
            let next = populations.len();
            populations.insert(source.node, next);
        }
        // Spikes come from neurons alone, so the walk ends at a population.
        let mut at = source.node;
        while !populations.contains_key(&at) {
            at = graph.operands(at)[0];
        }
        source.population = populations[&at];
    }
    Ok(sources)
}

/// For every element of a value, the synapses crossed downstream.
#[derive(Clone, Debug)]
struct Crossed {
    /// By a spike that has crossed none yet, so that its arrival is a synapse.
    spike: Vec<u64>,
    /// By a current, whose arrival is none.
    current: Vec<u64>,
}

impl Crossed {
    fn nothing(len: usize) -> Self {
        Crossed { spike: vec![0; len], current: vec![0; len] }
    }

    fn arrival(len: usize) -> Self {
        Crossed { spike: vec![1; len], current: vec![0; len] }
    }

    fn add(&mut self, other: &Crossed) {
        for (to, from) in [(&mut self.spike, &other.spike), (&mut self.current, &other.current)] {
            to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        }
    }
}

/// From what the result's elements cross to what the operands' elements cross.
fn go_back(op: &Op, shapes: &[&[usize]], result: &[usize], own: &Crossed, operands: &mut [Crossed]) {
    match op {
        Op::If(_) | Op::Readout { .. } => operands[0] = Crossed::arrival(operands[0].spike.len()),
        Op::Scale(_) | Op::BatchNorm(_) | Op::Add => operands.iter_mut().for_each(|o| o.add(own)),
        Op::Conv(c) => {
            let geometry = Geometry::new(&c.window, &shapes[0][1..], &result[1..]);
            let channels = (shapes[0][0] / c.groups, result[0] / c.groups);
            let weights = Weights { tensor: &c.weight, channels, taps: c.window.taps(), transposed: false };
            cross(&weights, &geometry, own, &mut operands[0]);
        }
        Op::ConvTranspose(c) => {
            let geometry = Geometry::new(&c.window, &result[1..], &shapes[0][1..]);
            let channels = (shapes[0][0] / c.groups, result[0] / c.groups);
            let weights = Weights { tensor: &c.weight, channels, taps: c.window.taps(), transposed: true };
            cross(&weights, &geometry, own, &mut operands[0]);
        }
        Op::Linear(l) => {
            let exists: Vec<bool> = l.weight.to_f64_vec().iter().map(|&w| w != 0.0).collect();
            let inputs = l.weight.shape()[1];
            let rows = own.current.chunks_exact(l.weight.shape()[0]);
            let spike = operands[0].spike.chunks_exact_mut(inputs).zip(operands[0].current.chunks_exact_mut(inputs));
            for ((spike, current), beyond) in spike.zip(rows) {
                for (exists, beyond) in exists.chunks_exact(inputs).zip(beyond) {
                    for i in 0..inputs {
                        spike[i] += if exists[i] { 1 + beyond } else { 0 };
                    }
                }
                current.copy_from_slice(spike);
            }
        }
        Op::AvgPool(AvgPool { window, .. }) => {
            let geometry = Geometry::new(window, &shapes[0][1..], &result[1..]);
            for (to, from) in [(&mut operands[0].spike, &own.spike), (&mut operands[0].current, &own.current)] {
                for (to, from) in to.chunks_exact_mut(geometry.inputs).zip(from.chunks_exact(geometry.outputs)) {
                    for r in &geometry.runs {
                        let to = to[r.input..].iter_mut().step_by(geometry.stride);
                        to.zip(&from[r.output..r.output + r.len]).for_each(|(to, from)| *to += from);
                    }
                }
            }
        }
        Op::Reduce(r) => {
            // Whole axes are one window over the value seen as a single plane.
            let kernel: Vec<usize> = shapes[0].iter().enumerate().map(|(a, &n)| if r.axes.contains(&a) { n } else { 1 }).collect();
            let (with_channel, without) = ([&[1][..], shapes[0]].concat(), [&[1][..], result].concat());
            let pool = AvgPool { window: snn_ir::Window::unit(kernel), divisor: Divisor::One };
            go_back(&Op::AvgPool(pool), &[&with_channel], &without, own, operands);
        }
        Op::Layer(l) => {
            let arrival = Crossed::arrival(own.spike.len());
            let own = if l.neuron.is_some() { &arrival } else { own };
            for (i, synapse) in l.synapses.iter().enumerate() {
                go_back(synapse, &shapes[i..=i], result, own, &mut operands[i..=i]);
            }
        }
        _ => {
            if let Some(moves) = (!operands.is_empty()).then(|| Moves::new(op, shapes, result)).flatten() {
                let (mut spikes, mut currents): (Vec<_>, Vec<_>) =
                    operands.iter_mut().map(|o| (std::mem::take(&mut o.spike), std::mem::take(&mut o.current))).unzip();
                moves.run_backwards(&own.spike, &mut spikes);
                moves.run_backwards(&own.current, &mut currents);
                for (o, (spike, current)) in operands.iter_mut().zip(spikes.into_iter().zip(currents)) {
                    *o = Crossed { spike, current };
                }
            }
        }
    }
}

/// Which weights of a (transposed) convolution exist.
struct Weights<'a> {
    tensor: &'a Tensor,
    /// Input and output channels of a group.
    channels: (usize, usize),
    taps: usize,
    transposed: bool,
}

/// Crosses a convolution backwards. `geometry` is the convolution's own, or that of the convolution it transposes.
fn cross(weights: &Weights, geometry: &Geometry, own: &Crossed, operand: &mut Crossed) {
    let (ins, outs) = weights.channels;
    let (in_plane, out_plane) = if weights.transposed { (geometry.outputs, geometry.inputs) } else { (geometry.inputs, geometry.outputs) };
    let exists: Vec<bool> = weights.tensor.to_f64_vec().iter().map(|&w| w != 0.0).collect();
    let currents_end_here = own.current.iter().all(|&n| n == 0);
    for (channel, to) in operand.spike.chunks_exact_mut(in_plane).enumerate() {
        let (group, c) = (channel / ins, channel % ins);
        let weight_exists = |o: usize, tap: usize| {
            let row = if weights.transposed { channel * outs + o } else { (group * outs + o) * ins + c };
            exists[row * weights.taps + tap]
        };
        for r in &geometry.runs {
            let (first, step, beyond, beyond_step) =
                if weights.transposed { (r.output, 1, r.input, geometry.stride) } else { (r.input, geometry.stride, r.output, 1) };
            if currents_end_here {
                let synapses = (0..outs).filter(|&o| weight_exists(o, r.tap)).count() as u64;
                (0..r.len).for_each(|i| to[first + i * step] += synapses);
            } else {
                for o in (0..outs).filter(|&o| weight_exists(o, r.tap)) {
                    let plane = &own.current[(group * outs + o) * out_plane..][..out_plane];
                    (0..r.len).for_each(|i| to[first + i * step] += 1 + plane[beyond + i * beyond_step]);
                }
            }
        }
    }
    operand.current.copy_from_slice(&operand.spike);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::Kernel;
    use crate::testing::{Form, random_graph};
    use proptest::prelude::*;
    use snn_ir::op::Firing;

    /// `op` with every weight that is not zero set to one, so that the response to a spike counts synapses.
    fn with_unit_weights(op: &Op) -> Op {
        let unit = |t: &Tensor| t.map(|w| f32::from(w != 0.0));
        match op.clone() {
            Op::Conv(mut c) => {
                c.weight = unit(&c.weight);
                Op::Conv(c)
            }
            Op::ConvTranspose(mut c) => {
                c.weight = unit(&c.weight);
                Op::ConvTranspose(c)
            }
            Op::Linear(mut l) => {
                l.weight = unit(&l.weight);
                Op::Linear(l)
            }
            Op::AvgPool(p) => Op::AvgPool(AvgPool { divisor: Divisor::One, ..p }),
            Op::Reduce(r) => Op::Reduce(snn_ir::op::Reduce { mean: false, ..r }),
            Op::Scale(_) => Op::Identity,
            other => other,
        }
    }

    proptest! {
        #[test]
        fn a_spike_crosses_as_many_synapses_as_unit_weights_answer_to_it(seed: u64) {
            let graph = random_graph(seed, Form::Fused, &[Firing::Binary]);
            for source in spike_sources(&graph).unwrap() {
                let shape = &graph.ty(source.node).shape;
                let users = graph.users(source.node);
                let layers: Vec<(&Layer, Vec<NodeId>, &[usize])> = users
                    .iter()
                    .filter_map(|&u| match graph.op(u) {
                        Op::Layer(l) => Some((l, graph.operands(u), graph.ty(u).shape.as_slice())),
                        _ => None,
                    })
                    .collect();
                if layers.len() < users.len() {
                    continue;
                }
                for element in 0..source.synapses.len() {
                    let mut spike = vec![0.0; source.synapses.len()];
                    spike[element] = 1.0;
                    let mut answer = 0.0;
                    for (layer, operands, result) in &layers {
                        for (synapse, _) in layer.synapses.iter().zip(operands).filter(|(_, o)| **o == source.node) {
                            let kernel = Kernel::<f32>::new(&with_unit_weights(synapse), &[shape], result).unwrap();
                            let mut out = vec![0.0; result.iter().product()];
                            kernel.run(&[&spike], &mut out);
                            answer += out.iter().sum::<f32>();
                        }
                    }
                    prop_assert_eq!(source.synapses[element], answer as u64);
                }
            }
        }
    }
}
