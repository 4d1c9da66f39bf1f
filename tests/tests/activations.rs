//! Networks with smooth activations, end to end: what the conversion says it lost is what it lost.

use snn_ir::{Graph, Op, Preprocessing};
use snn_runtime::analog::AnalogNetwork;
use snn_runtime::{EngineKind, Network};
use snn_tests::shared::root;
use snnc::data::Dataset;
use snnc::frontend::onnx::{ImportOptions, import};
use snnc::passes::pipeline::PassRecord;
use snnc::recipe::DEFAULT;
use snnc::{Compiler, Recipe, Samples};
use std::collections::HashMap;

const TIMESTEPS: u32 = 64;

struct Labelled {
    inputs: Vec<Vec<f32>>,
    labels: Vec<u32>,
}

fn samples(name: &str, shape: &[usize]) -> Labelled {
    let data = Dataset::open(&root().join("models/digits").join(name)).unwrap();
    let inputs = (0..data.len()).map(|i| data.input(i, &Preprocessing::default(), shape).unwrap()).collect();
    Labelled { inputs, labels: data.labels().unwrap().to_vec() }
}

fn correct(outputs: impl Iterator<Item = Vec<f32>>, labels: &[u32]) -> usize {
    let top = |v: &[f32]| (0..v.len()).max_by(|&a, &b| v[a].total_cmp(&v[b])).unwrap() as u32;
    outputs.zip(labels).filter(|(output, label)| top(output) == **label).count()
}

/// Every node's values over all samples, by name.
fn values(graph: &Graph, inputs: &[Vec<f32>]) -> HashMap<String, Vec<f32>> {
    let network = AnalogNetwork::new(graph).unwrap();
    let mut all: HashMap<String, Vec<f32>> = HashMap::new();
    for input in inputs {
        network.run(&[input], &mut |id, value| all.entry(graph.node(id).name().to_string()).or_default().extend(value));
    }
    all
}

fn rms(values: impl Iterator<Item = f32>) -> f64 {
    let (sum, count) = values.fold((0f64, 0usize), |(s, n), v| (s + f64::from(v).powi(2), n + 1));
    (sum / count as f64).sqrt()
}

fn converts_with_a_true_report(file: &str, error: f64) {
    let graph = import(&root().join("models/digits").join(file), &ImportOptions::default()).unwrap().graph;
    let shape = graph.ty(graph.inputs()[0]).shape.clone();
    let (calibration, test) = (samples("digits_calib.npz", &shape), samples("digits_test.npz", &shape));
    let calibration = Samples::of(&graph).with(calibration.inputs.into_iter().map(|x| vec![x])).unwrap();
    let (mut before, mut after) = (None, None);
    let mut see = |graph: &Graph, record: &PassRecord| match record.name {
        "approximate-normalisation" => before = Some(graph.clone()),
        "approximate-activations" => after = Some(graph.clone()),
        _ => {}
    };
    let compiler = Compiler::new(&graph).recipe(Recipe::load(DEFAULT).unwrap()).activation_error(error).timesteps(TIMESTEPS);
    let compiled = compiler.calibrate(&calibration).after_pass(&mut see).compile().unwrap();

    let (before, after) = (before.unwrap(), after.unwrap());
    let (exact, approximate) = (values(&before, &test.inputs), values(&after, &test.inputs));
    for id in before.ids().filter(|&id| matches!(before.op(id), Op::Activation(_))) {
        let name = before.node(id).name();
        let Op::Activation(function) = before.op(id) else { continue };
        // Its own error only: the function of the arguments that the approximated network gives it.
        let argument = &approximate[before.node(before.operands(id)[0]).name()];
        let ideal: Vec<f32> = argument.iter().map(|&x| function.apply(x, 0.0)).collect();
        let measured = 100.0 * rms(ideal.iter().zip(&approximate[name]).map(|(a, b)| a - b)) / rms(ideal.iter().copied());
        let report = compiled.approximations.iter().find(|a| a.node == name).unwrap_or_else(|| panic!("no report on {name}"));
        let said = 100.0 * report.relative_error;
        assert!(report.relative_error <= report.bound.unwrap(), "{file} {name}: {report:?}");
        assert!(measured < 1.5 * said + 0.05 && said < 1.5 * measured + 0.05, "{file} {name}: said {said} %, measured {measured} %");
        assert!(rms(exact[name].iter().zip(&approximate[name]).map(|(a, b)| a - b)) < 0.1 * rms(exact[name].iter().copied()));
    }

    let analog = AnalogNetwork::new(&graph).unwrap();
    let of_ann = correct(test.inputs.iter().map(|x| analog.run(&[x], &mut |_, _| {}).swap_remove(0)), &test.labels);
    let network = Network::compile(&compiled.graph, EngineKind::Native).unwrap();
    let mut session = network.session();
    let spiking = test.inputs.iter().map(|x| {
        session.start(&[x]).unwrap();
        session.advance(TIMESTEPS).unwrap();
        session.potentials().swap_remove(0)
    });
    let of_snn = correct(spiking, &test.labels);
    println!("{file}: ANN {of_ann}, SNN {of_snn} of {}", test.labels.len());
    let lost = 100.0 * (of_ann as f64 - of_snn as f64) / test.labels.len() as f64;
    assert!(lost <= 1.0, "{file}: ANN {of_ann} and SNN {of_snn} correct of {}", test.labels.len());
}

#[test]
fn a_sigmoid_network_loses_less_than_a_point_and_its_error_report_is_true() {
    converts_with_a_true_report("digits_sigmoid.onnx", 0.01);
}

#[test]
fn a_tanh_network_loses_less_than_a_point_and_its_error_report_is_true() {
    converts_with_a_true_report("digits_tanh.onnx", 0.01);
}

#[test]
fn a_tighter_bound_on_the_error_is_held_and_reported_truly() {
    converts_with_a_true_report("digits_tanh.onnx", 0.002);
}
