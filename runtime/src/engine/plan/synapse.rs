//! One synapse of a layer as engines see it: a geometry and integer weights.

use super::geometry::{Geometry, TapList};
use snn_ir::op::{Divisor, Op};
use snn_ir::{Tensor, ValueType};

/// A synapse: every output element sums its taps' input elements times their weights.
#[derive(Clone, Debug)]
pub struct Synapse {
    /// Which pixels meet.
    pub geometry: Geometry,
    /// What they are multiplied by.
    pub weights: Weights,
}

/// Integer weights of a synapse.
#[derive(Clone, Debug)]
pub enum Weights {
    /// Channels mix: `data[slice][input channel][output channel of its group]`.
    Full {
        /// Number of groups.
        groups: usize,
        /// Input channels per group.
        inputs: usize,
        /// Output channels per group.
        outputs: usize,
        /// The weights.
        data: Vec<i32>,
    },
    /// Every channel stays itself: `data[slice][channel]`.
    Channel(Vec<i32>),
}

/// Why an operation has no integer form.
pub type Reason = String;

fn integers(t: &Tensor, what: &str) -> Result<Vec<i32>, Reason> {
    t.to_i32_vec().ok_or_else(|| format!("{what} is {}, not an integer", t.element_type().name()))
}

/// `weight[o][i][tap]` as `[tap][group][input][output of the group]`.
fn full(weight: &[i32], groups: usize, inputs: usize, outputs: usize, taps: usize, at: impl Fn(usize, usize, usize) -> usize) -> Weights {
    if inputs == 1 && outputs == 1 {
        let data = (0..taps).flat_map(|k| (0..groups).map(move |g| (k, g))).map(|(k, g)| weight[at(g, 0, k)]).collect();
        return Weights::Channel(data);
    }
    let mut data = Vec::with_capacity(weight.len());
    for k in 0..taps {
        for i in 0..groups * inputs {
            let group = i / inputs;
            data.extend((0..outputs).map(|o| weight[at(group * outputs + o, i, k)]));
        }
    }
    Weights::Full { groups, inputs, outputs, data }
}

/// Most weights that one weight a tap or a row becomes when it is repeated for every channel.
const MOST_REPEATED: usize = 1 << 28;

/// The number of weights when `weights` are repeated for `channels` channels.
fn repeated(weights: usize, channels: usize) -> Result<usize, Reason> {
    let count = weights.checked_mul(channels).filter(|&n| n <= MOST_REPEATED);
    count.ok_or_else(|| "it has too many weights when every channel has its own; use --engine reference".into())
}

impl Synapse {
    /// The synapse that `op` is on an operand of type `operand`, giving `output`.
    ///
    /// # Errors
    /// When a parameter is not an integer, or the operation divides.
    pub fn new(op: &Op, operand: &ValueType, output: &[usize]) -> Result<Self, Reason> {
        let channels = operand.shape.first().copied().unwrap_or(1);
        let space = operand.shape.get(1..).unwrap_or(&[]);
        let out_space = output.get(1..).unwrap_or(&[]);
        let pixels: usize = space.iter().product();
        let ones = |slices: usize| Ok::<_, Reason>(Weights::Channel(vec![1; repeated(slices, channels)?]));
        Ok(match op {
            Op::Identity => Synapse { geometry: Geometry::pointwise(pixels), weights: ones(1)? },
            Op::Conv(c) => {
                let (shape, taps) = (c.weight.shape(), c.window.taps());
                let (outputs, inputs) = (shape[0] / c.groups, shape[1]);
                let w = integers(&c.weight, "its weight")?;
                let at = |o: usize, i: usize, k: usize| (o * inputs + i % inputs) * taps + k;
                Synapse { geometry: Geometry::window(&c.window, space, out_space)?, weights: full(&w, c.groups, inputs, outputs, taps, at) }
            }
            Op::ConvTranspose(c) => {
                let (shape, taps) = (c.weight.shape(), c.window.taps());
                let (inputs, outputs) = (shape[0] / c.groups, shape[1]);
                let w = integers(&c.weight, "its weight")?;
                // Stored `[C_in, C_out / groups, ..]`; a depthwise one reads the same either way.
                let at = |o: usize, i: usize, k: usize| {
                    if inputs == 1 && outputs == 1 { o * taps + k } else { (i * outputs + o % outputs) * taps + k }
                };
                Synapse {
                    geometry: Geometry::Listed(TapList::transposed(&c.window, space, out_space)?),
                    weights: full(&w, c.groups, inputs, outputs, taps, at),
                }
            }
            Op::Linear(l) => {
                let (outputs, inputs) = (l.weight.shape()[0], l.weight.shape()[1]);
                let w = integers(&l.weight, "its weight")?;
                if operand.shape.len() == 1 {
                    let at = |o: usize, i: usize, _: usize| o * inputs + i;
                    // A 1×1 matrix is a channel's weight.
                    return Ok(Synapse { geometry: Geometry::pointwise(1), weights: full(&w, 1, inputs, outputs, 1, at) });
                }
                repeated(w.len(), channels)?;
                let weights = Weights::Channel(w.iter().flat_map(|&w| std::iter::repeat_n(w, channels)).collect());
                Synapse { geometry: Geometry::Listed(TapList::linear(pixels / inputs, inputs, outputs)?), weights }
            }
            Op::AvgPool(p) => {
                if p.divisor != Divisor::One && p.window.taps() > 1 {
                    return Err("it divides, which integers cannot".into());
                }
                let (geometry, taps) = Geometry::pool(&p.window, space, out_space)?;
                Synapse { geometry, weights: ones(taps)? }
            }
            Op::Reduce(r) => {
                let count: usize = r.axes.iter().map(|&a| operand.shape[a]).product();
                if r.mean && count > 1 {
                    return Err("it divides, which integers cannot".into());
                }
                let keep: Vec<bool> = (1..operand.shape.len()).map(|a| !r.axes.contains(&a)).collect();
                let geometry = Geometry::Listed(TapList::reduction(space, &keep)?);
                let mixes = r.axes.contains(&0) && channels > 1;
                let weights =
                    if mixes { Weights::Full { groups: 1, inputs: channels, outputs: 1, data: vec![1; channels] } } else { ones(1)? };
                Synapse { geometry, weights }
            }
            Op::Scale(s) => match &s.weight {
                None => Synapse { geometry: Geometry::pointwise(pixels), weights: ones(1)? },
                Some(t) => {
                    let w = integers(t, "its weight")?;
                    let at = t.broadcast_indices(&operand.shape);
                    let per_channel = (0..channels).all(|c| (1..pixels).all(|p| at[c * pixels + p] == at[c * pixels]));
                    let slices = if per_channel { 1 } else { pixels };
                    let weights = (0..slices).flat_map(|p| (0..channels).map(move |c| c * pixels + p)).map(|e| w[at[e] as usize]).collect();
                    let geometry = if per_channel { Geometry::pointwise(pixels) } else { Geometry::Listed(TapList::elementwise(pixels)?) };
                    Synapse { geometry, weights: Weights::Channel(weights) }
                }
            },
            other => return Err(format!("{} is no synapse", other.name())),
        })
    }
}
