//! `quantize`: weights, biases, thresholds and potentials become integers.
//!
//! Every channel of a layer gets a *unit* `u`: one integer step of its membrane is worth `u`. A weight `w` on spikes
//! becomes `round(w/u)`, on a current whose own unit is `u_src` `round(w·u_src/u)`; bias, threshold and initial potential
//! become `round(·/u)`. `u` is the largest weight of the channel over the largest integer of the weight type, so that
//! weights use their whole range. Currents that add up without weights between them (residual streams) share their
//! unit. No unit is so small that a potential could leave an i32 within the window. The front end, which depends on the input alone, stays in f32; an `encode` per consumer turns its current into
//! units. Readouts get the unit as their scale. Behind the encoders no result depends on the order of additions.
//!
//! Precondition: after `normalize` and `fuse-layers`.

use super::integer_range::{Bounds, range_for_weights, steps_per_timestep, sums_behind};
use super::{Context, Pass, PassError};
use serde::Deserialize;
use snn_ir::op::{AvgPool, Conv, ConvTranspose, Divisor, Layer, Linear, Neuron, Reduce, Scale};
use snn_ir::{Graph, NodeId, Op, Signal, Tensor};
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
#[derive(Debug, Deserialize)]
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

/// Largest integers that weights in front of neurons are rounded to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightRange {
    weights: f64,
    depthwise: f64,
}

impl WeightRange {
    /// For the weights of one channel in `synapses`.
    pub fn of<'a>(self, mut synapses: impl Iterator<Item = &'a Op>) -> f64 {
        if synapses.all(|s| matches!(s, Op::Conv(c) if c.weight.shape()[1] == 1)) { self.depthwise } else { self.weights }
    }
}

/// Largest weight of layers without neurons, whose precision the result of the network depends on directly.
const CURRENT_WEIGHT: f64 = 2047.0;
/// Steps of a threshold where no weights set the unit.
const FINEST_THRESHOLD: f64 = 4096.0;
/// Steps of a threshold at most; weights that are tiny against it lose precision rather than range.
const LARGEST_THRESHOLD: f64 = (1 << 22) as f64;
/// The same where encoded currents arrive, which [`ENCODE_LIMIT`] must hold.
const LARGEST_ENCODED_THRESHOLD: f64 = (1 << 16) as f64;
/// What float arithmetic may have done to weights that are whole numbers of a unit already.
const FLOAT_NOISE: f64 = 2e-6;
/// Least steps of a threshold behind currents that are passed on.
const THRESHOLD_STEPS: f64 = 1024.0;
/// Largest encoded current: 4096 steps of it stay far from the end of an i32.
const ENCODE_LIMIT: i32 = 1 << 18;

impl WeightType {
    fn largest(self) -> f64 {
        match self {
            WeightType::I6 => 31.0,
            WeightType::I8 => 127.0,
            WeightType::I16 => CURRENT_WEIGHT,
        }
    }
}

impl Pass for Quantize {
    fn name(&self) -> &'static str {
        "quantize"
    }

    fn weight_range(&self) -> Option<WeightRange> {
        Some(WeightRange { weights: self.weights.largest(), depthwise: self.depthwise.largest() })
    }

    fn run(&self, graph: &mut Graph, context: &mut Context<'_>) -> Result<usize, PassError> {
        if !graph.is_spiking() || graph.is_quantized() {
            return Ok(0);
        }
        let order = graph.topological()?;
        let mut units: HashMap<NodeId, Vec<f64>> = HashMap::new();
        let mut bounds = Bounds::default();
        let timesteps = graph.timesteps.unwrap_or(context.timesteps);
        let mut changes = 0;
        let front = front_end(graph, &order);
        for id in order {
            if front.contains(&id) {
                continue;
            }
            changes += 1;
            match graph.op(id).clone() {
                Op::Layer(layer) => {
                    let bound = bounds.layer(graph, id);
                    self.layer(graph, id, layer, &front, &mut units, &bound, timesteps)?;
                }
                Op::Readout { .. } => readout(graph, id, &front, &mut units)?,
                op if graph.ty(id).signal == Signal::Spikes => {
                    debug_assert!(op.is_structural() || matches!(op, Op::CumulativeMaxPool(_) | Op::CumulativeMax));
                    bounds.carry(graph, id);
                }
                _ => {
                    bounds.carry(graph, id);
                    carry_unit(graph, id, &front, &mut units, &bounds, timesteps)?;
                }
            }
        }
        Ok(changes)
    }
}

