//! Random spiking networks for property tests, here and of anybody's engine. A seed gives the same
//! network everywhere.
//!
//! ```
//! use snn_ir::neuron::BINARY;
//! use snn_runtime::{EngineKind, Network, testing};
//!
//! let graph = testing::random_graph(7, testing::Form::Integer, &[BINARY]);
//! let network = Network::compile(&graph, EngineKind::Reference)?;
//! let sample = testing::random_inputs(7, &network);
//! let mut session = network.session();
//! session.start(&sample.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
//! session.advance(8)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Parameters are small multiples of 1/64, so that `f32` sums are exact and engines that add in
//! another order still agree to the last bit, but for the means of pools.

mod odd;

pub use odd::odd_graph;

use crate::Network;
use snn_ir::neuron::{Amplitude, Firing, Neuron, Reset, TWO_PHASE};
use snn_ir::op::{AvgPool, BatchNorm, Conv, ConvTranspose, Divisor, Layer, Linear, Pad, Reduce, Scale, Slice};
use snn_ir::{Graph, NodeId, Op, Random, Signal, Tensor, Window};

/// What kind of spiking graph to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Real numbers, one node per operation, as before `fuse-layers`.
    OpByOp,
    /// Real numbers, layers, as after `fuse-layers`.
    Fused,
    /// Integers, layers, as after `quantize`.
    Integer,
}

/// A network of a few blocks (convolutions with groups, strides, dilations and uneven padding,
/// residual sums, pools, joins, element moves) with neurons of the given firing rules, and a
/// readout.
///
/// # Panics
/// When `firings` is empty.
pub fn random_graph(seed: u64, form: Form, firings: &[Firing]) -> Graph {
    let mut b = Builder { random: Random::new(seed), graph: Graph::new(format!("random{seed}")), form, firings };
    let rank = [2, 2, 2, 2, 2, 2, 1, 3][b.random.below(8)];
    let channels = 1 + b.random.below(4);
    let shape = [vec![channels], (0..rank).map(|_| 1 + b.random.below(7)).collect()].concat();
    let mut x = b.add(Op::Input(Signal::Current, shape), &[]);
    if b.random.one_in(2) {
        x = b.conv(x, true);
    }
    if form == Form::Integer {
        let scale = b.per_channel_or_scalar(x, |r| 16.0 + r.below(32) as f32);
        x = b.add(Op::Encode { scale, limit: 500 }, &[x]);
    }
    let mut spikes = vec![b.neurons_on(&[(Op::Identity, x)])];
    for _ in 0..1 + b.random.below(5) {
        let next = b.block(&spikes);
        spikes.push(next);
    }
    let last = *spikes.last().expect("there is a first population");
    let flat = b.add(Op::Reshape { shape: vec![b.graph.ty(last).len()] }, &[last]);
    let logits = b.linear(flat);
    let scale = b.random.one_in(2).then(|| Tensor::scalar(0.25));
    let delay = if !firings.contains(&TWO_PHASE) && b.random.one_in(4) { b.random.below(4) as u32 } else { 0 };
    let readout = b.add(Op::Readout { scale, delay }, &[logits]);
    b.graph.set_outputs([readout]);
    b.graph
}

/// A sample for `network`, with values between −2 and 2.
pub fn random_inputs(seed: u64, network: &Network) -> Vec<Vec<f32>> {
    let mut random = Random::new(seed ^ 0x5151);
    network.inputs().iter().map(|ty| (0..ty.len()).map(|_| random.between(-128, 128) as f32 / 64.0).collect()).collect()
}

struct Builder<'a> {
    random: Random,
    graph: Graph,
    form: Form,
    firings: &'a [Firing],
}

