//! How long the ANN takes in the analog executor: a network of ResNet-20's shape (40.8 M
//! multiplications), one thread.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use snn_ir::op::{Conv, Linear, Reduce, Relu};
use snn_ir::{Graph, NodeId, Op, Random, Signal, Tensor, Window};
use snn_runtime::analog::AnalogNetwork;

fn weights(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let mut random = Random::new(1);
    let gain = (3.0 * shape[0] as f32 / count as f32).sqrt();
    Tensor::f32(shape, (0..count).map(|_| gain * random.signed_unit()).collect::<Vec<_>>())
}

struct Builder(Graph);

impl Builder {
    fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        let name = self.0.fresh_name(op.name());
        self.0.add(name, op, operands).unwrap()
    }

    fn conv(&mut self, x: NodeId, channels: usize, kernel: usize, stride: usize) -> NodeId {
        let inputs = self.0.ty(x).shape[0];
        let pad = vec![kernel / 2; 2];
        let window = Window { stride: vec![stride; 2], pad_begin: pad.clone(), pad_end: pad, ..Window::unit([kernel, kernel]) };
        let (weight, bias) = (weights(&[channels, inputs, kernel, kernel]), Some(weights(&[channels])));
        self.add(Op::Conv(Conv { weight, bias, window, groups: 1 }), &[x])
    }

    fn relu(&mut self, x: NodeId) -> NodeId {
        self.add(Op::Relu(Relu::default()), &[x])
    }
}

fn resnet20() -> Graph {
    let mut b = Builder(Graph::new("resnet20"));
    let input = b.add(Op::Input(Signal::Analog, vec![3, 32, 32]), &[]);
    let conv = b.conv(input, 16, 3, 1);
    let mut x = b.relu(conv);
    for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..3 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let first = b.conv(x, channels, 3, stride);
            let hidden = b.relu(first);
            let second = b.conv(hidden, channels, 3, 1);
            let shortcut = if stride == 1 { x } else { b.conv(x, channels, 1, stride) };
            let sum = b.add(Op::Add, &[second, shortcut]);
            x = b.relu(sum);
        }
    }
    let pooled = b.add(Op::Reduce(Reduce { axes: vec![1, 2], mean: true }), &[x]);
    let flat = b.add(Op::Reshape { shape: vec![64] }, &[pooled]);
    let logits = b.add(Op::Linear(Linear { weight: weights(&[10, 64]), bias: None }), &[flat]);
    b.0.set_outputs([logits]);
    b.0
}

fn analog(c: &mut Criterion) {
    let network = AnalogNetwork::new(&resnet20()).unwrap();
    let sample: Vec<f32> = weights(&[3 * 32 * 32]).as_f32().to_vec();
    c.bench_function("analog/resnet20", |b| b.iter(|| network.run(&[&sample], &mut |_, _| {})));
}

criterion_group!(benches, analog);
criterion_main!(benches);
