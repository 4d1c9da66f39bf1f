//! Random ANNs: graphs of every operation of the analog IR, with odd windows, groups, axes and parameters.

use snn_ir::op::{AvgPool, BatchNorm, Conv, ConvTranspose, Divisor, Linear, Lrn, Pad, Reduce, Relu, RmsNorm, Scale, Slice};
use snn_ir::{Activation, Graph, NodeId, Op, Random, Signal, Tensor, Window};

/// Most elements of a value.
const LARGEST: usize = 2000;

struct Builder {
    graph: Graph,
    random: Random,
    values: Vec<NodeId>,
}

/// The ANN of a seed: one input, up to a dozen operations, one or two outputs.
pub fn random_ann(seed: u64) -> Graph {
    let mut b = Builder { graph: Graph::new(format!("ann{seed}")), random: Random::new(seed), values: Vec::new() };
    let c = b.random.pick(&[1, 2, 3, 4, 6, 8]);
    let side = b.random.pick(&[1, 2, 4, 5, 7]);
    let shape = [vec![c], vec![c, side], vec![c, side, side], vec![c, side, side], vec![c, side, side + 1]];
    let shape = shape[b.random.below(shape.len())].clone();
    b.add(Op::Input(Signal::Analog, shape), &[]);
    for _ in 0..2 + b.random.below(10) {
        b.step();
    }
    let last = b.values[b.values.len() - 1];
    let flat = b.add(Op::Reshape { shape: vec![b.graph.ty(last).len()] }, &[last]).unwrap_or(last);
    let head = b.dense(flat);
    let mut outputs = vec![head.unwrap_or(flat)];
    if b.random.below(5) == 0 {
        outputs.push(b.values[b.random.below(b.values.len())]);
    }
    outputs.dedup();
    b.graph.set_outputs(outputs);
    b.graph.remove_dead();
    b.graph
}

impl Builder {
    /// Adds the operation if it fits.
    fn add(&mut self, op: Op, operands: &[NodeId]) -> Option<NodeId> {
        let name = self.graph.fresh_name(op.name());
        let id = self.graph.add(name, op, operands).ok()?;
        if self.graph.ty(id).len() <= LARGEST {
            self.values.push(id);
        }
        Some(id)
    }

    fn numbers(&mut self, shape: &[usize], mut number: impl FnMut(&mut Random) -> f32) -> Tensor {
        let count = shape.iter().product();
        Tensor::f32(shape, (0..count).map(|_| number(&mut self.random)).collect::<Vec<_>>())
    }

    /// Weights that about keep the size of what they multiply.
    fn weight(&mut self, shape: &[usize]) -> Tensor {
        let size = (2.0 / shape[1..].iter().product::<usize>().max(1) as f32).sqrt();
        self.numbers(shape, |r| size * r.normal())
    }

    fn bias(&mut self, n: usize) -> Option<Tensor> {
        (self.random.below(2) == 0).then(|| self.numbers(&[n], |r| 0.3 * r.normal()))
    }

    fn window(&mut self, rank: usize, padded: bool) -> Window {
        let mut each = |choices: &[usize]| (0..rank).map(|_| self.random.pick(choices)).collect::<Vec<_>>();
        let (kernel, stride, dilation) = (each(&[1, 2, 3, 3]), each(&[1, 1, 2, 3]), each(&[1, 1, 1, 2]));
        let pads = if padded { &[0, 1, 1, 2][..] } else { &[0][..] };
        let (pad_begin, pad_end) = (each(pads), each(pads));
        Window { kernel, stride, dilation, pad_begin, pad_end, ceil: false }
    }

    fn dense(&mut self, x: NodeId) -> Option<NodeId> {
        let inputs = *self.graph.ty(x).shape.last()?;
        let out = self.random.pick(&[1, 2, 5, 10]);
        let (weight, bias) = (self.weight(&[out, inputs]), self.bias(out));
        self.add(Op::Linear(Linear { weight, bias }), &[x])
    }

    /// A tensor that broadcasts over a value of `shape`: one number, one per channel, or one per element.
    fn broadcast(&mut self, shape: &[usize], number: impl FnMut(&mut Random) -> f32) -> Tensor {
        let per_channel = shape.iter().enumerate().map(|(axis, &d)| if axis == 0 { d } else { 1 }).collect();
        let own = [vec![], per_channel, shape.to_vec()][self.random.below(3)].clone();
        self.numbers(&own, number)
    }

    /// One more operation on a value chosen at random, mostly the last one.
    fn step(&mut self) {
        let last = self.values.len() - 1;
        let at = if self.random.below(4) > 0 { last } else { self.random.below(self.values.len()) };
        let x = self.values[at];
        let shape = self.graph.ty(x).shape.clone();
        match self.random.below(24) {
            0..=3 if shape.len() > 1 => self.convolution(x, &shape),
            0..=4 => self.dense(x),
            5..=8 => {
                let cap = self.random.pick(&[None, None, Some(6.0), Some(1.0)]);
                self.add(Op::Relu(Relu { cap, threshold: None }), &[x])
            }
            9 => {
                let activation = self.activation(&shape);
                self.add(Op::Activation(activation), &[x])
            }
            10 | 11 => self.normalisation(x, &shape),
            12 | 13 if shape.len() > 1 => self.pool(x, shape.len() - 1),
            14 => {
                let axes: Vec<usize> = (0..shape.len()).filter(|_| self.random.below(2) == 0).collect();
                let mean = self.random.below(2) == 0;
                self.add(Op::Reduce(Reduce { axes, mean }), &[x])
            }
            15 | 16 => {
                let same: Vec<NodeId> = self.values.iter().copied().filter(|&v| self.graph.ty(v).shape == shape).collect();
                let other = same[self.random.below(same.len())];
                let op = self.random.pick(&[0, 0, 1]);
                self.add(if op == 0 { Op::Add } else { Op::Maximum }, &[x, other])
            }
            17 => {
                let axis = self.random.below(shape.len().max(1));
                let other = self.values[self.random.below(self.values.len())];
                self.add(Op::Concat { axis }, &[x, other])
            }
            _ => self.move_elements(x, &shape),
        };
    }

