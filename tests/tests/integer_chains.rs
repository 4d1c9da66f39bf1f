//! Linear operations in a row, and every activation function, in integers: as good as the same network in floats, and never refused.

use rayon::prelude::*;
use snn_ir::op::{AvgPool, Conv, Divisor, Linear, Relu};
use snn_ir::{Activation, Graph, NodeId, Op, Random, Signal, Tensor, Window};
use snn_runtime::analog::AnalogNetwork;
use snn_runtime::{EngineKind, Network};
use snnc::{Compiled, Compiler, CompilerError, Recipe, Samples, Weights};

struct Builder {
    graph: Graph,
    random: Random,
}

impl Builder {
    fn new(seed: u64, shape: &[usize]) -> (Builder, NodeId) {
        let mut b = Builder { graph: Graph::new(format!("net{seed}")), random: Random::new(seed) };
        let input = b.add(Op::Input(Signal::Analog, shape.to_vec()), &[]);
        (b, input)
    }

    fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        let name = self.graph.fresh_name(op.name());
        self.graph.add(name, op, operands).expect("the generator makes operations that fit")
    }

    fn shape(&self, x: NodeId) -> Vec<usize> {
        self.graph.ty(x).shape.clone()
    }

    /// Weights that keep the size of what they multiply, times something between a tenth and ten.
    fn weight(&mut self, shape: &[usize]) -> Tensor {
        let fan_in: usize = shape[1..].iter().product();
        let size = 10f32.powf(2.0 * self.random.unit() - 1.0) / (fan_in as f32).sqrt();
        let count = shape.iter().product();
        Tensor::f32(shape, (0..count).map(|_| size * self.random.normal()).collect::<Vec<_>>())
    }

    fn bias(&mut self, n: usize) -> Option<Tensor> {
        (self.random.below(2) == 0).then(|| Tensor::f32([n], (0..n).map(|_| 0.1 * self.random.normal()).collect::<Vec<_>>()))
    }

    fn conv(&mut self, x: NodeId, out: usize, kernel: usize, depthwise: bool) -> NodeId {
        let channels = self.shape(x)[0];
        let (out, groups) = if depthwise { (channels, channels) } else { (out, 1) };
        let weight = self.weight(&[out, channels / groups, kernel, kernel]);
        let pad = vec![kernel / 2; 2];
        let window = Window { pad_begin: pad.clone(), pad_end: pad, ..Window::unit([kernel, kernel]) };
        let bias = self.bias(out);
        self.add(Op::Conv(Conv { weight, bias, window, groups }), &[x])
    }

    fn dense(&mut self, x: NodeId, out: usize) -> NodeId {
        let inputs = *self.shape(x).last().unwrap();
        let weight = self.weight(&[out, inputs]);
        let bias = self.bias(out);
        self.add(Op::Linear(Linear { weight, bias }), &[x])
    }

    /// One operation of a chain on feature maps.
    fn link(&mut self, x: NodeId) -> NodeId {
        let shape = self.shape(x);
        match self.random.below(8) {
            0 => {
                let out = 2 + self.random.below(10);
                self.conv(x, out, 1, false)
            }
            1 => {
                let out = 2 + self.random.below(10);
                self.conv(x, out, 3, false)
            }
            2 => self.conv(x, 0, 3, true),
            3 if shape[1] <= 8 => {
                let indices: Vec<usize> = (0..2 * shape[1]).map(|i| i / 2).collect();
                let tall = self.add(Op::Gather { axis: 1, indices: indices.clone() }, &[x]);
                self.add(Op::Gather { axis: 2, indices }, &[tall])
            }
            // Between neighbours, along the last axis.
            4 if shape[2] <= 8 => {
                let n = shape[2];
                let mut weight = vec![0f32; 2 * n * n];
                for i in 0..2 * n {
                    let at = ((i as f32 + 0.5) / 2.0 - 0.5).clamp(0.0, n as f32 - 1.0);
                    let (low, part) = (at.floor() as usize, at.fract());
                    weight[i * n + low] += 1.0 - part;
                    weight[i * n + (low + 1).min(n - 1)] += part;
                }
                self.add(Op::Linear(Linear { weight: Tensor::f32([2 * n, n], weight), bias: None }), &[x])
            }
            5 if shape[1] >= 4 && shape[2] >= 4 => {
                let divisor = [Divisor::Padded, Divisor::Valid][self.random.below(2)];
                let window = Window { stride: vec![2, 2], pad_begin: vec![1, 1], pad_end: vec![1, 1], ..Window::unit([3, 3]) };
                self.add(Op::AvgPool(AvgPool { window, divisor }), &[x])
            }
            6 => {
                let other = self.conv(x, shape[0], 3, false);
                self.add(Op::Add, &[x, other])
            }
            _ => {
                let out = 1 + self.random.below(6);
                let other = self.conv(x, out, 1, false);
                self.add(Op::Concat { axis: 0 }, &[other, x])
            }
        }
    }

    fn relu(&mut self, x: NodeId) -> NodeId {
        self.add(Op::Relu(Relu::default()), &[x])
    }

    /// A readout of so many numbers.
    fn finish(mut self, x: NodeId, out: usize) -> Graph {
        let len = self.graph.ty(x).len();
        let flat = self.add(Op::Reshape { shape: vec![len] }, &[x]);
        let y = self.dense(flat, out);
        self.graph.set_outputs([y]);
        self.graph
    }
}

