//! The JIT engine equals the reference engine bit for bit, at every CPU level this machine has.

use proptest::prelude::*;
use snn_ir::neuron::{Amplitude, BINARY, Firing, Neuron, Reset, TERNARY, TWO_PHASE, lanes};
use snn_ir::op::{AvgPool, Conv, Divisor, Layer, Linear, Scale};
use snn_ir::{Graph, Op, Random, Signal, Tensor, Window};
use snn_runtime::testing::{Form, random_graph, random_inputs};
use snn_runtime::{Cpu, EngineKind, Network, RunError, Session};

/// Settling steps at most: some networks of random signed neurons, whose potentials are not reset
/// but set to zero, never rest.
const SETTLING: [u32; 3] = [3, 2, 100];

/// Compares all that the sessions of both engines tell.
fn compare_sessions(expected: &Session, got: &Session, context: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(expected.potentials(), got.potentials(), "{} after {} steps", context, got.steps());
    prop_assert_eq!(expected.statistics(), got.statistics(), "{} after {} steps", context, got.steps());
    for layer in 0..got.statistics().layers.len() {
        prop_assert_eq!(expected.membranes(layer), got.membranes(layer), "{} after {} steps", context, got.steps());
        if let Some(counts) = got.spike_counts(layer) {
            prop_assert_eq!(expected.spike_counts(layer), Some(counts), "{} after {} steps", context, got.steps());
        }
    }
    Ok(())
}

/// Runs `graph` on both engines in windows cut as `cuts` say and until it rests, twice, and
/// compares all that a session tells.
fn compare(graph: &Graph, seed: u64, cuts: &[u32]) -> Result<(), TestCaseError> {
    let reference = Network::compile(graph, EngineKind::Reference).expect("the generator makes networks that run");
    for cpu in Cpu::available() {
        let jit = Network::compile_for(graph, cpu).expect("the generator makes networks that run");
        let (mut expected, mut got) = (reference.session(), jit.session());
        'samples: for sample in [seed, seed + 1] {
            let inputs = random_inputs(sample, &reference);
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            expected.start(&inputs).expect("the sample fits");
            got.start(&inputs).expect("the sample fits");
            for &steps in cuts {
                // Extreme weights may leave 32 bits no room for the whole window: an engine then
                // says so and computes nothing.
                let ends = [expected.advance(steps), got.advance(steps)];
                if ends.iter().any(|end| matches!(end, Err(RunError::Overflow(_)))) {
                    continue 'samples;
                }
                prop_assert!(ends.iter().all(Result::is_ok), "{cpu}: {ends:?}");
                compare_sessions(&expected, &got, &cpu.to_string())?;
            }
            for steps in SETTLING.into_iter().filter(|_| reference.settles()) {
                prop_assert_eq!(expected.settle(steps), got.settle(steps), "{} settling", cpu);
                compare_sessions(&expected, &got, &format!("{cpu} settling"))?;
            }
        }
    }
    Ok(())
}

/// Window lengths whose counts are bytes, and some that need more.
fn window() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 1u32..40, 1 => Just(255), 1 => 250u32..300, 1 => Just(1000)]
}

/// Firing rules of networks whose neurons send bytes: one of them, or several.
fn firings() -> impl Strategy<Value = Vec<Firing>> {
    let firing = || prop_oneof![Just(TERNARY), Just(BINARY), (1u8..8).prop_map(lanes)];
    prop_oneof![
        2 => Just(vec![TERNARY]),
        1 => (1u8..8).prop_map(|n| vec![lanes(n)]),
        1 => prop::collection::vec(firing(), 2..4),
    ]
}

/// A layer of neurons whose thresholds suit its synapses, so that rates stay between silence and
/// saturation.
fn wide_layer(random: &mut Random, synapses: Vec<Op>, channels: usize, threshold: usize, firing: Firing) -> Op {
    let mut per_channel = |low: i32, n: usize| {
        let values: Vec<i32> = (0..channels).map(|_| low + random.below(n) as i32).collect();
        Tensor::i32([channels, 1, 1], values)
    };
    let neuron = Neuron {
        initial: per_channel(0, threshold),
        schedule: None,
        threshold: per_channel(threshold as i32 / 2, threshold),
        reset: Reset::Subtract,
        amplitude: Amplitude::One,
        firing,
        signed: false,
        rate: None,
    };
    Op::Layer(Layer { synapses, bias: Some(per_channel(-(threshold as i32) / 20, threshold / 4)), neuron: Some(neuron) })
}

