//! The official ONNX node tests: every case is converted and right, or refused with a reason; none is converted wrongly.

use prost::Message;
use snn_runtime::analog::AnalogNetwork;
use snn_runtime::{EngineKind, Network};
use snn_tests::shared::shared_or_skip;
use snnc::frontend::onnx::check::difference;
use snnc::frontend::onnx::model::Model;
use snnc::frontend::onnx::{ImportOptions, import_model, tensor};
use snnc::{Compiler, Recipe, Samples};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tract_onnx::pb::{ModelProto, NodeProto, TensorProto};

/// Largest difference relative to the largest number of an answer. Some cases state theirs with four digits only.
const TOLERANCE: f32 = 2e-4;

/// What came of a case.
enum Verdict {
    Passed,
    Refused(String),
    Failed(String),
}

fn tensors(folder: &Path, kind: &str) -> Vec<TensorProto> {
    let read = |i: usize| std::fs::read(folder.join(format!("test_data_set_0/{kind}_{i}.pb"))).ok();
    (0..).map_while(read).map(|bytes| TensorProto::decode(&bytes[..]).expect("test data is a tensor")).collect()
}

fn floats(t: &TensorProto) -> Option<Vec<f32>> {
    Some(tensor::read(t, &mut tensor::Folder::new(".")).ok()?.to_floats().ok()?.to_vec())
}

/// Runs the case with the first `runtime` inputs computed and the others as constants.
fn run(folder: &Path, runtime: usize) -> Verdict {
    let mut proto = ModelProto::decode(&std::fs::read(folder.join("model.onnx")).expect("a model")[..]).expect("a model");
    let (inputs, outputs) = (tensors(folder, "input"), tensors(folder, "output"));
    let graph = proto.graph.as_mut().expect("a graph");
    let names: Vec<String> = graph.input.iter().map(|i| i.name.clone()).collect();
    for (name, data) in names.iter().zip(&inputs).skip(runtime) {
        graph.initializer.push(TensorProto { name: name.clone(), ..data.clone() });
    }
    let model = match Model::decode(&folder.join("model.onnx"), &proto.encode_to_vec()) {
        Ok(m) => m,
        Err(e) => return Verdict::Refused(e.to_string()),
    };
    let imported = match import_model(&model, &ImportOptions::default()) {
        Ok(i) => i,
        Err(e) => return Verdict::Refused(e.to_string()),
    };
    let network = match AnalogNetwork::new(&imported.graph) {
        Ok(n) => n,
        Err(e) => return Verdict::Failed(format!("does not run: {e}")),
    };
    let data: Option<Vec<Vec<f32>>> = inputs.iter().take(runtime).map(floats).collect();
    let Some(data) = data else { return Verdict::Refused("the inputs are not numbers".into()) };
    // A file with a batch of n is imported for one sample and run n times.
    if data
        .iter()
        .zip(network.inputs())
        .any(|(d, ty)| !d.len().is_multiple_of(ty.len()) || d.len() / ty.len() != data[0].len() / network.inputs()[0].len())
    {
        return Verdict::Refused("the inputs do not have the declared shapes, or not one batch".into());
    }
    let samples = data[0].len() / network.inputs()[0].len().max(1);
    let mut got: Vec<Vec<f32>> = vec![Vec::new(); imported.facts.outputs.len()];
    for s in 0..samples {
        let part: Vec<&[f32]> = data.iter().zip(network.inputs()).map(|(d, ty)| &d[s * ty.len()..(s + 1) * ty.len()]).collect();
        let results = network.run(&part, &mut |_, _| {});
        got.iter_mut().zip(results).for_each(|(all, one)| all.extend(one));
    }
    let declared: Vec<&str> = model.proto().graph.iter().flat_map(|g| &g.output).map(|o| o.name.as_str()).collect();
    for (fact, got) in imported.facts.outputs.iter().zip(&got) {
        let Some(at) = declared.iter().position(|d| *d == fact.tensor) else { return Verdict::Refused("its output was left out".into()) };
        let Some(expected) = outputs.get(at).and_then(floats) else { return Verdict::Refused("its outputs are not numbers".into()) };
        let d = difference(&expected, got);
        if d > TOLERANCE {
            return Verdict::Failed(format!("output {at} differs by {d:.1e}: expected {:?}, got {:?}", head(&expected), head(got)));
        }
    }
    match imported.facts.outputs.len() == declared.len() {
        true => Verdict::Passed,
        false => Verdict::Refused("an output does not depend on the input".into()),
    }
}

fn head(v: &[f32]) -> Vec<f32> {
    v.iter().copied().take(6).collect()
}

/// The folders of all cases, unpacked into a temporary one.
fn cases(test: &str) -> Option<(TempDir, Vec<PathBuf>)> {
    let archive = shared_or_skip(test, "data/onnx_node_tests.tar.gz")?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unpacked = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(folder.path()).status().expect("tar runs");
    assert!(unpacked.success());
    let mut cases: Vec<_> = std::fs::read_dir(folder.path().join("onnx_node_tests")).expect("cases").flatten().map(|e| e.path()).collect();
    cases.sort();
    Some((folder, cases))
}

