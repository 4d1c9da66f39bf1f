//! The spiking kernels by family, at every CPU level this machine has: one layer of each of
//! ResNet-20's three stages, 32 steps.
//!
//! Event lists are measured at three rates; the others do not depend on the rate. The count domain
//! knows no steps: its layers are small networks that run whole, prefix included.

#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use snn_ir::neuron::{Amplitude, Neuron, TWO_PHASE};
use snn_ir::op::{Conv, Layer, Reduce};
use snn_ir::{Graph, NodeId, Op, Signal, Tensor, Window};
use snn_runtime::cost::subject::{Family, LayerShape, Subject, computes};
use snn_runtime::{Cpu, Network};
use std::hint::black_box;

const STEPS: usize = 32;
const STAGES: [LayerShape; 3] = [
    LayerShape { channels: 16, side: 32, kernel: 3 },
    LayerShape { channels: 32, side: 16, kernel: 3 },
    LayerShape { channels: 64, side: 8, kernel: 3 },
];

fn levels() -> impl Iterator<Item = Cpu> {
    Cpu::available()
}

/// Synapses of a layer, steps counted.
fn synapses(shape: LayerShape, steps: usize) -> Throughput {
    Throughput::Elements((shape.side * shape.channels * shape.kernel).pow(2) as u64 * steps as u64)
}

fn name(shape: LayerShape) -> String {
    format!("{}x{}x{}", shape.channels, shape.side, shape.side)
}

fn stepped(c: &mut Criterion) {
    for cpu in levels() {
        let rates = &[0.03, 0.1, 0.25][..];
        for (family, rates) in [(Family::Event, rates), (Family::ByteEvent, rates), (Family::Matrix, &[0.1]), (Family::Table, &[0.1])] {
            let mut group = c.benchmark_group(format!("{family:?}/{cpu}").to_lowercase());
            for shape in STAGES.into_iter().filter(|&shape| computes(family, cpu, shape)) {
                for &rate in rates {
                    let subject = Subject::new(cpu, family, shape, STEPS, rate).expect("the layer compiles");
                    let mut runner = subject.runner();
                    group.throughput(synapses(shape, STEPS));
                    group.bench_function(BenchmarkId::new(name(shape), format!("rate={rate}")), |b| b.iter(|| runner.run()));
                }
            }
            group.finish();
        }
    }
}

/// A convolution between two-phase neurons.
fn two_phase(shape: LayerShape) -> Graph {
    let LayerShape { channels, side, kernel } = shape;
    let mut graph = Graph::new("count");
    graph.timesteps = Some(STEPS as u32);
    let mut add = |name: &str, op: Op, operands: &[NodeId]| graph.add(name, op, operands).expect("the shapes fit");
    let neurons = |threshold: i32| {
        Some(Neuron {
            amplitude: Amplitude::One,
            firing: TWO_PHASE,
            ..Neuron::new(Tensor::i32([channels, 1, 1], vec![threshold; channels]))
        })
    };
    let input = add("input", Op::Input(Signal::Current, vec![channels, side, side]), &[]);
    let encode = add("encode", Op::Encode { scale: Tensor::scalar(1000.0), limit: 1 << 20 }, &[input]);
    let first = Layer { synapses: vec![Op::Identity], bias: None, neuron: neurons(1000) };
    let first = add("first", Op::Layer(first), &[encode]);
    let weight: Vec<i8> = (0..(channels * kernel).pow(2)).map(|i| (i * 89 % 255) as i8).collect();
    let pad = vec![kernel / 2; 2];
    let window = Window { pad_begin: pad.clone(), pad_end: pad, ..Window::unit([kernel, kernel]) };
    let conv = Conv { weight: Tensor::i8([channels, channels, kernel, kernel], weight), bias: None, window, groups: 1 };
    let measured = add("measured", Op::Layer(Layer { synapses: vec![Op::Conv(conv)], bias: None, neuron: neurons(500) }), &[first]);
    let sum = Op::Reduce(Reduce { axes: vec![1, 2], mean: false });
    let sum = add("sum", Op::Layer(Layer { synapses: vec![sum], bias: None, neuron: None }), &[measured]);
    let answer = add("answer", Op::Readout { scale: None, delay: 0 }, &[sum]);
    graph.set_outputs([answer]);
    graph
}

fn count_domain(c: &mut Criterion) {
    for cpu in levels() {
        let mut group = c.benchmark_group(format!("count/{cpu}"));
        for shape in STAGES {
            let network = Network::compile_for(&two_phase(shape), cpu).expect("the network compiles");
            let mut session = network.session();
            let input: Vec<f32> = (0..shape.channels * shape.side * shape.side).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
            group.throughput(synapses(shape, 1));
            group.bench_function(BenchmarkId::from_parameter(name(shape)), |b| {
                b.iter(|| {
                    session.start(&[&input]).expect("the input fits");
                    session.advance(STEPS as u32).expect("the window has room");
                    black_box(session.potentials())
                });
            });
        }
        group.finish();
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = stepped, count_domain }
criterion_main!(benches);
