//! `explain` on trained networks: its parts are what they say.

use snn_ir::op::{Linear, Relu};
use snn_ir::{Graph, Op, Preprocessing, Signal, Tensor};
use snn_runtime::analog::AnalogNetwork;
use snn_runtime::{EngineKind, Network};
use snn_tests::shared::root;
use snnc::data::Dataset;
use snnc::explain::{ExplainRequest, Explanation, explain};
use snnc::frontend::onnx::{ImportOptions, import};
use snnc::measure::task::top1;
use snnc::progress::SILENT;
use snnc::{Compiler, Recipe, Samples};

/// What summing currents in f32 may leave of an error that is not there.
const ROUNDING: f64 = 1e-9;

/// Samples that are explained.
const SAMPLES: usize = 20;

/// The bundled digits network and 60 of its calibration samples.
fn digits() -> (Graph, Samples) {
    let folder = root().join("models/digits");
    let graph = import(&folder.join("digits.onnx"), &ImportOptions::default()).unwrap().graph;
    let shape = graph.ty(graph.inputs()[0]).shape.clone();
    let data = Dataset::open(&folder.join("digits_calib.npz")).unwrap();
    let samples = (0..60).map(|i| vec![data.input(i, &Preprocessing::default(), &shape).unwrap()]);
    let samples = Samples::of(&graph).with(samples).unwrap();
    (graph, samples)
}

fn compiled(ann: &Graph, recipe: &str, timesteps: u32, calibration: &Samples) -> Graph {
    let compiler = Compiler::new(ann).recipe(Recipe::load(recipe).unwrap()).timesteps(timesteps).calibrate(calibration);
    compiler.compile().unwrap().graph
}

fn explained(ann: &Graph, network: &Graph, timesteps: u32, calibration: &Samples) -> Explanation {
    let samples = &calibration.first(SAMPLES);
    explain(ExplainRequest { ann: ann.clone(), network, output: 0, timesteps, samples, progress: SILENT }).unwrap()
}

fn explained_digits(recipe: &str, timesteps: u32) -> Explanation {
    let (ann, calibration) = digits();
    explained(&ann, &compiled(&ann, recipe, timesteps, &calibration), timesteps, &calibration)
}

#[test]
fn the_order_of_spikes_costs_nothing_in_the_first_layer_and_nowhere_in_a_windowed_network() {
    let binary = explained_digits("deng2021", 8);
    assert!(binary.layers[0].error.unevenness < ROUNDING);
    assert!(binary.layers[1..].iter().any(|l| l.error.unevenness > 1e-3));
    let barrier = explained_digits("two-phase", 8);
    assert!(barrier.layers.iter().all(|l| l.error.unevenness < ROUNDING));
    assert!(barrier.layers.iter().any(|l| l.error.quantization > 0.0));
}

#[test]
fn shares_are_of_the_whole_and_the_ranking_names_the_largest_first() {
    let explanation = explained_digits("deng2021", 4);
    let shares: f64 = explanation.layers.iter().map(|l| l.share).sum();
    assert!((shares - 100.0).abs() < 1e-6);
    let worst = explanation.layers.iter().max_by(|a, b| a.share.total_cmp(&b.share)).unwrap();
    assert!(explanation.ranking[0].starts_with(&format!("{}: {:.0}% of the loss", worst.name, worst.share)));
}

#[test]
fn a_long_window_agrees_with_the_ann() {
    let explanation = explained_digits("two-phase", 256);
    assert_eq!((explanation.samples, explanation.agreement), (SAMPLES, Some(100.0)));
}