#[test]
fn no_official_node_test_is_converted_wrongly() {
    let Some((_folder, cases)) = cases("no_official_node_test_is_converted_wrongly") else { return };
    let (mut passed, mut refused, mut failed) = (0, BTreeMap::<String, Vec<String>>::new(), Vec::new());
    for case in &cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let inputs = tensors(case, "input").len();
        // All inputs computed, if that is possible, and the first one alone.
        let mut verdicts = Vec::new();
        for runtime in if inputs > 1 { vec![inputs, 1] } else { vec![1] } {
            let verdict = catch_unwind(AssertUnwindSafe(|| run(case, runtime)));
            verdicts.push(verdict.unwrap_or_else(|_| Verdict::Failed("it panics".into())));
        }
        let mut reason = String::new();
        let mut ok = false;
        for v in verdicts {
            match v {
                Verdict::Passed => ok = true,
                Verdict::Refused(r) => reason = r,
                Verdict::Failed(why) => failed.push(format!("{name}: {why}")),
            }
        }
        match ok {
            true => passed += 1,
            false => {
                let why = reason.rsplit("): ").next().unwrap_or_default().lines().next().unwrap_or_default();
                refused.entry(why.to_string()).or_default().push(name);
            }
        }
    }
    let count: usize = refused.values().map(Vec::len).sum();
    println!("{} cases: {passed} passed, {count} refused, {} failed", cases.len(), failed.len());
    for (reason, names) in &refused {
        println!("  refused {:4}: {reason}: {}", names.len(), names.join(" ").replace("test_", ""));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(passed >= 250, "only {passed} pass");
}

/// The case's model with rectifiers before its first input and after its outputs, the other inputs as constants, and the
/// data of the first.
fn between_rectifiers(folder: &Path) -> Option<(Vec<u8>, Vec<f32>)> {
    let mut proto = ModelProto::decode(&std::fs::read(folder.join("model.onnx")).ok()?[..]).ok()?;
    let inputs = tensors(folder, "input");
    let data = floats(inputs.first().filter(|t| t.data_type == 1)?).filter(|d| d.iter().all(|v| v.is_finite()))?;
    let graph = proto.graph.as_mut()?;
    let names: Vec<String> = graph.input.iter().map(|i| i.name.clone()).collect();
    for (name, data) in names.iter().zip(&inputs).skip(1) {
        graph.initializer.push(TensorProto { name: name.clone(), ..data.clone() });
    }
    let relu = |from: &str, to: &str| NodeProto {
        op_type: "Relu".into(),
        input: vec![from.into()],
        output: vec![to.into()],
        ..NodeProto::default()
    };
    let first = graph.input.first_mut()?;
    let (inner, outer) = (first.name.clone(), format!("{}.image", first.name));
    first.name.clone_from(&outer);
    graph.node.insert(0, relu(&outer, &inner));
    for output in &mut graph.output {
        let rectified = format!("{}.rectified", output.name);
        graph.node.push(relu(&output.name, &rectified));
        output.name = rectified;
    }
    Some((proto.encode_to_vec(), data))
}

const TIMESTEPS: u32 = 64;

/// Compiles what [`between_rectifiers`] made, and says by how much its answer differs from the ANN's, relative to the largest
/// number in that. `None` where the model is refused.
fn spiking_difference(folder: &Path) -> Option<Result<f32, String>> {
    let (bytes, data) = between_rectifiers(folder)?;
    let graph = import_model(&Model::decode(&folder.join("model.onnx"), &bytes).ok()?, &ImportOptions::default()).ok()?.graph;
    if graph.inputs().len() != 1 || graph.ty(graph.inputs()[0]).len() != data.len() {
        return None;
    }
    let expected = AnalogNetwork::new(&graph).expect("an imported graph runs").run(&[&data], &mut |_, _| {});
    let calibration = Samples::of(&graph).with([vec![data.clone()]]).expect("it has as many elements");
    let recipe = Recipe::load("deng2021").expect("a built-in recipe");
    let compiled = match Compiler::new(&graph).recipe(recipe).timesteps(TIMESTEPS).calibrate(&calibration).compile() {
        Ok(compiled) => compiled,
        Err(e) => return Some(Err(e.to_string())),
    };
    // A ramp stands for a jump, and a closing sigmoid is dropped: the notes say so, and the answers differ.
    if compiled.notes.iter().any(|n| n.contains("became a ramp") || n.contains("was dropped")) {
        return None;
    }
    let network = match Network::compile(&compiled.graph, EngineKind::Native) {
        Ok(network) => network,
        Err(e) => return Some(Err(e.to_string())),
    };
    let mut session = network.session();
    session.start(&[&data]).ok()?;
    session.advance(TIMESTEPS).ok()?;
    let got = session.potentials();
    Some(Ok(expected.iter().zip(&got).map(|(e, g)| difference(e, g)).fold(0.0, f32::max)))
}

#[test]
fn whatever_imports_compiles_between_neurons_and_answers_as_the_ann_does() {
    let Some((_folder, cases)) = cases("whatever_imports_compiles_between_neurons") else { return };
    let (mut count, mut wrong) = (0, Vec::new());
    for case in &cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match catch_unwind(AssertUnwindSafe(|| spiking_difference(case))) {
            Ok(None) => {}
            Ok(Some(Ok(d))) => {
                count += 1;
                if d > 0.1 {
                    wrong.push(format!("{name}: differs by {d:.2}"));
                }
            }
            Ok(Some(Err(e))) => wrong.push(format!("{name}: {e}")),
            Err(_) => wrong.push(format!("{name}: it panics")),
        }
    }
    println!("{count} cases compiled and compared at T = {TIMESTEPS}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 200, "only {count} are compared");
}
