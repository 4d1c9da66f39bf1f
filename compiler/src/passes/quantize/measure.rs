//! What rounding does to every layer's current, measured on samples.
//!
//! The network before rounding is run with real activations: a population passes on its clipped
//! current, which is the mean of what it sends in a long window. Every layer is also computed with its
//! integers, from the same activations. The root mean square of the difference, over that of the
//! current, is the share that rounding has in it.

use super::super::{Facts, PassError, Request};
use super::unit_tensor;
use crate::calibrate::synthetic;
use crate::data;
use rayon::prelude::*;
use snn_ir::neuron::{Amplitude, Neuron};
use snn_ir::op::{Layer, Scale};
use snn_ir::{Activation, Graph, NodeId, Op, Signal, Tensor};
use snn_runtime::analog::AnalogNetwork;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// What rounding to integers does to one layer.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Rounding {
    /// The layer's name.
    pub node: String,
    /// Root mean square of the difference over that of the layer's current.
    pub share: f64,
}

/// Share of a layer's current that rounding may make up before it is a warning: as much as clipping and
/// rounding to spikes usually do at T = 32.
const LOUD: f64 = 0.1;

impl Rounding {
    /// Whether the user should hear of it.
    pub fn is_loud(&self) -> bool {
        self.share > LOUD
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: rounding to integers changes {:.0} % of its current", self.node, 100.0 * self.share)
    }
}

/// A layer and the integers that it was rounded to.
pub(super) struct Quantized {
    /// The layer.
    pub id: NodeId,
    /// Per term that is no prefix: which of the layer's operands it reads, that operand's units, the synapse.
    pub terms: Vec<(usize, Option<Vec<f64>>, Op)>,
    /// The bias.
    pub bias: Option<Tensor>,
    /// Units of the result.
    pub unit: Vec<f64>,
    /// By what part of itself the threshold is another one, in the channel where that is most.
    pub threshold: f64,
    /// Mean over the rows of the squared weights on currents that have lost bits.
    pub coarse: f64,
}

/// Most samples.
const MOST_SAMPLES: usize = 8;
/// Multiply-adds that the samples may cost, about a second of one core; one sample is always run.
const BUDGET: usize = 10_000_000_000;
/// Part of the threshold below which a current is none: dead channels have no current to lose.
const SILENT: f64 = 0.1;

/// Samples to measure on.
pub(super) struct Samples(data::Samples);

impl Samples {
    /// The user's, or made-up ones, as many as the size of the network allows.
    pub fn choose(graph: &Graph, request: &Request<'_>, facts: &Facts) -> Samples {
        let made: data::Samples;
        let all = match (request.samples, &facts.matched) {
            (Some(samples), _) => samples,
            (None, Some(matched)) => &matched.samples,
            (None, None) => {
                made = synthetic::samples(graph, &request.assumed);
                &made
            }
        };
        // Three times: as it is, and in integers, which have a scale for every operand.
        let count = (BUDGET / (3 * multiply_adds(graph)).max(1)).clamp(1, MOST_SAMPLES);
        Samples(all.first(count))
    }

    /// The first `count` of them.
    pub fn first(&self, count: usize) -> data::Samples {
        self.0.first(count)
    }

    /// Largest magnitude of what the prefix adds to the current of each node outside it, by that node.
    pub fn observe(&self, graph: &Graph, prefix: &HashSet<NodeId>) -> Result<HashMap<NodeId, f64>, PassError> {
        let analog = Analog::new(graph, Part::Prefix(prefix))?;
        let mut largest: HashMap<NodeId, f64> = HashMap::new();
        if analog.prefix_sums.is_empty() {
            return Ok(largest);
        }
        let mut by_node: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        for (&id, sums) in &analog.prefix_sums {
            sums.iter().for_each(|&at| by_node.entry(at).or_default().push(id));
        }
        let network = analog.network()?;
        for sample in self.0.iter() {
            network.run(&sample, &mut |node, values| {
                for &id in by_node.get(&node).into_iter().flatten() {
                    let most = values.iter().fold(0f32, |m, v| m.max(v.abs()));
                    let seen = largest.entry(id).or_default();
                    *seen = seen.max(f64::from(most));
                }
            });
        }
        Ok(largest)
    }

