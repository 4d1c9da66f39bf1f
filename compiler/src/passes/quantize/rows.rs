//! Weights as rows: how much each output channel gets per unit of each source element, and integers.

use snn_ir::neuron::Neuron;
use snn_ir::op::{Conv, ConvTranspose, Linear, Scale, WeightLayout};
use snn_ir::{Op, Tensor};

/// A unit that is no whole part of another by less than this is one.
pub(super) const WHOLE: f64 = 1e-3;

/// A synapse with weights of its own.
pub(super) struct Rows<'a> {
    synapse: &'a Op,
    weights: &'a Tensor,
    layout: WeightLayout,
    /// Whether channels are told apart: not where a linear operation works on another axis than the first.
    is_flat: bool,
}

/// The weights of an output channel, each times its source's unit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// The largest magnitude.
    pub largest: f64,
    /// Sum of squares of what each makes of its source at the source's largest.
    pub signal: f64,
    /// The same of what rounding each to a whole number of ones makes: evenly distributed, so a twelfth.
    pub noise: f64,
}

impl Size {
    /// With the weights of another synapse.
    pub fn and(self, other: Size) -> Size {
        Size { largest: self.largest.max(other.largest), signal: self.signal + other.signal, noise: self.noise + other.noise }
    }

    /// How many times larger the current is than what rounding weights to whole numbers of `unit` makes.
    pub fn fidelity(self, unit: f64) -> f64 {
        if self.signal > 0.0 { (self.signal / self.noise).sqrt() / unit } else { f64::INFINITY }
    }
}

/// The unit of a channel of a source; spikes stand for one.
pub(super) fn unit_of(units: Option<&Vec<f64>>, channel: usize) -> f64 {
    units.map_or(1.0, |u| u[channel.min(u.len() - 1)])
}

impl<'a> Rows<'a> {
    /// `None` for synapses without a weight matrix. The layer's result has `shape`.
    pub fn of(synapse: &'a Op, shape: &[usize]) -> Option<Self> {
        let (weights, layout, is_flat) = match synapse {
            Op::Conv(c) => (&c.weight, c.layout(), true),
            Op::ConvTranspose(c) => (&c.weight, c.layout(), true),
            Op::Linear(l) => (&l.weight, l.layout(), shape.len() == 1),
            _ => return None,
        };
        Some(Rows { synapse, weights, layout, is_flat })
    }

    fn output(&self, i: usize) -> usize {
        if self.is_flat { self.layout.output(i) } else { 0 }
    }

    /// What the weights of each of `channels` output channels amount to; `magnitudes` are those of the
    /// source's integers, per channel.
    pub fn sizes(&self, source: Option<&Vec<f64>>, magnitudes: &[i64], channels: usize) -> Vec<Size> {
        let mut sizes = vec![Size::default(); channels];
        let hull = magnitudes.iter().copied().max().unwrap_or(0);
        for (i, &w) in self.weights.as_f32().iter().enumerate().filter(|(_, w)| **w != 0.0) {
            let from = self.layout.input(i);
            let size = &mut sizes[self.output(i)];
            let weight = f64::from(w).abs() * unit_of(source, from);
            let magnitude = if self.is_flat { magnitudes.get(from).copied().unwrap_or(hull) } else { hull } as f64;
            size.largest = size.largest.max(weight);
            size.signal += (weight * magnitude).powi(2);
            size.noise += magnitude.powi(2) / 12.0;
        }
        if !self.is_flat {
            // The same weights make every channel.
            sizes = vec![sizes[0]; channels];
        }
        sizes
    }

    /// The synapse with integer weights, for a result in `unit`.
    pub fn rounded(&self, source: Option<&Vec<f64>>, unit: &[f64]) -> Op {
        let value = |(i, &w): (usize, &f32)| {
            let u = unit[self.output(i).min(unit.len() - 1)];
            f64::from(w) * unit_of(source, self.layout.input(i)) / u
        };
        let weight = narrow(self.weights.shape(), self.weights.as_f32().iter().enumerate().map(value));
        match self.synapse {
            Op::Conv(c) => Op::Conv(Conv { weight, ..c.clone() }),
            Op::ConvTranspose(c) => Op::ConvTranspose(ConvTranspose { weight, ..c.clone() }),
            Op::Linear(l) => Op::Linear(Linear { weight, ..l.clone() }),
            other => other.clone(),
        }
    }
}

