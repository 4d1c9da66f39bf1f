//! `quantize`: weights, biases, thresholds and potentials become integers.
//!
//! Every channel of a layer gets a *unit* `u`, the real number that integer 1 stands for. A weight `w`
//! on spikes becomes `round(w/u)`, on a current of unit `u_src` `round(w·u_src/u)`; bias, threshold and
//! initial potential become `round(·/u)`. `u` is the largest weight of the channel over the largest
//! integer of the weight type, so that weights use their whole range. Currents that add up without
//! weights between them (residual streams) share their unit. What depends on the input alone stays in
//! f32 (the prefix); an `encode` per consumer turns its current into units. Readouts get the unit as
//! their scale. After the encoders no result depends on the order of additions.
//! Every integer layer is checked with the interval analysis that the verifier proves the network with,
//! while its unit is chosen. Where 32 bits do not hold its potential over the window, its unit becomes
//! coarser; where it reads currents of many bits, as at the end of a chain of linear layers,
//! `requantize` first takes bits off those, which loses half a unit per window.
//! What rounding does to each layer is measured on samples: more than 10 % of a current is a warning
//! with the layer's name, more than half of it an error.
//!
//! Precondition: after `normalize` and `fuse-layers`.

mod currents;
mod measure;
mod replay;
mod rows;
mod units;

pub use measure::Rounding;
pub(crate) use measure::share_moved;

use super::{Condition, Facts, Pass, PassError, Report, Request};
use crate::calibrate::rounding::WeightRange;
use measure::Samples;
use serde::Deserialize;
use snn_ir::bounds::Ranges;
use snn_ir::op::Layer;
use snn_ir::{Graph, NodeId, Op, Tensor};
use std::collections::{HashMap, HashSet};

/// Integer type of the weights between neurons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightType {
    /// 6 bits: `−31..=31`, stored as i8.
    I6,
    /// 8 bits: `−127..=127`.
    #[default]
    I8,
    /// Finer: `−2047..=2047`, stored as i16, which leaves i32 membranes room for long windows.
    I16,
}

/// The pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quantize {
    /// Integer type of the weights.
    pub weights: WeightType,
    /// The same in depthwise layers, where a channel has so few of them that what rounding does to them does not average out.
    pub depthwise: WeightType,
}

impl Default for Quantize {
    fn default() -> Self {
        Quantize { weights: WeightType::I8, depthwise: WeightType::I16 }
    }
}

impl Quantize {
    /// The integers that it rounds weights before neurons to.
    pub fn weight_range(&self) -> WeightRange {
        WeightRange { weights: self.weights.largest(), depthwise: self.depthwise.largest() }
    }
}

/// Largest weight where bytes gain nothing: 12 bits with the sign. Two of them and the sums of a wide
/// layer still fit 32 bits.
const FINE_WEIGHT: f64 = 2047.0;

impl WeightType {
    fn largest(self) -> f64 {
        match self {
            WeightType::I6 => 31.0,
            WeightType::I8 => 127.0,
            WeightType::I16 => FINE_WEIGHT,
        }
    }
}

/// Share of a layer's current, or of the outputs, from which on weights have lost their meaning.
const MEANINGLESS: f64 = 0.5;

