//! Graphs to test with: one that has every operation, and random ones.
#![allow(dead_code)]

use snn_ir::neuron::{Amplitude, BINARY, Firing, Reset, TERNARY, TWO_PHASE, lanes};
use snn_ir::op::*;
use snn_ir::text::literal::seeded;
use snn_ir::*;

/// What random graphs are made of.
pub struct Builder(Random);

impl Builder {
    pub fn new(seed: u64) -> Self {
        Builder(Random::new(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.bits()
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0.below(n)
    }

    pub fn between(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi - lo + 1)
    }

    pub fn chance(&mut self) -> bool {
        self.0.one_in(2)
    }

    fn floats(&mut self, shape: &[usize]) -> Tensor {
        seeded(ElementType::F32, shape, self.next(), 1.0)
    }

    fn maybe_floats(&mut self, shape: &[usize]) -> Option<Tensor> {
        self.chance().then(|| self.floats(shape))
    }

    /// A tensor that broadcasts over `shape`.
    fn broadcast(&mut self, shape: &[usize]) -> Tensor {
        let shape: Vec<usize> = shape.iter().map(|&d| if self.chance() { d } else { 1 }).collect();
        if self.chance() { Tensor::scalar(self.below(100) as f32 / 10.0) } else { self.floats(&shape) }
    }

    fn window(&mut self, rank: usize) -> Window {
        let mut pick = |lo, hi| (0..rank).map(|_| self.between(lo, hi)).collect::<Vec<_>>();
        Window { kernel: pick(1, 3), stride: pick(1, 2), dilation: pick(1, 2), pad_begin: pick(0, 1), pad_end: pick(0, 1), ceil: false }
    }

    /// Sometimes a current for each of three steps, where neurons may have one.
    fn schedule(&mut self, shape: &[usize], firing: Firing) -> Option<Tensor> {
        (firing.allows_schedule() && self.chance()).then(|| self.floats(&[&[3][..], shape].concat()))
    }

    fn neuron(&mut self, shape: &[usize]) -> Neuron {
        let threshold = self.broadcast(shape).map(|v| v.abs() + 0.1);
        let firing = [BINARY, TERNARY, TWO_PHASE, lanes(3)][self.below(4)];
        Neuron {
            threshold,
            initial: self.broadcast(shape),
            schedule: self.schedule(shape, firing),
            reset: if self.chance() { Reset::Subtract } else { Reset::Zero },
            amplitude: if self.chance() { Amplitude::Threshold } else { Amplitude::One },
            signed: firing.may_retract() && self.chance(),
            rate: self.chance().then(|| self.below(1000) as f32 / 1000.0),
            firing,
        }
    }

    fn activation(&mut self, shape: &[usize]) -> Activation {
        use Activation::*;
        match self.below(18) {
            0 => LeakyRelu { slope: 0.01 },
            1 => PRelu(self.broadcast(shape)),
            2 => Clip { min: f32::NEG_INFINITY, max: 1.5 },
            3 => Abs,
            4 => ThresholdedRelu { alpha: 1e-20 },
            5 => HardSigmoid { alpha: 0.2, beta: 0.5 },
            6 => HardSwish,
            7 => Sigmoid,
            8 => Tanh,
            9 => Elu { alpha: 1e20 },
            10 => Selu { alpha: 1.673_263_2, gamma: 1.050_701 },
            11 => Celu { alpha: -0.0 },
            12 => Softplus,
            13 => Softsign,
            14 => Gelu,
            15 => GeluTanh,
            16 => Silu,
            _ => Mish,
        }
    }

    /// An operation with one operand of type `ty`, which may or may not fit.
    fn unary(&mut self, ty: &ValueType) -> Op {
        let shape = &ty.shape;
        let rank = shape.len();
        let (channels, spatial) = (shape.first().copied().unwrap_or(1), rank.saturating_sub(1).max(1));
        let axis = self.below(rank.max(1));
        match self.below(if ty.signal == Signal::Analog { 21 } else { 17 }) {
            0 | 1 => {
                let window = self.window(spatial);
                let out = self.between(1, 4);
                let groups = if self.chance() { 1 } else { channels };
                let weight = self.floats(&[&[out * groups, channels / groups][..], &window.kernel].concat());
                Op::Conv(Conv { bias: self.maybe_floats(&[out * groups]), weight, window, groups })
            }
            2 => {
                let window = self.window(spatial);
                let weight = self.floats(&[&[channels, 2][..], &window.kernel].concat());
                let output_padding = (0..spatial).map(|_| self.below(2)).collect();
                Op::ConvTranspose(ConvTranspose { weight, bias: self.maybe_floats(&[2]), window, output_padding, groups: 1 })
            }
            3 => {
                let out = self.between(1, 5);
                let weight = self.floats(&[out, shape.last().copied().unwrap_or(1)]);
                Op::Linear(Linear { weight, bias: self.maybe_floats(&[out]) })
            }
            4 => {
                let divisor = [Divisor::Padded, Divisor::Valid, Divisor::One][self.below(3)];
                Op::AvgPool(AvgPool { window: Window { ceil: self.chance(), ..self.window(spatial) }, divisor })
            }
            5 => Op::Reduce(Reduce { axes: vec![axis], mean: self.chance() }),
            6 => {
                let weight = self.chance().then(|| self.broadcast(shape));
                Op::Scale(Scale { weight, bias: self.chance().then(|| self.broadcast(shape)) })
            }
            7 => Op::BatchNorm(BatchNorm {
                gamma: self.floats(&[channels]),
                beta: self.floats(&[channels]),
                mean: self.floats(&[channels]),
                variance: self.floats(&[channels]).map(f32::abs),
                epsilon: 1e-5,
            }),
            8 => Op::Reshape { shape: vec![shape.iter().product()] },
            9 => Op::Transpose { perm: (0..rank).rev().collect() },
            10 => Op::Pad(Pad { begin: vec![1; rank], end: (0..rank).map(|_| self.below(3)).collect(), value: self.below(2) as f32 }),
            11 => Op::Slice(Slice { start: shape.iter().map(|d| d - 1).collect(), step: vec![-1; rank], shape: shape.clone() }),
            12 => {
                Op::Gather { axis, indices: (0..self.between(1, 9)).map(|_| self.below(shape.get(axis).copied().unwrap_or(1))).collect() }
            }
            13 => Op::CumulativeMaxPool(self.window(spatial)),
            14 => Op::Identity,
            15 | 16 if ty.signal == Signal::Current => Op::If(self.neuron(shape)),
            15 | 16 if ty.signal == Signal::Spikes => self.layer(ty),
            15 => Op::Relu(Relu { cap: self.chance().then_some(6.0), threshold: self.chance().then(|| self.broadcast(shape)) }),
            16 => Op::MaxPool(self.window(spatial)),
            17 => Op::Activation(self.activation(shape)),
            18 => Op::Softmax { axis, log: self.chance() },
            19 => Op::RmsNorm(RmsNorm { axes: vec![axis], epsilon: 1e-5 }),
            _ => Op::Lrn(Lrn { size: 3, alpha: 1e-4, beta: 0.75, bias: 1.0 }),
        }
    }

    fn layer(&mut self, ty: &ValueType) -> Op {
        let shape = &ty.shape;
        let weight = self.floats(&[4, shape.last().copied().unwrap_or(1)]);
        let mut out = shape.clone();
        if let Some(last) = out.last_mut() {
            *last = 4;
        }
        let bias = self.chance().then(|| self.broadcast(&out));
        let neuron = self.chance().then(|| self.neuron(&out));
        Op::Layer(Layer { synapses: vec![Op::Linear(Linear { weight, bias: None })], bias, neuron })
    }
}

/// A random graph of about `size` nodes, analog or spiking, in floats. Its outputs are what a verified graph's are.
pub fn random(seed: u64, size: usize) -> Graph {
    let r = &mut Builder::new(seed);
    let spiking = r.chance();
    let signal = if spiking { Signal::Current } else { Signal::Analog };
    let names = ["conv", "a b", "node:0", "/layer/Conv_1", "quote\"d\\", "ünï", "tab\t", "x//y", "", "1", "-"];
    let mut g = Graph::new(names[r.below(names.len())]);
    g.timesteps = r.chance().then(|| r.below(100) as u32 + 1);
    let shape = [vec![3, 5, 6], vec![7], vec![2, 4], vec![4, 2, 3, 3], vec![]][r.below(5)].clone();
    let mut ids = vec![g.add("input", Op::Input(signal, shape.clone()), &[]).unwrap()];
    if r.chance() {
        ids.push(g.add("constant", Op::Constant(signal, r.floats(&shape)), &[]).unwrap());
    }
    for _ in 0..size {
        let first = ids[r.below(ids.len())];
        let name = g.fresh_name(names[r.below(names.len())]);
        let _ = match r.below(6) {
            0 => {
                let second = ids[r.below(ids.len())];
                let ops = [Op::Add, Op::Concat { axis: 0 }, Op::Maximum, Op::CumulativeMax];
                g.add(name, ops[r.below(4)].clone(), &[first, second, first])
            }
            _ => g.add(name, r.unary(&g.ty(first).clone()), &[first]),
        }
        .map(|id| ids.push(id));
    }
    let mut outputs: Vec<NodeId> = (0..r.between(1, 2)).map(|_| ids[r.below(ids.len())]).collect();
    if spiking {
        for o in &mut outputs {
            let scale = r.chance().then(|| r.broadcast(&g.ty(*o).shape.clone()));
            *o = g.add(g.fresh_name("readout"), Op::Readout { scale, delay: r.below(3) as u32 }, &[*o]).unwrap();
        }
    }
    g.set_outputs(outputs);
    g
}

/// Random graphs that together have every float operation.
pub fn all_ops() -> Vec<Graph> {
    (0..800).map(|seed| random(seed, 12)).collect()
}

/// A small fused, quantized network of every neuron kind, with a residual synapse, a spiking max-pool and a readout scale.
pub fn quantized() -> Graph {
    let int = |shape: &[usize], seed, scale| seeded(ElementType::I8, shape, seed, scale);
    let neuron = |threshold, firing, signed| Neuron {
        threshold,
        initial: Tensor::scalar_i32(8),
        schedule: None,
        reset: Reset::Subtract,
        amplitude: Amplitude::One,
        firing,
        signed,
        rate: None,
    };
    let mut g = Graph::new("quantized");
    g.timesteps = Some(8);
    let image = g.add("image", Op::Input(Signal::Current, vec![1, 6, 6]), &[]).unwrap();
    let encode = g.add("image.encode", Op::Encode { scale: Tensor::scalar(127.5), limit: 127 }, &[image]).unwrap();
    let conv = |channels, seed| {
        Op::Conv(Conv {
            weight: int(&[4, channels, 3, 3], seed, 20.0),
            bias: None,
            window: Window { pad_begin: vec![1, 1], pad_end: vec![1, 1], ..Window::unit([3, 3]) },
            groups: 1,
        })
    };
    let layer =
        |synapses, neuron| Op::Layer(Layer { synapses, bias: Some(Tensor::i32([4, 1, 1], [1, -2, 300, -4])), neuron: Some(neuron) });
    let thresholds = Tensor::i32([4, 1, 1], [900, 1000, 1100, 1200]);
    let a = g.add("a", layer(vec![conv(1, 1)], neuron(thresholds, BINARY, false)), &[encode]).unwrap();
    let b = layer(vec![conv(4, 2), Op::Identity], neuron(Tensor::scalar_i32(50), TERNARY, true));
    let b = g.add("b", b, &[a, a]).unwrap();
    let c = g.add("c", layer(vec![conv(4, 3)], neuron(Tensor::scalar_i32(40), lanes(2), false)), &[b]).unwrap();
    let d = g.add("d", layer(vec![conv(4, 4)], neuron(Tensor::scalar_i32(40), TWO_PHASE, false)), &[c]).unwrap();
    let pool = Window { stride: vec![2, 2], ..Window::unit([2, 2]) };
    let pool = g.add("pool", Op::CumulativeMaxPool(pool), &[d]).unwrap();
    let flat = g.add("flat", Op::Reshape { shape: vec![36] }, &[pool]).unwrap();
    let weight = seeded(ElementType::I16, [3, 36], 5, 1000.0);
    let fc = Op::Layer(Layer { synapses: vec![Op::Linear(Linear { weight, bias: None })], bias: None, neuron: None });
    let fc = g.add("fc", fc, &[flat]).unwrap();
    let readout = g.add("logits", Op::Readout { scale: Some(Tensor::f32([3], [0.5, 0.25, 0.125])), delay: 0 }, &[fc]).unwrap();
    g.set_outputs([readout]);
    g
}
