//! Currents that are moved, joined or compared, and currents in other units than their own.

use super::super::PassError;
use super::Quantizer;
use super::rows::{WHOLE, narrow};
use snn_ir::op::{Layer, Requantize, Scale};
use snn_ir::{Graph, NodeId, Op, Signal};
use std::collections::HashSet;

/// Most integer steps of the smallest of several units that meet.
const COMMON_STEPS: u32 = 256;
/// Units that have to meet: a current in the coarsest keeps four bits more than its weights gave it.
const SPARE_BITS: u32 = 4;
/// Largest integer that is brought to another unit by a factor: 2^30 holds its product with a factor of
/// 11 bits, which rounds to less than a thousandth.
const FACTORED: i64 = 1 << 19;
/// Most bits of a value in 32 that may still be added to once.
const SAFE_BITS: u32 = 30;
/// Units are the same if they differ by less: what rounding to f64 does.
pub(super) const SAME: f64 = 1e-9;
/// Steps of a prefix where no sample shows how large it gets.
const UNSEEN: f64 = 1.0 / 4096.0;

/// A unit of which all units are whole multiples, or nearly so; `None` where there is none that is not
/// much finer.
pub(super) fn common_unit(units: &[f64]) -> Option<f64> {
    let smallest = units.iter().copied().fold(f64::INFINITY, f64::min);
    let is_whole = |v: f64| (v - v.round()).abs() < WHOLE * v;
    let whole = |n: &u32| units.iter().map(|u| u / smallest * f64::from(*n)).all(is_whole);
    // A large factor is as good as whole: it rounds to a part in a thousand.
    (1..=COMMON_STEPS).find(whole).map(|n| smallest / f64::from(n))
}

/// Bits that a magnitude must lose to be at most `most`.
pub(super) fn bits_to_lose(magnitude: i64, most: i64) -> u32 {
    (0..63).find(|&bits| magnitude >> bits <= most).unwrap_or(63)
}

/// The nodes whose elements must all share one unit, for something downstream needs it.
pub(super) fn sharing(graph: &Graph, order: &[NodeId]) -> HashSet<NodeId> {
    let mut shared = HashSet::new();
    for &id in order.iter().rev() {
        let rank = graph.ty(id).shape.len();
        let needs = |user: NodeId| match graph.op(user) {
            Op::Concat { axis: 0 } | Op::CumulativeMaxPool(_) | Op::Gather { .. } | Op::Slice(_) => shared.contains(&user),
            Op::Layer(l) => l.synapses.iter().zip(graph.operands(user)).filter(|(_, source)| *source == id).any(|(s, _)| match s {
                Op::Linear(_) => rank > 1,
                // Sums have no weights that could bring channels to one unit afterwards.
                Op::Reduce(r) => r.axes.contains(&0) || shared.contains(&user),
                Op::AvgPool(_) => shared.contains(&user),
                _ => false,
            }),
            Op::Readout { .. } => false,
            _ => true,
        };
        if graph.users(id).into_iter().any(needs) {
            shared.insert(id);
        }
    }
    shared
}