/// Nodes that depend on the input alone and hold no neurons.
fn front_end(graph: &Graph, order: &[NodeId]) -> HashSet<NodeId> {
    let mut front = HashSet::new();
    for &id in order {
        let plain = match graph.op(id) {
            Op::Layer(l) => l.neuron.is_none(),
            Op::Input(..) | Op::Constant(..) | Op::CumulativeMaxPool(_) | Op::CumulativeMax => true,
            op => op.is_structural() || matches!(op, Op::Pad(_)),
        };
        if plain && graph.operands(id).iter().all(|o| front.contains(o)) {
            front.insert(id);
        }
    }
    front
}

/// Whether something downstream needs all elements of the current `id` to share one unit.
fn needs_one_unit(graph: &Graph, id: NodeId) -> bool {
    let rank = graph.ty(id).shape.len();
    graph.users(id).into_iter().any(|user| match graph.op(user) {
        Op::Concat { axis: 0 } | Op::CumulativeMaxPool(_) | Op::Gather { .. } | Op::Slice(_) => needs_one_unit(graph, user),
        Op::Layer(l) => l.synapses.iter().zip(graph.operands(user)).any(|(s, source)| {
            source == id
                && match s {
                    Op::Linear(_) => rank > 1,
                    // Sums have no weights that could bring channels to one unit afterwards.
                    Op::Reduce(r) => r.axes.contains(&0) || needs_one_unit(graph, user),
                    Op::AvgPool(_) => needs_one_unit(graph, user),
                    _ => false,
                }
        }),
        Op::Readout { .. } => false,
        _ => true,
    })
}

fn round_i32(value: f64) -> i32 {
    value.round().clamp(-f64::from(i32::MAX), f64::from(i32::MAX)) as i32
}

/// Integers in the narrowest type that holds them, `[shape]`.
fn narrow(shape: &[usize], values: &[f64]) -> Tensor {
    let ints: Vec<i32> = values.iter().map(|&v| round_i32(v)).collect();
    let largest = ints.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
    match largest {
        0..=127 => Tensor::i8(shape, ints.iter().map(|&v| v as i8).collect::<Vec<_>>()),
        128..=32767 => Tensor::i16(shape, ints.iter().map(|&v| v as i16).collect::<Vec<_>>()),
        _ => Tensor::i32(shape, ints),
    }
}

/// A float tensor divided by the units of its channels (axis 0 of a value of `shape`), rounded to i32, as small as it was.
fn in_units(tensor: &Tensor, unit: &[f64], shape: &[usize]) -> Tensor {
    let uniform = unit.iter().all(|&u| u == unit[0]);
    let mut out: Vec<usize> = [vec![1; shape.len() - tensor.shape().len()], tensor.shape().to_vec()].concat();
    if !uniform && !out.is_empty() {
        out[0] = shape[0];
    }
    if uniform {
        out = tensor.shape().to_vec();
    }
    let inner: usize = out.iter().skip(1).product();
    let values = tensor.expanded(&out).into_iter().enumerate();
    let ints: Vec<i32> = values.map(|(i, v)| round_i32(f64::from(v) / if uniform { unit[0] } else { unit[i / inner] })).collect();
    Tensor::i32(out, ints)
}

/// Which channel the weight at a position of a weight tensor belongs to.
type Index = Box<dyn Fn(usize) -> usize>;

