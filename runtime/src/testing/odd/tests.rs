//! Every network that the verifier accepts runs, and as the reference says.

use super::*;
use crate::testing::random_inputs;
use crate::{Cpu, EngineKind, Network, RunError, Session};
use proptest::prelude::*;
use snn_ir::neuron::{BINARY, TERNARY, lanes};

/// Firing rules of networks that one engine runs.
fn firings() -> impl Strategy<Value = Vec<Firing>> {
    let firing = || prop_oneof![Just(TERNARY), Just(BINARY), (1u8..8).prop_map(lanes)];
    prop_oneof![
        6 => Just(vec![BINARY]),
        1 => Just(vec![TWO_PHASE]),
        1 => Just(vec![TERNARY]),
        1 => (1u8..8).prop_map(|n| vec![lanes(n)]),
        1 => prop::collection::vec(firing(), 2..4),
    ]
}

fn compare_sessions(expected: &Session, got: &Session, context: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(expected.potentials(), got.potentials(), "{}", context);
    prop_assert_eq!(expected.statistics(), got.statistics(), "{}", context);
    for layer in 0..got.statistics().layers.len() {
        prop_assert_eq!(expected.membranes(layer), got.membranes(layer), "{}", context);
    }
    Ok(())
}

/// Runs `graph` with every engine and on every CPU level that this machine has, and compares all
/// that sessions tell.
fn compare(graph: &Graph, seed: u64) -> Result<(), TestCaseError> {
    let window = graph.timesteps.unwrap_or(1);
    let reference = Network::compile(graph, EngineKind::Reference).expect("the reference runs every network");
    for cpu in Cpu::available() {
        let network = match Network::compile_for(graph, cpu) {
            Ok(network) => network,
            Err(error) => return Err(TestCaseError::fail(format!("{cpu}: {error}"))),
        };
        let (mut expected, mut got) = (reference.session(), network.session());
        for sample in [seed, seed ^ 1] {
            let inputs = random_inputs(sample, &reference);
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            expected.start(&inputs).expect("the sample fits");
            got.start(&inputs).expect("the sample fits");
            let cuts = if network.has_window_barrier() { vec![window] } else { vec![window.div_ceil(2), window / 2, 3] };
            for steps in cuts {
                let ended = got.advance(steps);
                if matches!(ended, Err(RunError::Overflow(_))) {
                    break;
                }
                prop_assert_eq!(ended, Ok(()));
                expected.advance(steps).expect("the reference has 64 bits");
                compare_sessions(&expected, &got, &format!("{cpu} after {} steps", got.steps()))?;
            }
        }
    }
    Ok(())
}

/// Spikes of a map of so many rows and columns through a convolution of `channels` channels.
fn convolution(channels: usize, space: [usize; 2], window: Window, rate: f32) -> Graph {
    let mut graph = Graph::new("net");
    graph.timesteps = Some(4);
    let neuron = |rate| Neuron { amplitude: Amplitude::One, rate, ..Neuron::new(Tensor::scalar_i32(3)) };
    let layer = |synapse, rate| Op::Layer(Layer { synapses: vec![synapse], bias: None, neuron: Some(neuron(rate)) });
    let shape = [&[channels][..], &space].concat();
    let input = graph.add("input", Op::Input(Signal::Current, shape), &[]).unwrap();
    let encode = graph.add("encode", Op::Encode { scale: Tensor::scalar(4.0), limit: 20 }, &[input]).unwrap();
    let spikes = graph.add("spikes", layer(Op::Identity, Some(rate)), &[encode]).unwrap();
    let weights = channels * channels * window.taps();
    let weight =
        Tensor::i8([&[channels, channels][..], &window.kernel].concat(), (0..weights).map(|i| (i * 7 % 11) as i8 - 5).collect::<Vec<_>>());
    let conv = layer(Op::Conv(Conv { weight, bias: None, window, groups: 1 }), None);
    let conv = graph.add("conv", conv, &[spikes]).unwrap();
    let readout = graph.add("out", Op::Readout { scale: None, delay: 0 }, &[conv]).unwrap();
    graph.set_outputs([readout]);
    snn_ir::verify(&graph).unwrap();
    graph
}

#[test]
fn padding_wider_than_what_windows_reach_and_strides_beyond_the_map_are_no_matter_at_any_rate() {
    let window = |kernel: usize, stride: usize, dilation: usize, pads: [usize; 2]| Window {
        stride: vec![1, stride],
        dilation: vec![1, dilation],
        pad_begin: vec![0, pads[0]],
        pad_end: vec![0, pads[1]],
        ..Window::unit([1, kernel])
    };
    let windows = [
        (4, window(1, 9, 1, [2, 0])),
        (1, window(1, 5, 1, [2, 1])),
        (4, window(1, 9, 1, [64, 0])),
        // Wide enough for two windows, which see nothing but padding.
        (3, window(2, 5, 1, [9, 9])),
        (9, window(2, (1 << 32) + 1, 1, [65, 2])),
        (9, window(3, 1 << 62, 1, [0, 0])),
        (9, window(1, 2, 1 << 62, [0, 0])),
        (4, window(2, 1, (1 << 30) - 1, [0, (1 << 30) - 4])),
        (4, window(2, 1, 5000, [4999, 4999])),
    ];
    for (columns, window) in windows {
        for (channels, rate) in [(16, 0.0), (16, 1.0), (16, 1e30), (64, 1e-30), (64, 1.0), (5, 1.0)] {
            let graph = convolution(channels, [4, columns], window.clone(), rate);
            compare(&graph, 7).unwrap_or_else(|e| panic!("{channels} channels, {columns} columns, {window:?}, rate {rate}: {e}"));
        }
    }
}

proptest! {
    // PROPTEST_CASES=10000 for more.
    #![proptest_config(ProptestConfig { max_global_rejects: 1 << 20, failure_persistence: None, ..ProptestConfig::default() })]

    /// In this build buffers have guards after them, and Cranelift checks its code.
    #[test]
    fn every_shape_that_the_verifier_accepts_runs_as_the_reference_says_on_every_cpu(seed: u64, firings in firings()) {
        let graph = odd_graph(seed, &firings);
        prop_assume!(graph.is_some());
        let graph = graph.expect("it was just seen");
        compare(&graph, seed)?;
    }
}