#[test]
fn the_whole_spiking_network_answers_as_the_engine_does() {
    let (ann, calibration) = digits();
    let oracle = AnalogNetwork::new(&ann).unwrap();
    for recipe in ["deng2021", "layerwise", "two-phase", "lanes"] {
        let graph = compiled(&ann, recipe, 2, &calibration);
        let network = Network::compile(&graph, EngineKind::Reference).unwrap();
        let agrees = |sample: &Vec<&[f32]>| {
            let mut session = network.session();
            session.start(sample).unwrap();
            session.advance(2).unwrap();
            top1(&session.potentials()[0]) == top1(&oracle.run(sample, &mut |_, _| {})[0])
        };
        let agreeing = calibration.first(SAMPLES).iter().filter(agrees).count();
        let explanation = explained(&ann, &graph, 2, &calibration);
        assert_eq!(explanation.agreement, Some(100.0 * agreeing as f64 / SAMPLES as f64), "{recipe}");
    }
}

#[test]
fn an_activation_that_the_ann_caps_is_not_clipped_by_neurons_that_saturate_there() {
    let mut ann = Graph::new("capped");
    let linear =
        |rows: usize, weights: &[f32]| Op::Linear(Linear { weight: Tensor::f32([rows, weights.len() / rows], weights), bias: None });
    let x = ann.add("x", Op::Input(Signal::Analog, vec![2]), &[]).unwrap();
    let current = ann.add("current", linear(2, &[3.0, 0.5, -1.0, 2.0]), &[x]).unwrap();
    let relu = ann.add("relu6", Op::Relu(Relu { cap: Some(6.0), threshold: None }), &[current]).unwrap();
    let output = ann.add("output", linear(2, &[1.0, 0.0, 0.0, 1.0]), &[relu]).unwrap();
    ann.set_outputs([output]);
    let samples = (0..60).map(|i| vec![vec![(i * 7 % 13) as f32 / 2.0, (i * 5 % 11) as f32]]);
    let calibration = Samples::of(&ann).with(samples).unwrap();
    let network = compiled(&ann, "two-phase", 64, &calibration);
    let error = explained(&ann, &network, 64, &calibration).layers[0].error;
    assert!(error.clipping < 1e-3 && error.inherited < 1e-3, "{error:?}");
}

#[test]
fn a_layer_whose_weights_are_hardly_any_integers_is_named_with_that_cause() {
    let (ann, calibration) = digits();
    let network = compiled(&ann, "two-phase", 32, &calibration);
    let mut coarse = network.clone();
    let worst = "/8/body/body.2/Relu";
    let by = |t: &Tensor, least: i32| {
        let values: Vec<i32> = t.values().map(|v| ((v / 100.0).round() as i32).max(least)).collect();
        Tensor::i32(t.shape(), values)
    };
    coarse
        .rewrite_all(|_, node| match node.op() {
            Op::Layer(layer) if node.name() == worst => {
                let mut layer = layer.clone();
                if let Op::Conv(conv) = &mut layer.synapses[0] {
                    conv.weight = by(&conv.weight, i32::MIN);
                }
                layer.bias = layer.bias.as_ref().map(|b| by(b, i32::MIN));
                let neuron = layer.neuron.as_mut().expect("it is a population");
                neuron.threshold = by(&neuron.threshold, 1);
                neuron.initial = by(&neuron.initial, i32::MIN);
                Some(Op::Layer(layer))
            }
            _ => None,
        })
        .unwrap();
    let of = |network: &Graph| {
        let explanation = explained(&ann, network, 32, &calibration);
        let layer = explanation.layers.iter().find(|l| l.name == worst).expect("it has neurons").clone();
        (layer.error.rounding, explanation.ranking.iter().find(|r| r.starts_with(worst)).cloned())
    };
    let (fine, coarse) = (of(&network), of(&coarse));
    assert!(fine.0 < 1e-3, "bytes lose next to nothing: {}", fine.0);
    assert!(coarse.0 > 0.02, "weights of -1, 0 and 1 lose a lot: {}", coarse.0);
    let named = coarse.1.expect("it loses most, so the ranking has it");
    assert!(named.contains("rounding to integers") && named.contains("--weights i16"), "{named}");
    assert!(!fine.1.is_some_and(|r| r.contains("rounding to integers")));
}
