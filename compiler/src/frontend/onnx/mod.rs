//! # The ONNX importer
//!
//! [`import`] reads a file that any exporter wrote into an analog [`Graph`], or says in one error everything that stands
//! in the way. It works on the protobuf itself (prost types of `tract_onnx::pb`): what tract would make of the nodes is
//! no longer what the file says. Values known at import time are folded ([`constant`], [`fold`]), the others become
//! nodes of the graph; see [`importer`] for what happens to the batch axis, and [`registry`] for how to add an operator.
//!
//! Files are not trusted: every size is checked against what is there before anything is allocated ([`wire`],
//! [`tensor`]), arithmetic on extents is checked, and external data is read from the model's own folder only.
//!
//! tract is the oracle: [`oracle`] runs the same file, and [`check`] compares.

pub mod activation;
pub mod check;
pub mod constant;
pub mod conv;
pub mod elementwise;
pub mod error;
pub mod fold;
pub mod importer;
pub mod linear;
pub mod model;
pub mod node;
pub mod norm;
pub mod oracle;
pub mod pad;
pub mod pool;
pub mod quantize;
pub mod registry;
pub mod shape;
pub mod tensor;
pub mod values;
pub mod wire;

pub use check::{CheckError, check_import};
pub use error::{ImportError, Obstacle, Refusal};
pub use oracle::Oracle;

use importer::{Importer, Runtime, Value};
use model::{Model, OrderedGraph};
use node::NodeView;
use snn_ir::infer::MAX_ELEMENTS;
use snn_ir::signal::Dims;
use snn_ir::tensor::element_count;
use snn_ir::{Graph, Op, Signal};
use std::collections::HashMap;
use std::path::Path;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{NodeProto, ValueInfoProto};

/// Oldest opset that is imported.
pub const OLDEST_OPSET: i64 = 7;
/// Newest opset whose operators are known to mean what the importer thinks.
pub const NEWEST_OPSET: i64 = 21;

/// Operators that treat the first axis as the batch.
const BATCHED: [&str; 14] = [
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "LpPool",
    "GlobalMaxPool",
    "GlobalAveragePool",
    "GlobalLpPool",
    "BatchNormalization",
    "LRN",
    "DepthToSpace",
    "SpaceToDepth",
    "Flatten",
    "Gemm",
];

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
    /// The outputs, in order.
    pub outputs: Vec<TensorFact>,
    /// Every computed tensor, in graph order.
    pub tensors: Vec<TensorFact>,
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
    let ordered = model.ordered()?;
    let broken = |reason: String| ImportError::Broken { path: model.path.clone(), reason };
    let opset = model.opset("").unwrap_or(1);
    if opset < OLDEST_OPSET && ordered.nodes.iter().any(|(n, _)| matches!(n.domain.as_str(), "" | "ai.onnx")) {
        return Err(broken(format!("opset {opset} is older than {OLDEST_OPSET}; convert the model with onnx.version_converter")));
    }
    let name = if ordered.graph.name.is_empty() { "network" } else { &ordered.graph.name };
    let mut imp =
        Importer { graph: Graph::new(name), warnings: Vec::new(), name: String::new(), fixed_batch: None, directory: model.directory() };
    if opset > NEWEST_OPSET {
        imp.warn(&format!("opset {opset} is newer than {NEWEST_OPSET}, the newest this importer was written for"));
    }
    for node in &ordered.dropped {
        imp.warn(&format!("the closing ArgMax `{}` is left out: the network answers with scores", node.name));
    }
    let mut values: HashMap<&str, Value> = HashMap::new();
    let mut facts = Facts { producer: model.producer(), opset, ..Facts::default() };
    for (i, info) in ordered.inputs.iter().enumerate() {
        let given = options.input_shape.as_deref().filter(|_| i == 0);
        let x = input(&mut imp, info, given, &ordered)?;
        facts.inputs.push(fact(&imp, &info.name, &x));
        values.insert(&info.name, x.into());
    }
    if facts.inputs.is_empty() {
        return Err(broken("the graph has no inputs".into()));
    }
    let mut obstacles = Vec::new();
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for (node, name) in &ordered.nodes {
        *counts.entry(&node.op_type).or_default() += 1;
        if let Err(o) = convert(&mut imp, model, &ordered, node, name, &mut values, &mut facts.tensors) {
            obstacles.extend(o);
        }
    }
    facts.operators = counts.into_iter().map(|(n, c)| (n.to_string(), c)).collect();
    if !obstacles.is_empty() {
        return Err(ImportError::Unsupported { path: model.path.clone(), obstacles });
    }
    let mut outputs = Vec::new();
    for &name in &ordered.outputs {
        match values.get(name) {
            Some(Value::Runtime(x)) => {
                outputs.push(x.node);
                facts.outputs.push(fact(&imp, name, x));
            }
            _ => imp.warn(&format!("output `{name}` does not depend on the input and is left out")),
        }
    }
    if outputs.is_empty() {
        return Err(broken("no output depends on an input".into()));
    }
    imp.graph.set_outputs(outputs);
    imp.graph.remove_dead();
    facts.tensors.retain(|t| imp.graph.find(&t.node).is_some());
    facts.warnings = imp.warnings;
    Ok(Imported { graph: imp.graph, facts })
}