/// One synapse seen as rows of weights: how much each output channel gets per unit of each source element.
struct Rows<'a> {
    synapse: &'a Op,
    /// Output channel of each weight.
    channel: Vec<usize>,
    /// Each weight, multiplied by the unit of its source channel.
    weight: Vec<f64>,
}

impl<'a> Rows<'a> {
    /// `None` for synapses without weights of their own.
    fn of(synapse: &'a Op, source_unit: Option<&Vec<f64>>, shape: &[usize]) -> Option<Self> {
        let unit = |channel: usize| source_unit.map_or(1.0, |u| u[channel.min(u.len() - 1)]);
        let (tensor, channel, column): (&Tensor, Index, Index) = match synapse {
            Op::Conv(c) => {
                let (rows, columns, taps) = (c.weight.shape()[0], c.weight.shape()[1], c.window.taps());
                let per_group = rows / c.groups;
                (
                    &c.weight,
                    Box::new(move |i| i / (columns * taps)),
                    Box::new(move |i| i / (columns * taps) / per_group * columns + i / taps % columns),
                )
            }
            Op::ConvTranspose(c) => {
                let (inputs, per_group, taps) = (c.weight.shape()[0], c.weight.shape()[1], c.window.taps());
                let inputs_per_group = inputs / c.groups;
                let channel = move |i: usize| i / (per_group * taps) / inputs_per_group * per_group + i / taps % per_group;
                (&c.weight, Box::new(channel), Box::new(move |i| i / (per_group * taps)))
            }
            Op::Linear(l) => {
                let columns = l.weight.shape()[1];
                let flat = shape.len() == 1;
                (&l.weight, Box::new(move |i| if flat { i / columns } else { 0 }), Box::new(move |i| i % columns))
            }
            _ => return None,
        };
        let weight = tensor.as_f32().iter().enumerate().map(|(i, &w)| f64::from(w) * unit(column(i))).collect();
        Some(Rows { synapse, channel: (0..tensor.len()).map(channel).collect(), weight })
    }

    fn largest_per_channel(&self, channels: usize) -> Vec<f64> {
        let mut largest = vec![0f64; channels];
        for (&c, w) in self.channel.iter().zip(&self.weight) {
            largest[c] = largest[c].max(w.abs());
        }
        largest
    }

    fn quantized(&self, unit: &[f64]) -> Op {
        let values: Vec<f64> = self.channel.iter().zip(&self.weight).map(|(&c, w)| w / unit[c.min(unit.len() - 1)]).collect();
        match self.synapse {
            Op::Conv(c) => Op::Conv(Conv { weight: narrow(c.weight.shape(), &values), ..c.clone() }),
            Op::ConvTranspose(c) => Op::ConvTranspose(ConvTranspose { weight: narrow(c.weight.shape(), &values), ..c.clone() }),
            Op::Linear(l) => Op::Linear(Linear { weight: narrow(l.weight.shape(), &values), ..l.clone() }),
            other => other.clone(),
        }
    }
}

