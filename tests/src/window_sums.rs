//! The quantised ANN in integers: what an integer graph computes if every neuron knew the sum of its current over the window.
//!
//! It knows no time, no spikes and no order: each node's value is its sum over T steps, and a neuron's count is
//! `clip(floor((Σ I + v(0))/θ), 0, T)`. Written apart from the engines, one loop per operation, in 64 bits, so that it can say whether
//! the exact modes are. The real-valued prefix, which is the same in every step, is taken from the analog executor.

use snn_ir::index_map::index_map;
use snn_ir::neuron::Neuron;
use snn_ir::op::{Divisor, Layer, Requantize, Scale};
use snn_ir::{Graph, NodeId, Op, Signal, Tensor, Window};
use snn_runtime::analog::AnalogNetwork;
use std::collections::HashMap;

/// An integer graph, ready to be evaluated.
pub struct WindowSums<'g> {
    graph: &'g Graph,
    order: Vec<NodeId>,
    /// Per `encode` node, the real-valued network before it.
    prefixes: HashMap<NodeId, AnalogNetwork>,
    /// Per window operation and operand shape, its taps.
    taps: HashMap<(NodeId, usize), Vec<Tap>>,
}

/// The result of one sample.
pub struct Sums {
    /// Count of every neuron, per population in topological order.
    pub counts: Vec<Vec<i64>>,
    /// Each output's sum over the window, divided by T, in real units.
    pub potentials: Vec<Vec<f32>>,
}

/// An element of a window: output position, input position, place in the kernel.
struct Tap {
    output: usize,
    input: usize,
    kernel: usize,
}

fn ints(tensor: &Tensor) -> Vec<i64> {
    tensor.to_i32_vec().expect("parameters after an encode are integers").into_iter().map(i64::from).collect()
}

fn broadcast(tensor: &Tensor, shape: &[usize]) -> Vec<i64> {
    let data = ints(tensor);
    tensor.broadcast_indices(shape).into_iter().map(|i| data[i as usize]).collect()
}

/// Index vectors of a box, in row-major order.
fn positions(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![Vec::new()], |all, &extent| {
        all.iter().flat_map(|p: &Vec<usize>| (0..extent).map(move |i| [p.clone(), vec![i]].concat())).collect()
    })
}

fn flat(position: &[usize], shape: &[usize]) -> usize {
    position.iter().zip(shape).fold(0, |at, (i, extent)| at * extent + i)
}

fn taps(window: &Window, input: &[usize], output: &[usize]) -> Vec<Tap> {
    let mut all = Vec::new();
    let kernel = positions(&window.kernel);
    for (o, at) in positions(output).iter().enumerate() {
        for (k, tap) in kernel.iter().enumerate() {
            let place = |a: usize| (at[a] * window.stride[a] + tap[a] * window.dilation[a]).checked_sub(window.pad_begin[a]);
            let place: Option<Vec<usize>> = (0..input.len()).map(|a| place(a).filter(|&p| p < input[a])).collect();
            all.extend(place.map(|p| Tap { output: o, input: flat(&p, input), kernel: k }));
        }
    }
    all
}

/// Everything before an `encode`, as an analog network with the same inputs.
fn prefix(graph: &Graph, encode: NodeId) -> AnalogNetwork {
    let mut part = Graph::new("prefix");
    let mut copies: HashMap<NodeId, NodeId> = HashMap::new();
    let source = graph.operands(encode)[0];
    for id in graph.topological().expect("the graph has no cycle") {
        let Some(operands) = graph.operands(id).iter().map(|o| copies.get(o).copied()).collect::<Option<Vec<_>>>() else { continue };
        let name = graph.node(id).name();
        let mut add = |op: Op, operands: &[NodeId]| {
            let fresh = part.fresh_name(name);
            part.add(fresh, op, operands).expect("it was well formed")
        };
        let op = match graph.op(id) {
            Op::Input(_, shape) => Op::Input(Signal::Analog, shape.clone()),
            Op::Constant(_, value) if !value.is_integer() => Op::Constant(Signal::Analog, value.clone()),
            Op::Constant(..) | Op::Encode { .. } => continue,
            Op::Layer(layer) if layer.neuron.is_none() => {
                let parts: Vec<NodeId> = layer.synapses.iter().zip(&operands).map(|(s, &o)| add(s.clone(), &[o])).collect();
                let sum = if parts.len() > 1 { add(Op::Add, &parts) } else { parts[0] };
                let bias = layer.bias.clone();
                copies.insert(id, bias.map_or(sum, |b| add(Op::Scale(Scale { weight: None, bias: Some(b) }), &[sum])));
                continue;
            }
            op => op.clone(),
        };
        copies.insert(id, add(op, &operands));
    }
    part.set_outputs([copies[&source]]);
    part.remove_dead();
    AnalogNetwork::new(&part).expect("the prefix is stateless")
}

