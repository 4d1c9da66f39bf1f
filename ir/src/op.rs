//! The operations of the graph.
//!
//! Three families (see the crate documentation for their meaning at a time step):
//! * *linear* and *structural* operations work on analog values and on temporal ones alike;
//! * *analog-only* operations ([`Op::Relu`], [`Op::MaxPool`], ..) must be gone before a graph can spike;
//! * *temporal* operations ([`Op::If`], [`Op::Layer`], [`Op::Readout`], ..) exist only in a spiking graph.

mod activation;
mod arithmetic;
mod conv;
mod layer;
mod norm;
mod pool;
mod shape;

pub use activation::Relu;
pub use arithmetic::{Requantize, Scale};
pub use conv::{Conv, ConvTranspose, Linear, WeightLayout};
pub use layer::Layer;
pub use norm::{BatchNorm, Lrn, RmsNorm};
pub use pool::{AvgPool, Divisor, Reduce};
pub use shape::{Pad, Slice};

use crate::activation::Activation;
use crate::attr::{AttrError, Fields};
use crate::infer::{Inferred, TypeError, broadcasts, require, same_shapes, structural_signal};
use crate::interval::{Channels, Sources};
use crate::neuron::Neuron;
use crate::signal::{Signal, ValueType};
use crate::tensor::Tensor;
use crate::window::Window;

/// One operation. Every operation has exactly one result.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A network input of the given signal and per-sample shape.
    Input(Signal, Vec<usize>),
    /// A value that does not depend on the input: analog, or the same current in every step.
    Constant(Signal, Tensor),

    /// Passes its operand on.
    Identity,
    /// Convolution over the spatial axes of `[C, spatial..]`.
    Conv(Conv),
    /// Transposed convolution.
    ConvTranspose(ConvTranspose),
    /// Matrix product along the last axis.
    Linear(Linear),
    /// Average or sum over a sliding window.
    AvgPool(AvgPool),
    /// Mean or sum over whole axes, which stay with extent 1.
    Reduce(Reduce),
    /// Elementwise `x · weight + bias` with broadcast constants.
    Scale(Scale),
    /// Batch normalisation at inference.
    BatchNorm(BatchNorm),
    /// Elementwise sum of two or more operands of the same shape.
    Add,

    /// Joins operands along an axis.
    Concat {
        /// Per-sample axis.
        axis: usize,
    },
    /// The same elements in row-major order under another shape.
    Reshape {
        /// New per-sample shape.
        shape: Vec<usize>,
    },
    /// Permutes axes: output axis `i` is input axis `perm[i]`.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// Adds elements of a constant value around every axis.
    Pad(Pad),
    /// Takes every `step`-th element of each axis.
    Slice(Slice),
    /// Takes the elements at `indices` of one axis (nearest upsampling, reflection padding, channel
    /// choice).
    Gather {
        /// Per-sample axis.
        axis: usize,
        /// Source index of every output index.
        indices: Vec<usize>,
    },

    /// `min(max(x, 0), cap)`. Analog only.
    Relu(Relu),
    /// Any other scalar function. Analog only.
    Activation(Activation),
    /// Maximum over a sliding window. Analog only.
    MaxPool(Window),
    /// Elementwise maximum of two or more operands. Analog only.
    Maximum,
    /// Softmax or its logarithm along an axis. Analog only; dropped at the end of a network, where
    /// it changes no ranking.
    Softmax {
        /// Per-sample axis.
        axis: usize,
        /// Whether the logarithm is taken.
        log: bool,
    },
    /// Local response normalisation across channels. Analog only.
    Lrn(Lrn),
    /// Division by the root mean square over whole axes. Analog only.
    RmsNorm(RmsNorm),

    /// `out(t) = max C(t) − max C(t−1)` over a window, where `C` is the running sum of the operand:
    /// the exact max-pool of a spike train or a current. On analog values it is the maximum.
    CumulativeMaxPool(Window),
    /// The same, elementwise over two or more operands.
    CumulativeMax,

    /// Makes the integers of a current coarser, and keeps what rounding leaves over for the next
    /// step.
    Requantize(Requantize),

    /// Rounds a real current to integers, `round(x · scale)` (half away from zero) clamped to
    /// `±limit`: the entry to integer arithmetic. What comes before it depends on the input alone,
    /// so it is the same in every step: engines compute it once a window, in f32, with the same
    /// code, and everything after it in integers.
    Encode {
        /// Integer units per unit of current, broadcast over the value.
        scale: Tensor,
        /// Largest magnitude that comes out.
        limit: i32,
    },
    /// A population of integrate-and-fire neurons driven by one current.
    If(Neuron),
    /// A fused layer: the sum of one synapse per operand, a bias, and neurons (or, without them, a
    /// current).
    Layer(Layer),
    /// Accumulates its operand over time, divides by the number of steps accumulated and multiplies
    /// by `scale`: the network's answer.
    Readout {
        /// Real units per accumulated unit, broadcast over the value.
        scale: Option<Tensor>,
        /// Steps at the start of the window that are not accumulated: delayed evaluation (Bu et al.
        /// 2025).
        delay: u32,
    },
}

