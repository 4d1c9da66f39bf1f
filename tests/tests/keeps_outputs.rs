//! A pass that says it keeps outputs keeps them, and what `quantize` moves is within its bound.

use rayon::prelude::*;
use snn_ir::{Graph, Random};
use snn_runtime::analog::AnalogNetwork;
use snn_tests::ann::random_ann;
use snnc::passes::pipeline::PipelineError;
use snnc::recipe::built_in;
use snnc::{Compiler, CompilerError, Recipe, Samples, Weights};

/// Networks that are made.
const NETWORKS: u64 = 1000;
const TIMESTEPS: u32 = 8;

fn samples(graph: &Graph, seed: u64) -> Samples {
    let mut random = Random::new(seed ^ 0x5eed);
    let len = graph.ty(graph.inputs()[0]).len();
    let all = (0..12).map(|_| vec![(0..len).map(|_| random.normal()).collect()]);
    Samples::of(graph).with(all).expect("they have the input's shape")
}

/// Whether every output says something that rounding does not drown.
fn speaks(ann: &AnalogNetwork, sample: &[&[f32]]) -> bool {
    ann.run(sample, &mut |_, _| {}).iter().all(|output| output.iter().any(|v| v.abs() > 1e-2))
}

#[test]
fn a_pass_that_says_it_keeps_outputs_keeps_them_on_random_anns() {
    let recipes: Vec<String> = built_in().into_iter().map(|r| r.name).collect();
    let judge = |seed: u64| -> Result<bool, String> {
        let graph = random_ann(seed);
        if graph.inputs().is_empty() {
            return Ok(false);
        }
        let samples = samples(&graph, seed);
        let ann = AnalogNetwork::new(&graph).map_err(|e| format!("ann {seed}: {e}"))?;
        let check = samples.select((0..samples.len()).filter(|&i| speaks(&ann, &samples.sample(i))).take(2));
        let recipe = Recipe::load(&recipes[seed as usize % recipes.len()]).expect("it is built in");
        let name = recipe.name.clone();
        let weights = if seed.is_multiple_of(2) { Weights::Float } else { Weights::Recipe };
        let compiler = Compiler::new(&graph).recipe(recipe).weights(weights).timesteps(TIMESTEPS);
        match compiler.calibrate(&samples).check_on(&check).compile() {
            Ok(_) => Ok(!check.is_empty()),
            // What a recipe has no spiking form for it says.
            Err(CompilerError::Pipeline(PipelineError::Pass { .. } | PipelineError::NotFinite { .. })) => Ok(false),
            Err(e) => Err(format!("ann {seed}, {name}: {e}")),
        }
    };
    let results: Vec<Result<bool, String>> = (0..NETWORKS).into_par_iter().map(judge).collect();
    let wrong: Vec<&String> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert!(wrong.is_empty(), "{} networks: {wrong:#?}", wrong.len());
    let compared = results.iter().filter(|r| matches!(r, Ok(true))).count();
    assert!(compared > NETWORKS as usize / 2, "only {compared} networks were compared");
}