impl Quantizer<'_> {
    /// The current `id` with integers that stand for `unit`, per channel: a factor in integers, then bits
    /// taken off.
    pub(super) fn in_unit(&mut self, id: NodeId, unit: &[f64]) -> Result<NodeId, PassError> {
        let key = (id, unit.iter().map(|u| u.to_bits()).collect::<Vec<u64>>());
        if let Some(&known) = self.rescaled.get(&key) {
            return Ok(known);
        }
        let made = self.make_in_unit(id, unit)?;
        self.rescaled.insert(key, made);
        Ok(made)
    }

    fn make_in_unit(&mut self, id: NodeId, unit: &[f64]) -> Result<NodeId, PassError> {
        let own = self.units.get(&id).cloned().unwrap_or_else(|| vec![1.0; self.channels(id)]);
        let ratios: Vec<f64> = (0..unit.len()).map(|c| own[c.min(own.len() - 1)] / unit[c]).collect();
        let same = |r: f64, to: f64| (r / to - 1.0).abs() < SAME;
        if ratios.iter().all(|&r| same(r, 1.0)) {
            return Ok(id);
        }
        // Bits that all channels lose are taken off first, and are all there is to do if that is all.
        let bits: Vec<f64> = ratios.iter().map(|r| (-r.log2()).round()).collect();
        let is_shift = ratios.iter().zip(&bits).all(|(&r, b)| same(r, (-b).exp2()));
        let least = bits.iter().copied().fold(f64::INFINITY, f64::min).min(f64::from(Requantize::MOST_BITS));
        if is_shift && least >= 1.0 && self.is_current(id) {
            let coarse: Vec<f64> = (0..unit.len()).map(|c| own[c.min(own.len() - 1)] * least.exp2()).collect();
            let id = self.shifted(id, least as u32, coarse)?;
            return self.in_unit(id, unit);
        }
        let has_fraction = ratios.iter().any(|&r| (r / r.round().max(1.0) - 1.0).abs() > WHOLE);
        if !has_fraction {
            return self.multiplied(id, &ratios, unit.to_vec());
        }
        let magnitudes = self.ranges.magnitudes(id, ratios.len());
        if !is_shift && magnitudes.iter().any(|&m| m > FACTORED) {
            // A factor needs bits of its own.
            let coarse = |c: usize| own[c.min(own.len() - 1)] * f64::from(bits_to_lose(magnitudes[c], FACTORED)).exp2();
            let coarse: Vec<f64> = (0..unit.len()).map(coarse).collect();
            let coarse = self.in_unit(id, &coarse)?;
            return self.in_unit(coarse, unit);
        }
        let largest = ratios.iter().zip(&magnitudes).map(|(r, &m)| r * m.max(1) as f64).fold(1.0, f64::max);
        let shift = (f64::from(SAFE_BITS) - largest.log2()).floor().clamp(0.0, f64::from(Requantize::MOST_BITS));
        let factors: Vec<f64> = ratios.iter().map(|r| r * shift.exp2()).collect();
        let fine: Vec<f64> = unit.iter().map(|u| u / shift.exp2()).collect();
        let multiplied = self.multiplied(id, &factors, fine)?;
        if shift < 1.0 { Ok(multiplied) } else { self.shifted(multiplied, shift as u32, unit.to_vec()) }
    }

    fn multiplied(&mut self, id: NodeId, factors: &[f64], unit: Vec<f64>) -> Result<NodeId, PassError> {
        let rank = self.graph.ty(id).shape.len();
        let uniform = factors.iter().all(|&f| f == factors[0]);
        let shape = match rank {
            _ if uniform => Vec::new(),
            rank => [vec![factors.len()], vec![1; rank - 1]].concat(),
        };
        let values = if uniform { &factors[..1] } else { factors };
        let weight = narrow(&shape, values.iter().copied());
        let synapses = vec![Op::Scale(Scale { weight: Some(weight), bias: None })];
        let name = format!("{}.unit", self.graph.node(id).name());
        self.add(&name, Op::Layer(Layer { synapses, bias: None, neuron: None }), id, unit)
    }

    fn shifted(&mut self, id: NodeId, shift: u32, unit: Vec<f64>) -> Result<NodeId, PassError> {
        let name = format!("{}.coarse", self.graph.node(id).name());
        self.add(&name, Op::Requantize(Requantize { shift }), id, unit)
    }

    /// Units of what a structural operation or a maximum passes on.
    pub(super) fn pass_on(&mut self, id: NodeId) -> Result<(), PassError> {
        if self.graph.ty(id).signal == Signal::Spikes {
            self.note(id);
            return Ok(());
        }
        let op = self.graph.op(id).clone();
        if op.name() == "pad" && !op.is_structural() {
            return Err(PassError::node(
                self.graph,
                id,
                "padding with a value other than zero after neurons has no integer form; compile with --weights f32",
            ));
        }
        let mut operands = self.graph.operands(id);
        for operand in &mut operands {
            if self.prefix.contains(operand) {
                let unit = self.unit_of_prefix(id);
                let channels = self.channels(*operand);
                let encode = self.encoded(id, vec![(Op::Identity, *operand)])?;
                self.set_encode(encode, &[unit])?;
                self.units.insert(encode, vec![unit; channels]);
                *operand = encode;
            }
        }
        let known: Vec<Vec<f64>> =
            operands.iter().map(|o| self.units.get(o).cloned().unwrap_or_else(|| vec![1.0; self.channels(*o)])).collect();
        let first = known[0][0];
        let is_uniform = known.iter().flatten().all(|&u| u == first);
        let kept = if let Op::Concat { axis: 0 } = op { Some(known.concat()) } else { kept_channels(&op, &known) };
        let mut unit = match kept {
            _ if is_uniform => vec![first; self.channels(id)],
            Some(kept) if !self.shared.contains(&id) => kept,
            _ => {
                // Elements of different channels or operands change places: all are brought to one unit first.
                let common = self.meeting_unit(&operands, &known);
                for (operand, known) in operands.iter_mut().zip(&known) {
                    *operand = self.in_unit(*operand, &vec![common; known.len()])?;
                }
                vec![common; self.channels(id)]
            }
        };
        // A running maximum must fit 32 bits over the window.
        while let Some(reach) = self.ranges.reach(self.graph, &op, &operands, &self.graph.ty(id).shape) {
            let steps = reach.steps_of(0);
            if steps >= self.timesteps {
                break;
            }
            let bits = (f64::from(self.timesteps) / f64::from(steps.max(1))).log2().ceil().max(1.0);
            for operand in &mut operands {
                let coarse: Vec<f64> = self.units[operand].iter().map(|u| u * bits.exp2()).collect();
                *operand = self.in_unit(*operand, &coarse)?;
            }
            unit.iter_mut().for_each(|u| *u *= bits.exp2());
        }
        self.graph.rewrite(id, op, &operands)?;
        self.note(id);
        self.units.insert(id, unit);
        Ok(())
    }

    /// The unit of the prefix where it joins other currents before any weights read it.
    fn unit_of_prefix(&self, id: NodeId) -> f64 {
        match self.observed.get(&id) {
            // Half of the range is for inputs that samples do not show.
            Some(&seen) if seen > 0.0 => 2.0 * seen / f64::from(self.encode_limit()),
            _ => UNSEEN,
        }
    }

    /// A unit for currents that meet: one that all are whole multiples of, if it is not too fine for the
    /// window, else somewhat finer than the coarsest.
    fn meeting_unit(&self, operands: &[NodeId], known: &[Vec<f64>]) -> f64 {
        let all = known.concat();
        let room = i64::from(i32::MAX) / i64::from(self.timesteps);
        let largest = |unit: f64| {
            let of = |(o, known): (&NodeId, &Vec<f64>)| {
                let coarsest = known.iter().copied().fold(0.0, f64::max);
                self.ranges.magnitude(*o).max(1) as f64 * coarsest / unit
            };
            operands.iter().zip(known).map(of).fold(0.0, f64::max)
        };
        if let Some(common) = common_unit(&all).filter(|&u| largest(u) <= room as f64) {
            return common;
        }
        let coarsest = all.iter().copied().fold(0.0, f64::max);
        let finer = (0..=SPARE_BITS).rev().map(|bits| coarsest / f64::from(bits).exp2());
        finer.into_iter().find(|&u| largest(u) <= room as f64).unwrap_or(coarsest)
    }
}

/// Units of the channels of the result of an operation that does not mix channels.
fn kept_channels(op: &Op, known: &[Vec<f64>]) -> Option<Vec<f64>> {
    let first = &known[0];
    match op {
        Op::CumulativeMaxPool(_) => Some(first.clone()),
        Op::CumulativeMax => known.iter().all(|k| k == first).then(|| first.clone()),
        Op::Gather { axis: 0, indices } => Some(indices.iter().map(|&i| first[i]).collect()),
        Op::Gather { .. } => Some(first.clone()),
        // A value without axes has one channel.
        Op::Slice(s) if s.shape.is_empty() => Some(first.clone()),
        Op::Slice(s) => Some((0..s.shape[0] as isize).map(|i| first[(s.start[0] as isize + i * s.step[0]) as usize]).collect()),
        Op::Pad(p) if p.begin.first().is_none_or(|&b| b == 0) && p.end.first().is_none_or(|&e| e == 0) => Some(first.clone()),
        Op::Transpose { perm } if perm.first().is_none_or(|&p| p == 0) => Some(first.clone()),
        _ => None,
    }
}