impl Quantize {
    fn layer(
        &self,
        graph: &mut Graph,
        id: NodeId,
        layer: Layer,
        front: &HashSet<NodeId>,
        units: &mut HashMap<NodeId, Vec<f64>>,
        bound: &[f64],
        timesteps: u32,
    ) -> Result<(), PassError> {
        let shape = graph.ty(id).shape.clone();
        let channels = shape.first().copied().unwrap_or(1);
        let sources = graph.operands(id);
        let is_weighted = |s: &Op| matches!(s, Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear(_));
        let weighted = || layer.synapses.iter().zip(&sources).filter(|(s, source)| is_weighted(s) && !front.contains(source));
        // Currents are integers of many bits: weights that multiply them gain nothing by being bytes.
        let reads_currents = weighted().any(|(_, source)| units.contains_key(source));
        let largest_weight = match self.weight_range() {
            Some(range) if layer.neuron.is_some() && !reads_currents => range.of(weighted().map(|(s, _)| s)),
            _ => CURRENT_WEIGHT,
        };
        let reads_input = sources.iter().any(|s| front.contains(s));
        let largest_threshold = if reads_input { LARGEST_ENCODED_THRESHOLD } else { LARGEST_THRESHOLD };

        // The unit: from the currents that are passed on as they are, else from the weights.
        let mut unit: Vec<f64> = vec![0.0; channels];
        let mut passed: Vec<f64> = vec![0.0; channels];
        for (synapse, source) in layer.synapses.iter().zip(&sources).filter(|(_, s)| !front.contains(s)) {
            if let Some(rows) = Rows::of(synapse, units.get(source), &shape) {
                rows.largest_per_channel(channels).iter().enumerate().for_each(|(c, l)| unit[c] = unit[c].max(l / largest_weight));
                continue;
            }
            if graph.ty(*source).signal == Signal::Spikes && matches!(synapse, Op::Identity | Op::Scale(_)) {
                continue;
            }
            for (c, passed) in passed.iter_mut().enumerate() {
                let through =
                    units.get(source).map_or(1.0, |u| u[c.min(u.len() - 1)]) * pass_factor(synapse, c, &shape, &graph.ty(*source).shape);
                if through > 0.0 {
                    *passed = if *passed == 0.0 { through } else { common_unit(&[*passed, through]) };
                }
            }
        }
        // Where sums pass the current on in its own unit, each of its elements may use a part of the range only.
        let steps = steps_per_timestep(timesteps, reads_input) / if layer.neuron.is_some() { 1.0 } else { sums_behind(graph, id) };
        let range = if layer.neuron.is_none() { range_for_weights(graph, id, bound, timesteps) } else { None };
        let range = range.map_or(steps, |r| r.min(steps));
        for c in 0..channels {
            if passed[c] > 0.0 {
                // Weights that join a passed current must still fit 16 bits.
                // A threshold is rounded to steps, so a current whose own steps are large against it is divided.
                let divided = if layer.neuron.is_some() { passed[c] / (passed[c] * THRESHOLD_STEPS).ceil() } else { passed[c] };
                unit[c] = divided.max(unit[c] * largest_weight / 32767.0).max(bound[c] / steps);
                // Nor may a factor near zero (a dead channel of a batch-norm) make the threshold, which is 1, leave the range.
                if layer.neuron.is_some() {
                    unit[c] = unit[c].max(1.0 / steps);
                }
            } else {
                if unit[c] == 0.0 {
                    unit[c] = 1.0 / FINEST_THRESHOLD;
                }
                unit[c] = unit[c].max(bound[c] / range);
                // A whole number of steps to the threshold, so that θ itself is not rounded.
                if layer.neuron.is_some() && unit[c] < 1.0 {
                    unit[c] = unit[c].max(1.0 / largest_threshold);
                    unit[c] = 1.0 / ((1.0 + FLOAT_NOISE) / unit[c]).floor();
                }
            }
        }
        if layer.neuron.is_none() && needs_one_unit(graph, id)
            || layer.synapses.iter().any(|s| matches!(s, Op::Linear(_)) && shape.len() > 1)
        {
            let coarsest = unit.iter().copied().fold(0.0, f64::max);
            unit.fill(coarsest);
        }

        let (front_terms, spiking_terms): (Vec<_>, Vec<_>) =
            layer.synapses.iter().cloned().zip(sources).partition(|(_, s)| front.contains(s));
        let mut synapses = Vec::new();
        let mut operands = Vec::new();
        if !front_terms.is_empty() {
            operands.push(encoded(graph, id, front_terms, &unit, ENCODE_LIMIT)?);
            synapses.push(Op::Identity);
        }
        for (synapse, source) in spiking_terms {
            let quantized = match Rows::of(&synapse, units.get(&source), &shape) {
                Some(rows) => rows.quantized(&unit),
                None => plain_synapse(graph, id, &synapse, units.get(&source), &unit, &shape)?,
            };
            synapses.push(quantized);
            operands.push(source);
        }
        let bias = layer.bias.as_ref().map(|b| in_units(b, &unit, &shape)).filter(|b| b.to_f64_vec().iter().any(|&v| v != 0.0));
        let neuron = layer.neuron.as_ref().map(|n| {
            let threshold = in_units(&n.threshold, &unit, &shape);
            let threshold =
                Tensor::i32(threshold.shape(), threshold.to_i32_vec().unwrap_or_default().iter().map(|&t| t.max(1)).collect::<Vec<_>>());
            let rows: Vec<Tensor> = n.schedule_rows().iter().map(|row| in_units(row, &unit, &shape)).collect();
            let schedule = rows.first().map(|first| {
                let shape = [&[rows.len()][..], first.shape()].concat();
                Tensor::i32(shape, rows.iter().flat_map(|r| r.to_i32_vec().unwrap_or_default()).collect::<Vec<_>>())
            });
            Neuron { threshold, initial: in_units(&n.initial, &unit, &shape), schedule, ..n.clone() }
        });
        if neuron.is_none() {
            units.insert(id, unit);
        }
        graph.rewrite(id, Op::Layer(Layer { synapses, bias, neuron }), &operands)?;
        Ok(())
    }
}

