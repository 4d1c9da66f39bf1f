//! A quantized network of the shape of ResNet-20 on CIFAR-10 (He et al. 2016), with random weights
//! and thresholds that make neurons fire at rates like a trained network's.

use snn_ir::neuron::{Amplitude, BINARY, Neuron, Reset};
use snn_ir::op::{Conv, Layer, Linear, Pad, Reduce, Scale, Slice};
use snn_ir::{Graph, NodeId, Op, Random, Signal, Tensor, Window};

fn conv(random: &mut Random, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Op {
    let weight: Vec<i8> = (0..outputs * inputs * kernel * kernel)
        .map(|_| ((random.below(127) + random.below(127) + random.below(127)) as i64 - 189).clamp(-127, 127) as i8)
        .collect();
    let pad = vec![kernel / 2; 2];
    let window = Window { stride: vec![stride; 2], pad_begin: pad.clone(), pad_end: pad, ..Window::unit([kernel, kernel]) };
    Op::Conv(Conv { weight: Tensor::i8([outputs, inputs, kernel, kernel], weight), bias: None, window, groups: 1 })
}

/// Neurons whose threshold suits `inputs` synapses of the weights above at spike rates near `rate`.
fn layer(random: &mut Random, synapses: Vec<Op>, channels: usize, threshold: i32) -> Op {
    let thresholds: Vec<i32> = (0..channels).map(|_| threshold + random.below(threshold as usize / 4) as i32).collect();
    let initial = thresholds.iter().map(|t| t / 2).collect::<Vec<_>>();
    let bias: Vec<i32> = (0..channels).map(|_| random.below(threshold as usize / 8) as i32 - threshold / 24).collect();
    let per_channel = |v: Vec<i32>| Tensor::i32([channels, 1, 1], v);
    Op::Layer(Layer {
        synapses,
        bias: Some(per_channel(bias)),
        neuron: Some(Neuron {
            threshold: per_channel(thresholds),
            initial: per_channel(initial),
            schedule: None,
            reset: Reset::Subtract,
            amplitude: Amplitude::One,
            firing: BINARY,
            signed: false,
            rate: None,
        }),
    })
}

/// Standard deviation of the mean current of `inputs` synapses, in weight units, times eight: the
/// threshold at which about a tenth of the neurons fire in a step.
fn threshold(inputs: usize) -> i32 {
    (8.0 * 63.0 * (inputs as f64 * 0.02).sqrt()) as i32
}

fn residual(weight: i32, channels: usize) -> Op {
    Op::Scale(Scale { weight: Some(Tensor::i16([channels, 1, 1], vec![weight as i16; channels])), bias: None })
}

/// The network. Downsampling shortcuts take every second pixel and pad channels (option A).
pub fn resnet20(seed: u64) -> Graph {
    let random = &mut Random::new(seed);
    let mut g = Graph::new("resnet20");
    let add = |g: &mut Graph, name: &str, op: Op, operands: &[NodeId]| g.add(name, op, operands).expect("the graph fits");
    let input = add(&mut g, "input", Op::Input(Signal::Current, vec![3, 32, 32]), &[]);
    let weight: Vec<f32> = (0..16 * 27).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect();
    let window = Window { pad_begin: vec![1, 1], pad_end: vec![1, 1], ..Window::unit([3, 3]) };
    let first = Conv { weight: Tensor::f32([16, 3, 3, 3], weight), bias: None, window, groups: 1 };
    let first = Op::Layer(Layer { synapses: vec![Op::Conv(first)], bias: None, neuron: None });
    let conv1 = add(&mut g, "conv1", first, &[input]);
    let encode = add(&mut g, "encode", Op::Encode { scale: Tensor::scalar(64.0), limit: 1 << 20 }, &[conv1]);
    let mut x = add(&mut g, "relu1", layer(random, vec![Op::Identity], 16, 700), &[encode]);
    let mut channels = 16;
    for (stage, width) in [16usize, 32, 64].into_iter().enumerate() {
        for block in 0..3 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
            let theta = threshold(9 * channels);
            let synapse = conv(random, channels, width, 3, stride);
            let first = layer(random, vec![synapse], width, theta);
            let y = add(&mut g, &name("relu1"), first, &[x]);
            let shortcut = if stride == 1 {
                x
            } else {
                let side = 32 >> stage;
                let slice = Slice { start: vec![0; 3], step: vec![1, 2, 2], shape: vec![channels, side, side] };
                let s = add(&mut g, &name("slice"), Op::Slice(slice), &[x]);
                let extra = (width - channels) / 2;
                let pad = Pad { begin: vec![extra, 0, 0], end: vec![extra, 0, 0], value: 0.0 };
                add(&mut g, &name("pad"), Op::Pad(pad), &[s])
            };
            let theta = threshold(9 * width);
            let synapse = conv(random, width, width, 3, 1);
            let second = layer(random, vec![synapse, residual(theta / 2, width)], width, theta);
            x = add(&mut g, &name("relu2"), second, &[y, shortcut]);
            channels = width;
        }
    }
    let linear = |synapse: Op| Op::Layer(Layer { synapses: vec![synapse], bias: None, neuron: None });
    let pool = add(&mut g, "pool", linear(Op::Reduce(Reduce { axes: vec![1, 2], mean: false })), &[x]);
    let flat = add(&mut g, "flat", Op::Reshape { shape: vec![64] }, &[pool]);
    let weight: Vec<i8> = (0..640).map(|_| (random.below(255) as i64 - 127) as i8).collect();
    let fc = add(&mut g, "fc", linear(Op::Linear(Linear { weight: Tensor::i8([10, 64], weight), bias: None })), &[flat]);
    let out = add(&mut g, "logits", Op::Readout { scale: None, delay: 0 }, &[fc]);
    g.set_outputs([out]);
    g
}

/// A random image.
pub fn image(random: &mut Random, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.below(4001) as f32 / 1000.0 - 2.0).collect()
}
