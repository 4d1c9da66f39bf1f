//! # The ONNX importer
//!
//! [`import`] reads a file that any exporter wrote into an analog [`Graph`], or says in one error everything that
//! cannot be converted. It works on the protobuf itself (prost types of `tract_onnx::pb`): what tract would make of the nodes is
//! no longer what the file says. Values known at import time are folded ([`constant`], [`fold`]), the others become
//! nodes of the graph; see [`importer`] for what happens to the batch axis, and [`registry`] for how to add an operator.
//!
//! Files are not trusted: every size is checked against what is there before anything is allocated ([`wire`],
//! [`tensor`]), arithmetic on extents is checked, and external data is read from the model's own folder only.
//!
//! tract is the oracle: [`oracle`] runs the same file, and [`check`] compares.

pub mod activation;
pub mod budget;
pub mod check;
pub mod constant;
pub mod contents;
pub mod conv;
pub mod convert;
pub mod documentation;
pub mod einsum;
pub mod elementwise;
pub mod error;
pub mod evaluate;
pub mod faults;
pub mod fold;
pub mod function;
pub mod heads;
pub mod importer;
pub mod inline;
pub mod inputs;
pub mod linear;
pub mod model;
pub mod node;
pub mod norm;
pub mod oracle;
pub mod pad;
pub mod pool;
pub mod quantize;
pub mod registry;
pub mod resize;
pub mod shape;
pub mod support;
pub mod tabular;
pub mod tensor;
pub mod values;
pub mod wire;

pub use check::{CheckError, Checked, check_import};
pub use error::{ImportError, Obstacle, Refusal};
pub use oracle::Oracle;
pub use support::{Survey, survey};

use convert::{Walk, unknown_operators};
use faults::Disputed;
use importer::{Importer, Runtime, Value};
use inputs::{input, integer_type};
use model::Model;
use snn_ir::Graph;
use std::collections::BTreeMap;
use std::path::Path;
use support::{NodeSupport, Support};

/// Oldest opset that is imported.
pub const OLDEST_OPSET: i64 = 7;
/// Newest opset whose operators are known to mean what the importer thinks.
pub const NEWEST_OPSET: i64 = 21;

/// What the user may say about a model.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Shape of the first input, batch included, for files that leave extents open.
    pub input_shape: Option<Vec<usize>>,
}

/// A value of the ONNX graph and the node of the graph that computes it.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorFact {
    /// Name of the ONNX tensor.
    pub tensor: String,
    /// Name of the node.
    pub node: String,
    /// ONNX shape at batch 1; the node's value has the same elements in the same order.
    pub shape: Vec<usize>,
}

/// What is known about an imported file beside its graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Name and version of the exporter.
    pub producer: String,
    /// Version of ONNX's operator set.
    pub opset: i64,
    /// Operator types and how many nodes of each the outputs need, by name.
    pub operators: Vec<(String, usize)>,
    /// The inputs, in order.
    pub inputs: Vec<TensorFact>,
    /// Element types of the inputs that are integers or truth values, by ONNX's names; `None` for floats.
    pub integer_inputs: Vec<Option<&'static str>>,
    /// The outputs, in order.
    pub outputs: Vec<TensorFact>,
    /// Every computed tensor, in graph order.
    pub tensors: Vec<TensorFact>,
    /// Nodes where tract is known to be wrong.
    pub disputed: Vec<Disputed>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// An imported network.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The analog graph.
    pub graph: Graph,
    /// What else is known.
    pub facts: Facts,
}

/// Imports the model at `path`.
///
/// # Errors
/// [`ImportError`]; for a model with nodes that cannot be converted it lists all of them.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, ImportError> {
    import_model(&Model::load(path)?, options)
}

/// Imports a model that is in memory.
///
/// # Errors
/// As [`import`].
pub fn import_model(model: &Model, options: &ImportOptions) -> Result<Imported, ImportError> {
    walk(model, options, &mut Vec::new())
}

/// Imports a model; `support` takes what became of each node.
fn walk(model: &Model, options: &ImportOptions, support: &mut Vec<NodeSupport>) -> Result<Imported, ImportError> {
    model.check_external_data()?;
    let ordered = model.ordered()?;
    let broken = |reason: String| ImportError::Broken { path: model.path.clone(), reason };
    let opset = model.opset("").unwrap_or(1);
    if opset < OLDEST_OPSET && ordered.nodes.iter().any(|(n, _)| matches!(n.domain.as_str(), "" | "ai.onnx")) {
        return Err(broken(format!("opset {opset} is older than {OLDEST_OPSET}; convert the model with onnx.version_converter")));
    }
    let name = if ordered.graph.name.is_empty() { "network" } else { &ordered.graph.name };
    let mut walk = Walk::new(Importer::new(name, model.directory()), model, &ordered);
    if opset > NEWEST_OPSET {
        walk.imp.warn(&format!("opset {opset} is newer than {NEWEST_OPSET}, the newest this importer was written for"));
    }
    for node in &ordered.dropped {
        walk.imp.warn(&format!("the closing ArgMax `{}` is left out: the network answers with scores", node.name));
    }
    let mut facts = Facts { producer: model.producer(), opset, ..Facts::default() };
    for (i, info) in ordered.inputs.iter().enumerate() {
        let given = options.input_shape.as_deref().filter(|_| i == 0);
        let x = input(&mut walk.imp, info, given, &ordered).map_err(|e| unknown_operators(model, &ordered).unwrap_or(e))?;
        facts.inputs.push(fact(&walk.imp, &info.name, &x));
        facts.integer_inputs.push(integer_type(info));
        walk.values.insert(&info.name, x.into());
    }
    if facts.inputs.is_empty() {
        return Err(broken("the graph has no inputs".into()));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (node, name) in &ordered.nodes {
        *counts.entry(&node.op_type).or_default() += 1;
        walk.node(node, name);
    }
    facts.operators = counts.into_iter().map(|(n, c)| (n.to_string(), c)).collect();
    let mut outputs = Vec::new();
    for &name in &ordered.outputs {
        match walk.values.get(name) {
            Some(Value::Runtime(x)) => {
                outputs.push(x.node);
                facts.outputs.push(fact(&walk.imp, name, x));
            }
            _ => walk.imp.warn(&format!("output `{name}` does not depend on the input and is left out")),
        }
    }
    walk.imp.graph.set_outputs(outputs);
    walk.unfinished();
    let heads = heads::raw_heads(&walk);
    let Walk { mut imp, tensors, disputed, support: nodes, .. } = walk;
    *support = nodes;
    let refused = |n: &NodeSupport| if let Support::Refused(o) = &n.support { Some(o.clone()) } else { None };
    let obstacles: Vec<Obstacle> = support.iter().filter_map(refused).collect();
    if !obstacles.is_empty() {
        return Err(ImportError::Unsupported { path: model.path.clone(), obstacles, heads });
    }
    if facts.outputs.is_empty() {
        return Err(broken("no output depends on an input".into()));
    }
    imp.graph.remove_dead();
    facts.tensors = tensors.into_iter().filter(|t| imp.graph.find(&t.node).is_some()).collect();
    facts.disputed = disputed;
    facts.warnings = imp.warnings;
    Ok(Imported { graph: imp.graph, facts })
}

fn fact(imp: &Importer, tensor: &str, x: &Runtime) -> TensorFact {
    TensorFact { tensor: tensor.to_string(), node: imp.graph.node(x.node).name().to_string(), shape: x.shape.clone() }
}