/// The nearest integer, or the one at the end of 32 bits.
pub(super) fn round_i32(value: f64) -> i32 {
    value.round().clamp(-f64::from(i32::MAX), f64::from(i32::MAX)) as i32
}

/// Integers in the narrowest type that holds them, `[shape]`.
pub(super) fn narrow(shape: &[usize], values: impl Iterator<Item = f64>) -> Tensor {
    let ints: Vec<i32> = values.map(round_i32).collect();
    let largest = ints.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
    match largest {
        0..=127 => Tensor::i8(shape, ints.iter().map(|&v| v as i8).collect::<Vec<_>>()),
        128..=32767 => Tensor::i16(shape, ints.iter().map(|&v| v as i16).collect::<Vec<_>>()),
        _ => Tensor::i32(shape, ints),
    }
}

/// A float tensor divided by the units of its channels (axis 0 of a value of `shape`), rounded to i32, as small as it was.
pub(super) fn in_units(tensor: &Tensor, unit: &[f64], shape: &[usize]) -> Tensor {
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

/// A factor, or none, in integers: what brings a source in `source` units to `unit`, per element where
/// the factor differs from place to place. [`Op::Identity`] where it is one everywhere.
pub(super) fn rounded_factor(factor: Option<&Tensor>, source: Option<&Vec<f64>>, unit: &[f64], shape: &[usize]) -> Op {
    let one = Tensor::scalar(1.0);
    let factor = factor.unwrap_or(&one);
    let mut out = [vec![1; shape.len() - factor.shape().len()], factor.shape().to_vec()].concat();
    if let Some(first) = out.first_mut() {
        *first = shape[0];
    }
    let inner: usize = out.iter().skip(1).product();
    let value = |(i, w): (usize, f32)| f64::from(w) * unit_of(source, i / inner) / unit[(i / inner).min(unit.len() - 1)];
    let values: Vec<f64> = factor.expanded(&out).into_iter().enumerate().map(value).collect();
    if values.iter().all(|v| v.round() == 1.0) {
        return Op::Identity;
    }
    Op::Scale(Scale { weight: Some(narrow(&out, values.into_iter())), bias: None })
}

/// Mean over a synapse's rows of the sum of their squared integer weights.
pub(super) fn squares_per_row(synapse: &Op, rows: usize) -> f64 {
    let rows = if let Op::Linear(l) = synapse { l.weight.shape()[0] } else { rows };
    let squares = |t: &Tensor| t.values().map(|v| v * v).sum::<f64>() / rows.max(1) as f64;
    synapse.parameters().first().map_or(1.0, |(_, t)| squares(t))
}

/// Neurons with their parameters in units of the current.
pub(super) fn neuron_in_units(n: &Neuron, unit: &[f64], shape: &[usize]) -> Neuron {
    let threshold = in_units(&n.threshold, unit, shape);
    let least_one = threshold.values().map(|t| (t as i32).max(1)).collect::<Vec<_>>();
    let threshold = Tensor::i32(threshold.shape(), least_one);
    let rows: Vec<Tensor> = n.schedule_rows().iter().map(|row| in_units(row, unit, shape)).collect();
    let schedule = rows.first().map(|first| {
        let shape = [&[rows.len()][..], first.shape()].concat();
        Tensor::i32(shape, rows.iter().flat_map(|r| r.to_i32_vec().unwrap_or_default()).collect::<Vec<_>>())
    });
    Neuron { threshold, initial: in_units(&n.initial, unit, shape), schedule, ..n.clone() }
}

/// Most integer steps of factors that differ from place to place.
const FACTOR_STEPS: u32 = 2047;

/// The largest number of which all factors are whole multiples, as those of an average are, or a fine fraction of the
/// largest factor where there is none.
pub(super) fn step(factors: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = factors.clone().fold(0.0, |m: f64, v| m.max(v.abs()));
    let uneven = |v: f64| (v - v.round()).abs() > WHOLE || v.abs() < 0.5 && v != 0.0;
    let whole = |n: &u32| !factors.clone().any(|v| uneven(v / largest * f64::from(*n)));
    largest / f64::from((1..FACTOR_STEPS).find(whole).unwrap_or(FACTOR_STEPS))
}
