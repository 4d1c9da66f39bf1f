//! The proof of import: sample inputs go through tract and through the imported graph, and must come out the same.

use super::oracle::{Oracle, OracleError};
use super::{Imported, TensorFact};
use snn_ir::{Graph, NodeId, Random};
use snn_runtime::CompileError;
use snn_runtime::analog::AnalogNetwork;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use thiserror::Error;

/// Largest difference that is rounding, relative to the largest element of the tensor.
pub const TOLERANCE: f32 = 1e-4;

/// The same for a quantised file, whose rounding tract computes and the imported graph does not.
pub const QUANTIZED_TOLERANCE: f32 = 0.1;

/// Lower bounds of the elements of the samples compared; the upper one is 1.
const SAMPLES: [f32; 2] = [-1.0, 0.0];
/// Networks with more parameters are compared on the first sample alone.
const LARGE: usize = 1 << 24;

/// Most parameters that are compared unasked: beyond, it takes many gigabytes. VGG-19 has 144 million.
const MOST_PARAMETERS: usize = 1 << 28;
/// Largest value inside a network that is compared unasked.
const MOST_ELEMENTS: usize = 1 << 26;
/// Most multiplications of a sample that is compared unasked; VGG-19 takes twenty thousand million.
const MOST_MULTIPLICATIONS: f64 = 4e10;

/// Integer inputs are below this, so that they fit any type.
const LARGEST_INTEGER: f32 = 8.0;

/// Why an import is not proven.
#[derive(Debug, Error)]
pub enum CheckError {
    /// tract computes something else.
    #[error(
        "tract and snnc differ on what the file says: at node `{node}` (tensor `{tensor}`) tract computes {theirs} and snnc {ours} as element {element}, which is {difference:.1e} of the largest; one of the two is wrong"
    )]
    Differs {
        /// The first node that differs, in graph order.
        node: String,
        /// The ONNX tensor that it stands for.
        tensor: String,
        /// The element that differs most.
        element: usize,
        /// What tract computes there.
        theirs: f32,
        /// What the imported graph computes there.
        ours: f32,
        /// The difference, relative to the tensor's largest element.
        difference: f32,
    },
    /// There is no reference to compare with.
    #[error(transparent)]
    Oracle(#[from] OracleError),
    /// The imported graph does not run.
    #[error("the imported graph does not run: {0}")]
    Graph(#[source] CompileError),
}

/// A seeded sample with elements in `[low, 1)`.
pub fn sample(len: usize, seed: u64, low: f32) -> Vec<f32> {
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678));
    (0..len).map(|_| low + (1.0 - low) * random.unit()).collect()
}

/// Largest difference between the two, relative to the largest element of `reference`.
pub fn difference(reference: &[f32], got: &[f32]) -> f32 {
    if reference.len() != got.len() {
        return f32::INFINITY;
    }
    let scale = reference.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let worst = reference.iter().zip(got).map(|(r, g)| if r == g || r.is_nan() && g.is_nan() { 0.0 } else { (r - g).abs() });
    worst.map(|d| if d.is_nan() { f32::INFINITY } else { d / scale }).fold(0.0, f32::max)
}

fn tolerance(imported: &Imported) -> f32 {
    let quantized = imported.facts.operators.iter().any(|(op, _)| op == "QuantizeLinear");
    if quantized { QUANTIZED_TOLERANCE } else { TOLERANCE }
}

/// Why comparing the graph with its file would take long or much memory, if it would.
pub fn too_large(graph: &Graph) -> Option<String> {
    let work = |id: NodeId| {
        let operands = graph.operands(id);
        let types: Vec<_> = operands.iter().map(|&o| graph.ty(o)).collect();
        super::budget::multiplications(graph.op(id), &types, graph.ty(id))
    };
    let (parameters, multiplications) = (graph.parameter_count(), graph.ids().map(work).sum::<f64>());
    let largest = graph.ids().map(|id| graph.ty(id).len()).max().unwrap_or(0);
    match () {
        _ if parameters > MOST_PARAMETERS => Some(format!("it has {parameters} parameters")),
        _ if largest > MOST_ELEMENTS => Some(format!("one of its values has {largest} elements")),
        _ if multiplications > MOST_MULTIPLICATIONS => Some(format!("a sample takes {multiplications:.1e} multiplications")),
        _ => None,
    }
}

/// What comparing an import with its file has shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// Largest difference between outputs that were compared, relative to the largest element.
    pub difference: f32,
    /// Known faults of tract that were met; what follows them was not compared.
    pub notes: Vec<String>,
}