    /// What rounding does to every layer, in order.
    pub fn rounding(&self, graph: &Graph, layers: &[Quantized], timesteps: u32) -> Result<Vec<Rounding>, PassError> {
        let analog = Analog::new(graph, Part::Beside(layers))?;
        let pairs: Vec<(NodeId, NodeId)> =
            layers.iter().filter_map(|l| Some((analog.currents[&l.id], *analog.rounded.get(&l.id)?))).collect();
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        let network = analog.network()?;
        let mut part: HashMap<NodeId, Vec<usize>> = HashMap::new();
        for (i, &(real, rounded)) in pairs.iter().enumerate() {
            part.entry(real).or_default().push(i);
            part.entry(rounded).or_default().push(i);
        }
        let measure = |sample: usize| {
            let mut first: HashMap<usize, Vec<f32>> = HashMap::new();
            let mut sums = vec![(0f64, 0f64, 0usize); pairs.len()];
            network.run(&self.0.sample(sample), &mut |node, values| {
                for &i in part.get(&node).into_iter().flatten() {
                    let Some(other) = first.remove(&i) else {
                        first.insert(i, values.to_vec());
                        continue;
                    };
                    let (real, rounded) = if node == pairs[i].1 { (&other[..], values) } else { (values, &other[..]) };
                    for (&a, &b) in real.iter().zip(rounded) {
                        let (a, b) = (f64::from(a), f64::from(b));
                        sums[i].0 += (a - b) * (a - b);
                        sums[i].1 += a * a;
                    }
                    sums[i].2 += real.len();
                }
            });
            sums
        };
        let runs: Vec<Vec<(f64, f64, usize)>> = (0..self.0.len()).into_par_iter().map(measure).collect();
        let share = |(i, layer): (usize, &Quantized)| {
            let (difference, square, count) = runs.iter().fold((0.0, 0.0, 0), |s, run| (s.0 + run[i].0, s.1 + run[i].1, s.2 + run[i].2));
            let least = match graph.op(layer.id) {
                Op::Layer(l) if l.neuron.is_some() => SILENT,
                _ => 0.0,
            };
            let size = (square / count.max(1) as f64).sqrt().max(least);
            // Bits taken off lose up to half a unit of the sum over the window, evenly distributed.
            let unit = layer.unit.iter().copied().fold(0.0, f64::max);
            let coarse = layer.coarse * (unit / f64::from(timesteps)).powi(2) / 12.0;
            let square = difference / count.max(1) as f64 + coarse;
            let share = if size > 0.0 { square.sqrt() / size } else { 0.0 }.max(layer.threshold);
            Rounding { node: graph.node(layer.id).name().to_string(), share }
        };
        Ok(layers.iter().enumerate().map(share).collect())
    }

    /// How far `layers`, one after the other, move the outputs on the first sample: root mean square of the
    /// difference over that of the outputs.
    pub fn moved(&self, graph: &Graph, layers: &[Quantized]) -> Result<f64, PassError> {
        let outputs = |part: Part<'_>| -> Result<Vec<f32>, PassError> {
            let analog = Analog::new(graph, part)?;
            let outputs: Vec<NodeId> = graph.outputs().iter().map(|o| analog.values[o]).collect();
            let network = analog.network()?;
            let mut all = Vec::new();
            for sample in self.first(1).iter() {
                network.run(&sample, &mut |node, values| {
                    if outputs.contains(&node) {
                        all.extend_from_slice(values);
                    }
                });
            }
            Ok(all)
        };
        Ok(share_moved(&outputs(Part::Beside(&[]))?, &outputs(Part::Instead(layers))?))
    }
}

/// Root mean square of the difference over that of the first.
pub(crate) fn share_moved(before: &[f32], after: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = square(&mut before.iter().zip(after).map(|(a, b)| f64::from(a - b)));
    if difference == 0.0 {
        return 0.0;
    }
    (difference / square(&mut before.iter().map(|&v| f64::from(v))).max(f64::MIN_POSITIVE)).sqrt()
}