/// Channel counts around the widths of vectors and masks, weights at the ends of their types, and
/// what fast kernels treat apart: borders, strides, dilations, groups, residuals by scale and by
/// convolution, and currents between layers.
fn wide_graph(seed: u64, firing: Firing) -> Graph {
    let random = &mut Random::new(seed);
    let widths = [1, 4, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 96, 120, 130, 192];
    let mut graph = Graph::new("wide");
    // Some rows are longer than what kernels take at a time.
    let columns = if random.below(10) == 0 { 33 + random.below(40) } else { 1 + random.below(9) };
    let mut shape = vec![random.pick(&widths), 1 + random.below(9), columns];
    let input = graph.add("input", Op::Input(Signal::Current, shape.clone()), &[]).expect("it fits");
    let encode = Op::Encode { scale: Tensor::scalar(20.0), limit: 100 };
    let encode = graph.add("encode", encode, &[input]).expect("it fits");
    let first = wide_layer(random, vec![Op::Identity], shape[0], 60, firing);
    let mut x = graph.add("first", first, &[encode]).expect("it fits");
    for i in 0..1 + random.below(3) {
        let kernel = random.pick(&[1, 1, 2, 3, 3, 5]);
        let (stride, dilation) = (random.pick(&[1, 1, 2]), random.pick(&[1, 1, 2]));
        let pad = random.below((kernel - 1) * dilation + 1);
        let window = Window {
            stride: vec![stride; 2],
            dilation: vec![dilation; 2],
            pad_begin: vec![pad; 2],
            pad_end: vec![random.below((kernel - 1) * dilation + 1); 2],
            ..Window::unit([kernel; 2])
        };
        if window.output(&shape[1..]).is_none() {
            continue;
        }
        let groups = if random.below(5) == 0 { shape[0] } else { 1 };
        let outputs = if groups > 1 { shape[0] } else { random.pick(&widths) };
        let largest = random.pick(&[3, 31, 127, 127, 128, 2000]);
        let count = outputs * shape[0] / groups * kernel * kernel;
        // Mostly extreme weights, so that 16-bit sums are as large as the plan lets them be.
        let weight: Vec<i16> =
            (0..count).map(|_| if random.below(3) > 0 { random.pick(&[largest, -largest]) } else { random.below(7) as i16 - 3 }).collect();
        let weight = if largest < 128 {
            Tensor::i8([outputs, shape[0] / groups, kernel, kernel], weight.into_iter().map(|w| w as i8).collect::<Vec<_>>())
        } else {
            Tensor::i16([outputs, shape[0] / groups, kernel, kernel], weight)
        };
        let conv = Op::Conv(Conv { weight, bias: None, window, groups });
        let threshold = 4 + largest as usize * ((shape[0] / groups * kernel * kernel) as f64).sqrt() as usize;
        if random.below(6) == 0 {
            let bare = Op::Layer(Layer {
                synapses: vec![Op::AvgPool(AvgPool { window: Window::unit([1, 1]), divisor: Divisor::One })],
                bias: None,
                neuron: None,
            });
            x = graph.add(format!("current{i}"), bare, &[x]).expect("it fits");
        }
        let y = graph.add(format!("layer{i}"), wide_layer(random, vec![conv], outputs, threshold, firing), &[x]).expect("it fits");
        let out = graph.ty(y).shape.clone();
        let scale = Scale { weight: Some(Tensor::i16([out[0], 1, 1], vec![threshold as i16 / 3; out[0]])), bias: None };
        let mut synapses = vec![Op::Scale(scale)];
        let mut operands = vec![y];
        if out == shape {
            synapses.push(Op::Identity);
            operands.push(x);
        }
        if random.below(2) == 0 {
            let weight: Vec<i8> = (0..out[0] * out[0]).map(|_| random.below(256) as u8 as i8).collect();
            let point = Conv { weight: Tensor::i8([out[0], out[0], 1, 1], weight), bias: None, window: Window::unit([1, 1]), groups: 1 };
            synapses.push(Op::Conv(point));
            operands.push(y);
        }
        x = graph.add(format!("sum{i}"), wide_layer(random, synapses, out[0], threshold, firing), &operands).expect("it fits");
        shape = out;
    }
    if random.below(3) == 0 {
        x = graph.add("concat", Op::Concat { axis: 0 }, &[x, x]).expect("it fits");
        x = graph.add("max", Op::CumulativeMaxPool(Window::unit([1, 1])), &[x]).expect("it fits");
    }
    let flat = graph.add("flat", Op::Reshape { shape: vec![graph.ty(x).len()] }, &[x]).expect("it fits");
    let weight: Vec<i8> = (0..3 * graph.ty(flat).len()).map(|_| random.below(256) as u8 as i8).collect();
    let linear = Op::Linear(Linear { weight: Tensor::i8([3, graph.ty(flat).len()], weight), bias: None });
    let logits = graph.add("logits", Op::Layer(Layer { synapses: vec![linear], bias: None, neuron: None }), &[flat]).expect("it fits");
    let readout = graph.add("readout", Op::Readout { scale: None, delay: 0 }, &[logits]).expect("it fits");
    graph.set_outputs([readout]);
    graph
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_kernel_set_equals_the_reference(seed: u64, cuts in prop::collection::vec(1u32..40, 1..4)) {
        compare(&random_graph(seed, Form::Integer, &[BINARY]), seed, &cuts)?;
    }

    #[test]
    fn neurons_that_send_bytes_equal_the_reference(seed: u64, firings in firings(), cuts in prop::collection::vec(1u32..20, 1..4)) {
        compare(&random_graph(seed, Form::Integer, &firings), seed, &cuts)?;
    }

    #[test]
    fn two_phase_networks_run_on_counts_as_the_reference_runs_them_on_spikes(seed: u64, steps in window()) {
        compare(&random_graph(seed, Form::Integer, &[TWO_PHASE]), seed, &[steps])?;
    }
}