/// Neurons, `links` linear operations, neurons, a readout.
fn chain(seed: u64, links: usize) -> Graph {
    if seed.is_multiple_of(3) {
        let (mut b, input) = Builder::new(seed, &[12]);
        let mut x = b.dense(input, 24);
        x = b.relu(x);
        for _ in 0..links {
            let out = [3, 6, 16, 32][b.random.below(4)];
            let next = b.dense(x, out);
            x = if b.random.below(4) == 0 { b.add(Op::Concat { axis: 0 }, &[next, x]) } else { next };
        }
        x = b.relu(x);
        return b.finish(x, 4);
    }
    let (mut b, input) = Builder::new(seed, &[2, 6, 6]);
    let mut x = b.conv(input, 6, 3, false);
    x = b.relu(x);
    for _ in 0..links {
        x = b.link(x);
    }
    x = b.relu(x);
    b.finish(x, 4)
}

fn samples(graph: &Graph, seed: u64, count: usize) -> Samples {
    let mut random = Random::new(seed ^ 0xabcd);
    let len = graph.ty(graph.inputs()[0]).len();
    Samples::of(graph).with((0..count).map(|_| vec![(0..len).map(|_| random.normal()).collect()])).unwrap()
}

fn compiled(graph: &Graph, recipe: &str, weights: Weights, timesteps: u32, calibration: &Samples) -> Result<Compiled, CompilerError> {
    let compiler = Compiler::new(graph).recipe(Recipe::load(recipe).unwrap()).timesteps(timesteps).weights(weights);
    compiler.calibrate(calibration).compile()
}

/// Relative root mean square error against the ANN.
fn error(graph: &Graph, spiking: &Graph, engine: EngineKind, timesteps: u32, samples: &Samples) -> f64 {
    let ann = AnalogNetwork::new(graph).unwrap();
    let network = Network::compile(spiking, engine).unwrap();
    let mut session = network.session();
    let (mut difference, mut square) = (0f64, 0f64);
    for sample in samples.iter() {
        session.start(&sample).unwrap();
        session.advance(timesteps).unwrap();
        let expected = ann.run(&sample, &mut |_, _| {});
        for (a, b) in expected[0].iter().zip(&session.potentials()[0]) {
            difference += f64::from(a - b).powi(2);
            square += f64::from(*a).powi(2);
        }
    }
    (difference / square).sqrt()
}

/// How many networks: all in `SNNC_CHAINS`, a few otherwise.
fn count(few: u64) -> u64 {
    std::env::var("SNNC_CHAINS").ok().and_then(|n| n.parse().ok()).unwrap_or(few)
}

#[test]
fn chains_of_linear_operations_lose_no_more_in_integers_than_in_floats() {
    let wrong: Vec<String> = (0..count(60))
        .into_par_iter()
        .filter_map(|seed| {
            let links = 1 + (seed / 3) as usize % 6;
            let graph = chain(seed, links);
            let recipe = ["mmse", "two-phase", "layerwise"][seed as usize % 3];
            let timesteps = [32, 32, 8, 128][(seed / 7) as usize % 4];
            let calibration = samples(&graph, seed, 24);
            let test = samples(&graph, seed ^ 0x77, 16);
            let case = format!("network {seed}: {links} operations, {recipe}, T = {timesteps}");
            let make = |weights| compiled(&graph, recipe, weights, timesteps, &calibration);
            let integers = match make(Weights::Recipe) {
                Ok(compiled) => compiled,
                Err(e) => return Some(format!("{case}: {e}")),
            };
            let floats = make(Weights::Float).unwrap();
            let in_floats = error(&graph, &floats.graph, EngineKind::Reference, timesteps, &test);
            let in_integers = error(&graph, &integers.graph, EngineKind::Native, timesteps, &test);
            let reference = error(&graph, &integers.graph, EngineKind::Reference, timesteps, &test);
            if reference != in_integers {
                return Some(format!("{case}: the engines differ: {in_integers} and {reference}"));
            }
            (in_integers > 1.5 * in_floats + 0.01)
                .then(|| format!("{case}: error {in_integers:.4} in integers, {in_floats:.4} in floats; {:?}", integers.notes))
        })
        .collect();
    assert!(wrong.is_empty(), "{} networks:\n{}", wrong.len(), wrong.join("\n"));
}

/// Errors in integers and in floats.
fn errors(graph: &Graph, recipe: &str, timesteps: u32) -> (f64, f64) {
    let calibration = samples(graph, 1, 24);
    let test = samples(graph, 2, 16);
    let integers = compiled(graph, recipe, Weights::Recipe, timesteps, &calibration).unwrap();
    let floats = compiled(graph, recipe, Weights::Float, timesteps, &calibration).unwrap();
    assert!(integers.rounding.iter().all(|r| r.share < 0.02), "{:?}", integers.rounding);
    let integers = error(graph, &integers.graph, EngineKind::Native, timesteps, &test);
    (integers, error(graph, &floats.graph, EngineKind::Reference, timesteps, &test))
}

