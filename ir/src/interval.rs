//! Intervals of integers, channel by channel: what the families of operations say of their results
//! (`op/*.rs`) and [`crate::bounds`] makes a proof of.

use crate::neuron::Neuron;
use crate::tensor::Tensor;

/// Lowest and highest value.
pub type Interval = (i64, i64);

/// An operand: what its elements may be, and its shape.
pub(crate) struct Operand<'a> {
    pub(crate) ranges: &'a Channels,
    pub(crate) shape: &'a [usize],
}

/// The operands of an operation, and the shape of its result.
pub(crate) struct Sources<'a> {
    pub(crate) operands: &'a [Operand<'a>],
    pub(crate) shape: &'a [usize],
}

impl<'a> Sources<'a> {
    /// What any element of any operand may be, and zero.
    pub(crate) fn hull(&self) -> Interval {
        self.operands.iter().fold((0, 0), |h, o| hull(h, o.ranges.hull()))
    }

    /// What the elements of operand `i` may be.
    pub(crate) fn ranges(&self, i: usize) -> &Channels {
        self.operands[i].ranges
    }

    /// The same for each channel of the result, where those are the operand's.
    pub(crate) fn own(&self, i: usize) -> Channels {
        let o = &self.operands[i];
        let aligned = o.shape.len() == self.shape.len() && o.shape.first() == self.shape.first();
        if aligned { o.ranges.clone() } else { Channels::one(o.ranges.hull()) }
    }

    /// The same of the first operand, or zero where there is none.
    pub(crate) fn first(&self) -> Channels {
        if self.operands.is_empty() { Channels::one((0, 0)) } else { self.own(0) }
    }

    /// Operand `i` alone.
    pub(crate) fn alone(&self, i: usize) -> Sources<'a> {
        Sources { operands: &self.operands[i..=i], shape: self.shape }
    }
}

/// Intervals per channel (index of the first axis), or a single one for all.
#[derive(Clone, Debug)]
pub(crate) struct Channels(pub(crate) Vec<Interval>);

/// Most channels that are told apart, so that memory stays bounded whatever a file says.
pub(crate) const MAX_CHANNELS: usize = 1 << 16;

pub(crate) fn hull((a, b): Interval, (c, d): Interval) -> Interval {
    (a.min(c), b.max(d))
}

fn sum((a, b): Interval, (c, d): Interval) -> Interval {
    (a.saturating_add(c), b.saturating_add(d))
}

/// The products of a number in `a` and one in `b`, and zero.
pub(crate) fn product(a: Interval, b: Interval) -> Interval {
    let corners = [a.0.saturating_mul(b.0), a.0.saturating_mul(b.1), a.1.saturating_mul(b.0), a.1.saturating_mul(b.1)];
    corners.into_iter().fold((0, 0), |h, c| hull(h, (c, c)))
}

/// Elements of an integer tensor.
fn integers(t: &Tensor) -> impl Iterator<Item = i64> {
    t.values().map(|v| v as i64)
}

impl Channels {
    pub(crate) fn hull(&self) -> Interval {
        self.0.iter().fold((0, 0), |h, &c| hull(h, c))
    }

    pub(crate) fn at(&self, channel: usize) -> Interval {
        self.0[if self.0.len() == 1 { 0 } else { channel }]
    }

    /// The same for all channels.
    pub(crate) fn one(interval: Interval) -> Channels {
        Channels(vec![interval])
    }

    /// Of each of so many channels.
    pub(crate) fn each(channels: usize, f: impl Fn(usize) -> Interval) -> Channels {
        Channels((0..channels).map(f).collect())
    }

    /// Channel by channel.
    pub(crate) fn zip(&self, other: &Channels, f: impl Fn(Interval, Interval) -> Interval) -> Channels {
        Channels::each(self.0.len().max(other.0.len()), |c| f(self.at(c), other.at(c)))
    }

    pub(crate) fn plus(&self, other: &Channels) -> Channels {
        self.zip(other, sum)
    }

    /// The values of a tensor that broadcasts over `shape`.
    pub(crate) fn of_tensor(t: &Tensor, shape: &[usize]) -> Channels {
        let channels = match (t.shape().first(), shape.first()) {
            (Some(&c), Some(&d)) if t.shape().len() == shape.len() && c == d && c <= MAX_CHANNELS => c,
            _ => 1,
        };
        let each = (t.len() / channels).max(1);
        let mut out = vec![(i64::MAX, i64::MIN); channels];
        integers(t).enumerate().for_each(|(i, v)| out[i / each] = hull(out[i / each], (v, v)));
        Channels(out)
    }

    /// The same with zero, as a summand that may or may not have been added yet.
    pub(crate) fn of_bias(t: Option<&Tensor>, shape: &[usize]) -> Channels {
        match t {
            None => Channels(vec![(0, 0)]),
            Some(t) => Channels(Channels::of_tensor(t, shape).0.into_iter().map(|i| hull(i, (0, 0))).collect()),
        }
    }

    /// What a neuron's schedule may add in a step, or zero.
    pub(crate) fn of_schedule(n: &Neuron, shape: &[usize]) -> Channels {
        n.schedule_steps().fold(Channels::one((0, 0)), |all, row| all.zip(&Channels::of_bias(Some(&row), shape), hull))
    }

    /// Weighted sums: `channel(i)` is the output that weight `i` belongs to, `range(i)` what the
    /// number that it multiplies may be.
    pub(crate) fn weighted(
        weights: &Tensor,
        channels: usize,
        range: impl Fn(usize) -> Interval,
        channel: impl Fn(usize) -> usize,
    ) -> Channels {
        let single = channels > MAX_CHANNELS;
        let mut out = vec![(0, 0); if single { 1 } else { channels }];
        integers(weights).enumerate().for_each(|(i, w)| {
            // With too many channels to tell apart, all weights together are an upper bound.
            let c = if single { 0 } else { channel(i) };
            out[c] = sum(out[c], product((w, w), range(i)));
        });
        Channels(out)
    }

    /// Of each element, what `f` makes of its interval.
    pub(crate) fn map(&self, f: impl Fn(Interval) -> Interval) -> Channels {
        Channels(self.0.iter().map(|&i| f(i)).collect())
    }

    /// The bias of a matrix with one row per channel.
    pub(crate) fn of_row_bias(bias: Option<&Tensor>) -> Channels {
        Channels::of_bias(bias, bias.map_or(&[], Tensor::shape))
    }
}
