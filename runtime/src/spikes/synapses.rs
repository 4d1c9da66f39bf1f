//! How many synapses a spike crosses, and how many weights multiply currents: the base of the
//! synaptic operations and multiplications (MACs) that are reported.
//!
//! A spike crosses one synapse for every element that it reaches through a linear operation with a
//! non-zero weight. Borders are exact: a spike in a corner reaches fewer neurons than one in the
//! middle. Operations that only move elements, and those that weight nothing of their own (sums,
//! means, elementwise factors: they fold into a neighbour's weights), pass the question on; where
//! nothing but such is between a spike and a neuron, that is one synapse. A spike ends where it is
//! added to a weighted current, whether neurons are there or not: what weights make of such a
//! current after is multiplication, once per step, and once per window where only sums over the
//! window matter ([`Multiplications`]).
//!
//! Max-pools have no synapses; what their own spikes cross is counted for the population whose
//! spikes they pooled.

use crate::dense::{Moves, WindowRuns};
use crate::error::CompileError;
use snn_ir::neuron::Timing;
use snn_ir::op::{AvgPool, Divisor};
use snn_ir::{Graph, NodeId, Op, Signal, Tensor};
use std::collections::{HashMap, HashSet};

/// A node that sends spikes: a neuron population, or a max-pool of spikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpikeSource {
    /// The node.
    pub node: NodeId,
    /// Index of the population that its synaptic operations are counted for, in
    /// [`crate::Statistics::layers`].
    pub population: usize,
    /// For every element, the synapses that one spike crosses.
    pub synapses: Vec<u64>,
}

/// Multiplications of currents with weights, one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Multiplications {
    /// Once per window: what depends on the input alone, and all where every neuron waits for its
    /// window.
    pub per_window: u64,
    /// In every step.
    pub per_step: u64,
}

impl Multiplications {
    /// In a window of so many steps.
    pub fn in_steps(&self, steps: u64) -> u64 {
        self.per_window.saturating_add(self.per_step.saturating_mul(steps))
    }
}

/// Counts the multiplications of `graph`: the weights other than zero that read a current instead
/// of spikes.
///
/// # Errors
/// When the graph has a cycle.
pub fn multiplications(graph: &Graph) -> Result<Multiplications, CompileError> {
    let weighted = weighted(graph)?;
    let waits = |id| graph.op(id).neuron().is_none_or(|n| n.firing.timing() == Timing::WholeWindow);
    let only_windows = graph.ids().all(waits);
    let mut steady: HashSet<NodeId> = HashSet::new();
    let mut count = Multiplications::default();
    for id in graph.topological()? {
        let operands = graph.operands(id);
        if !graph.op(id).is_population() && operands.iter().all(|o| steady.contains(o)) {
            steady.insert(id);
        }
        let synapses: Vec<&Op> = match graph.op(id) {
            Op::Layer(l) => l.synapses.iter().collect(),
            op => vec![op],
        };
        for (synapse, operand) in synapses.into_iter().zip(&operands).filter(|(_, o)| weighted.contains(o)) {
            if has_weights(synapse) {
                let shape = graph.ty(*operand).shape.as_slice();
                let mut crossed = [vec![0; graph.ty(*operand).len()]];
                go_back(synapse, &[shape], &graph.ty(id).shape, &vec![0; graph.ty(id).len()], &mut crossed);
                let all = crossed[0].iter().sum::<u64>();
                if only_windows || steady.contains(operand) { count.per_window += all } else { count.per_step += all }
            }
        }
    }
    Ok(count)
}

fn has_weights(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear(_))
}

/// Nodes whose value is a real current: the input, results of weights, and what is made of such
/// without neurons.
fn weighted(graph: &Graph) -> Result<HashSet<NodeId>, CompileError> {
    let mut weighted = HashSet::new();
    for id in graph.topological()? {
        let is_one = match graph.op(id) {
            Op::Input(..) => true,
            op if op.is_population() => false,
            Op::Layer(l) if l.synapses.iter().any(has_weights) => true,
            op => has_weights(op) || graph.operands(id).iter().any(|o| weighted.contains(o)),
        };
        if is_one {
            weighted.insert(id);
        }
    }
    Ok(weighted)
}