/// What a synapse without a weight matrix multiplies a current by, per channel, once its divisor is left to the unit.
fn pass_factor(synapse: &Op, channel: usize, shape: &[usize], source: &[usize]) -> f64 {
    match synapse {
        Op::Scale(s) => {
            let weights = super::fold_batch_norm::along_axis(s.weight.as_ref(), shape, 0, 1.0);
            weights.map_or_else(
                || s.weight.as_ref().map_or(1.0, |w| step(w.as_f32().iter().map(|&v| v.into()))),
                |w| f64::from(w[channel].abs()),
            )
        }
        Op::AvgPool(AvgPool { window, divisor }) if *divisor != Divisor::One => 1.0 / window.taps() as f64,
        Op::Reduce(r) if r.mean => 1.0 / r.axes.iter().map(|&a| source[a]).product::<usize>() as f64,
        _ => 1.0,
    }
}

/// Most integer steps of the smallest of several units that meet.
const COMMON_STEPS: u32 = 256;
/// Most integer steps of factors that differ from place to place.
const FACTOR_STEPS: u32 = 2047;

/// The largest number of which all factors are whole multiples, as those of an average are, or a fine fraction of the
/// largest factor where there is none.
fn step(factors: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = factors.clone().fold(0.0, |m: f64, v| m.max(v.abs()));
    let uneven = |v: f64| (v - v.round()).abs() > 1e-3 || v.abs() < 0.5 && v != 0.0;
    let whole = |n: &u32| !factors.clone().any(|v| uneven(v / largest * f64::from(*n)));
    largest / f64::from((1..FACTOR_STEPS).find(whole).unwrap_or(FACTOR_STEPS))
}

/// A unit of which all units are whole multiples, or nearly so.
fn common_unit(units: &[f64]) -> f64 {
    let smallest = units.iter().copied().fold(f64::INFINITY, f64::min);
    let whole = |n: &u32| units.iter().map(|u| u / smallest * f64::from(*n)).all(|v| (v - v.round()).abs() < 1e-3 * v);
    smallest / f64::from((1..COMMON_STEPS).find(whole).unwrap_or(COMMON_STEPS))
}