impl Op {
    /// The neurons of a population; `None` where the operation has none.
    pub fn neuron(&self) -> Option<&Neuron> {
        match self {
            Op::If(neuron) => Some(neuron),
            Op::Layer(layer) => layer.neuron.as_ref(),
            _ => None,
        }
    }

    /// Whether the operation is a population of neurons.
    pub fn is_population(&self) -> bool {
        self.neuron().is_some()
    }

    /// Name in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input(..) => "input",
            Op::Constant(..) => "constant",
            Op::Identity => "identity",
            Op::Conv(_) => "conv",
            Op::ConvTranspose(_) => "conv_transpose",
            Op::Linear(_) => "linear",
            Op::AvgPool(_) => "avg_pool",
            Op::Reduce(_) => "reduce",
            Op::Scale(_) => "scale",
            Op::BatchNorm(_) => "batch_norm",
            Op::Add => "add",
            Op::Concat { .. } => "concat",
            Op::Reshape { .. } => "reshape",
            Op::Transpose { .. } => "transpose",
            Op::Pad(_) => "pad",
            Op::Slice(_) => "slice",
            Op::Gather { .. } => "gather",
            Op::Relu(_) => "relu",
            Op::Activation(a) => a.name(),
            Op::MaxPool(_) => "max_pool",
            Op::Maximum => "maximum",
            Op::Softmax { .. } => "softmax",
            Op::Lrn(_) => "lrn",
            Op::RmsNorm(_) => "rms_norm",
            Op::CumulativeMaxPool(_) => "cumulative_max_pool",
            Op::CumulativeMax => "cumulative_max",
            Op::Requantize(_) => "requantize",
            Op::Encode { .. } => "encode",
            Op::If(_) => "if",
            Op::Layer(_) => "layer",
            Op::Readout { .. } => "readout",
        }
    }

    /// Whether the operation may be among the synapses of a [`Layer`]: linear, one operand, no
    /// bias.
    pub fn is_synapse(&self) -> bool {
        match self {
            Op::Identity | Op::AvgPool(_) | Op::Reduce(_) => true,
            Op::Conv(c) => c.bias.is_none(),
            Op::ConvTranspose(c) => c.bias.is_none(),
            Op::Linear(l) => l.bias.is_none(),
            Op::Scale(s) => s.bias.is_none(),
            _ => false,
        }
    }

    /// Whether the operation only moves elements (and may add zeros): result elements are operand
    /// elements.
    pub fn is_structural(&self) -> bool {
        match self {
            Op::Identity | Op::Concat { .. } | Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice(_) | Op::Gather { .. } => true,
            Op::Pad(p) => p.value == 0.0,
            _ => false,
        }
    }

    /// The operation with its integers as floats: it computes the same whole numbers, as far as an
    /// `f32` holds them. [`Op::Requantize`] becomes the division that it rounds.
    pub fn in_floats(&self) -> Op {
        let floats = |t: &Option<Tensor>| t.as_ref().map(Tensor::to_floats);
        match self {
            Op::Constant(signal, value) => Op::Constant(*signal, value.to_floats()),
            Op::Conv(c) => Op::Conv(Conv { weight: c.weight.to_floats(), bias: floats(&c.bias), ..c.clone() }),
            Op::ConvTranspose(c) => Op::ConvTranspose(ConvTranspose { weight: c.weight.to_floats(), bias: floats(&c.bias), ..c.clone() }),
            Op::Linear(l) => Op::Linear(Linear { weight: l.weight.to_floats(), bias: floats(&l.bias) }),
            Op::Scale(s) => Op::Scale(Scale { weight: floats(&s.weight), bias: floats(&s.bias) }),
            Op::Requantize(r) => {
                let weight = Some(Tensor::scalar((-(r.shift as f32)).exp2()));
                Op::Scale(Scale { weight, bias: None })
            }
            Op::If(n) => Op::If(Neuron {
                threshold: n.threshold.to_floats(),
                initial: n.initial.to_floats(),
                schedule: floats(&n.schedule),
                ..n.clone()
            }),
            other => other.clone(),
        }
    }

    /// All parameter tensors with the names they have in the text form, in a fixed order.
    pub fn parameters(&self) -> Vec<(String, &Tensor)> {
        fn named<'a>(out: &mut Vec<(String, &'a Tensor)>, prefix: &str, items: &[(&str, Option<&'a Tensor>)]) {
            out.extend(items.iter().filter_map(|(n, t)| t.map(|t| (format!("{prefix}{n}"), t))));
        }
        fn neuron<'a>(out: &mut Vec<(String, &'a Tensor)>, n: &'a Neuron) {
            named(out, "", &[("threshold", Some(&n.threshold)), ("init", Some(&n.initial)), ("schedule", n.schedule.as_ref())]);
        }
        let mut out = Vec::new();
        match self {
            Op::Constant(_, value) => named(&mut out, "", &[("value", Some(value))]),
            Op::Conv(Conv { weight, bias, .. })
            | Op::ConvTranspose(ConvTranspose { weight, bias, .. })
            | Op::Linear(Linear { weight, bias }) => {
                named(&mut out, "", &[("weight", Some(weight)), ("bias", bias.as_ref())]);
            }
            Op::Scale(s) => named(&mut out, "", &[("weight", s.weight.as_ref()), ("bias", s.bias.as_ref())]),
            Op::BatchNorm(b) => {
                named(
                    &mut out,
                    "",
                    &[("gamma", Some(&b.gamma)), ("beta", Some(&b.beta)), ("mean", Some(&b.mean)), ("variance", Some(&b.variance))],
                );
            }
            Op::Relu(r) => named(&mut out, "", &[("threshold", r.threshold.as_ref())]),
            Op::Activation(Activation::PRelu(slope)) => named(&mut out, "", &[("slope", Some(slope))]),
            Op::If(n) => neuron(&mut out, n),
            Op::Layer(l) => {
                for (i, synapse) in l.synapses.iter().enumerate() {
                    out.extend(synapse.parameters().into_iter().map(|(n, t)| (format!("synapse{i}.{n}"), t)));
                }
                named(&mut out, "", &[("bias", l.bias.as_ref())]);
                if let Some(n) = &l.neuron {
                    neuron(&mut out, n);
                }
            }
            Op::Readout { scale, .. } => named(&mut out, "", &[("scale", scale.as_ref())]),
            Op::Encode { scale, .. } => named(&mut out, "", &[("scale", Some(scale))]),
            _ => {}
        }
        out
    }

    /// The operation called `name` with attributes that are still to be read; `ty` is the type of
    /// an input or constant.
    pub(crate) fn unread(name: &str, (signal, shape): (Signal, &[usize])) -> Option<Op> {
        let mut all = vec![
            Op::Input(signal, shape.to_vec()),
            Op::Constant(signal, Tensor::default()),
            Op::Identity,
            Op::Conv(Conv::default()),
            Op::ConvTranspose(ConvTranspose::default()),
            Op::Linear(Linear::default()),
            Op::AvgPool(AvgPool::default()),
            Op::Reduce(Reduce::default()),
            Op::Scale(Scale::default()),
            Op::BatchNorm(BatchNorm::default()),
            Op::Add,
            Op::Concat { axis: 0 },
            Op::Reshape { shape: Vec::new() },
            Op::Transpose { perm: Vec::new() },
            Op::Pad(Pad::default()),
            Op::Slice(Slice::default()),
            Op::Gather { axis: 0, indices: Vec::new() },
            Op::Relu(Relu::default()),
            Op::MaxPool(Window::default()),
            Op::Maximum,
            Op::Softmax { axis: 0, log: false },
            Op::Lrn(Lrn::default()),
            Op::RmsNorm(RmsNorm::default()),
            Op::CumulativeMaxPool(Window::default()),
            Op::CumulativeMax,
            Op::Requantize(Requantize::default()),
            Op::Encode { scale: Tensor::default(), limit: 0 },
            Op::If(Neuron::new(Tensor::default())),
            Op::Layer(Layer::default()),
            Op::Readout { scale: None, delay: 0 },
        ];
        all.extend(activation::activations().into_iter().map(Op::Activation));
        all.into_iter().find(|op| op.name() == name)
    }

    /// The attributes, on the way out or in.
    pub(crate) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        match self {
            Op::Input(..) | Op::Identity | Op::Add | Op::Maximum | Op::CumulativeMax => Ok(()),
            Op::Constant(_, value) => f.tensor("value", value),
            Op::Conv(c) => c.fields(f),
            Op::ConvTranspose(c) => c.fields(f),
            Op::Linear(l) => l.fields(f),
            Op::AvgPool(p) => p.fields(f),
            Op::Reduce(r) => r.fields(f),
            Op::Scale(s) => s.fields(f),
            Op::BatchNorm(b) => b.fields(f),
            Op::Concat { axis } => f.size("axis", axis),
            Op::Reshape { shape } => f.sizes("shape", shape),
            Op::Transpose { perm } => f.sizes("perm", perm),
            Op::Pad(p) => p.fields(f),
            Op::Slice(s) => s.fields(f),
            Op::Gather { axis, indices } => f.size("axis", axis).and_then(|()| f.sizes("indices", indices)),
            Op::Relu(r) => r.fields(f),
            Op::Activation(a) => activation::activation_fields(a, f),
            Op::MaxPool(w) | Op::CumulativeMaxPool(w) => f.window(w),
            Op::Softmax { axis, log } => f.size("axis", axis).and_then(|()| f.flag("log", log)),
            Op::Lrn(l) => l.fields(f),
            Op::RmsNorm(n) => n.fields(f),
            Op::Requantize(r) => r.fields(f),
            Op::Encode { scale, limit } => arithmetic::encode_fields(scale, limit, f),
            Op::If(n) => n.fields(f),
            Op::Layer(l) => l.fields(f),
            Op::Readout { scale, delay } => {
                f.optional_tensor("scale", scale)?;
                f.number_or("delay", delay, 0, "a number of steps")
            }
        }
    }

    /// Signal and shape of the result.
    pub(crate) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        use Signal::{Analog, Current, Potential, Spikes};
        let same = |signal| Ok((signal, operands[0].shape.clone()));
        match self {
            Op::Input(signal, shape) => infer_source(*signal, shape, "an input is analog or a current"),
            Op::Constant(signal, value) => infer_source(*signal, value.shape(), "a constant is analog or a current"),
            Op::Identity => same(structural_signal(operands)?),
            Op::Conv(c) => c.infer(operands),
            Op::ConvTranspose(c) => c.infer(operands),
            Op::Linear(l) => l.infer(operands),
            Op::AvgPool(p) => p.infer(operands),
            Op::Reduce(r) => r.infer(operands),
            Op::Scale(s) => s.infer(operands),
            Op::BatchNorm(b) => b.infer(operands),
            Op::Add => arithmetic::infer_add(operands),
            Op::Concat { axis } => shape::infer_concat(*axis, operands),
            Op::Reshape { shape } => shape::infer_reshape(shape, operands),
            Op::Transpose { perm } => shape::infer_transpose(perm, operands),
            Op::Pad(p) => p.infer(operands),
            Op::Slice(s) => s.infer(operands),
            Op::Gather { axis, indices } => shape::infer_gather(*axis, indices, operands),
            Op::Relu(r) => r.infer(operands),
            Op::Activation(_) | Op::Lrn(_) => {
                require(operands, &[Analog], "an analog value")?;
                self.parameters().iter().try_for_each(|(n, t)| broadcasts(n, t, &operands[0].shape))?;
                same(Analog)
            }
            Op::RmsNorm(n) => n.infer(operands),
            Op::Softmax { axis, .. } => norm::infer_softmax(*axis, operands),
            Op::Maximum => {
                same_shapes(operands)?;
                require(operands, &[Analog], "analog values")?;
                same(structural_signal(operands)?)
            }
            Op::CumulativeMax => {
                same_shapes(operands)?;
                same(structural_signal(operands)?)
            }
            Op::MaxPool(w) => pool::infer_max(w, operands, &[Analog], "an analog value"),
            Op::CumulativeMaxPool(w) => pool::infer_max(w, operands, &[Analog, Current, Spikes], "an analog value, spikes or a current"),
            Op::Requantize(r) => r.infer(operands),
            Op::Encode { scale, limit } => arithmetic::infer_encode(scale, *limit, operands),
            Op::If(n) => {
                require(operands, &[Current], "a current")?;
                n.fits(&operands[0].shape)?;
                same(Spikes)
            }
            Op::Layer(l) => l.infer(operands),
            Op::Readout { scale, .. } => {
                require(operands, &[Current, Spikes], "spikes or a current")?;
                scale.iter().try_for_each(|t| broadcasts("scale", t, &operands[0].shape))?;
                same(Potential)
            }
        }
    }

    /// What the integers of the result (of neurons: their current) may be, given what those of the
    /// operands may be.
    pub(crate) fn current(&self, sources: &Sources<'_>) -> Channels {
        match self {
            Op::Encode { limit, .. } => Channels::one((-i64::from(*limit), i64::from(*limit))),
            Op::Constant(_, value) => Channels::one(Channels::of_tensor(value, sources.shape).hull()),
            Op::Layer(l) => l.current(sources),
            Op::Conv(c) => c.current(sources),
            Op::ConvTranspose(c) => c.current(sources),
            Op::Linear(l) => l.current(sources),
            Op::AvgPool(p) => p.current(sources),
            Op::Reduce(r) => r.current(sources),
            Op::Scale(s) => s.current(sources),
            Op::Add => arithmetic::current_of_add(sources),
            Op::Pad(p) => p.current(sources),
            Op::Concat { axis } => shape::current_of_concat(*axis, sources),
            Op::Gather { axis, indices } => shape::current_of_gather(*axis, indices, sources),
            Op::Slice(s) => s.current(sources),
            Op::Transpose { perm } if perm.first() == Some(&0) => sources.first(),
            Op::Requantize(r) => r.current(sources),
            // The largest of a channel.
            Op::Identity | Op::CumulativeMaxPool(_) => sources.first(),
            // Everything else moves elements, or takes the largest.
            _ => Channels::one(sources.hull()),
        }
    }
}

fn infer_source(signal: Signal, shape: &[usize], expected: &str) -> Inferred {
    match signal {
        Signal::Analog | Signal::Current => Ok((signal, shape.to_vec())),
        Signal::Spikes | Signal::Potential => Err(TypeError::Parameter(expected.into())),
    }
}
