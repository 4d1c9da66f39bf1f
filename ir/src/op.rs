//! The operations of the graph.
//!
//! Three families (see the crate documentation for their meaning at a time step):
//! * *linear* and *structural* operations work on analog values and on temporal ones alike;
//! * *analog-only* operations ([`Op::Relu`], [`Op::MaxPool`], ..) must be gone before a graph can spike;
//! * *temporal* operations ([`Op::If`], [`Op::Layer`], [`Op::Readout`], ..) exist only in a spiking graph.

use crate::activation::Activation;
use crate::neuron::Neuron;
use crate::signal::Signal;
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
    /// Takes the elements at `indices` of one axis (nearest upsampling, reflection padding, channel choice).
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
    /// Softmax or its logarithm along an axis. Analog only; dropped at the end of a network, where it changes no ranking.
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

    /// `out(t) = max C(t) − max C(t−1)` over a window, where `C` is the running sum of the operand: the exact max-pool
    /// of a spike train or a current. On analog values it is the maximum.
    CumulativeMaxPool(Window),
    /// The same, elementwise over two or more operands.
    CumulativeMax,

    /// Makes the integers of a current coarser, and keeps what rounding leaves over for the next step.
    Requantize(Requantize),

    /// Rounds a real current to integers, `round(x · scale)` (half away from zero) clamped to `±limit`: the entry to
    /// integer arithmetic. What stands before it depends on the input alone, so it is the same in every step: engines
    /// compute it once a window, in f32, with the same code, and everything behind it in integers.
    Encode {
        /// Integer units per unit of current, broadcast over the value.
        scale: Tensor,
        /// Largest magnitude that comes out.
        limit: i32,
    },
    /// A population of integrate-and-fire neurons driven by one current.
    If(Neuron),
    /// A fused layer: the sum of one synapse per operand, a bias, and neurons (or, without them, a current).
    Layer(Layer),
    /// Accumulates its operand over time, divides by the number of steps accumulated and multiplies by `scale`: the network's
    /// answer.
    Readout {
        /// Real units per accumulated unit, broadcast over the value.
        scale: Option<Tensor>,
        /// Steps at the start of the window that are not accumulated: delayed evaluation (Bu et al. 2025).
        delay: u32,
    },
}

/// Parameters of [`Op::Conv`] (ONNX Conv).
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// `[C_out, C_in / groups, kernel..]`.
    pub weight: Tensor,
    /// `[C_out]`, added in every step.
    pub bias: Option<Tensor>,
    /// Kernel, stride, dilation, padding.
    pub window: Window,
    /// Number of groups.
    pub groups: usize,
}

/// Parameters of [`Op::ConvTranspose`] (ONNX ConvTranspose).
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTranspose {
    /// `[C_in, C_out / groups, kernel..]`.
    pub weight: Tensor,
    /// `[C_out]`, added in every step.
    pub bias: Option<Tensor>,
    /// Kernel, stride, dilation, padding taken off the output.
    pub window: Window,
    /// Extra extent at the end of each spatial axis.
    pub output_padding: Vec<usize>,
    /// Number of groups.
    pub groups: usize,
}