/// A synapse that passes its source on, element by element or as a sum, in integers.
fn plain_synapse(
    graph: &Graph,
    id: NodeId,
    synapse: &Op,
    source_unit: Option<&Vec<f64>>,
    unit: &[f64],
    shape: &[usize],
) -> Result<Op, PassError> {
    let source = |c: usize| source_unit.map_or(1.0, |u| u[c.min(u.len() - 1)]);
    match synapse {
        Op::Identity | Op::Scale(_) => {
            let weight = match synapse {
                Op::Scale(Scale { weight: Some(w), .. }) => w.clone(),
                _ => Tensor::scalar(1.0),
            };
            let mut out = [vec![1; shape.len() - weight.shape().len()], weight.shape().to_vec()].concat();
            if let Some(first) = out.first_mut() {
                *first = shape[0];
            }
            let inner: usize = out.iter().skip(1).product();
            let values: Vec<f64> =
                weight.expanded(&out).into_iter().enumerate().map(|(i, w)| f64::from(w) * source(i / inner) / unit[i / inner]).collect();
            if values.iter().all(|v| v.round() == 1.0) {
                return Ok(Op::Identity);
            }
            Ok(Op::Scale(Scale { weight: Some(narrow(&out, &values)), bias: None }))
        }
        Op::AvgPool(_) | Op::Reduce(_) => {
            // A sum has no weight that could bring it into another unit than its source's.
            let source_shape = &graph.ty(graph.operands(id)[0]).shape;
            let fits = |c: usize| (source(c) * pass_factor(synapse, c, shape, source_shape) / unit[c] - 1.0).abs() < 1e-3;
            if !(0..unit.len()).all(fits) {
                return Err(PassError::node(graph, id, "its sums leave the range of 32 bits; compile with --weights f32"));
            }
            Ok(match synapse {
                Op::AvgPool(p) => Op::AvgPool(AvgPool { window: p.window.clone(), divisor: Divisor::One }),
                Op::Reduce(r) => Op::Reduce(Reduce { mean: false, ..r.clone() }),
                other => other.clone(),
            })
        }
        other => Err(PassError::node(graph, id, format!("a {} synapse has no integer form", other.name()))),
    }
}

/// The front end's contribution to a layer, encoded in that layer's units.
fn encoded(graph: &mut Graph, layer: NodeId, terms: Vec<(Op, NodeId)>, unit: &[f64], limit: i32) -> Result<NodeId, PassError> {
    let name = graph.node(layer).name().to_string();
    let rank = graph.ty(layer).shape.len();
    let source = match &terms[..] {
        [(Op::Identity, source)] => *source,
        _ => {
            let (synapses, sources): (Vec<Op>, Vec<NodeId>) = terms.into_iter().unzip();
            let fresh = graph.fresh_name(&format!("{name}.current"));
            graph.add(fresh, Op::Layer(Layer { synapses, bias: None, neuron: None }), &sources)?
        }
    };
    let fresh = graph.fresh_name(&format!("{name}.encode"));
    Ok(graph.add(fresh, Op::Encode { scale: unit_tensor(unit, rank, |u| 1.0 / u), limit }, &[source])?)
}

fn unit_tensor(unit: &[f64], rank: usize, f: impl Fn(f64) -> f64) -> Tensor {
    if unit.iter().all(|&u| u == unit[0]) {
        return Tensor::scalar(f(unit[0]) as f32);
    }
    Tensor::per_channel(unit.iter().map(|&u| f(u) as f32).collect::<Vec<_>>(), rank)
}

fn readout(graph: &mut Graph, id: NodeId, front: &HashSet<NodeId>, units: &mut HashMap<NodeId, Vec<f64>>) -> Result<(), PassError> {
    let operand = graph.operands(id)[0];
    let rank = graph.ty(id).shape.len();
    let Op::Readout { delay, .. } = *graph.op(id) else { return Ok(()) };
    if front.contains(&operand) {
        // A network without neurons: its answer is the front end's.
        let unit = [1.0 / 65536.0];
        let encode = encoded(graph, id, vec![(Op::Identity, operand)], &unit, i32::MAX / 2)?;
        graph.rewrite(id, Op::Readout { scale: Some(unit_tensor(&unit, rank, |u| u)), delay }, &[encode])?;
    } else if let Some(unit) = units.get(&operand) {
        graph.set_op(id, Op::Readout { scale: Some(unit_tensor(unit, rank, |u| u)), delay })?;
    }
    Ok(())
}

