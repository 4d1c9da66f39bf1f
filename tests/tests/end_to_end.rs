//! The main job on the networks in `models/`: ONNX in, a spiking network out that runs on both engines.

use rayon::prelude::*;
use snn_ir::text::{Parameters, parameters, parse, parse_with, print};
use snn_ir::{Graph, Preprocessing};
use snn_runtime::{EngineKind, Network};
use snnc::data::Dataset;
use snnc::driver::barrier::Barrier;
use snnc::frontend::onnx::{ImportOptions, import};
use snnc::passes::pipeline::PassRecord;
use snnc::{Compiler, Recipe, Samples};
use std::path::{Path, PathBuf};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

fn samples(file: &str, limit: usize) -> (Vec<Vec<Vec<f32>>>, Vec<u32>) {
    let data = Dataset::open(&models().join(file)).unwrap();
    let n = limit.min(data.len());
    let input = |i| vec![data.input(i, &Preprocessing::default(), &[1, 8, 8]).unwrap()];
    ((0..n).map(input).collect(), data.labels().unwrap()[..n].to_vec())
}

/// Compiles a model of `models/`, showing every stage to `see`, the imported graph first.
fn compiled(model: &str, recipe: &str, timesteps: u32, calibration: Option<&Samples>, mut see: impl FnMut(&str, &Graph)) -> Graph {
    let imported = import(&models().join(model), &ImportOptions::default()).unwrap();
    see("import", &imported.graph);
    let check = calibration.map(|samples| samples.first(2));
    let mut after = |graph: &Graph, record: &PassRecord| see(record.name, graph);
    let mut compiler =
        Compiler::consuming(imported.graph).recipe(Recipe::load(recipe).unwrap()).timesteps(timesteps).after_pass(&mut after);
    if let (Some(samples), Some(check)) = (calibration, &check) {
        compiler = compiler.calibrate(samples).check_on(check);
    }
    compiler.compile().unwrap().graph
}

fn digits_calibration() -> Samples {
    Samples::new([[1, 8, 8]]).with(samples("digits/digits_calib.npz", 100).0).unwrap()
}

#[test]
fn every_stage_of_every_bundled_network_prints_and_parses_back() {
    let check = |stage: &str, graph: &Graph| {
        let full = print(graph, Parameters::Full);
        let parsed = parse(&full).unwrap_or_else(|e| panic!("{stage}: {e}"));
        assert!(parsed == *graph, "{stage}: the parsed graph differs");
        assert!(print(&parsed, Parameters::Full) == full, "{stage}: printing is no fixed point");
        let summary = print(graph, Parameters::Summary);
        let known = parameters(graph);
        let resolved = parse_with(&summary, |name, hash| known.get(name).filter(|t| t.content_hash() == hash).cloned());
        assert!(resolved.unwrap_or_else(|e| panic!("{stage}: {e}")) == *graph, "{stage}: the summary resolves to another graph");
    };
    let calibration = digits_calibration();
    for model in ["digits/digits.onnx", "digits/digits_sigmoid.onnx", "digits/digits_tanh.onnx"] {
        compiled(model, "layerwise", 8, Some(&calibration), check);
    }
    compiled("vgg7_cifar10/vgg7_cifar10_bn.onnx", "mmse", 8, None, check);
}

#[test]
fn both_engines_agree_bit_for_bit_on_a_trained_network() {
    let calibration = digits_calibration();
    let (inputs, _) = samples("digits/digits_test.npz", 100);
    for recipe in ["mmse", "layerwise", "deng2021"] {
        let graph = compiled("digits/digits.onnx", recipe, 16, Some(&calibration), |_, _| {});
        let networks = [EngineKind::Native, EngineKind::Reference].map(|engine| Network::compile(&graph, engine).unwrap());
        inputs.par_iter().for_each(|input| {
            let run = |network: &Network| {
                let mut session = network.session();
                session.start(&[&input[0]]).unwrap();
                session.advance(16).unwrap();
                (session.potentials(), session.statistics().clone())
            };
            assert_eq!(run(&networks[0]), run(&networks[1]), "{recipe}");
        });
    }
}

#[test]
fn the_digits_network_keeps_its_accuracy() {
    let calibration = digits_calibration();
    let (inputs, labels) = samples("digits/digits_test.npz", 450);
    // The ANN has 98.89 % of these 450; measured at T = 16 with 300 calibration images: mmse 98.89 %, at T = 4 layerwise 98.44 %.
    for (recipe, timesteps, floor) in [("mmse", 16, 435), ("layerwise", 4, 430)] {
        let graph = compiled("digits/digits.onnx", recipe, timesteps, Some(&calibration), |_, _| {});
        let network = Network::compile(&graph, EngineKind::Native).unwrap();
        let hits = inputs.par_iter().zip(&labels).filter(|(input, label)| {
            let mut session = network.session();
            session.start(&[&input[0]]).unwrap();
            session.advance(timesteps).unwrap();
            let answer = &session.potentials()[0];
            let best = (0..answer.len()).fold(0, |best, i| if answer[i] > answer[best] { i } else { best });
            best as u32 == **label
        });
        let hits = hits.count();
        assert!(hits >= floor, "{recipe} at T = {timesteps}: {hits} of 450, expected at least {floor}");
    }
}

#[test]
fn a_barrier_is_proposed_for_a_network_that_fails_without_one_and_for_no_other() {
    let calibration = digits_calibration();
    let ann = import(&models().join("digits/digits.onnx"), &ImportOptions::default()).unwrap().graph;
    let snn = |recipe, timesteps| compiled("digits/digits.onnx", recipe, timesteps, Some(&calibration), |_, _| {});
    let fits = Barrier::consider(&ann, &snn("layerwise", 32), 32, &calibration).unwrap();
    assert!(fits.is_none(), "the network keeps nearly everything without a barrier");
    // Thresholds as large as the largest activation let hardly a spike through in four steps.
    let fails =
        Barrier::consider(&ann, &snn("deng2021", 4), 4, &calibration).unwrap().expect("it loses nearly everything without a barrier");
    let gain = fails.gain(&snn("two-phase", 4)).unwrap().expect("the exact network has much more of the ANN");
    assert!(gain.with_barriers < 10.0 && gain.synchronous > 10.0 && gain.latency_steps > 4, "{gain}");
    assert!(fails.gain(&snn("deng2021", 4)).unwrap().is_none(), "the same again gains nothing");
}
