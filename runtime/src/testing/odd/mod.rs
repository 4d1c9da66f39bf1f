//! Networks of every shape that the verifier accepts: windows in nothing but padding, strides
//! beyond the map, extreme numbers.

#[cfg(test)]
mod tests;

use super::Random;
use snn_ir::neuron::{Amplitude, Firing, Neuron, Reset, TWO_PHASE};
use snn_ir::op::{AvgPool, Conv, ConvTranspose, Divisor, Layer, Linear, Pad, Reduce, Requantize, Scale, Slice};
use snn_ir::{Graph, NodeId, Op, Signal, Tensor, Window, verify_within};

/// Most elements of a value, so that thousands of networks run in minutes.
const MOST_ELEMENTS: usize = 6000;

/// Channels around the widths of masks, vectors and rows of weights.
const CHANNELS: [usize; 16] = [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 65, 100];

/// An integer network of up to eight nodes whose shapes and numbers are anything that the verifier
/// accepts: ranks 1 to 4, every operation, padding and strides beyond kernel and map, one-pixel
/// maps, extreme thresholds, biases, start potentials and rates. `None` where the verifier does not
/// accept what was drawn.
///
/// # Panics
/// When `firings` is empty.
pub fn odd_graph(seed: u64, firings: &[Firing]) -> Option<Graph> {
    let mut b = Builder { random: Random::new(seed), graph: Graph::new(format!("odd{seed}")), firings };
    b.graph.timesteps = Some(b.random.pick(&[1, 2, 3, 4, 5, 8, 9, 16, 31, 32, 33, 40]));
    let rank = b.random.below(4);
    let channels = b.random.pick(&CHANNELS);
    let space = (0..rank).map(|_| b.random.pick(&[1, 1, 2, 3, 4, 5, 7, 8, 9, 18]));
    let shape: Vec<usize> = std::iter::once(channels).chain(space.collect::<Vec<_>>()).collect();
    let shape = if count(&shape) > MOST_ELEMENTS { vec![channels, 2, 3] } else { shape };
    let input = b.add(Op::Input(Signal::Current, shape.clone()), &[])?;
    let limit = b.random.pick(&[3, 10, 127, 1000]);
    let scale = b.random.pick(&[0.5, 1.0, 5.0, 100.0]);
    let mut values = vec![b.add(Op::Encode { scale: Tensor::scalar(scale), limit }, &[input])?];
    if b.random.one_in(10) {
        let value = b.tensor(&shape, (-5, 5));
        values.extend(b.add(Op::Constant(Signal::Current, value), &[]));
    }
    for _ in 0..1 + b.random.below(8) {
        let recent = &values[values.len().saturating_sub(3)..];
        let x = b.random.pick(recent);
        values.extend(b.node(x, &values));
    }
    let mut outputs = Vec::new();
    for _ in 0..1 + usize::from(b.random.one_in(4)) {
        let x = b.random.pick(&values[values.len().saturating_sub(2)..]);
        let scale = b.random.one_in(2).then(|| Tensor::scalar(b.random.between(-8, 8) as f32 / 8.0));
        let delay = if firings.contains(&TWO_PHASE) || !b.random.one_in(6) { 0 } else { b.random.below(5) as u32 };
        outputs.push(b.add(Op::Readout { scale, delay }, &[x])?);
    }
    b.graph.set_outputs(outputs);
    verify_within(&b.graph, &snn_ir::Limits::default()).ok().map(|()| b.graph)
}

fn count(shape: &[usize]) -> usize {
    shape.iter().fold(1, |n, &d| n.saturating_mul(d))
}

struct Builder<'a> {
    random: Random,
    graph: Graph,
    firings: &'a [Firing],
}