/// Compares the imported graph with the file at `path` on seeded samples.
///
/// # Errors
/// [`CheckError::Differs`] naming the first node whose value differs; other errors when there is nothing to compare.
pub fn check_import(path: &Path, imported: &Imported) -> Result<Checked, CheckError> {
    let facts = &imported.facts;
    let shapes: Vec<Vec<usize>> = facts.inputs.iter().map(|i| i.shape.clone()).collect();
    let names: Vec<&str> = facts.outputs.iter().map(|o| o.tensor.as_str()).collect();
    let (network, oracle) = rayon::join(|| AnalogNetwork::new(&imported.graph), || Oracle::load_observing(path, &shapes, &names));
    let network = network.map_err(CheckError::Graph)?;
    let oracle = oracle?;
    let disputed = after_disputes(imported);
    let is_disputed = |t: &TensorFact| imported.graph.find(&t.node).is_some_and(|id| disputed.contains(&id));
    let mut checked = Checked::default();
    let tolerance = tolerance(imported);
    let samples = if imported.graph.parameter_count() > LARGE { &SAMPLES[..1] } else { &SAMPLES };
    for (seed, &low) in (0u64..).step_by(16).zip(samples) {
        let input = |i: usize| {
            let mut values = sample(shapes[i].iter().product(), seed + i as u64, low);
            if oracle.takes_integers(i) {
                values.iter_mut().for_each(|v| *v = (v.abs() * LARGEST_INTEGER).floor());
            }
            values
        };
        let inputs: Vec<Vec<f32>> = (0..shapes.len()).map(input).collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let (got, reference) = rayon::join(|| network.run(&inputs, &mut |_, _| {}), || oracle.run(&inputs));
        for ((reference, got), output) in reference?.iter().zip(&got).zip(&facts.outputs) {
            let d = difference(reference, got);
            if !is_disputed(output) {
                checked.difference = checked.difference.max(d);
            }
            if d <= tolerance {
                continue;
            }
            match first_difference(path, imported, &network, &inputs, &is_disputed) {
                Some(error) => return Err(error),
                None if is_disputed(output) => {
                    checked.notes = facts.disputed.iter().map(|d| d.note.clone()).collect();
                }
                None => return Err(differs(output, reference, got)),
            }
        }
    }
    Ok(checked)
}

/// The nodes of the graph where tract is known to be wrong, and all that depend on them.
fn after_disputes(imported: &Imported) -> HashSet<NodeId> {
    let graph = &imported.graph;
    let tensors = imported.facts.tensors.iter().filter(|t| imported.facts.disputed.iter().any(|d| d.tensor == t.tensor));
    let mut found: HashSet<NodeId> = tensors.filter_map(|t| graph.find(&t.node)).collect();
    if !found.is_empty() {
        for id in graph.topological().unwrap_or_default() {
            if graph.operands(id).iter().any(|o| found.contains(o)) {
                found.insert(id);
            }
        }
    }
    found
}

fn differs(tensor: &TensorFact, theirs: &[f32], ours: &[f32]) -> CheckError {
    let apart = |(t, o): (&f32, &f32)| if t == o || t.is_nan() && o.is_nan() { 0.0 } else { (t - o).abs() };
    let apart: Vec<f32> = theirs.iter().zip(ours).map(apart).collect();
    // A difference that is no number is the largest of all.
    let element = (0..apart.len()).max_by(|&a, &b| apart[a].total_cmp(&apart[b])).unwrap_or(0);
    let at = |values: &[f32]| values.get(element).copied().unwrap_or(f32::NAN);
    CheckError::Differs {
        node: tensor.node.clone(),
        tensor: tensor.tensor.clone(),
        element,
        theirs: at(theirs),
        ours: at(ours),
        difference: difference(theirs, ours),
    }
}

/// The first node that differs and is not disputed, found by reading every tensor; nothing when tract does not give them.
fn first_difference(
    path: &Path,
    imported: &Imported,
    network: &AnalogNetwork,
    inputs: &[&[f32]],
    is_disputed: &dyn Fn(&TensorFact) -> bool,
) -> Option<CheckError> {
    let facts = &imported.facts;
    let shapes: Vec<Vec<usize>> = facts.inputs.iter().map(|i| i.shape.clone()).collect();
    let compared: Vec<&TensorFact> = facts.tensors.iter().filter(|t| !is_disputed(t)).collect();
    let names: Vec<&str> = compared.iter().map(|t| t.tensor.as_str()).collect();
    let reference = Oracle::load_observing(path, &shapes, &names).and_then(|o| o.run(inputs)).ok()?;
    let mut values: HashMap<NodeId, Vec<f32>> = HashMap::new();
    network.run(inputs, &mut |id, v| {
        values.insert(id, v.to_vec());
    });
    let tolerance = tolerance(imported);
    compared.iter().zip(&reference).find_map(|(tensor, reference)| {
        let got = values.get(&imported.graph.find(&tensor.node)?)?;
        (difference(reference, got) > tolerance).then(|| differs(tensor, reference, got))
    })
}