/// All spike sources of a graph in topological order.
///
/// # Errors
/// When the graph has a cycle.
pub fn spike_sources(graph: &Graph) -> Result<Vec<SpikeSource>, CompileError> {
    let order = graph.topological()?;
    let weighted = weighted(graph)?;
    // For every element of a value, the synapses that a spike there crosses downstream.
    let mut crossed: HashMap<NodeId, Vec<u64>> = HashMap::new();
    let mut sources = Vec::new();
    for &id in order.iter().rev() {
        let ty = graph.ty(id);
        let op = graph.op(id);
        let own = crossed.remove(&id).unwrap_or_else(|| vec![0; ty.len()]);
        let operands = graph.operands(id);
        let mut parts: Vec<Vec<u64>> = operands.iter().map(|&o| vec![0; graph.ty(o).len()]).collect();
        let shapes: Vec<&[usize]> = operands.iter().map(|&o| graph.ty(o).shape.as_slice()).collect();
        let is_arrival = op.is_population() || weighted.contains(&id) || matches!(op, Op::Readout { .. });
        let beyond = if is_arrival { &vec![1; ty.len()] } else { &own };
        go_back(op, &shapes, &ty.shape, beyond, &mut parts);
        for (operand, part) in operands.into_iter().zip(parts) {
            match crossed.get_mut(&operand) {
                Some(c) => c.iter_mut().zip(&part).for_each(|(a, b)| *a += b),
                None => drop(crossed.insert(operand, part)),
            }
        }
        if op.is_population() || (matches!(op, Op::CumulativeMaxPool(_) | Op::CumulativeMax) && ty.signal == Signal::Spikes) {
            sources.push(SpikeSource { node: id, population: 0, synapses: own });
        }
    }
    sources.reverse();
    let mut populations: HashMap<NodeId, usize> = HashMap::new();
    for source in &mut sources {
        if graph.op(source.node).is_population() {
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

/// From what spikes in the result's elements cross to what those in the operands' elements cross,
/// which is added.
fn go_back(op: &Op, shapes: &[&[usize]], result: &[usize], own: &[u64], operands: &mut [Vec<u64>]) {
    let add = |to: &mut Vec<u64>, from: &[u64]| to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
    match op {
        Op::If(_) | Op::Readout { .. } | Op::Requantize(_) | Op::Scale(_) | Op::BatchNorm(_) | Op::Add => {
            operands.iter_mut().for_each(|o| add(o, own))
        }
        Op::Conv(c) => {
            let geometry = WindowRuns::new(&c.window, &shapes[0][1..], &result[1..]);
            let channels = (shapes[0][0] / c.groups, result[0] / c.groups);
            let weights = Weights { tensor: &c.weight, channels, taps: c.window.taps(), transposed: false };
            cross(&weights, &geometry, &mut operands[0]);
        }
        Op::ConvTranspose(c) => {
            let geometry = WindowRuns::new(&c.window, &result[1..], &shapes[0][1..]);
            let channels = (shapes[0][0] / c.groups, result[0] / c.groups);
            let weights = Weights { tensor: &c.weight, channels, taps: c.window.taps(), transposed: true };
            cross(&weights, &geometry, &mut operands[0]);
        }
        Op::Linear(l) => {
            let inputs = l.weight.shape()[1];
            let mut synapses = vec![0; inputs];
            for row in l.weight.to_f64_vec().chunks_exact(inputs) {
                synapses.iter_mut().zip(row).for_each(|(n, &w)| *n += u64::from(w != 0.0));
            }
            operands[0].chunks_exact_mut(inputs).for_each(|to| to.iter_mut().zip(&synapses).for_each(|(to, n)| *to += n));
        }
        Op::AvgPool(AvgPool { window, .. }) => {
            let geometry = WindowRuns::new(window, &shapes[0][1..], &result[1..]);
            for (to, from) in operands[0].chunks_exact_mut(geometry.inputs).zip(own.chunks_exact(geometry.outputs)) {
                for r in &geometry.runs {
                    let to = to[r.input..].iter_mut().step_by(geometry.stride);
                    to.zip(&from[r.output..r.output + r.len]).for_each(|(to, from)| *to += from);
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
            for (i, synapse) in l.synapses.iter().enumerate() {
                go_back(synapse, &shapes[i..=i], result, own, &mut operands[i..=i]);
            }
        }
        _ => {
            if let Some(moves) = (!operands.is_empty()).then(|| Moves::new(op, shapes, result)).flatten() {
                moves.run_backwards(own, operands);
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

/// Adds the synapses of a convolution. `geometry` is the convolution's own, or that of the
/// convolution it transposes.
fn cross(weights: &Weights, geometry: &WindowRuns, operand: &mut [u64]) {
    let (ins, outs) = weights.channels;
    let plane = if weights.transposed { geometry.outputs } else { geometry.inputs };
    let exists: Vec<bool> = weights.tensor.to_f64_vec().iter().map(|&w| w != 0.0).collect();
    for (channel, to) in operand.chunks_exact_mut(plane).enumerate() {
        let (group, c) = (channel / ins, channel % ins);
        let weight_exists = |o: usize, tap: usize| {
            let row = if weights.transposed { channel * outs + o } else { (group * outs + o) * ins + c };
            exists[row * weights.taps + tap]
        };
        for r in &geometry.runs {
            let (first, step) = if weights.transposed { (r.output, 1) } else { (r.input, geometry.stride) };
            let synapses = (0..outs).filter(|&o| weight_exists(o, r.tap)).count() as u64;
            (0..r.len).for_each(|i| to[first + i * step] += synapses);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::Kernel;
    use crate::testing::{Form, random_graph};
    use proptest::prelude::*;
    use snn_ir::op::Layer;

    /// `op` with every weight that is not zero set to one, so that the response to a spike counts
    /// synapses.
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

    /// Spikes of two channels, weights to one channel without neurons, weights to three channels of
    /// neurons.
    fn bottleneck(firing: &str) -> Graph {
        let text = format!(
            "graph @net steps=4 {{
  %x = input : current[2x4x4]
  %a = if %x, threshold=1, init=0, reset=subtract{firing} : spikes[2x4x4]
  %b = conv %a, weight=@b, kernel=1x1 : current[1x4x4]
  %c = conv %b, weight=@c, kernel=1x1 : current[3x4x4]
  %d = if %c, threshold=1, init=0, reset=subtract{firing} : spikes[3x4x4]
  %y = readout %d : potential[3x4x4]
  output %y
}}
@b = f32[1x2x1x1] [1, 1]
@c = f32[3x1x1x1] [1, 1, 0]
"
        );
        snn_ir::text::parse(&text).unwrap()
    }

    #[test]
    fn a_spike_ends_where_weights_make_a_current_of_it_and_what_reads_that_current_multiplies() {
        let graph = bottleneck("");
        assert!(spike_sources(&graph).unwrap()[0].synapses.iter().all(|&n| n == 1), "one channel after it, not the three beyond");
        assert_eq!(multiplications(&graph).unwrap(), Multiplications { per_window: 0, per_step: 2 * 16 });
    }

    #[test]
    fn behind_window_barriers_currents_are_multiplied_once_a_window() {
        let graph = bottleneck(", firing=two_phase");
        assert_eq!(multiplications(&graph).unwrap().in_steps(4), 2 * 16);
    }

    proptest! {
        #[test]
        fn a_spike_crosses_as_many_synapses_as_unit_weights_answer_to_it(seed: u64) {
            let graph = random_graph(seed, Form::Fused, &[snn_ir::neuron::BINARY]);
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