impl Builder<'_> {
    /// The node, if its operation fits and is not too large.
    fn add(&mut self, op: Op, operands: &[NodeId]) -> Option<NodeId> {
        let types: Vec<_> = operands.iter().map(|&o| self.graph.ty(o)).collect();
        let fits = snn_ir::infer::infer(&op, &types).is_ok_and(|ty| ty.len() <= MOST_ELEMENTS);
        let name = self.graph.fresh_name(op.name());
        fits.then(|| self.graph.add(name, op, operands).ok()).flatten()
    }

    fn shape(&self, x: NodeId) -> Vec<usize> {
        self.graph.ty(x).shape.clone()
    }

    fn tensor(&mut self, shape: &[usize], (low, high): (i32, i32)) -> Tensor {
        Tensor::i32(shape, (0..count(shape)).map(|_| self.random.between(low, high)).collect::<Vec<_>>())
    }

    /// Weights of a type's whole range, or of a part of it; sometimes few that are not zero.
    fn weight(&mut self, shape: &[usize]) -> Option<Tensor> {
        if count(shape) > 20 * MOST_ELEMENTS {
            return None;
        }
        let (low, high) = self.random.pick(&[(-8, 8), (-8, 8), (-128, 127), (-300, 300), (-32768, 32767), (-1 << 20, 1 << 20)]);
        let (sparse, extreme) = (self.random.one_in(5), self.random.one_in(5));
        let values: Vec<i32> = (0..count(shape))
            .map(|_| match (sparse && !self.random.one_in(5), extreme) {
                (true, _) => 0,
                (_, true) => self.random.pick(&[low, high]),
                _ => self.random.between(low, high),
            })
            .collect();
        Some(match high {
            ..128 => Tensor::i8(shape, values.into_iter().map(|v| v as i8).collect::<Vec<_>>()),
            128..32768 => Tensor::i16(shape, values.into_iter().map(|v| v as i16).collect::<Vec<_>>()),
            _ => Tensor::i32(shape, values),
        })
    }

    /// A shape that broadcasts to `shape`.
    fn broadcast(&mut self, shape: &[usize]) -> Vec<usize> {
        match self.random.below(8) {
            0..=2 => vec![],
            3..=5 => shape.iter().enumerate().map(|(a, &d)| if a == 0 { d } else { 1 }).collect(),
            6 => shape.to_vec(),
            _ => {
                let from = self.random.below(shape.len() + 1);
                shape[from..].iter().map(|&d| if self.random.one_in(2) { d } else { 1 }).collect()
            }
        }
    }

    fn broadcast_tensor(&mut self, shape: &[usize], range: (i32, i32)) -> Tensor {
        let shape = self.broadcast(shape);
        self.tensor(&shape, range)
    }

    /// A window over `space`: mostly an ordinary one, whatever the map; now and then one of
    /// extremes.
    fn window(&mut self, space: &[usize], pool: bool) -> Window {
        let mut w = Window::unit(vec![1; space.len()]);
        for (a, &side) in space.iter().enumerate() {
            let kernels: &[usize] = if pool && self.random.one_in(12) { &[9, 100, 1 << 20, 1 << 30] } else { &[1, 1, 2, 3, 3, 4, 5] };
            w.kernel[a] = self.random.pick(kernels);
            w.dilation[a] = self.random.pick(&[1, 1, 1, 2, 3]);
            w.stride[a] = self.random.pick(&[1, 1, 1, 2, 2, 3, 5, 9]);
            if self.random.one_in(12) {
                w.stride[a] = self.random.pick(&[100, 1 << 20, 1 << 31, 1 << 32, (1 << 32) + 1, 1 << 62]);
            }
            if self.random.one_in(12) {
                w.dilation[a] = self.random.pick(&[9, 100, 1 << 10, 1 << 20, if w.kernel[a] == 1 { 1 << 62 } else { 50 }]);
            }
            let extent = w.extent(a).unwrap_or(usize::MAX);
            let wanted = extent.saturating_sub(side);
            let pads = [0, 0, extent / 2, w.kernel[a] / 2, 1, 2];
            w.pad_begin[a] = self.random.pick(&pads);
            w.pad_end[a] = self.random.pick(&[0, 1, w.pad_begin[a], w.pad_begin[a], wanted]);
            if self.random.one_in(12) {
                w.pad_begin[a] = self.random.pick(&[5, 17, 64, 65, 100, extent, wanted]);
            }
            if w.pad_begin[a].saturating_add(w.pad_end[a]) < wanted {
                w.pad_end[a] = wanted;
            }
        }
        w.ceil = pool && self.random.one_in(3);
        w
    }

    /// A linear operation on `x`, and the shape of what it gives.
    fn synapse(&mut self, x: NodeId) -> Option<(Op, Vec<usize>)> {
        let shape = self.shape(x);
        let (channels, space) = (shape[0], &shape[1..]);
        let divisors: Vec<usize> = (1..=channels).filter(|&g| channels.is_multiple_of(g)).collect();
        let op = match self.random.below(16) {
            0..=6 if !space.is_empty() => {
                let divisor = self.random.pick(&divisors);
                let groups = self.random.pick(&[1, 1, 1, channels, divisor]);
                let window = self.window(space, false);
                let outputs = self.random.pick(&CHANNELS).div_ceil(groups) * groups;
                let weight = [&[outputs, channels / groups][..], &window.kernel].concat();
                Op::Conv(Conv { weight: self.weight(&weight)?, bias: None, window, groups })
            }
            7 if !space.is_empty() => {
                let divisor = self.random.pick(&divisors);
                let groups = self.random.pick(&[1, channels, divisor]);
                let mut window = Window::unit(space.iter().map(|_| 1 + self.random.below(3)).collect::<Vec<_>>());
                window.stride = space.iter().map(|_| self.random.pick(&[1, 2, 2, 5])).collect();
                window.dilation = space.iter().map(|_| self.random.pick(&[1, 1, 2])).collect();
                window.pad_begin = space.iter().map(|_| self.random.pick(&[0, 0, 1])).collect();
                let weight = [&[channels, self.random.pick(&[1, 2, 3, 8])][..], &window.kernel].concat();
                let output_padding = space.iter().map(|_| self.random.below(2)).collect();
                Op::ConvTranspose(ConvTranspose { weight: self.weight(&weight)?, bias: None, window, output_padding, groups })
            }
            8..=9 if !space.is_empty() => Op::AvgPool(AvgPool { window: self.window(space, true), divisor: Divisor::One }),
            10 => {
                let axes: Vec<usize> = (0..shape.len()).filter(|_| self.random.one_in(2)).collect();
                Op::Reduce(Reduce { axes, mean: false })
            }
            11 => Op::Identity,
            12 => Op::Scale(Scale { weight: Some(self.broadcast_tensor(&shape, (-5, 5))), bias: None }),
            _ => {
                let (outputs, inputs) = (self.random.pick(&CHANNELS), shape[shape.len() - 1]);
                Op::Linear(Linear { weight: self.weight(&[outputs, inputs])?, bias: None })
            }
        };
        let ty = snn_ir::infer::infer(&op, &[self.graph.ty(x)]).ok()?;
        Some((op, ty.shape))
    }

    fn neuron(&mut self, shape: &[usize]) -> Neuron {
        let firing = self.random.pick(self.firings);
        let top = self.random.pick(&[3, 20, 200, 5000, 1 << 20, 1 << 26]);
        let schedule = (firing.allows_schedule() && self.random.one_in(8)).then(|| {
            let row = self.broadcast(shape);
            let rows = 1 + self.random.below(5);
            self.tensor(&[&[rows][..], &row].concat(), (-top.min(5000), top.min(5000)))
        });
        Neuron {
            threshold: self.broadcast_tensor(shape, (1, top)),
            initial: self.broadcast_tensor(shape, (-top, top)),
            schedule,
            reset: if self.random.one_in(4) { Reset::Zero } else { Reset::Subtract },
            amplitude: Amplitude::One,
            firing,
            signed: firing.may_retract() && self.random.one_in(3),
            rate: self.random.one_in(2).then(|| self.random.pick(&[0.0, 1e-30, 0.001, 0.05, 0.3, 1.0, 1e30])),
        }
    }

    fn layer(&mut self, x: NodeId, values: &[NodeId]) -> Option<NodeId> {
        let (op, shape) = self.synapse(x)?;
        let (mut synapses, mut operands) = (vec![op], vec![x]);
        for &other in values {
            if operands.len() < 3 && self.shape(other) == shape && self.random.one_in(2) {
                operands.push(other);
                let per_channel: Vec<usize> = (0..shape.len()).map(|a| if a == 0 { shape[0] } else { 1 }).collect();
                synapses.push(if self.random.one_in(2) {
                    Op::Identity
                } else {
                    Op::Scale(Scale { weight: Some(self.tensor(&per_channel, (-9, 9))), bias: None })
                });
            }
        }
        let range = self.random.pick(&[(-20, 20), (-20, 20), (-(1 << 24), 1 << 24)]);
        let bias = self.random.one_in(2).then(|| self.broadcast_tensor(&shape, range));
        let neuron = (!self.random.one_in(5)).then(|| self.neuron(&shape));
        self.add(Op::Layer(Layer { synapses, bias, neuron }), &operands)
    }

    fn up_to_three(&mut self, from: &[NodeId]) -> Vec<NodeId> {
        let many = 1 + self.random.below(3);
        (0..many).map(|_| self.random.pick(from)).collect()
    }

    /// Some node on `x` and, perhaps, others of `values`.
    fn node(&mut self, x: NodeId, values: &[NodeId]) -> Option<NodeId> {
        let (shape, signal) = (self.shape(x), self.graph.ty(x).signal);
        let axis = self.random.below(shape.len());
        match self.random.below(20) {
            0 | 1 if shape.len() > 1 => {
                let window = self.window(&shape[1..], true);
                self.add(Op::CumulativeMaxPool(window), &[x])
            }
            2 => {
                let same: Vec<NodeId> = values.iter().copied().filter(|&v| self.graph.ty(v) == self.graph.ty(x)).collect();
                let operands: Vec<NodeId> = self.up_to_three(&same);
                self.add(Op::CumulativeMax, &operands)
            }
            3 => {
                let n = count(&shape);
                let divisors: Vec<usize> = (1..=n.min(200)).filter(|&d| n.is_multiple_of(d)).collect();
                let d = self.random.pick(&divisors);
                let shapes = [vec![n], vec![d, n / d], vec![1, d, n / d], vec![d, 1, n / d], vec![d, n / d, 1, 1]];
                let shape = shapes[self.random.below(5)].clone();
                self.add(Op::Reshape { shape }, &[x])
            }
            4 => {
                let mut perm: Vec<usize> = (0..shape.len()).collect();
                perm.rotate_left(axis);
                self.add(Op::Transpose { perm }, &[x])
            }
            5 => {
                let (mut start, mut step, mut result) = (Vec::new(), Vec::new(), Vec::new());
                for &extent in &shape {
                    let (from, by) = (self.random.below(extent), self.random.pick(&[1isize, 1, 2, -1, 0, 3]));
                    let most = match by {
                        0 => 3,
                        1.. => (extent - 1 - from) / by as usize + 1,
                        _ => from / by.unsigned_abs() + 1,
                    };
                    start.push(from);
                    step.push(by);
                    result.push(1 + self.random.below(most));
                }
                self.add(Op::Slice(Slice { start, step, shape: result }), &[x])
            }
            6 => {
                let many = 1 + self.random.below(19);
                let indices = (0..many).map(|_| self.random.below(shape[axis])).collect::<Vec<_>>();
                self.add(Op::Gather { axis, indices }, &[x])
            }
            7 => {
                let mut pads = || shape.iter().map(|_| self.random.pick(&[0, 0, 1, 2, 20])).collect::<Vec<_>>();
                let (begin, end) = (pads(), pads());
                let value = if signal == Signal::Current && self.random.one_in(2) { self.random.between(-3, 3) as f32 } else { 0.0 };
                self.add(Op::Pad(Pad { begin, end, value }), &[x])
            }
            8 => {
                let fits = |v: &NodeId| {
                    let other = self.shape(*v);
                    other.len() == shape.len() && (0..shape.len()).all(|a| a == axis || other[a] == shape[a])
                };
                let fitting: Vec<NodeId> = values.iter().copied().filter(fits).collect();
                let operands: Vec<NodeId> = self.up_to_three(&fitting);
                self.add(Op::Concat { axis }, &operands)
            }
            9 => {
                let same: Vec<NodeId> = values.iter().copied().filter(|&v| self.shape(v) == shape).collect();
                let operands: Vec<NodeId> = self.up_to_three(&same);
                self.add(Op::Add, &operands)
            }
            10 if signal == Signal::Current => {
                let neuron = self.neuron(&shape);
                self.add(Op::If(neuron), &[x])
            }
            11 if signal == Signal::Current => {
                let shift = self.random.pick(&[1, 1, 2, 5, 12, Requantize::MOST_BITS]);
                self.add(Op::Requantize(Requantize { shift }), &[x])
            }
            _ => self.layer(x, values),
        }
    }
}