fn fact(imp: &Importer, tensor: &str, x: &Runtime) -> TensorFact {
    TensorFact { tensor: tensor.to_string(), node: imp.graph.node(x.node).name().to_string(), shape: x.shape.clone() }
}

/// Converts one node. An error without an obstacle means that an operand was refused already.
fn convert<'m>(
    imp: &mut Importer,
    model: &Model,
    ordered: &OrderedGraph<'m>,
    node: &'m NodeProto,
    name: &str,
    values: &mut HashMap<&'m str, Value>,
    tensors: &mut Vec<TensorFact>,
) -> Result<(), Option<Obstacle>> {
    let opset = model.opset(&node.domain).unwrap_or(0);
    let plain = matches!(node.domain.as_str(), "" | "ai.onnx");
    let op = if plain { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) };
    let obstacle = |shapes: Vec<Vec<usize>>, refusal| Obstacle { node: name.to_string(), op: op.clone(), opset, shapes, refusal };
    let spec = match registry::find(&node.op_type).filter(|_| plain) {
        Some(spec) => spec,
        None => {
            let shapes = node.input.iter().filter_map(|i| values.get(i.as_str())).map(|v| v.shape().to_vec()).collect();
            return Err(Some(obstacle(shapes, registry::refusal(&node.domain, &node.op_type))));
        }
    };
    let mut inputs = Vec::new();
    for input in &node.input {
        inputs.push(match input.as_str() {
            "" => None,
            input => match (values.get(input), ordered.initializers.get(input)) {
                (Some(v), _) => Some(v.clone()),
                (None, Some(t)) => {
                    let constant = tensor::read(t, &imp.directory).map_err(|r| Some(obstacle(Vec::new(), r)))?;
                    values.insert(&t.name, constant.clone().into());
                    Some(constant.into())
                }
                (None, None) => return Err(None),
            },
        });
    }
    let view = NodeView { proto: node, opset, inputs };
    let shapes = || view.inputs.iter().flatten().map(|v| v.shape().to_vec()).collect();
    let given = view.inputs.len();
    let checked = if opset < spec.since {
        Err(format!("supported from opset {}", spec.since).into())
    } else if given < spec.inputs.0 || given > spec.inputs.1 {
        Err(format!("it has {given} inputs").into())
    } else {
        imp.name = name.to_string();
        (spec.lower)(imp, &view)
    };
    let results = checked.map_err(|refusal| Some(obstacle(shapes(), refusal)))?;
    for (i, output) in node.output.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
        let Some(value) = results.get(i) else { continue };
        if let Value::Runtime(x) = value {
            let node_name = imp.graph.node(x.node).name();
            if node_name.starts_with(name) && node_name[name.len()..].starts_with('.') {
                imp.graph.rename(x.node, if i == 0 { name } else { output });
            }
            tensors.push(fact(imp, output, x));
        }
        values.insert(output, value.clone());
    }
    Ok(())
}