impl Pass for Quantize {
    fn name(&self) -> &'static str {
        "quantize"
    }

    fn requires(&self) -> &'static [Condition] {
        &[Condition::UnitThresholds, Condition::Layers]
    }

    fn provides(&self) -> &'static [Condition] {
        &[Condition::Integers]
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Rates]
    }

    fn may_move_outputs(&self) -> Option<f64> {
        Some(MEANINGLESS)
    }

    fn run(&self, graph: &mut Graph, request: &Request<'_>, facts: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        if !graph.is_spiking() || graph.is_quantized() {
            let why = if graph.is_quantized() { "its weights are integers already" } else { "the network does not spike" };
            report.network_not_applicable(why);
            return Ok(());
        }
        let order = graph.topological()?;
        let real = graph.clone();
        let prefix = prefix(graph, &order);
        let samples = Samples::choose(&real, request, facts);
        let timesteps = graph.timesteps.unwrap_or(request.timesteps).max(1);
        let mut quantizer = Quantizer {
            timesteps,
            observed: samples.observe(&real, &prefix)?,
            range: self.weight_range().within(request.target.largest_weight(f64::INFINITY)),
            shared: currents::sharing(&real, &order),
            graph,
            prefix,
            units: HashMap::new(),
            ranges: Ranges::within(request.target.largest_potential()),
            largest_potential: request.target.largest_potential(),
            largest_spike_weight: request.target.largest_weight(f64::INFINITY),
            largest_weight: request.target.largest_weight(units::MOST_WEIGHT),
            rescaled: HashMap::new(),
            layers: Vec::new(),
        };
        for id in order {
            if quantizer.prefix.contains(&id) {
                report.not_applicable(quantizer.graph.node(id), "it depends on the input alone and stays in floats");
            } else {
                report.changed(quantizer.graph.node(id));
                quantizer.node(id)?;
            }
        }
        let layers = quantizer.layers;
        graph.remove_dead();
        report.rounding = samples.rounding(&real, &layers, timesteps)?;
        judge(&real, report)?;
        replay::replay(&real, graph, &layers, &samples, request, report)
    }
}

/// Warns of layers that rounding changes, and refuses where it leaves nothing.
fn judge(graph: &Graph, report: &mut Report) -> Result<(), PassError> {
    let way_out = "a shorter window (--timesteps) or --weights i16 leave it more bits; --weights f32 rounds nothing";
    for rounding in &report.rounding {
        let (node, percent) = (&rounding.node, 100.0 * rounding.share);
        if rounding.share > MEANINGLESS {
            let reason =
                format!("rounding to integers changes {percent:.0} % of its current, so its weights lose their meaning; {way_out}");
            let op = graph.find(node).map_or("layer", |id| graph.op(id).name());
            return Err(PassError::Node { node: node.clone(), op, reason });
        }
        if rounding.is_loud() {
            report.notes.push(format!("{rounding}; {way_out}"));
        }
    }
    Ok(())
}

/// Nodes that depend on the input alone and hold no neurons.
fn prefix(graph: &Graph, order: &[NodeId]) -> HashSet<NodeId> {
    let mut prefix = HashSet::new();
    for &id in order {
        let plain = match graph.op(id) {
            Op::Layer(l) => l.neuron.is_none(),
            Op::Input(..) | Op::Constant(..) | Op::CumulativeMaxPool(_) | Op::CumulativeMax => true,
            op => op.is_structural() || matches!(op, Op::Pad(_)),
        };
        if plain && graph.operands(id).iter().all(|o| prefix.contains(o)) {
            prefix.insert(id);
        }
    }
    prefix
}

/// A graph while its nodes become integers, one after the other.
struct Quantizer<'g> {
    graph: &'g mut Graph,
    /// What depends on the input alone.
    prefix: HashSet<NodeId>,
    /// Of currents: the real number that integer 1 stands for, per channel.
    units: HashMap<NodeId, Vec<f64>>,
    /// What the integers of the nodes may be.
    ranges: Ranges,
    /// Nodes whose elements must all share one unit.
    shared: HashSet<NodeId>,
    /// Length of the window.
    timesteps: u32,
    /// Largest magnitude of a potential that the target holds.
    largest_potential: i64,
    /// Largest magnitude of a weight that the target holds.
    largest_spike_weight: f64,
    /// Largest magnitude of a weight that reads currents.
    largest_weight: f64,
    range: WeightRange,
    /// Largest magnitude of the prefix's share in a node's current, on samples.
    observed: HashMap<NodeId, f64>,
    /// Currents in other units than their own, by those units' bits.
    rescaled: HashMap<(NodeId, Vec<u64>), NodeId>,
    /// What layers were rounded to.
    layers: Vec<measure::Quantized>,
}