/// Units of the channels of the result of an operation that does not mix channels.
fn kept_channels(op: &Op, known: &[Vec<f64>]) -> Option<Vec<f64>> {
    let first = &known[0];
    match op {
        Op::CumulativeMaxPool(_) => Some(first.clone()),
        Op::CumulativeMax => known.iter().all(|k| k == first).then(|| first.clone()),
        Op::Gather { axis: 0, indices } => Some(indices.iter().map(|&i| first[i]).collect()),
        Op::Gather { .. } => Some(first.clone()),
        Op::Slice(s) if s.shape.is_empty() => Some(first.clone()),
        Op::Slice(s) => Some((0..s.shape[0] as isize).map(|i| first[(s.start[0] as isize + i * s.step[0]) as usize]).collect()),
        Op::Pad(p) if [&p.begin, &p.end].iter().all(|pad| pad.first().is_none_or(|&n| n == 0)) => Some(first.clone()),
        Op::Transpose { perm } if perm.first().is_none_or(|&a| a == 0) => Some(first.clone()),
        _ => None,
    }
}

/// Units of a current that a structural operation or a maximum passes on.
fn carry_unit(
    graph: &mut Graph,
    id: NodeId,
    front: &HashSet<NodeId>,
    units: &mut HashMap<NodeId, Vec<f64>>,
    bounds: &Bounds,
    timesteps: u32,
) -> Result<(), PassError> {
    let operands = graph.operands(id);
    let channels = graph.ty(id).shape.first().copied().unwrap_or(1);
    let mut known: Vec<Vec<f64>> = Vec::new();
    for &operand in &operands {
        let count = graph.ty(operand).shape.first().copied().unwrap_or(1);
        known.push(if front.contains(&operand) {
            vec![1.0 / FINEST_THRESHOLD; count]
        } else {
            units.get(&operand).cloned().unwrap_or_else(|| vec![1.0; count])
        });
    }
    let op = graph.op(id).clone();
    if op.name() == "pad" && !op.is_structural() {
        return Err(PassError::node(
            graph,
            id,
            "padding with a value other than zero behind neurons has no integer form; compile with --weights f32",
        ));
    }
    let first = known[0][0];
    let uniform = known.iter().flatten().all(|&u| u == first);
    let kept = if let Op::Concat { axis: 0 } = op { Some(known.concat()) } else { kept_channels(&op, &known) };
    let mut inputs = operands.clone();
    let unit = match kept {
        _ if uniform => vec![first; channels],
        Some(kept) => kept,
        None => {
            // Elements of different channels or operands change places: all are brought to one unit first.
            let common = common_unit(&known.concat());
            let largest = operands.iter().flat_map(|&o| bounds.magnitudes(graph, o)).fold(0.0, f64::max);
            if largest / common > steps_per_timestep(timesteps, true) {
                return Err(PassError::node(graph, id, "the currents that meet here are too different; compile with --weights f32"));
            }
            for (i, &operand) in operands.iter().enumerate().filter(|(_, o)| !front.contains(o)) {
                let values: Vec<f64> = known[i].iter().map(|u| u / common).collect();
                let mut shape = vec![1; graph.ty(operand).shape.len()];
                shape.iter_mut().take(1).for_each(|channels| *channels = values.len());
                let synapse = Op::Scale(Scale { weight: Some(narrow(&shape, &values)), bias: None });
                let fresh = graph.fresh_name(&format!("{}.unit", graph.node(operand).name()));
                inputs[i] = graph.add(fresh, Op::Layer(Layer { synapses: vec![synapse], bias: None, neuron: None }), &[operand])?;
            }
            known.iter_mut().for_each(|k| k.fill(common));
            vec![common; channels]
        }
    };
    for (i, &operand) in operands.iter().enumerate() {
        if front.contains(&operand) {
            inputs[i] = encoded(graph, id, vec![(Op::Identity, operand)], &known[i], ENCODE_LIMIT)?;
        }
    }
    graph.rewrite(id, op, &inputs)?;
    units.insert(id, unit);
    Ok(())
}