proptest! {
    // Wide networks take the reference engine long.
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wide_layers_and_extreme_weights_equal_the_reference(seed: u64, cuts in prop::collection::vec(1u32..40, 1..3)) {
        compare(&wide_graph(seed, BINARY), seed, &cuts)?;
    }

    #[test]
    fn wide_layers_of_bytes_and_extreme_weights_equal_the_reference(
        seed: u64, firing in prop_oneof![Just(TERNARY), (1u8..8).prop_map(lanes)], cuts in prop::collection::vec(1u32..20, 1..3),
    ) {
        compare(&wide_graph(seed, firing), seed, &cuts)?;
    }

    #[test]
    fn wide_two_phase_layers_and_extreme_weights_equal_the_reference(seed: u64, steps in window()) {
        compare(&wide_graph(seed, TWO_PHASE), seed, &[steps])?;
    }
}

#[test]
fn networks_of_floats_and_other_firing_modes_are_refused_with_advice() {
    // The third network has neurons of both kinds.
    let (integer, mixed) = (Form::Integer, [BINARY, TWO_PHASE]);
    for (form, firings, seed) in
        [(Form::Fused, &mixed[..1], 3), (integer, &[lanes(8)], 3), (integer, &mixed, 4), (Form::Fused, &mixed[1..], 3)]
    {
        let graph = random_graph(seed, form, firings);
        let error =
            Network::compile(&graph, EngineKind::Native).err().expect("the engine runs integers of one firing rule only").to_string();
        assert!(error.starts_with("node `") && error.contains("--engine reference"), "{error}");
    }
}

#[test]
fn the_plan_says_which_kernel_each_layer_got_and_why() {
    let plans: Vec<String> = (0..8)
        .map(|seed| {
            let graph = wide_graph(seed, BINARY);
            let network = Network::compile_for(&graph, Cpu::PORTABLE).expect("it runs");
            let plan = network.plan().expect("the native engines plan").to_string();
            assert!(graph.ids().all(|id| plan.contains(graph.node(id).name())), "{plan}");
            plan
        })
        .collect();
    assert!(plans.iter().any(|plan| plan.contains("event (any CPU)")), "{}", plans.join("\n"));
}