/// Parameters of [`Op::Linear`]: `[.., in]` to `[.., out]` (ONNX Gemm, MatMul by a constant).
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`, added in every step.
    pub bias: Option<Tensor>,
}

/// What an [`AvgPool`] window's sum is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// The number of taps, padding included but not the overhang of `ceil` (ONNX `count_include_pad = 1`).
    Padded,
    /// The number of taps on real elements (ONNX `count_include_pad = 0`).
    Valid,
    /// One: a sum-pool, which keeps integers integers.
    One,
}

/// Parameters of [`Op::AvgPool`].
#[derive(Clone, Debug, PartialEq)]
pub struct AvgPool {
    /// The sliding window.
    pub window: Window,
    /// The divisor.
    pub divisor: Divisor,
}

impl AvgPool {
    /// What each window's sum is divided by, row-major over `outputs`, for operands of spatial extents `inputs`.
    pub fn counts(&self, inputs: &[usize], outputs: &[usize]) -> Vec<usize> {
        let w = &self.window;
        let taps = |axis: usize, at: usize| {
            let (first, end) = match self.divisor {
                Divisor::Valid => (w.pad_begin[axis], w.pad_begin[axis] + inputs[axis]),
                Divisor::Padded => (0, w.pad_begin[axis] + inputs[axis] + w.pad_end[axis]),
                Divisor::One => return 1,
            };
            (0..w.kernel[axis]).filter(|k| (first..end).contains(&(at * w.stride[axis] + k * w.dilation[axis]))).count()
        };
        outputs.iter().enumerate().fold(vec![1], |counts, (axis, &extent)| {
            counts.iter().flat_map(|count| (0..extent).map(move |at| (count, at))).map(|(count, at)| count * taps(axis, at)).collect()
        })
    }
}

/// Parameters of [`Op::Reduce`].
#[derive(Clone, Debug, PartialEq)]
pub struct Reduce {
    /// Per-sample axes, ascending; they keep extent 1.
    pub axes: Vec<usize>,
    /// Whether the sum is divided by the number of elements.
    pub mean: bool,
}

/// Parameters of [`Op::Requantize`]: `out(t) = R(C(t)) − R(C(t−1))`, where `C` is the running sum of
/// the operand and `R(x) = floor((x + 2^(shift−1)) / 2^shift)`.
///
/// Over a window at most half a coarse unit is lost, however long the window is. So chains of linear
/// layers fit 32 bits at any length (first-order error feedback, as in sigma-delta modulation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requantize {
    /// Bits that every integer loses, from 1 to [`Requantize::MOST_BITS`].
    pub shift: u32,
}

impl Requantize {
    /// Most bits that can be taken off: those of an `i32` without its sign.
    pub const MOST_BITS: u32 = 31;

    /// `R(sum)`: what is sent in all while the operand sends `sum` in all.
    pub fn of_sum(self, sum: i64) -> i64 {
        (sum + (1 << (self.shift - 1))) >> self.shift
    }

    /// One step. `rest` is what earlier steps left over, zero at the start of a window.
    pub fn step(self, rest: &mut i64, current: i64) -> i64 {
        let all = *rest + current;
        let sent = self.of_sum(all);
        *rest = all - (sent << self.shift);
        sent
    }
}

/// Parameters of [`Op::Scale`]; either broadcasts over the value.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// Factor.
    pub weight: Option<Tensor>,
    /// Summand, added in every step.
    pub bias: Option<Tensor>,
}

/// Parameters of [`Op::BatchNorm`], each `[C]` (ONNX BatchNormalization).
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// γ.
    pub gamma: Tensor,
    /// β.
    pub beta: Tensor,
    /// Running mean.
    pub mean: Tensor,
    /// Running variance.
    pub variance: Tensor,
    /// ε.
    pub epsilon: f32,
}

impl BatchNorm {
    /// The `(factor, summand)` per channel that the normalisation amounts to: `γ/√(σ²+ε)` and `β − μ·factor`.
    pub fn factors(&self) -> (Vec<f32>, Vec<f32>) {
        let (gamma, beta) = (self.gamma.as_f32(), self.beta.as_f32());
        let (mean, variance) = (self.mean.as_f32(), self.variance.as_f32());
        (0..gamma.len())
            .map(|c| {
                let factor = f64::from(gamma[c]) / (f64::from(variance[c]) + f64::from(self.epsilon)).sqrt();
                (factor as f32, (f64::from(beta[c]) - f64::from(mean[c]) * factor) as f32)
            })
            .unzip()
    }
}

/// Parameters of [`Op::Pad`].
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// Elements before, per axis.
    pub begin: Vec<usize>,
    /// Elements after, per axis.
    pub end: Vec<usize>,
    /// Their value; spikes can only be padded with zero.
    pub value: f32,
}

/// Parameters of [`Op::Slice`], one entry per axis: element `i` of the result is element `start + i·step`.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// First index.
    pub start: Vec<usize>,
    /// Distance between indices; negative runs backwards.
    pub step: Vec<isize>,
    /// Extent of the result.
    pub shape: Vec<usize>,
}

/// Parameters of [`Op::Relu`].
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Relu {
    /// Upper bound, as in ReLU6.
    pub cap: Option<f32>,
    /// The balanced threshold that `replace-relu` will use, once `balance-thresholds` has chosen it.
    pub threshold: Option<Tensor>,
}

/// Parameters of [`Op::Lrn`] (ONNX LRN): `x / (bias + alpha/size · Σ x²)^beta` over `size` neighbouring channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Lrn {
    /// Number of channels in the sum.
    pub size: usize,
    /// α.
    pub alpha: f32,
    /// β.
    pub beta: f32,
    /// k.
    pub bias: f32,
}

/// Parameters of [`Op::RmsNorm`]: `x / √(mean(x²) + ε)`, the mean over `axes`. With the mean taken off before it is the heart of
/// instance, group and layer normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNorm {
    /// Per-sample axes, ascending.
    pub axes: Vec<usize>,
    /// ε.
    pub epsilon: f32,
}

/// Parameters of [`Op::Layer`].
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// One weighted linear operation per operand, in operand order, none with a bias of its own; see [`Op::is_synapse`].
    pub synapses: Vec<Op>,
    /// Current added in every step; broadcasts over the layer's shape.
    pub bias: Option<Tensor>,
    /// The neurons; without them the layer's value is its current.
    pub neuron: Option<Neuron>,
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

    /// Whether the operation may stand among the synapses of a [`Layer`]: linear, one operand, no bias.
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

    /// Whether the operation only moves elements (and may add zeros): result elements are operand elements.
    pub fn is_structural(&self) -> bool {
        match self {
            Op::Identity | Op::Concat { .. } | Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice(_) | Op::Gather { .. } => true,
            Op::Pad(p) => p.value == 0.0,
            _ => false,
        }
    }

    /// The operation with its integers as floats: it computes the same whole numbers, as far as an `f32`
    /// holds them. [`Op::Requantize`] becomes the division that it rounds.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_requantize_sends_in_all_is_the_rounded_sum_and_no_step_leaves_its_range(
            shift in 1u32..=Requantize::MOST_BITS, currents in prop::collection::vec(-1_000_000i64..1_000_000, 1..50),
        ) {
            let r = Requantize { shift };
            let half = 1i64 << (shift - 1);
            let (mut rest, mut sum, mut sent) = (0, 0, 0);
            for x in currents {
                let now = r.step(&mut rest, x);
                (sum, sent) = (sum + x, sent + now);
                prop_assert!((-half..half).contains(&rest));
                prop_assert_eq!(sent, r.of_sum(sum));
                prop_assert!((r.of_sum(x - half)..=r.of_sum(x + half - 1)).contains(&now));
            }
        }
    }

    #[test]
    fn requantize_is_printed_and_read_and_refused_where_there_are_no_integers() {
        let text = |encode: &str, shift: u32| {
            format!(
                "graph @net steps=4 {{\n  %x = input : current[2]\n{encode}  %coarse = requantize %i, shift={shift} : current[2]\n  \
                 %out = readout %coarse : potential[2]\n  output %out\n}}\n"
            )
        };
        let integer = "  %i = encode %x, scale=4, limit=100 : current[2]\n";
        let graph = crate::text::parse(&text(integer, 3)).unwrap();
        assert_eq!(crate::text::print(&graph, crate::text::Parameters::Full), text(integer, 3));
        assert!(crate::verify(&graph).is_ok());
        let real = "  %i = layer %x, synapses=[identity()] : current[2]\n";
        let error = crate::verify(&crate::text::parse(&text(real, 3)).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("coarse (requantize)"), "{error}");
        for shift in [0, 32] {
            let error = crate::text::parse(&text(integer, shift)).unwrap_err().to_string();
            assert!(error.contains(&format!("shift={shift}")), "{error}");
        }
    }
}
