//! The interpreter as a user sees it: windows, counts, statistics, refusals.

use proptest::prelude::*;
use snn_ir::neuron::{BINARY, Firing, Neuron, Reset, TERNARY, TWO_PHASE, lanes};
use snn_ir::op::{Conv, Layer, Linear};
use snn_ir::{Graph, Op, Signal, Tensor, Window};
use snn_runtime::testing::{Form, random_graph, random_inputs};
use snn_runtime::{CompileError, EngineKind, Network, RunError, Session};

const STEPWISE: [Firing; 3] = [BINARY, TERNARY, lanes(2)];
const FORMS: [Form; 3] = [Form::OpByOp, Form::Fused, Form::Integer];

fn compile(graph: &Graph) -> Network {
    Network::compile(graph, EngineKind::Reference).unwrap_or_else(|e| panic!("{e}"))
}

fn start<'n>(network: &'n Network, sample: &[Vec<f32>]) -> Session<'n> {
    let mut session = network.session();
    session.start(&sample.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    session
}

/// Everything that can be read from a session.
fn observe(session: &Session) -> impl PartialEq + std::fmt::Debug + use<> {
    let layers = session.statistics().layers.len();
    let neurons: Vec<_> = (0..layers).map(|l| (session.spike_counts(l), session.membranes(l))).collect();
    (session.steps(), session.potentials(), session.statistics().clone(), neurons)
}