/// Multiply-adds of all layers.
pub(super) fn multiply_adds(graph: &Graph) -> usize {
    let of = |id: NodeId| {
        let Op::Layer(layer) = graph.op(id) else { return 0 };
        let shape = &graph.ty(id).shape;
        let synapse = |s: &Op| match s {
            Op::Conv(c) => c.weight.len().saturating_mul(shape[1..].iter().product()),
            Op::ConvTranspose(c) => c.weight.len().saturating_mul(shape[1..].iter().product()),
            Op::Linear(l) => l.weight.len().saturating_mul(shape[..shape.len() - 1].iter().product()),
            _ => shape.iter().product(),
        };
        layer.synapses.iter().map(synapse).fold(0, usize::saturating_add)
    };
    graph.ids().map(of).fold(1, usize::saturating_add)
}

/// What of a network is computed.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// These nodes alone, and what they add to others.
    Prefix(&'a HashSet<NodeId>),
    /// All, and beside each of these layers the same in integers.
    Beside(&'a [Quantized]),
    /// All, with these layers in integers.
    Instead(&'a [Quantized]),
}

/// A spiking network with real activations, as an analog graph.
struct Analog {
    graph: Graph,
    /// By the network's nodes.
    values: HashMap<NodeId, NodeId>,
    /// The current of every layer.
    currents: HashMap<NodeId, NodeId>,
    /// The same, made of integers.
    rounded: HashMap<NodeId, NodeId>,
    /// What the prefix adds to the current of a node that is none of it, in one or several parts.
    prefix_sums: HashMap<NodeId, Vec<NodeId>>,
}

impl Analog {
    fn new(graph: &Graph, part: Part<'_>) -> Result<Analog, PassError> {
        let mut analog = Analog {
            graph: Graph::new("analog"),
            values: HashMap::new(),
            currents: HashMap::new(),
            rounded: HashMap::new(),
            prefix_sums: HashMap::new(),
        };
        let quantized: HashMap<NodeId, &Quantized> = match part {
            Part::Prefix(_) => HashMap::new(),
            Part::Beside(layers) | Part::Instead(layers) => layers.iter().map(|l| (l.id, l)).collect(),
        };
        for id in graph.topological()? {
            let operands = graph.operands(id);
            if let Part::Prefix(prefix) = part
                && !prefix.contains(&id)
            {
                analog.sum_of_prefix(graph, id, prefix)?;
                continue;
            }
            let known: Vec<NodeId> = operands.iter().map(|o| analog.values[o]).collect();
            let value = match graph.op(id) {
                Op::Input(_, shape) => analog.add(Op::Input(Signal::Analog, shape.clone()), &[])?,
                Op::Constant(_, value) => analog.add(Op::Constant(Signal::Analog, value.clone()), &[])?,
                Op::Readout { .. } => known[0],
                Op::If(neuron) => {
                    let neuron = neuron.clone();
                    analog.activation(&neuron, known[0])?
                }
                Op::Layer(layer) => {
                    let terms = layer.synapses.iter().cloned().zip(known.iter().copied()).collect();
                    let mut current = analog.sum(terms, layer.bias.clone())?;
                    analog.currents.insert(id, current);
                    if let Some(quantized) = quantized.get(&id) {
                        let rounded = analog.in_integers(graph, layer, quantized, &operands, &known)?;
                        analog.rounded.insert(id, rounded);
                        if let Part::Instead(_) = part {
                            current = rounded;
                        }
                    }
                    match &layer.neuron {
                        Some(neuron) => analog.activation(neuron, current)?,
                        None => current,
                    }
                }
                op => analog.add(op.clone(), &known)?,
            };
            analog.values.insert(id, value);
        }
        Ok(analog)
    }

    fn add(&mut self, op: Op, operands: &[NodeId]) -> Result<NodeId, PassError> {
        let name = self.graph.fresh_name("value");
        Ok(self.graph.add(name, op, operands)?)
    }

    fn sum(&mut self, terms: Vec<(Op, NodeId)>, bias: Option<Tensor>) -> Result<NodeId, PassError> {
        let parts = terms.into_iter().map(|(op, source)| self.add(op, &[source])).collect::<Result<Vec<_>, _>>()?;
        let sum = if let [one] = parts[..] { one } else { self.add(Op::Add, &parts)? };
        match bias {
            None => Ok(sum),
            Some(bias) => self.add(Op::Scale(Scale { weight: None, bias: Some(bias) }), &[sum]),
        }
    }

    /// What neurons pass on in the mean of a long window.
    fn activation(&mut self, neuron: &Neuron, current: NodeId) -> Result<NodeId, PassError> {
        let is_one = neuron.threshold.as_f32().iter().all(|&t| t == 1.0);
        let scale = |weight: Tensor| Op::Scale(Scale { weight: Some(weight), bias: None });
        let x = if is_one { current } else { self.add(scale(neuron.threshold.map(|t| 1.0 / t)), &[current])? };
        let max = neuron.firing.quanta_per_step() as f32;
        let min = if neuron.signed { -max } else { 0.0 };
        let x = self.add(Op::Activation(Activation::Clip { min, max }), &[x])?;
        if neuron.amplitude == Amplitude::Threshold && !is_one { self.add(scale(neuron.threshold.clone()), &[x]) } else { Ok(x) }
    }

    /// The current of a layer as its integers make it, in real units.
    fn in_integers(
        &mut self,
        graph: &Graph,
        layer: &Layer,
        quantized: &Quantized,
        operands: &[NodeId],
        known: &[NodeId],
    ) -> Result<NodeId, PassError> {
        let rank = |o: usize| graph.ty(operands[o]).shape.len();
        let mut terms = Vec::new();
        for (o, units, synapse) in &quantized.terms {
            let mut source = known[*o];
            if let Some(units) = units {
                source = self.add(Op::Scale(Scale { weight: Some(unit_tensor(units, rank(*o), |u| 1.0 / u)), bias: None }), &[source])?;
            }
            terms.push((synapse.in_floats(), source));
        }
        let shape = &graph.ty(quantized.id).shape;
        let unit = unit_tensor(&quantized.unit, shape.len(), |u| u);
        let mut parts = Vec::new();
        if !terms.is_empty() {
            let sum = self.sum(terms, quantized.bias.as_ref().map(Tensor::to_floats))?;
            parts.push((Op::Scale(Scale { weight: Some(unit), bias: None }), sum));
        }
        let rounded: HashSet<usize> = quantized.terms.iter().map(|t| t.0).collect();
        let real = layer.synapses.iter().zip(known).enumerate().filter(|(o, _)| !rounded.contains(o));
        parts.extend(real.map(|(_, (synapse, &source))| (synapse.clone(), source)));
        let bias = if quantized.terms.is_empty() { layer.bias.clone() } else { None };
        self.sum(parts, bias)
    }

    /// What the prefix adds to node `id`, which is none of it.
    fn sum_of_prefix(&mut self, graph: &Graph, id: NodeId, prefix: &HashSet<NodeId>) -> Result<(), PassError> {
        let operands = graph.operands(id);
        let mut of_prefix = operands.iter().enumerate().filter(|(_, o)| prefix.contains(o)).peekable();
        if of_prefix.peek().is_none() {
            return Ok(());
        }
        let sums = match graph.op(id) {
            Op::Layer(layer) => {
                let terms = of_prefix.map(|(i, o)| (layer.synapses[i].clone(), self.values[o])).collect();
                vec![self.sum(terms, None)?]
            }
            _ => of_prefix.map(|(_, o)| self.values[o]).collect(),
        };
        self.prefix_sums.insert(id, sums);
        Ok(())
    }

    /// Every node of it runs and can be observed; the last one is its output.
    fn network(mut self) -> Result<AnalogNetwork, PassError> {
        let last = self.graph.topological()?.pop();
        self.graph.set_outputs(last.into_iter().collect::<Vec<_>>());
        Ok(AnalogNetwork::new(&self.graph)?)
    }
}