impl<'g> WindowSums<'g> {
    /// Makes an integer graph ready.
    pub fn new(graph: &'g Graph) -> Self {
        let order = graph.topological().expect("the graph has no cycle");
        let encodes = order.iter().filter(|&&id| matches!(graph.op(id), Op::Encode { .. }));
        let prefixes = encodes.map(|&id| (id, prefix(graph, id))).collect();
        let mut all = HashMap::new();
        for &id in order.iter().filter(|&&id| graph.ty(id).signal != Signal::Potential) {
            let spatial = |id: NodeId| graph.ty(id).shape.get(1..).unwrap_or_default();
            let mut insert = |port: usize, window: &Window| {
                all.insert((id, port), taps(window, spatial(graph.operands(id)[port]), spatial(id)));
            };
            match graph.op(id) {
                Op::Layer(l) => l.synapses.iter().enumerate().for_each(|(port, synapse)| match synapse {
                    Op::Conv(c) => insert(port, &c.window),
                    Op::AvgPool(p) => insert(port, &p.window),
                    _ => {}
                }),
                Op::CumulativeMaxPool(window) => insert(0, window),
                _ => {}
            }
        }
        WindowSums { graph, order, prefixes, taps: all }
    }

    /// Evaluates one sample over a window of `steps`.
    pub fn evaluate(&self, inputs: &[&[f32]], steps: u32) -> Sums {
        let steps = i64::from(steps);
        let graph = self.graph;
        let mut values: HashMap<NodeId, Vec<i64>> = HashMap::new();
        let mut counts = Vec::new();
        for &id in &self.order {
            let operands = graph.operands(id);
            let shape = &graph.ty(id).shape;
            let value = match graph.op(id) {
                Op::Encode { scale, limit } => {
                    let real = self.prefixes[&id].run(inputs, &mut |_, _| {}).swap_remove(0);
                    let limit = f64::from(*limit);
                    let unit = |(&x, s): (&f32, f32)| (f64::from(x) * f64::from(s)).round().clamp(-limit, limit) as i64 * steps;
                    real.iter().zip(scale.expanded(shape)).map(unit).collect()
                }
                Op::Constant(_, value) if value.is_integer() => ints(value).into_iter().map(|v| v * steps).collect(),
                _ if operands.is_empty() || operands.iter().any(|o| !values.contains_key(o)) => continue,
                Op::Layer(layer) => {
                    let mut sum = self.current(id, layer, &values);
                    if let Some(bias) = &layer.bias {
                        sum.iter_mut().zip(broadcast(bias, shape)).for_each(|(s, b)| *s += b * steps);
                    }
                    if let Some(neuron) = &layer.neuron {
                        count(neuron, shape, &mut sum, steps);
                        counts.push(sum.clone());
                    }
                    sum
                }
                Op::CumulativeMaxPool(_) => {
                    let (planes, size) = (shape[0], shape[1..].iter().product::<usize>());
                    let x = &values[&operands[0]];
                    let mut max = vec![i64::MIN; planes * size];
                    for tap in &self.taps[&(id, 0)] {
                        for c in 0..planes {
                            let m = &mut max[c * size + tap.output];
                            *m = (*m).max(x[c * (x.len() / planes) + tap.input]);
                        }
                    }
                    max
                }
                Op::CumulativeMax => {
                    let mut max = values[&operands[0]].clone();
                    operands[1..].iter().for_each(|o| max.iter_mut().zip(&values[o]).for_each(|(m, &v)| *m = (*m).max(v)));
                    max
                }
                // What is sent in all is what came in all, rounded, half up, to whole coarse units.
                Op::Requantize(Requantize { shift }) => {
                    let unit = 1i64 << shift;
                    values[&operands[0]].iter().map(|&sum| (2 * sum + unit).div_euclid(2 * unit)).collect()
                }
                Op::Readout { .. } => values[&operands[0]].clone(),
                op => {
                    assert!(op.is_structural(), "no integer meaning for {}", op.name());
                    let shapes: Vec<&[usize]> = operands.iter().map(|&o| &graph.ty(o).shape[..]).collect();
                    let map = index_map(op, &shapes, shape).expect("structural operations move elements");
                    map.into_iter().map(|source| source.map_or(0, |(o, e)| values[&operands[o as usize]][e as usize])).collect()
                }
            };
            values.insert(id, value);
        }
        let potential = |output: &NodeId| {
            let scale = match graph.op(*output) {
                Op::Readout { scale: Some(scale), .. } => scale.expanded(&graph.ty(*output).shape),
                _ => vec![1.0; values[output].len()],
            };
            let real = |(&sum, scale): (&i64, f32)| (sum as f64 / steps as f64 * f64::from(scale)) as f32;
            values[output].iter().zip(scale).map(real).collect()
        };
        Sums { counts, potentials: graph.outputs().iter().map(potential).collect() }
    }