proptest! {
    #[test]
    fn random_networks_are_ones_the_verifier_accepts(seed: u64, form in prop::sample::select(FORMS.to_vec())) {
        prop_assert_eq!(snn_ir::verify(&random_graph(seed, form, &STEPWISE)), Ok(()));
    }

    #[test]
    fn a_window_may_be_cut_anywhere(seed: u64, form in prop::sample::select(FORMS.to_vec()), cuts in prop::collection::vec(0u32..24, 1..4)) {
        let network = compile(&random_graph(seed, form, &STEPWISE));
        let sample = random_inputs(seed, &network);
        let (mut whole, mut parts) = (start(&network, &sample), start(&network, &sample));
        whole.advance(cuts.iter().sum()).unwrap();
        cuts.iter().for_each(|&steps| parts.advance(steps).unwrap());
        prop_assert_eq!(observe(&whole), observe(&parts));
    }

    #[test]
    fn a_new_window_remembers_nothing(seed: u64, form in prop::sample::select(FORMS.to_vec())) {
        let network = compile(&random_graph(seed, form, &[BINARY, TERNARY, TWO_PHASE, lanes(3)]));
        let (first, second) = (random_inputs(seed, &network), random_inputs(!seed, &network));
        let mut used = start(&network, &first);
        used.advance(5).unwrap();
        used.start(&second.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        used.advance(7).unwrap();
        let mut fresh = start(&network, &second);
        fresh.advance(7).unwrap();
        prop_assert_eq!(observe(&used), observe(&fresh));
    }

    #[test]
    fn counts_times_threshold_are_the_input_less_what_is_left(seed: u64, steps in 1u32..40) {
        let mut graph = random_graph(seed, Form::OpByOp, &STEPWISE);
        let neurons: Vec<_> = graph.topological().unwrap().into_iter().filter(|&id| matches!(graph.op(id), Op::If(_))).collect();
        let readouts: Vec<_> = neurons
            .iter()
            .enumerate()
            .map(|(i, &id)| graph.add(format!("current{i}"), Op::Readout { scale: None, delay: 0 }, &[graph.operands(id)[0]]).unwrap())
            .collect();
        graph.set_outputs(readouts);
        let network = compile(&graph);
        let mut session = start(&network, &random_inputs(seed, &network));
        session.advance(steps).unwrap();
        for (layer, (id, mean)) in neurons.iter().zip(session.potentials()).enumerate() {
            let Op::If(neuron @ Neuron { threshold, initial, reset: Reset::Subtract, .. }) = graph.op(*id) else { continue };
            let shape = &graph.ty(*id).shape;
            let (threshold, mut initial) = (threshold.expanded(shape), initial.expanded(shape));
            let rows = neuron.schedule_rows();
            for t in 0..steps as usize {
                let Some(row) = rows.get(t).or(rows.last()) else { break };
                initial.iter_mut().zip(row.expanded(shape)).for_each(|(v, b)| *v += b);
            }
            let (counts, left) = (session.spike_counts(layer).unwrap(), session.membranes(layer).unwrap());
            for i in 0..mean.len() {
                let sent = f64::from(threshold[i]) * counts[i] as f64;
                let input = f64::from(initial[i]) + f64::from(mean[i]) * f64::from(steps);
                prop_assert!((sent - (input - left[i])).abs() < 1e-3 * (1.0 + input.abs()), "{sent} {input} {}", left[i]);
            }
        }
    }

    #[test]
    fn every_two_phase_neuron_is_certified_exact(seed: u64, steps in 1u32..20) {
        let graph = random_graph(seed, Form::Integer, &[TWO_PHASE]);
        let network = compile(&graph);
        let mut session = start(&network, &random_inputs(seed, &network));
        session.advance(steps).unwrap();
        for layer in 0..session.statistics().layers.len() {
            let (counts, name) = (session.spike_counts(layer).unwrap(), &session.statistics().layers[layer].name);
            let id = graph.find(name).unwrap();
            let (Op::If(neuron) | Op::Layer(Layer { neuron: Some(neuron), .. })) = graph.op(id) else { unreachable!() };
            let threshold: Vec<i32> = neuron.threshold.to_i32_vec().unwrap();
            let threshold: Vec<i32> = neuron.threshold.broadcast_indices(&graph.ty(id).shape).iter().map(|&i| threshold[i as usize]).collect();
            for (i, left) in session.membranes(layer).unwrap().into_iter().enumerate() {
                let settled = (0.0..f64::from(threshold[i])).contains(&left);
                let reset_to_zero = neuron.reset == Reset::Zero && counts[i] > 0;
                prop_assert!(settled || reset_to_zero || counts[i] == i64::from(steps) || (counts[i] == 0 && left < 0.0));
            }
        }
    }
}

fn add(graph: &mut Graph, name: &str, op: Op, operands: &[&str]) {
    let operands: Vec<_> = operands.iter().map(|o| graph.find(o).unwrap()).collect();
    let id = graph.add(name, op, &operands).unwrap();
    if matches!(graph.op(id), Op::Readout { .. }) {
        graph.set_outputs([id]);
    }
}

fn input(shape: &[usize]) -> Graph {
    let mut graph = Graph::new("test");
    add(&mut graph, "input", Op::Input(Signal::Current, shape.to_vec()), &[]);
    graph
}

fn neuron(threshold: Tensor) -> Neuron {
    Neuron { amplitude: snn_ir::neuron::Amplitude::One, ..Neuron::new(threshold) }
}

#[test]
fn an_integer_network_computes_what_a_hand_does() {
    let mut graph = input(&[2]);
    add(&mut graph, "encode", Op::Encode { scale: Tensor::f32([2], [2.0, 1.0]), limit: 4 }, &["input"]);
    let first = Layer { synapses: vec![Op::Identity], bias: None, neuron: Some(neuron(Tensor::scalar_i32(3))) };
    add(&mut graph, "first", Op::Layer(first), &["encode"]);
    let weight = Tensor::i8([1, 2], [5i8, -2]);
    let sum = Layer { synapses: vec![Op::Linear(Linear { weight, bias: None })], bias: Some(Tensor::i32([1], [1])), neuron: None };
    add(&mut graph, "sum", Op::Layer(sum), &["first"]);
    add(&mut graph, "readout", Op::Readout { scale: Some(Tensor::scalar(0.5)), delay: 0 }, &["sum"]);
    let network = compile(&graph);
    // 1.25·2 rounds to 3, away from zero; 9 is cut to 4. Both neurons fire in every step; the
    // second keeps 1 each time.
    let mut session = start(&network, &[vec![1.25, 9.0]]);
    session.advance(4).unwrap();
    assert_eq!(session.spike_counts(0), Some(vec![4, 4]));
    assert_eq!(session.membranes(0), Some(vec![0.0, 4.0]));
    assert_eq!(session.potentials(), [[(5.0 - 2.0 + 1.0) * 0.5]]);
    // −1.25·2 rounds to −3.
    let mut session = start(&network, &[vec![-1.25, 0.5]]);
    session.advance(2).unwrap();
    assert_eq!(session.membranes(0), Some(vec![-6.0, 2.0]));
}

#[test]
fn synaptic_operations_are_exact_at_borders_and_skip_absent_synapses() {
    let mut graph = input(&[1, 3, 3]);
    add(&mut graph, "spikes", Op::If(neuron(Tensor::scalar(1.0))), &["input"]);
    let mut weight = vec![1.0; 18];
    weight[4] = 0.0; // the centre of the first of two kernels
    let window = Window { pad_begin: vec![1, 1], pad_end: vec![1, 1], ..Window::unit([3, 3]) };
    let conv = Conv { weight: Tensor::f32([2, 1, 3, 3], weight), bias: None, window, groups: 1 };
    add(&mut graph, "conv", Op::Conv(conv), &["spikes"]);
    add(&mut graph, "readout", Op::Readout { scale: None, delay: 0 }, &["conv"]);
    let network = compile(&graph);
    let mut sample = vec![0.0; 9];
    sample[0] = 1.0;
    let mut session = start(&network, &[sample]);
    session.advance(3).unwrap();
    let layer = &session.statistics().layers[0];
    assert_eq!((layer.name.as_str(), layer.neurons, layer.spikes, layer.synops), ("spikes", 9, 3, 3 * (4 + 3)));
}

#[test]
fn pooled_spikes_cross_synapses_on_account_of_the_neurons_that_sent_them() {
    let mut graph = input(&[1, 2]);
    add(&mut graph, "spikes", Op::If(neuron(Tensor::scalar(1.0))), &["input"]);
    add(&mut graph, "pool", Op::CumulativeMaxPool(Window::unit([2])), &["spikes"]);
    let weight = Tensor::f32([5, 1], vec![1.0; 5]);
    add(&mut graph, "linear", Op::Linear(Linear { weight, bias: None }), &["pool"]);
    add(&mut graph, "readout", Op::Readout { scale: None, delay: 0 }, &["linear"]);
    let network = compile(&graph);
    let mut session = start(&network, &[vec![1.0, 0.5]]);
    session.advance(4).unwrap();
    assert_eq!(session.statistics().layers.len(), 1);
    assert_eq!((session.statistics().spikes(), session.statistics().synops()), (6, 4 * 5));
    assert_eq!(session.potentials(), [[1.0; 5]]);
}

#[test]
fn wrong_calls_are_refused_and_the_session_stays_usable() {
    let mut graph = input(&[2]);
    let two_phase = Neuron { firing: TWO_PHASE, ..neuron(Tensor::scalar(1.0)) };
    add(&mut graph, "spikes", Op::If(two_phase), &["input"]);
    add(&mut graph, "readout", Op::Readout { scale: None, delay: 0 }, &["spikes"]);
    let network = compile(&graph);
    let mut session = network.session();
    assert_eq!(session.advance(1), Err(RunError::NotStarted));
    assert_eq!(session.start(&[]), Err(RunError::InputCount { expected: 1, got: 0 }));
    assert_eq!(session.start(&[&[1.0]]), Err(RunError::InputLength { input: 0, expected: 2, got: 1 }));
    assert_eq!(session.start(&[&[1.0, f32::NAN]]), Err(RunError::NotFinite { input: 0, index: 1 }));
    session.start(&[&[0.5, 1.0]]).unwrap();
    assert_eq!(session.advance(u32::MAX), Err(RunError::WindowTooLong));
    assert_eq!(session.potentials(), [[0.0, 0.0]]);
    session.advance(2).unwrap();
    assert_eq!(session.advance(1), Err(RunError::SplitWindow));
    assert_eq!(session.potentials(), [[0.5, 1.0]]);
}

#[test]
fn graphs_that_do_not_spike_are_refused_with_the_name_of_the_node() {
    let refused = |graph: &Graph| match Network::compile(graph, EngineKind::Reference) {
        Err(CompileError::Node { node, .. }) => node,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("compiled"),
    };
    let mut graph = Graph::new("analog");
    add(&mut graph, "pixels", Op::Input(Signal::Analog, vec![1]), &[]);
    graph.set_outputs([graph.find("pixels").unwrap()]);
    assert_eq!(refused(&graph), "pixels");

    let mut graph = input(&[1]);
    add(&mut graph, "spikes", Op::If(neuron(Tensor::scalar_i32(1))), &["input"]);
    add(&mut graph, "readout", Op::Readout { scale: None, delay: 0 }, &["spikes"]);
    assert_eq!(refused(&graph), "spikes");

    let mut graph = input(&[1]);
    add(&mut graph, "encode", Op::Encode { scale: Tensor::scalar(1.0), limit: 9 }, &["input"]);
    add(&mut graph, "both", Op::Add, &["encode", "input"]);
    add(&mut graph, "readout", Op::Readout { scale: None, delay: 0 }, &["both"]);
    assert_eq!(refused(&graph), "both");
    assert_eq!(Network::compile(&Graph::new("empty"), EngineKind::Reference).err(), Some(CompileError::NoOutput));
}

#[test]
fn a_max_pool_of_a_constant_current_is_its_maximum() {
    let mut graph = input(&[1, 4]);
    add(&mut graph, "pool", Op::CumulativeMaxPool(Window { stride: vec![2], ..Window::unit([2]) }), &["input"]);
    add(&mut graph, "readout", Op::Readout { scale: None, delay: 0 }, &["pool"]);
    let network = compile(&graph);
    let mut session = start(&network, &[vec![-3.0, -2.0, 0.5, 0.25]]);
    session.advance(3).unwrap();
    assert_eq!(session.potentials(), [[-2.0, 0.5]]);
}

#[test]
fn threads_share_a_network() {
    let network = compile(&random_graph(3, Form::Integer, &[BINARY]));
    let sample = random_inputs(3, &network);
    let run = || {
        let mut session = start(&network, &sample);
        session.advance(10).unwrap();
        session.potentials()
    };
    let alone = run();
    let together = std::thread::scope(|s| [s.spawn(run), s.spawn(run)].map(|t| t.join().unwrap()));
    assert_eq!(together, [alone.clone(), alone]);
}

#[test]
fn a_ternary_network_settles_at_the_clipped_floor_of_its_whole_input() {
    // The second neuron gets 3 spikes early and 4 against them; the third shows that no count goes
    // beyond the window.
    let mut graph = input(&[2]);
    add(&mut graph, "encode", Op::Encode { scale: Tensor::scalar(1.0), limit: 100 }, &["input"]);
    let ternary = |threshold: i32| Neuron { firing: TERNARY, ..neuron(Tensor::scalar_i32(threshold)) };
    add(&mut graph, "first", Op::If(ternary(10)), &["encode"]);
    let weight = Tensor::i8([2, 2], [6, -9, 25, 1]);
    let bias = Some(Tensor::i32([2], [2, 0]));
    let layer = Layer { synapses: vec![Op::Linear(Linear { weight, bias: None })], bias, neuron: Some(ternary(5)) };
    add(&mut graph, "second", Op::Layer(layer), &["first"]);
    add(&mut graph, "readout", Op::Readout { scale: None, delay: 0 }, &["second"]);
    let network = compile(&graph);
    assert!(network.settles());
    let mut session = start(&network, &[vec![8.0, 3.0]]);
    assert_eq!(network.session().settle(5), Err(RunError::NotStarted));
    session.advance(4).unwrap();
    let taken = session.settle(100).unwrap();
    assert!(taken < 100, "it did not settle");
    // 32 and 12 over 10; then 3 and 1 spikes: (18 - 9 + 4·2) / 5 = 3 and (75 + 1) / 5 = 15, but at
    // most 4.
    assert_eq!(session.spike_counts(0), Some(vec![3, 1]));
    assert_eq!(session.spike_counts(1), Some(vec![3, 4]));
    assert_eq!(session.potentials(), [[0.75, 1.0]]);
    assert_eq!(session.steps(), 4);
    assert_eq!(session.advance(1), Err(RunError::Settled));
}

#[test]
fn a_network_whose_neurons_take_nothing_back_does_not_settle() {
    let network = compile(&random_graph(3, Form::Integer, &[BINARY]));
    let mut session = start(&network, &random_inputs(3, &network));
    session.advance(2).unwrap();
    assert_eq!(session.settle(9), Err(RunError::NeverSettles));
}