impl Builder<'_> {
    fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        let name = self.graph.fresh_name(op.name());
        self.graph.add(name, op, operands).expect("the generator makes operations that fit")
    }

    fn shape(&self, x: NodeId) -> Vec<usize> {
        self.graph.ty(x).shape.clone()
    }

    /// Whether parameters of operations on `x` are integers: everywhere after the encoder.
    fn is_integer(&self, x: NodeId) -> bool {
        matches!(self.graph.op(x), Op::Encode { .. }) || self.graph.operands(x).iter().any(|&o| self.is_integer(o))
    }

    /// Integers in a range; as reals, 64ths of them.
    fn tensor(&mut self, shape: &[usize], range: (i32, i32), integer: bool) -> Tensor {
        let values: Vec<i32> = (0..shape.iter().product()).map(|_| self.random.between(range.0, range.1)).collect();
        match (integer, range.0 >= -128 && range.1 < 128) {
            (true, true) => Tensor::i8(shape, values.into_iter().map(|v| v as i8).collect::<Vec<_>>()),
            (true, false) => Tensor::i32(shape, values),
            (false, _) => Tensor::f32(shape, values.into_iter().map(|v| v as f32 / 64.0).collect::<Vec<_>>()),
        }
    }

    fn weight(&mut self, shape: &[usize], integer: bool) -> Tensor {
        self.tensor(shape, (-24, 32), integer)
    }

    fn per_channel_or_scalar(&mut self, x: NodeId, mut value: impl FnMut(&mut Random) -> f32) -> Tensor {
        let shape = self.shape(x);
        if self.random.one_in(2) {
            return Tensor::scalar(value(&mut self.random));
        }
        let values: Vec<f32> = (0..shape[0]).map(|_| value(&mut self.random)).collect();
        Tensor::per_channel(values, shape.len())
    }

    fn neuron(&mut self, shape: &[usize], integer: bool) -> Neuron {
        let firing = self.firings[self.random.below(self.firings.len())];
        let mut per_channel = vec![1; shape.len()];
        per_channel[0] = if self.random.one_in(2) { shape[0] } else { 1 };
        let mut parameter = |range| match self.tensor(&per_channel, range, integer) {
            t if integer => Tensor::i32(t.shape(), t.to_i32_vec().unwrap_or_default()),
            t => t,
        };
        let (threshold, initial) = (parameter((20, 90)), parameter((0, 40)));
        let reset = if self.random.one_in(12) { Reset::Zero } else { Reset::Subtract };
        let plain = self.form != Form::OpByOp || self.random.one_in(2);
        let amplitude = if plain { Amplitude::One } else { Amplitude::Threshold };
        let signed = firing.may_retract() && self.random.one_in(4);
        let schedule = (firing.allows_schedule() && self.random.one_in(8)).then(|| {
            let rows = [&[1 + self.random.below(5)][..], &per_channel].concat();
            let values = self.tensor(&rows, (-20, 20), integer);
            values.to_i32_vec().map_or(values.clone(), |v| Tensor::i32(rows, v))
        });
        Neuron { threshold, initial, schedule, reset, amplitude, firing, signed, rate: None }
    }

    /// A population driven by the sum of synapses (and, in layers, perhaps a bias).
    fn neurons_on(&mut self, synapses: &[(Op, NodeId)]) -> NodeId {
        let operands: Vec<NodeId> = synapses.iter().map(|(_, x)| *x).collect();
        let ops: Vec<Op> = synapses.iter().map(|(op, _)| op.clone()).collect();
        if self.form == Form::OpByOp {
            let currents: Vec<NodeId> = ops.into_iter().zip(&operands).map(|(op, &x)| self.add(op, &[x])).collect();
            let mut sum = if currents.len() > 1 || self.graph.ty(currents[0]).signal == Signal::Spikes {
                self.add(Op::Add, &currents)
            } else {
                currents[0]
            };
            if self.random.one_in(4) {
                sum = self.scale_or_batch_norm(sum);
            }
            let neuron = self.neuron(&self.shape(sum), false);
            return self.add(Op::If(neuron), &[sum]);
        }
        let integer = operands.iter().any(|&o| self.is_integer(o));
        let mut layer = Layer { synapses: ops, bias: None, neuron: None };
        // The layer's shape is not known before it is made.
        let current = self.add(Op::Layer(layer.clone()), &operands);
        let shape = self.shape(current);
        if self.random.one_in(2) {
            let bias = [vec![shape[0]], vec![1; shape.len() - 1]].concat();
            layer.bias = Some(self.tensor(&bias, (-20, 30), integer));
        }
        layer.neuron = Some(self.neuron(&shape, integer));
        self.graph.set_op(current, Op::Layer(layer)).expect("neurons fit the current that they were made for");
        current
    }

    fn scale_or_batch_norm(&mut self, x: NodeId) -> NodeId {
        let shape = self.shape(x);
        let n = shape[0];
        let op = if self.random.one_in(2) {
            let weight = Some(self.per_channel_or_scalar(x, |r| r.between(16, 96) as f32 / 64.0));
            let bias = Some(self.per_channel_or_scalar(x, |r| r.between(-8, 16) as f32 / 64.0));
            Op::Scale(Scale { weight, bias })
        } else {
            let mut per_channel = |range| self.tensor(&[n], range, false);
            let (gamma, beta, mean) = (per_channel((32, 96)), per_channel((-16, 16)), per_channel((-16, 16)));
            Op::BatchNorm(BatchNorm { gamma, beta, mean, variance: per_channel((32, 128)), epsilon: 1e-5 })
        };
        self.add(op, &[x])
    }

    /// A window that fits `spatial`, with padding smaller than the window.
    fn window(&mut self, spatial: &[usize]) -> Window {
        let rank = spatial.len();
        for _ in 0..8 {
            let mut w = Window::unit((0..rank).map(|_| 1 + self.random.below(3)).collect::<Vec<_>>());
            for a in 0..rank {
                w.stride[a] = 1 + self.random.below(4) / 3;
                w.dilation[a] = 1 + self.random.below(4) / 3;
                let extent = (w.kernel[a] - 1) * w.dilation[a] + 1;
                (w.pad_begin[a], w.pad_end[a]) = (self.random.below(extent), self.random.below(extent));
            }
            if w.output(spatial).is_some() {
                return w;
            }
        }
        Window::unit(vec![1; rank])
    }

    fn conv_op(&mut self, x: NodeId, window: Window, out_channels: Option<usize>, integer: bool) -> Conv {
        let channels = self.shape(x)[0];
        let groups = match self.random.below(4) {
            0 if out_channels.is_none_or(|o| o == channels) => channels,
            1 if channels.is_multiple_of(2) && out_channels.is_none_or(|o| o.is_multiple_of(2)) => 2,
            _ => 1,
        };
        let out = out_channels.unwrap_or_else(|| groups * (1 + self.random.below(9 / groups.min(8))));
        let shape = [&[out, channels / groups][..], &window.kernel].concat();
        Conv { weight: self.weight(&shape, integer), bias: None, window, groups }
    }

    /// A convolution that gives a current.
    fn conv(&mut self, x: NodeId, biased: bool) -> NodeId {
        let integer = self.is_integer(x);
        let window = self.window(&self.shape(x)[1..]);
        let mut conv = self.conv_op(x, window, None, integer);
        let bias = biased.then(|| self.tensor(&[conv.weight.shape()[0]], (-20, 30), integer));
        if self.form == Form::OpByOp {
            conv.bias = bias;
            return self.add(Op::Conv(conv), &[x]);
        }
        let rank = self.shape(x).len();
        let bias = bias.map(|b| b.reshaped([vec![b.len()], vec![1; rank - 1]].concat()));
        self.add(Op::Layer(Layer { synapses: vec![Op::Conv(conv)], bias, neuron: None }), &[x])
    }

    fn linear(&mut self, x: NodeId) -> NodeId {
        let integer = self.is_integer(x);
        let (inputs, outputs) = (self.shape(x)[0], 1 + self.random.below(6));
        let weight = self.weight(&[outputs, inputs], integer);
        let bias = Some(self.tensor(&[outputs], (-20, 20), integer));
        if self.form == Form::OpByOp {
            return self.add(Op::Linear(Linear { weight, bias }), &[x]);
        }
        self.add(Op::Layer(Layer { synapses: vec![Op::Linear(Linear { weight, bias: None })], bias, neuron: None }), &[x])
    }

    /// From spikes, of which earlier ones may be joined in, to spikes.
    fn block(&mut self, spikes: &[NodeId]) -> NodeId {
        let x = *spikes.last().expect("there is a first population");
        let shape = self.shape(x);
        let integer = self.form == Form::Integer;
        match self.random.below(10) {
            0..=2 => {
                let window = self.window(&shape[1..]);
                let conv = self.conv_op(x, window, None, integer);
                self.neurons_on(&[(Op::Conv(conv), x)])
            }
            3 => {
                let rank = shape.len() - 1;
                let inner = Window { pad_begin: vec![1; rank], pad_end: vec![1; rank], ..Window::unit(vec![3; rank]) };
                let conv = self.conv_op(x, inner, None, integer);
                let hidden = self.neurons_on(&[(Op::Conv(conv), x)]);
                let point = Window::unit(vec![1; rank]);
                let back = self.conv_op(hidden, point, Some(shape[0]), integer);
                let shortcut = match self.random.below(2) {
                    0 => Op::Identity,
                    _ => Op::Scale(Scale { weight: Some(self.weight(&[], integer)), bias: None }),
                };
                self.neurons_on(&[(Op::Conv(back), hidden), (shortcut, x)])
            }
            4 => {
                let mut window = self.window(&shape[1..]);
                window.ceil = self.random.one_in(2);
                if (1..shape.len()).any(|a| window.dilation[a - 1] > shape[a]) {
                    window = Window::unit(vec![1; shape.len() - 1]);
                }
                self.add(Op::CumulativeMaxPool(window), &[x])
            }
            5 => {
                let window = self.window(&shape[1..]);
                let divisor = match self.random.below(3) {
                    0 if !integer => Divisor::Padded,
                    1 if !integer => Divisor::Valid,
                    _ => Divisor::One,
                };
                self.neurons_on(&[(Op::AvgPool(AvgPool { window, divisor }), x)])
            }
            6 => {
                let window = Window { stride: vec![2; shape.len() - 1], ..Window::unit(vec![2; shape.len() - 1]) };
                let weight = self.weight(&[&[shape[0], 2][..], &window.kernel].concat(), integer);
                let output_padding = vec![self.random.below(2); shape.len() - 1];
                let conv = ConvTranspose { weight, bias: None, window, output_padding, groups: 1 };
                if shape.iter().product::<usize>() > 256 {
                    let axes = vec![shape.len() - 1];
                    return self.neurons_on(&[(Op::Reduce(Reduce { axes, mean: !integer }), x)]);
                }
                self.neurons_on(&[(Op::ConvTranspose(conv), x)])
            }
            7 => self.add_moves(x, &shape),
            _ => {
                let same_space = |&&s: &&NodeId| self.graph.ty(s).shape[1..] == shape[1..];
                let fitting: Vec<NodeId> = spikes.iter().filter(same_space).copied().collect();
                let other = fitting[self.random.below(fitting.len())];
                if self.shape(other) == shape && self.random.one_in(2) {
                    return self.add(Op::CumulativeMax, &[x, other]);
                }
                self.add(Op::Concat { axis: 0 }, &[other, x])
            }
        }
    }

    /// An operation that only moves elements.
    fn add_moves(&mut self, x: NodeId, shape: &[usize]) -> NodeId {
        let axis = self.random.below(shape.len());
        let extent = shape[axis];
        let op = match self.random.below(4) {
            0 => {
                let mut pads = || (0..shape.len()).map(|_| self.random.below(2)).collect();
                Op::Pad(Pad { begin: pads(), end: pads(), value: 0.0 })
            }
            1 => {
                let (mut start, mut step, mut result) = (vec![0; shape.len()], vec![1; shape.len()], shape.to_vec());
                (start[axis], step[axis], result[axis]) =
                    if self.random.one_in(2) { (extent - 1, -1, extent) } else { (extent / 2, 1, extent - extent / 2) };
                Op::Slice(Slice { start, step, shape: result })
            }
            2 => {
                let mut perm: Vec<usize> = (0..shape.len()).collect();
                perm.rotate_left(axis);
                Op::Transpose { perm }
            }
            _ => Op::Gather { axis, indices: (0..extent + 1).map(|_| self.random.below(extent)).collect() },
        };
        self.add(op, &[x])
    }
}
