//! The ANN executor: every operation that has no kernel of its own elsewhere, by hand-computed
//! values.

use snn_ir::op::{Lrn, Relu, RmsNorm};
use snn_ir::{Activation, Graph, Op, Signal, Tensor, Window};
use snn_runtime::CompileError;
use snn_runtime::analog::AnalogNetwork;

/// The value of `op` on operands of one shape.
fn value(op: Op, shape: &[usize], operands: &[&[f32]]) -> Vec<f32> {
    let mut graph = Graph::new("test");
    let ids: Vec<_> =
        (0..operands.len()).map(|i| graph.add(format!("input{i}"), Op::Input(Signal::Analog, shape.to_vec()), &[]).unwrap()).collect();
    let id = graph.add("value", op, &ids).unwrap();
    graph.set_outputs([id]);
    AnalogNetwork::new(&graph).unwrap().run(operands, &mut |_, _| {}).remove(0)
}

fn assert_near(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} is not {expected:?}");
}

#[test]
fn relu_stops_at_its_cap_and_ignores_its_threshold() {
    let relu = |cap| Op::Relu(Relu { cap, threshold: Some(Tensor::scalar(0.1)) });
    assert_eq!(value(relu(Some(6.0)), &[3], &[&[-1.0, 2.0, 9.0]]), [0.0, 2.0, 6.0]);
    assert_eq!(value(relu(None), &[3], &[&[-1.0, 2.0, 9.0]]), [0.0, 2.0, 9.0]);
}

#[test]
fn prelu_takes_the_slope_of_its_channel() {
    let slope = Tensor::per_channel(vec![0.5, 0.25], 2);
    assert_eq!(value(Op::Activation(Activation::PRelu(slope)), &[2, 2], &[&[-4.0, 4.0, -4.0, 4.0]]), [-2.0, 4.0, -1.0, 4.0]);
}

#[test]
fn max_pool_never_takes_padding_and_keeps_a_partial_last_window() {
    let window = Window { stride: vec![2], pad_begin: vec![1], ceil: true, ..Window::unit([2]) };
    for op in [Op::MaxPool(window.clone()), Op::CumulativeMaxPool(window)] {
        assert_eq!(value(op, &[1, 4], &[&[-3.0, -7.0, -5.0, -2.0]]), [-3.0, -5.0, -2.0]);
    }
    let dilated = Window { dilation: vec![2], ..Window::unit([2]) };
    assert_eq!(value(Op::MaxPool(dilated), &[1, 4], &[&[1.0, 9.0, 3.0, 2.0]]), [3.0, 9.0]);
}

#[test]
fn maximum_is_elementwise() {
    for op in [Op::Maximum, Op::CumulativeMax] {
        assert_eq!(value(op, &[2], &[&[1.0, -1.0], &[0.0, 2.0], &[-3.0, 1.0]]), [1.0, 2.0]);
    }
}

#[test]
fn softmax_sums_to_one_along_its_axis_and_survives_large_values() {
    let x = [1000.0, 0.0, 1000.0, 2f32.ln()];
    assert_near(&value(Op::Softmax { axis: 0, log: false }, &[2, 2], &[&x]), &[0.5, 1.0 / 3.0, 0.5, 2.0 / 3.0]);
    let expected = [0.5f32.ln(), (1f32 / 3.0).ln(), 0.5f32.ln(), (2f32 / 3.0).ln()];
    assert_near(&value(Op::Softmax { axis: 0, log: true }, &[2, 2], &[&x]), &expected);
    assert_near(&value(Op::Softmax { axis: 1, log: false }, &[1, 2], &[&[0.0, 3f32.ln()]]), &[0.25, 0.75]);
}

#[test]
fn rms_norm_divides_by_the_root_mean_square_over_its_axes() {
    let norm = RmsNorm { axes: vec![1], epsilon: 0.0 };
    let (a, b) = (12.5f32.sqrt(), 2.5f32.sqrt());
    assert_near(&value(Op::RmsNorm(norm), &[2, 2], &[&[3.0, 4.0, 1.0, 2.0]]), &[3.0 / a, 4.0 / a, 1.0 / b, 2.0 / b]);
}

#[test]
fn lrn_divides_by_the_energy_of_its_neighbours() {
    let lrn = Lrn { size: 2, alpha: 2.0, beta: 0.5, bias: 1.0 };
    // Even sizes look one further ahead than back: channels c and c + 1.
    let expected = [1.0 / (1.0f32 + 1.0 + 4.0).sqrt(), 2.0 / (1.0f32 + 4.0 + 9.0).sqrt(), 3.0 / (1.0f32 + 9.0).sqrt()];
    assert_near(&value(Op::Lrn(lrn), &[3], &[&[1.0, 2.0, 3.0]]), &expected);
}

#[test]
fn observers_see_every_node_and_outputs_survive_their_last_use() {
    let mut graph = Graph::new("test");
    let input = graph.add("input", Op::Input(Signal::Analog, vec![2]), &[]).unwrap();
    let one = graph.add("one", Op::Constant(Signal::Analog, Tensor::f32([2], [1.0, 1.0])), &[]).unwrap();
    let sum = graph.add("sum", Op::Add, &[input, one]).unwrap();
    let relu = graph.add("relu", Op::Relu(Relu::default()), &[sum]).unwrap();
    let join = graph.add("join", Op::Concat { axis: 0 }, &[relu, sum]).unwrap();
    graph.set_outputs([sum, join]);
    let network = AnalogNetwork::new(&graph).unwrap();
    let mut seen = Vec::new();
    let outputs = network.run(&[&[-3.0, 1.0]], &mut |id, x| seen.push((id, x.to_vec())));
    assert_eq!(outputs, [vec![-2.0, 2.0], vec![0.0, 2.0, -2.0, 2.0]]);
    let expected = [vec![-3.0, 1.0], vec![1.0, 1.0], vec![-2.0, 2.0], vec![0.0, 2.0], vec![0.0, 2.0, -2.0, 2.0]];
    assert_eq!(seen, [input, one, sum, relu, join].into_iter().zip(expected).collect::<Vec<_>>());
}

#[test]
fn temporal_nodes_are_refused_by_name() {
    let mut graph = Graph::new("test");
    let input = graph.add("current", Op::Input(Signal::Current, vec![2]), &[]).unwrap();
    graph.set_outputs([input]);
    assert!(matches!(AnalogNetwork::new(&graph), Err(CompileError::Node { node, .. }) if node == "current"));
}
