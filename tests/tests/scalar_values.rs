//! Values without axes, and of one element, go through the importer, every pass, every recipe and every engine.

use snn_ir::verify::verify;
use snn_ir::{Graph, Random};
use snn_runtime::analog::AnalogNetwork;
use snn_runtime::{EngineKind, Network};
use snn_tests::onnx::{Onnx, float, int, ints, noise};
use snnc::calibrate::synthetic;
use snnc::explain::{ExplainRequest, explain};
use snnc::frontend::onnx::check::difference;
use snnc::passes::pipeline::{self, PassRecord, PipelineError};
use snnc::passes::{Request, registry};
use snnc::progress::SILENT;
use snnc::recipe::built_in;
use snnc::{Compiler, CompilerError, Recipe, Samples, Weights};
use std::panic::{AssertUnwindSafe, catch_unwind};

const TIMESTEPS: u32 = 8;
/// Networks that are made.
const NETWORKS: u64 = 150;

/// A network under construction: the model, and the shapes of its values.
struct Builder {
    model: Onnx,
    random: Random,
    values: Vec<(String, Vec<i64>)>,
    made: usize,
}

impl Builder {
    fn name(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{}", self.made)
    }

    fn node(&mut self, op: &str, inputs: &str, shape: Vec<i64>, attributes: &[tract_onnx::pb::AttributeProto]) {
        let output = self.name("t");
        self.model = std::mem::take(&mut self.model).node(op, inputs, &output, attributes);
        self.values.push((output, shape));
    }

    fn floats(&mut self, shape: &[i64]) -> String {
        let name = self.name("w");
        let count = shape.iter().product::<i64>() as usize;
        let mut data = noise(count + self.made);
        data.drain(..self.made);
        self.model = std::mem::take(&mut self.model).floats(&name, shape, &data);
        name
    }

    fn list(&mut self, values: &[i64]) -> String {
        let name = self.name("l");
        self.model = std::mem::take(&mut self.model).list(&name, values);
        name
    }

    /// One more node on a value chosen at random, mostly the last one.
    fn step(&mut self) {
        let last = self.values.len() - 1;
        let at = if self.random.below(3) > 0 { last } else { self.random.below(self.values.len()) };
        let (x, shape) = self.values[at].clone();
        let (elements, rank) = (shape.iter().product::<i64>(), shape.len());
        match self.random.below(20) {
            0 => self.node("Squeeze", &x, shape.into_iter().filter(|&d| d != 1).collect(), &[]),
            1 | 2 => {
                let op = ["ReduceMean", "ReduceMax", "ReduceMin"][self.random.below(3)];
                let keep = self.random.below(3) == 0;
                let reduced = if keep { vec![1; rank] } else { vec![] };
                self.node(op, &x, reduced, &[int("keepdims", keep.into())]);
            }
            3 => self.node("ReduceSum", &x, vec![], &[int("keepdims", 0)]),
            4 if elements == 1 => {
                let shape = [vec![], vec![1], vec![1, 1]][self.random.below(3)].clone();
                let target = self.list(&shape);
                self.node("Reshape", &format!("{x} {target}"), shape, &[]);
            }
            5 if rank > 0 => {
                // A scalar index takes its axis away.
                let name = self.name("i");
                self.model = std::mem::take(&mut self.model).initializer(tract_onnx::pb::TensorProto {
                    name: name.clone(),
                    data_type: 7,
                    int64_data: vec![shape[rank - 1] - 1],
                    ..Default::default()
                });
                self.node("Gather", &format!("{x} {name}"), shape[..rank - 1].to_vec(), &[int("axis", rank as i64 - 1)]);
            }
            6 | 7 => {
                let op = ["Mul", "Add", "Sub"][self.random.below(3)];
                let own = if self.random.below(2) == 0 || rank == 0 { vec![] } else { vec![shape[rank - 1]] };
                let c = self.floats(&own);
                self.node(op, &format!("{x} {c}"), shape, &[]);
            }
            8..=10 => self.node("Relu", &x, shape, &[]),
            11 => {
                let op = ["Sigmoid", "Tanh", "LeakyRelu", "Abs", "HardSigmoid", "Elu"][self.random.below(6)];
                self.node(op, &x, shape, &[]);
            }
            12 | 13 => {
                let (y, other) = self.values[self.random.below(self.values.len())].clone();
                let scalar = |s: &[i64]| s.iter().product::<i64>() == 1;
                if other == shape || scalar(&other) && other.len() <= rank {
                    let op = ["Add", "Max", "Sub", "Min"][self.random.below(4)];
                    self.node(op, &format!("{x} {y}"), shape, &[]);
                }
            }
            14 => {
                let axes = self.list(&[0]);
                self.node("Unsqueeze", &format!("{x} {axes}"), [&[1], &shape[..]].concat(), &[]);
            }
            15 | 16 if rank == 2 => {
                let out = [1, 1, 3][self.random.below(3)];
                let w = self.floats(&[shape[1], out]);
                self.node("MatMul", &format!("{x} {w}"), vec![shape[0], out], &[]);
            }
            15 | 16 if rank == 1 => {
                let w = self.floats(&[shape[0]]);
                self.node("MatMul", &format!("{x} {w}"), vec![], &[]);
            }
            17 if elements == 1 => {
                let target = self.list(&[3]);
                let shape = if rank > 1 { [&shape[..rank - 1], &[3]].concat() } else { vec![3] };
                self.node("Expand", &format!("{x} {target}"), shape, &[]);
            }
            18 if rank > 0 => {
                let axis = rank - 1;
                let joined = [&shape[..axis], &[2 * shape[axis]]].concat();
                self.node("Concat", &format!("{x} {x}"), joined, &[int("axis", axis as i64)]);
            }
            19 => self.node("Transpose", &x, shape.into_iter().rev().collect(), &[]),
            _ => self.node("Identity", &x, shape, &[]),
        }
    }
}

