//! The exact modes on trained networks: the counts of all neurons are those of the quantised ANN, and so are the outputs.

use snn_ir::Preprocessing;
use snn_runtime::{EngineKind, Network};
use snn_tests::shared::{root, shared_or_skip};
use snn_tests::window_sums::WindowSums;
use snnc::data::Dataset;
use snnc::frontend::onnx::{ImportOptions, import};
use snnc::{Compiler, Recipe, Samples};
use std::path::Path;

/// Most settling steps: far beyond what any of these networks needs.
const SETTLING: u32 = 10_000;

/// Compiles `model` by `recipe` and compares every count of `test` samples with the quantised ANN's.
fn counts_are_exact(model: &Path, data: &Path, preprocessing: &Preprocessing, recipe: &str, timesteps: u32, samples: usize) {
    let graph = import(model, &ImportOptions::default()).unwrap().graph;
    let shape = graph.ty(graph.inputs()[0]).shape.clone();
    let data = Dataset::open(data).unwrap();
    let input = |i: usize| vec![data.input(i, preprocessing, &shape).unwrap()];
    let calibration = Samples::of(&graph).with((0..16).map(input)).unwrap();
    let compiler = Compiler::new(&graph).recipe(Recipe::load(recipe).unwrap()).timesteps(timesteps).calibrate(&calibration);
    let graph = compiler.compile().unwrap().graph;
    let network = Network::compile(&graph, EngineKind::Native).unwrap();
    let quantised_ann = WindowSums::new(&graph);
    let mut session = network.session();
    for sample in (0..samples).map(|i| input(16 + i)) {
        let expected = quantised_ann.evaluate(&[&sample[0]], timesteps);
        session.start(&[&sample[0]]).unwrap();
        session.advance(timesteps).unwrap();
        if network.settles() {
            assert!(session.settle(SETTLING).unwrap() < SETTLING, "the network did not settle");
        }
        assert!(expected.counts.iter().flatten().any(|&n| n > 0), "nothing fired");
        for (layer, expected) in expected.counts.iter().enumerate() {
            let name = &session.statistics().layers[layer].name;
            assert!(session.spike_counts(layer).as_ref() == Some(expected), "{recipe}: counts of {name} are not the quantised ANN's");
        }
        assert_eq!(session.potentials(), expected.potentials, "{recipe}: another answer");
    }
}

#[test]
fn every_count_of_the_digits_network_is_that_of_the_quantised_ann() {
    let folder = root().join("models/digits");
    let preprocessing = Preprocessing::default();
    for recipe in ["two-phase", "ternary"] {
        for timesteps in [1, 4, 16] {
            counts_are_exact(&folder.join("digits.onnx"), &folder.join("digits_test.npz"), &preprocessing, recipe, timesteps, 40);
        }
    }
}

#[test]
fn every_count_of_a_residual_network_is_that_of_the_quantised_ann() {
    let test = "every_count_of_a_residual_network_is_that_of_the_quantised_ann";
    let (Some(model), Some(data)) =
        (shared_or_skip(test, "models/resnet20_cifar10_bn_op17.onnx"), shared_or_skip(test, "data/cifar10_calib.npz"))
    else {
        return;
    };
    let preprocessing =
        Preprocessing { scale: 1.0 / 255.0, mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225], ..Default::default() };
    for recipe in ["two-phase", "ternary"] {
        counts_are_exact(&model, &data, &preprocessing, recipe, 8, 3);
    }
}
