//! Recipes with neurons of other kinds: a trained network converts, and keeps its accuracy.

use snn_ir::{Graph, Preprocessing};
use snn_runtime::{EngineKind, Network};
use snn_tests::shared::root;
use snnc::data::Dataset;
use snnc::frontend::onnx::{ImportOptions, import};
use snnc::{Compiler, Recipe, Samples};

const TIMESTEPS: u32 = 16;

/// The digits network, compiled by `recipe` with neurons as `neurons` says.
fn digits(recipe: &str, neurons: &str) -> Graph {
    let folder = root().join("models/digits");
    let graph = import(&folder.join("digits.onnx"), &ImportOptions::default()).unwrap().graph;
    let shape = graph.ty(graph.inputs()[0]).shape.clone();
    let train = Dataset::open(&folder.join("digits_calib.npz")).unwrap();
    let input = |i: usize| train.input(i, &Preprocessing::default(), &shape).unwrap();
    let samples = Samples::of(&graph).with((0..100).map(|i| vec![input(i)])).unwrap();
    let text = Recipe::load(recipe).unwrap().text;
    assert!(text.contains("- replace-relu\n"), "{text}");
    let text = text.replace("- replace-relu\n", &format!("- replace-relu: {neurons}\n"));
    let recipe = Recipe::parse(&text, recipe).unwrap();
    Compiler::new(&graph).recipe(recipe).timesteps(TIMESTEPS).calibrate(&samples).compile().unwrap().graph
}

/// Percentage of the test images that are told right.
fn accuracy(graph: &Graph, engine: EngineKind) -> f64 {
    let test = Dataset::open(&root().join("models/digits/digits_test.npz")).unwrap();
    let (network, labels) = (Network::compile(graph, engine).unwrap(), test.labels().unwrap());
    let shape = network.inputs()[0].shape.clone();
    let mut session = network.session();
    let right = (0..test.len()).filter(|&i| {
        session.start(&[&test.input(i, &Preprocessing::default(), &shape).unwrap()]).unwrap();
        session.advance(TIMESTEPS).unwrap();
        let potentials = session.potentials().swap_remove(0);
        let best = (0..potentials.len()).max_by(|&a, &b| potentials[a].total_cmp(&potentials[b]));
        best == Some(labels[i] as usize)
    });
    100.0 * right.count() as f64 / test.len() as f64
}

#[test]
fn multi_spike_neurons_tell_digits_and_run_on_the_reference_engine_which_others_name() {
    for (recipe, least) in [("mmse", 97.0), ("layerwise", 97.0)] {
        let graph = digits(recipe, "{firing: multi-spike}");
        let accuracy = accuracy(&graph, EngineKind::Reference);
        assert!(accuracy >= least, "{recipe}: {accuracy} %");
        let error = Network::compile(&graph, EngineKind::Native).err().expect("no kernel runs them").to_string();
        assert!(error.contains("multi_spike") && error.contains("a byte does not hold") && error.contains("--engine reference"), "{error}");
    }
}

#[test]
fn a_hard_reset_keeps_most_of_the_accuracy_where_thresholds_are_balanced_for_it() {
    for (recipe, least) in [("deng2021", 97.0), ("mmse", 97.0), ("layerwise", 95.0)] {
        let graph = digits(recipe, "{reset: zero}");
        let accuracy = [EngineKind::Reference, EngineKind::Native].map(|engine| accuracy(&graph, engine));
        assert!(accuracy[0] == accuracy[1] && accuracy[0] >= least, "{recipe}: {accuracy:?} %");
    }
}