/// The model of a seed.
fn model(seed: u64) -> Onnx {
    let mut random = Random::new(seed);
    let shape: Vec<i64> = [vec![], vec![1], vec![1, 1], vec![4], vec![1, 4], vec![1, 2, 3]][random.below(6)].clone();
    let model = Onnx::new(13).input("x", &shape);
    let mut builder = Builder { model, random, values: vec![("x".into(), shape)], made: 0 };
    for _ in 0..4 + builder.random.below(8) {
        builder.step();
    }
    let last = builder.values.len() - 1;
    let other = 1 + builder.random.below(last.max(1));
    let Builder { model, values, .. } = builder;
    let model = model.output(&values[last].0);
    if other < last { model.output(&values[other].0) } else { model }
}

/// Compiles with a recipe, runs what comes of it on both engines, and explains it. What cannot be converted may say so.
fn go_through(graph: &Graph, recipe: Recipe, weights: Weights, calibration: Option<&Samples>) -> Result<(), String> {
    let name = recipe.name.clone();
    let samples = calibration.cloned().unwrap_or_else(|| synthetic::samples(graph, &Default::default()));
    // Differences of values that cancel out are rounding, of which passes may make another one.
    let ann = AnalogNetwork::new(graph).map_err(|e| format!("{name}: {e}"))?;
    let speaks = |&sample: &usize| {
        let outputs = ann.run(&samples.sample(sample), &mut |_, _| {});
        outputs.iter().all(|output| output.iter().any(|v| v.abs() > 1e-3))
    };
    let check = samples.select((0..samples.len()).filter(speaks).take(2));
    let mut compiler = Compiler::new(graph).recipe(recipe).timesteps(TIMESTEPS).weights(weights).check_on(&check);
    if let Some(samples) = calibration {
        compiler = compiler.calibrate(samples);
    }
    let compiled = match compiler.compile() {
        Ok(compiled) => compiled.graph,
        Err(CompilerError::Pipeline(PipelineError::Pass { .. })) => return Ok(()),
        Err(e) => return Err(format!("{name}: {e}")),
    };
    verify(&compiled).map_err(|e| format!("{name}: {e}"))?;
    let run = |engine| -> Result<Vec<Vec<f32>>, String> {
        let network = Network::compile(&compiled, engine).map_err(|e| format!("{name}: {e}"))?;
        let mut session = network.session();
        session.start(&samples.sample(0)).map_err(|e| format!("{name}: {e}"))?;
        session.advance(TIMESTEPS).map_err(|e| format!("{name}: {e}"))?;
        Ok(session.potentials())
    };
    let potentials = run(EngineKind::Reference)?;
    if compiled.is_quantized() && run(EngineKind::Native)? != potentials {
        return Err(format!("{name}: the engines disagree"));
    }
    // A network may have no neurons, or several outputs, to explain.
    let _ = explain(ExplainRequest {
        ann: graph.clone(),
        network: &compiled,
        output: 0,
        timesteps: TIMESTEPS,
        samples: &samples.first(2),
        progress: SILENT,
    });
    Ok(())
}

fn without_panic(what: &str, run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(format!("{what} panics")))
}