    fn convolution(&mut self, x: NodeId, shape: &[usize]) -> Option<NodeId> {
        let channels = shape[0];
        let groups = self.random.pick(&[1, 1, 1, channels]);
        let out = groups * self.random.pick(&[1, 1, 2, 4]);
        let transposed = self.random.below(5) == 0;
        let window = self.window(shape.len() - 1, !transposed);
        let bias = self.bias(out);
        if transposed {
            let weight = self.weight(&[&[channels, out / groups], &window.kernel[..]].concat());
            let output_padding = vec![0; window.kernel.len()];
            return self.add(Op::ConvTranspose(ConvTranspose { weight, bias, window, output_padding, groups }), &[x]);
        }
        let weight = self.weight(&[&[out, channels / groups], &window.kernel[..]].concat());
        self.add(Op::Conv(Conv { weight, bias, window, groups }), &[x])
    }

    fn pool(&mut self, x: NodeId, rank: usize) -> Option<NodeId> {
        let window = Window { ceil: self.random.below(4) == 0, dilation: vec![1; rank], ..self.window(rank, true) };
        if self.random.below(2) == 0 {
            return self.add(Op::MaxPool(window), &[x]);
        }
        let divisor = self.random.pick(&[Divisor::Padded, Divisor::Valid]);
        self.add(Op::AvgPool(AvgPool { window, divisor }), &[x])
    }

    fn normalisation(&mut self, x: NodeId, shape: &[usize]) -> Option<NodeId> {
        let channels = *shape.first()?;
        match self.random.below(8) {
            0 => self.add(Op::Lrn(Lrn { size: 3, alpha: 0.1, beta: 0.75, bias: 1.0 }), &[x]),
            1 => self.add(Op::RmsNorm(RmsNorm { axes: (0..shape.len()).collect(), epsilon: 1e-5 }), &[x]),
            _ => {
                // Signs, and channels that are switched off.
                let gamma = self.numbers(&[channels], |r| r.pick(&[1.0, 1.0, 0.5, -0.7, 0.0]) * (0.5 + r.unit()));
                let (beta, mean) = (self.numbers(&[channels], |r| 0.3 * r.normal()), self.numbers(&[channels], |r| 0.3 * r.normal()));
                let variance = self.numbers(&[channels], |r| 0.2 + r.unit());
                self.add(Op::BatchNorm(BatchNorm { gamma, beta, mean, variance, epsilon: 1e-5 }), &[x])
            }
        }
    }

    fn activation(&mut self, shape: &[usize]) -> Activation {
        let slope = self.random.pick(&[0.1, 0.01, -0.2, 0.5]);
        match self.random.below(10) {
            0 => Activation::LeakyRelu { slope },
            1 => Activation::PRelu(self.broadcast(shape, |r| 0.3 * r.normal())),
            2 => Activation::Clip { min: -1.0, max: 2.0 },
            3 => Activation::Abs,
            4 => Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
            5 => Activation::HardSwish,
            6 => Activation::Sigmoid,
            7 => Activation::Tanh,
            8 => Activation::Elu { alpha: 1.0 },
            _ => Activation::Silu,
        }
    }

    fn move_elements(&mut self, x: NodeId, shape: &[usize]) -> Option<NodeId> {
        let rank = shape.len();
        match self.random.below(7) {
            0 => self.add(Op::Identity, &[x]),
            1 => {
                let len = shape.iter().product();
                self.add(Op::Reshape { shape: vec![len] }, &[x])
            }
            2 => {
                let mut perm: Vec<usize> = (0..rank).collect();
                perm.rotate_left(self.random.below(rank.max(1)));
                self.add(Op::Transpose { perm }, &[x])
            }
            3 => {
                let mut each = |_| self.random.below(3);
                let (begin, end) = ((0..rank).map(&mut each).collect(), (0..rank).map(&mut each).collect());
                let value = self.random.pick(&[0.0, 0.0, 0.0, 0.5]);
                self.add(Op::Pad(Pad { begin, end, value }), &[x])
            }
            4 => {
                let backwards: Vec<bool> = (0..rank).map(|_| self.random.below(4) == 0).collect();
                let start = backwards.iter().zip(shape).map(|(&b, &d)| if b { d - 1 } else { 0 }).collect();
                let step = backwards.iter().map(|&b| if b { -1 } else { 1 }).collect();
                let shape = shape.iter().map(|&d| 1 + self.random.below(d)).collect();
                self.add(Op::Slice(Slice { start, step, shape }), &[x])
            }
            5 if rank > 0 => {
                let axis = self.random.below(rank);
                let indices = (0..1 + self.random.below(2 * shape[axis])).map(|_| self.random.below(shape[axis])).collect();
                self.add(Op::Gather { axis, indices }, &[x])
            }
            _ => {
                let weight = (self.random.below(3) > 0).then(|| self.broadcast(shape, |r| r.normal()));
                let bias = (self.random.below(2) > 0).then(|| self.broadcast(shape, |r| 0.3 * r.normal()));
                self.add(Op::Scale(Scale { weight, bias }), &[x])
            }
        }
    }
}