/// An input of the network: its shape from the file, or from the user where the file leaves it open.
fn input(imp: &mut Importer, info: &ValueInfoProto, given: Option<&[usize]>, ordered: &OrderedGraph) -> Result<Runtime, ImportError> {
    let tensor = info.r#type.as_ref().and_then(|t| t.value.as_ref()).map(|TypeValue::TensorType(t)| t);
    let dims: Option<Vec<Option<i64>>> = tensor.and_then(|t| t.shape.as_ref()).map(|s| {
        let known = |d: &Option<Dim>| if let Some(Dim::DimValue(n)) = d { Some(*n) } else { None };
        s.dim.iter().map(|d| known(&d.value)).collect()
    });
    let written = match &dims {
        None => "?".to_string(),
        Some(d) => d.iter().map(|d| d.map_or("?".to_string(), |n| n.to_string())).collect::<Vec<_>>().join("x"),
    };
    let refuse = |reason: String| ImportError::InputShape { input: info.name.clone(), shape: written.clone(), reason };
    let kind = tensor.map_or(constant::DataType::Undefined, |t| constant::DataType::try_from(t.elem_type).unwrap_or_default());
    if !constant::is_float(kind) && !constant::is_integer(kind) {
        return Err(refuse(format!("its element type {} is not a number", kind.as_str_name())));
    }
    let mut batch_fixed = None;
    let shape: Vec<usize> = match (given, &dims) {
        (Some(given), None) => given.to_vec(),
        (Some(given), Some(dims)) => {
            // The batch may be left out.
            let full = if given.len() + 1 == dims.len() { [&[1], given].concat() } else { given.to_vec() };
            let clash = |(i, d): (usize, &Option<i64>)| i > 0 && d.is_some_and(|d| d != full[i] as i64);
            if full.len() != dims.len() || dims.iter().enumerate().any(clash) {
                return Err(refuse(format!("the given input shape {} does not fit", Dims(given))));
            }
            batch_fixed = dims[0].and_then(|d| usize::try_from(d).ok()).filter(|&d| d > 1 && full[0] == 1);
            full
        }
        (None, None) => return Err(refuse("it is not in the file; give it with --input-shape, as in 1x3x32x32".into())),
        (None, Some(dims)) => {
            let batched = dims.len() > 1 && ordered.nodes.iter().any(|(n, _)| BATCHED.contains(&n.op_type.as_str()));
            let mut shape = Vec::new();
            for (i, d) in dims.iter().enumerate() {
                shape.push(match *d {
                    Some(n) if n > 1 && i == 0 && batched => {
                        batch_fixed = usize::try_from(n).ok();
                        1
                    }
                    Some(n) if n > 0 => usize::try_from(n).map_err(|_| refuse("an extent is too large".into()))?,
                    // Some exporters write an open batch as 0 or −1.
                    None | Some(0 | -1) if i == 0 => 1,
                    None => return Err(refuse("extents are open; give them with --input-shape, as in 1x3x32x32".into())),
                    Some(n) => return Err(refuse(format!("an extent is {n}"))),
                });
            }
            shape
        }
    };
    if !element_count(&shape).is_some_and(|n| (1..=MAX_ELEMENTS).contains(&n)) {
        return Err(refuse(format!("{} elements are too few or too many", Dims(&shape))));
    }
    if let Some(batch) = batch_fixed {
        imp.fixed_batch = Some(batch);
        imp.warn(&format!("the file fixes the batch size to {batch}; the network is imported for one sample"));
    }
    let batch = (shape.len() > 1 && shape[0] == 1).then_some(0);
    let sample = shape[usize::from(batch.is_some())..].to_vec();
    let op = Op::Input(Signal::Analog, sample);
    let name = imp.graph.fresh_name(&info.name);
    let node = imp.graph.add(name, op, &[]).map_err(|e| refuse(e.to_string()))?;
    Ok(Runtime { node, shape, batch })
}