    /// The synapses' part of a layer's current.
    fn current(&self, id: NodeId, layer: &Layer, values: &HashMap<NodeId, Vec<i64>>) -> Vec<i64> {
        let shape = &self.graph.ty(id).shape;
        let mut sum = vec![0i64; shape.iter().product()];
        for (port, (synapse, source)) in layer.synapses.iter().zip(self.graph.operands(id)).enumerate() {
            let (x, from) = (&values[&source], &self.graph.ty(source).shape);
            match synapse {
                Op::Identity => sum.iter_mut().zip(x).for_each(|(s, x)| *s += x),
                Op::Scale(Scale { weight, .. }) => {
                    let weight = weight.as_ref().map_or(vec![1; sum.len()], |w| broadcast(w, shape));
                    sum.iter_mut().zip(x).zip(weight).for_each(|((s, x), w)| *s += x * w);
                }
                Op::Linear(l) => {
                    let (weight, columns) = (ints(&l.weight), l.weight.shape()[1]);
                    let rows = sum.chunks_exact_mut(l.weight.shape()[0]).zip(x.chunks_exact(columns));
                    for (out, x) in rows {
                        for (out, weight) in out.iter_mut().zip(weight.chunks_exact(columns)) {
                            *out += weight.iter().zip(x).map(|(w, x)| w * x).sum::<i64>();
                        }
                    }
                }
                Op::Conv(c) => {
                    let (outputs, inputs) = (shape[0] / c.groups, from[0] / c.groups);
                    let (size, plane, kernel) = (sum.len() / shape[0], x.len() / from[0], c.window.taps());
                    let weight = ints(&c.weight);
                    // Weights of a kernel place and an input channel side by side, so that silent inputs cost nothing.
                    let mut columns = vec![0i64; weight.len()];
                    for (i, w) in weight.iter().enumerate() {
                        let (o, rest) = (i / (inputs * kernel), i % (inputs * kernel));
                        columns[(o / outputs * inputs * kernel + rest) * outputs + o % outputs] = *w;
                    }
                    let mut transposed = vec![0i64; sum.len()];
                    for g in 0..c.groups {
                        for i in 0..inputs {
                            for tap in &self.taps[&(id, port)] {
                                let x = x[(g * inputs + i) * plane + tap.input];
                                if x == 0 {
                                    continue;
                                }
                                let row = &columns[((g * inputs + i) * kernel + tap.kernel) * outputs..][..outputs];
                                let out = &mut transposed[tap.output * shape[0] + g * outputs..][..outputs];
                                out.iter_mut().zip(row).for_each(|(o, w)| *o += w * x);
                            }
                        }
                    }
                    (0..sum.len()).for_each(|i| sum[i] += transposed[i % size * shape[0] + i / size]);
                }
                Op::AvgPool(p) => {
                    assert_eq!(p.divisor, Divisor::One, "integers have no mean");
                    let (size, plane) = (sum.len() / shape[0], x.len() / from[0]);
                    for tap in &self.taps[&(id, port)] {
                        (0..shape[0]).for_each(|c| sum[c * size + tap.output] += x[c * plane + tap.input]);
                    }
                }
                Op::Reduce(r) => {
                    assert!(!r.mean, "integers have no mean");
                    for (at, x) in positions(from).iter().zip(x) {
                        let kept: Vec<usize> = at.iter().enumerate().map(|(a, &i)| if r.axes.contains(&a) { 0 } else { i }).collect();
                        sum[flat(&kept, shape)] += x;
                    }
                }
                other => panic!("no integer meaning for a synapse {}", other.name()),
            }
        }
        sum
    }
}

fn count(neuron: &Neuron, shape: &[usize], sum: &mut [i64], steps: i64) {
    let (threshold, initial) = (broadcast(&neuron.threshold, shape), broadcast(&neuron.initial, shape));
    for ((s, theta), v) in sum.iter_mut().zip(threshold).zip(initial) {
        *s = (*s + v).div_euclid(theta).clamp(0, steps);
    }
}
