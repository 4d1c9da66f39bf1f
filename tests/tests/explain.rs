//! `explain` on a trained network: its parts are what they say.

use snn_ir::Preprocessing;
use snn_tests::shared::root;
use snnc::calibrate::Calibration;
use snnc::data::Dataset;
use snnc::explain::{ExplainRequest, Explanation, explain};
use snnc::frontend::onnx::{ImportOptions, import};
use snnc::recipe::Recipe;

/// What summing currents in f32 may leave of an error that is not there.
const ROUNDING: f64 = 1e-9;

fn explained(recipe: &str, timesteps: u32) -> Explanation {
    let folder = root().join("models/digits");
    let graph = import(&folder.join("digits.onnx"), &ImportOptions::default()).unwrap().graph;
    let shape = graph.ty(graph.inputs()[0]).shape.clone();
    let data = Dataset::open(&folder.join("digits_calib.npz")).unwrap();
    let samples: Vec<_> = (0..60).map(|i| vec![data.input(i, &Preprocessing::default(), &shape).unwrap()]).collect();
    let calibration = Calibration { samples, ..Default::default() };
    let recipe = Recipe::load(recipe).unwrap();
    let request = ExplainRequest {
        graph,
        recipe,
        timesteps,
        calibration: Some(&calibration),
        samples: &calibration.samples[..20],
        progress: &|_, _, _| {},
    };
    explain(request).unwrap()
}

#[test]
fn the_order_of_spikes_costs_nothing_in_the_first_layer_and_nowhere_behind_a_window_barrier() {
    let binary = explained("deng2021", 8);
    assert!(binary.layers[0].error.unevenness < ROUNDING);
    assert!(binary.layers[1..].iter().any(|l| l.error.unevenness > 1e-3));
    let barrier = explained("two-phase", 8);
    assert!(barrier.layers.iter().all(|l| l.error.unevenness < ROUNDING));
    assert!(barrier.layers.iter().any(|l| l.error.quantization > 0.0));
}

#[test]
fn shares_are_of_the_whole_and_the_ranking_names_the_largest_first() {
    let explanation = explained("deng2021", 4);
    let shares: f64 = explanation.layers.iter().map(|l| l.share).sum();
    assert!((shares - 100.0).abs() < 1e-6);
    let worst = explanation.layers.iter().max_by(|a, b| a.share.total_cmp(&b.share)).unwrap();
    assert!(explanation.ranking[0].starts_with(&format!("{}: {:.0}% of the loss", worst.name, worst.share)));
}

#[test]
fn a_long_window_agrees_with_the_ann() {
    let explanation = explained("two-phase", 256);
    assert_eq!((explanation.samples, explanation.agreement), (20, 100.0));
}