impl Quantizer<'_> {
    fn node(&mut self, id: NodeId) -> Result<(), PassError> {
        match self.graph.op(id).clone() {
            Op::Layer(layer) => self.layer(id, layer),
            Op::Readout { delay, .. } => self.readout(id, delay),
            _ => self.pass_on(id),
        }
    }

    /// Extent of the first axis.
    fn channels(&self, id: NodeId) -> usize {
        self.graph.ty(id).shape.first().copied().unwrap_or(1)
    }

    /// Whether `id` is a current of integers.
    fn is_current(&self, id: NodeId) -> bool {
        self.units.contains_key(&id)
    }

    /// Adds a node and takes note of its integers.
    fn add(&mut self, name: &str, op: Op, operand: NodeId, unit: Vec<f64>) -> Result<NodeId, PassError> {
        let name = self.graph.fresh_name(name);
        let id = self.graph.add(name, op, &[operand])?;
        self.note(id);
        self.units.insert(id, unit);
        Ok(id)
    }

    /// Takes note of what the integers of node `id` may be, now that they are chosen.
    fn note(&mut self, id: NodeId) {
        let (op, operands, shape) = (self.graph.op(id), self.graph.operands(id), &self.graph.ty(id).shape);
        if let Some(reach) = self.ranges.reach(self.graph, op, &operands, shape) {
            self.ranges.insert(id, reach);
        }
    }

    /// Largest encoded current: 4096 steps of it are half of an i32, and longer windows have less. Currents this large make binary neurons fire in every step as it is.
    fn encode_limit(&self) -> i32 {
        (1 << 18).min((1 << 30) / self.timesteps as i32).max(1)
    }

    /// What `terms` of the prefix add to node `id`, encoded; the unit is set by [`Quantizer::set_encode`].
    fn encoded(&mut self, id: NodeId, terms: Vec<(Op, NodeId)>) -> Result<NodeId, PassError> {
        let name = self.graph.node(id).name().to_string();
        let source = match &terms[..] {
            [(Op::Identity, source)] => *source,
            _ => {
                let (synapses, sources): (Vec<Op>, Vec<NodeId>) = terms.into_iter().unzip();
                let fresh = self.graph.fresh_name(&format!("{name}.current"));
                self.graph.add(fresh, Op::Layer(Layer { synapses, bias: None, neuron: None }), &sources)?
            }
        };
        let fresh = self.graph.fresh_name(&format!("{name}.encode"));
        let encode = self.graph.add(fresh, Op::Encode { scale: Tensor::scalar(1.0), limit: self.encode_limit() }, &[source])?;
        self.note(encode);
        Ok(encode)
    }

    fn set_encode(&mut self, encode: NodeId, unit: &[f64]) -> Result<(), PassError> {
        let Op::Encode { limit, .. } = *self.graph.op(encode) else { return Ok(()) };
        let rank = self.graph.ty(encode).shape.len();
        Ok(self.graph.set_op(encode, Op::Encode { scale: unit_tensor(unit, rank, |u| 1.0 / u), limit })?)
    }

    fn readout(&mut self, id: NodeId, delay: u32) -> Result<(), PassError> {
        let operand = self.graph.operands(id)[0];
        let rank = self.graph.ty(id).shape.len();
        if self.prefix.contains(&operand) {
            // A network without neurons: its answer is the prefix's.
            let unit = [1.0 / 65536.0];
            let encode = self.encoded(id, vec![(Op::Identity, operand)])?;
            self.graph.set_op(encode, Op::Encode { scale: unit_tensor(&unit, rank, |u| 1.0 / u), limit: i32::MAX / 2 })?;
            self.graph.rewrite(id, Op::Readout { scale: Some(unit_tensor(&unit, rank, |u| u)), delay }, &[encode])?;
        } else if let Some(unit) = self.units.get(&operand) {
            let scale = Some(unit_tensor(unit, rank, |u| u));
            self.graph.set_op(id, Op::Readout { scale, delay })?;
        }
        Ok(())
    }
}

/// `f` of the units of the channels of a value of `rank` axes, as small as can be.
fn unit_tensor(unit: &[f64], rank: usize, f: impl Fn(f64) -> f64) -> Tensor {
    if unit.iter().all(|&u| u == unit[0]) {
        return Tensor::scalar(f(unit[0]) as f32);
    }
    Tensor::per_channel(unit.iter().map(|&u| f(u) as f32).collect::<Vec<_>>(), rank)
}