#[test]
fn networks_of_scalars_go_through_every_recipe_and_every_engine() {
    let (mut imported, mut wrong) = (0, Vec::new());
    for seed in 0..NETWORKS {
        let model = model(seed);
        let Ok(import) = model.import() else { continue };
        imported += 1;
        let graph = import.graph;
        let calibration = synthetic::samples(&graph, &Default::default());
        for (i, recipe) in built_in().into_iter().enumerate() {
            // Integers and floats, with and without data, in turn.
            let weights = if (seed as usize + i).is_multiple_of(2) { Weights::Recipe } else { Weights::Float };
            let data = (seed as usize / 2 + i).is_multiple_of(2).then_some(&calibration);
            let name = recipe.name.clone();
            if let Err(e) = without_panic(&name, || go_through(&graph, recipe, weights, data)) {
                wrong.push(format!("network {seed}: {e}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(imported > 100, "only {imported} networks import");
}

#[test]
fn no_pass_panics_on_a_network_of_scalars_at_any_stage() {
    let mut wrong = Vec::new();
    for seed in 0..NETWORKS {
        let Ok(import) = model(seed).import() else { continue };
        let mut stages = vec![("import", import.graph.clone())];
        let mut see = |graph: &Graph, record: &PassRecord| stages.push((record.name, graph.clone()));
        let compiler = Compiler::new(&import.graph).recipe(Recipe::load("deng2021").unwrap()).timesteps(TIMESTEPS);
        let _ = compiler.weights(Weights::Float).after_pass(&mut see).compile();
        for (stage, graph) in &stages {
            for pass in registry() {
                let run = || {
                    let pass = pass.default();
                    let _ = pipeline::run(&mut graph.clone(), [pass.as_pass()], &Request::new(TIMESTEPS), |_, _, _| Ok(()));
                    Ok(())
                };
                if let Err(e) = without_panic(pass.name, run) {
                    wrong.push(format!("network {seed} after {stage}: {e}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_analog_network_of_scalars_computes_what_tract_computes() {
    let mut compared = 0;
    for seed in 0..NETWORKS {
        let model = model(seed);
        let Ok(import) = model.import() else { continue };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, model.bytes()).expect("the folder can be written");
        match snnc::frontend::onnx::check_import(&path, &import) {
            Ok(_) => compared += 1,
            Err(snnc::frontend::onnx::CheckError::Oracle(_)) => {}
            Err(e) => panic!("network {seed}: {e}"),
        }
    }
    assert!(compared > 60, "tract runs {compared} only");
}

#[test]
fn a_head_that_ends_in_a_scalar_converts() {
    let model = Onnx::new(13)
        .input("x", &[1, 4])
        .weight("w1", &[8, 4])
        .weight("w2", &[1, 8])
        .floats("half", &[], &[0.5])
        .node("Gemm", "x w1", "a", &[int("transB", 1)])
        .node("Relu", "a", "r", &[])
        .node("Gemm", "r w2", "b", &[int("transB", 1), float("alpha", 2.0)])
        .node("Squeeze", "b", "s", &[])
        .node("Mul", "s half", "y", &[])
        .output("y");
    let imported = model.proven();
    assert_eq!(imported.facts.outputs[0].shape, Vec::<usize>::new());
    let graph = imported.graph;
    let calibration = synthetic::samples(&graph, &Default::default());
    let compiler = Compiler::new(&graph).recipe(Recipe::load("layerwise").unwrap()).timesteps(64).calibrate(&calibration);
    let compiled = compiler.compile().unwrap().graph;
    let ann = AnalogNetwork::new(&graph).unwrap();
    let network = Network::compile(&compiled, EngineKind::Native).unwrap();
    let (mut expected, mut got) = (Vec::new(), Vec::new());
    for inputs in calibration.iter() {
        expected.extend(ann.run(&inputs, &mut |_, _| {}).swap_remove(0));
        let mut session = network.session();
        session.start(&inputs).unwrap();
        session.advance(64).unwrap();
        got.extend(session.potentials().swap_remove(0));
    }
    let d = difference(&expected, &got);
    assert!(d < 0.1, "{d}");
}

#[test]
fn values_without_axes_may_be_reduced_padded_and_taken_to_pieces() {
    let x = || Onnx::new(13).input("x", &[]);
    for (op, attributes) in [("ReduceMax", vec![]), ("ReduceMean", vec![int("keepdims", 0)]), ("Transpose", vec![]), ("Squeeze", vec![])] {
        assert_eq!(x().node(op, "x", "y", &attributes).output("y").proven().facts.outputs[0].shape, Vec::<usize>::new(), "{op}");
    }
    for (op, attributes) in
        [("Softmax", vec![]), ("Flatten", vec![]), ("Concat", vec![int("axis", 0)]), ("ReduceSum", vec![ints("axes", &[0])])]
    {
        let message = x().node(op, "x", "y", &attributes).output("y").import().map(|_| ()).map_err(|e| e.to_string());
        assert!(op == "ReduceSum" || message.is_err_and(|m| m.contains("`y`")), "{op}");
    }
}