/// A maximum of averages whose windows hold different numbers of elements.
fn maximum_of_averages() -> Graph {
    let (mut b, input) = Builder::new(5, &[2, 8, 8]);
    let mut x = b.conv(input, 6, 3, false);
    x = b.relu(x);
    let window = Window { stride: vec![2, 2], pad_begin: vec![1, 1], pad_end: vec![1, 1], ..Window::unit([3, 3]) };
    x = b.add(Op::AvgPool(AvgPool { window, divisor: Divisor::Valid }), &[x]);
    x = b.add(Op::MaxPool(Window { stride: vec![2, 2], ..Window::unit([2, 2]) }), &[x]);
    b.finish(x, 4)
}

#[test]
fn a_longer_window_loses_no_more_where_averages_of_unequal_divisors_feed_a_maximum() {
    let graph = maximum_of_averages();
    let of = |timesteps| errors(&graph, "mmse", timesteps);
    let (short, long, longest) = (of(32), of(1024), of(8192));
    assert!(long.0 < 0.5 * short.0 && longest.0 < 0.5 * short.0, "{short:?} {long:?} {longest:?}");
    assert!(longest.0 < longest.1 + 0.003, "{longest:?}");
}

#[test]
fn the_input_joined_with_feature_maps_loses_no_more_in_integers_than_in_floats() {
    let (mut b, input) = Builder::new(3, &[2, 6, 6]);
    let mut x = b.conv(input, 5, 3, false);
    x = b.relu(x);
    x = b.add(Op::Concat { axis: 0 }, &[x, input]);
    x = b.conv(x, 6, 3, false);
    x = b.relu(x);
    let flat = |b: &mut Builder, x| {
        let len = b.graph.ty(x).len();
        b.add(Op::Reshape { shape: vec![len] }, &[x])
    };
    let joined = b.add(Op::Concat { axis: 0 }, &[x, input]);
    let joined = flat(&mut b, joined);
    let y = b.dense(joined, 3);
    b.graph.set_outputs([y]);
    let graph = b.graph;
    for (recipe, timesteps) in [("mmse", 32), ("two-phase", 16), ("layerwise", 64)] {
        let (integers, floats) = errors(&graph, recipe, timesteps);
        assert!(integers <= 1.5 * floats + 0.01, "{recipe}: {integers} in integers, {floats} in floats");
    }
}

#[test]
fn windows_as_long_as_any_compile() {
    for graph in [maximum_of_averages(), chain(1, 3), chain(3, 2)] {
        let calibration = samples(&graph, 1, 8);
        for timesteps in [8191, 8192, 20_000, 65_536] {
            let compiled = compiled(&graph, "deng2021", Weights::Recipe, timesteps, &calibration);
            let compiled = compiled.unwrap_or_else(|e| panic!("T = {timesteps}: {e}"));
            let network = Network::compile(&compiled.graph, EngineKind::Native).unwrap();
            let mut session = network.session();
            session.start(&calibration.sample(0)).unwrap();
            session.advance(timesteps).unwrap();
        }
    }
}

#[test]
fn small_networks_of_every_activation_compile_for_every_window() {
    let activations = [
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Clip { min: 0.0, max: 6.0 },
        Activation::Clip { min: -1.0, max: 1.0 },
        Activation::Abs,
        Activation::ThresholdedRelu { alpha: 0.5 },
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::HardSwish,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Elu { alpha: 1.0 },
        Activation::Selu { alpha: 1.673, gamma: 1.051 },
        Activation::Celu { alpha: 1.0 },
        Activation::Softplus,
        Activation::Softsign,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Mish,
    ];
    let wrong: Vec<String> = (0..count(72))
        .into_par_iter()
        .filter_map(|seed| {
            let activation = &activations[seed as usize % activations.len()];
            let (mut b, input) = Builder::new(seed, &[2 + (seed % 5) as usize]);
            let mut x = input;
            for _ in 0..1 + seed % 3 {
                let width = 4 + b.random.below(16);
                x = b.dense(x, width);
                x = b.add(Op::Activation(activation.clone()), &[x]);
            }
            let graph = b.finish(x, 1 + (seed % 2) as usize);
            let recipe = ["layerwise", "mmse", "two-phase", "deng2021"][(seed / 3) as usize % 4];
            let timesteps = [8, 32, 255, 4096][(seed / 5) as usize % 4];
            let calibration = samples(&graph, seed, 16);
            let result = compiled(&graph, recipe, Weights::Recipe, timesteps, &calibration);
            result.err().map(|e| format!("network {seed}, {}, {recipe}, T = {timesteps}: {e}", activation.name()))
        })
        .collect();
    assert!(wrong.is_empty(), "{} networks:\n{}", wrong.len(), wrong.join("\n"));
}
