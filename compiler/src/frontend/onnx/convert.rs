//! From one ONNX node to nodes of the graph, or to an obstacle.

use super::error::{ImportError, Obstacle, Refusal};
use super::importer::{Importer, LARGEST_RANK, Mark, Value};
use super::model::{Model, OrderedGraph};
use super::node::NodeView;
use super::registry::{self, OpSpec};
use super::{TensorFact, fact, function};
use std::collections::HashMap;
use tract_onnx::pb::NodeProto;

/// Operators that do to integers, or to quantised values, what they do to the reals these stand for.
const INDIFFERENT: [&str; 25] = [
    "Identity",
    "Dropout",
    "Flatten",
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Split",
    "Concat",
    "Gather",
    "Expand",
    "Tile",
    "DepthToSpace",
    "SpaceToDepth",
    "Shape",
    "Size",
    "MaxPool",
    "GlobalMaxPool",
    "Relu",
    "Max",
    "ReduceMax",
    "Cast",
    "CastLike",
    "DequantizeLinear",
];

/// The nodes that could not be converted whatever the input's shape, as an error; `None` when there are none.
pub fn unknown_operators(model: &Model, ordered: &OrderedGraph) -> Option<ImportError> {
    let unknown = |(node, name): &(&NodeProto, String)| {
        let plain = matches!(node.domain.as_str(), "" | "ai.onnx");
        let refusal = match registry::find(&node.op_type).filter(|_| plain) {
            Some(_) => return None,
            None => registry::refusal(&node.domain, &node.op_type),
        };
        let opset = model.opset(&node.domain).unwrap_or(0);
        Some(Obstacle { node: name.clone(), op: qualified(node), opset, shapes: Vec::new(), refusal })
    };
    let obstacles: Vec<Obstacle> = ordered.nodes.iter().filter_map(unknown).collect();
    (!obstacles.is_empty()).then(|| ImportError::Unsupported { path: model.path.clone(), obstacles })
}

/// Operator type, with its domain in front unless that is ONNX's own.
fn qualified(node: &NodeProto) -> String {
    if matches!(node.domain.as_str(), "" | "ai.onnx") { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) }
}

/// Converts one node. An error without an obstacle means that an operand was refused already.
///
/// # Errors
/// The obstacle that the node is.
pub fn convert<'m>(
    imp: &mut Importer,
    model: &Model,
    ordered: &OrderedGraph<'m>,
    node: &'m NodeProto,
    name: &str,
    values: &mut HashMap<&'m str, Value>,
    tensors: &mut Vec<TensorFact>,
) -> Result<(), Option<Box<Obstacle>>> {
    let opset = model.opset(&node.domain).unwrap_or(0);
    let plain = matches!(node.domain.as_str(), "" | "ai.onnx");
    let obstacle =
        |shapes: Vec<Vec<usize>>, refusal| Some(Box::new(Obstacle { node: name.to_string(), op: qualified(node), opset, shapes, refusal }));
    let spec = match registry::find(&node.op_type).filter(|_| plain) {
        Some(spec) => spec,
        None => {
            let shapes = node.input.iter().filter_map(|i| values.get(i.as_str())).map(|v| v.shape().to_vec()).collect();
            return Err(obstacle(shapes, registry::refusal(&node.domain, &node.op_type)));
        }
    };
    let mut inputs = Vec::new();
    for input in &node.input {
        inputs.push(match input.as_str() {
            "" => None,
            input => match (values.get(input), ordered.initializers.get(input)) {
                (Some(v), _) => Some(v.clone()),
                (None, Some(t)) => {
                    let constant = imp.read(t).map_err(|r| obstacle(Vec::new(), r))?;
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
        imp.emitted.clear();
        pay(imp, &view).and_then(|()| lower(imp, &view, spec))
    };
    let results = checked.map_err(|refusal| obstacle(shapes(), refusal))?;
    for (i, output) in node.output.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
        let Some(value) = results.get(i) else {
            if ordered.is_read(output) {
                return Err(obstacle(shapes(), format!("its output `{output}` is used, but has no place in a spiking network").into()));
            }
            continue;
        };
        if value.shape().len() > LARGEST_RANK {
            return Err(obstacle(shapes(), format!("its output has {} axes", value.shape().len()).into()));
        }
        if let Value::Constant(c) = value {
            imp.budget.spend(c.stored()).map_err(|refusal| obstacle(shapes(), refusal))?;
        }
        if let Value::Runtime(x) = value {
            if imp.emitted.contains(&x.node) {
                imp.graph.rename(x.node, if i == 0 { name } else { output });
            }
            tensors.push(fact(imp, output, x));
        }
        values.insert(output, value.clone());
    }
    Ok(())
}

/// Pays for handling a node's constants. Those of one repeated value are written out only beside a computed one.
fn pay(imp: &mut Importer, view: &NodeView) -> Result<(), Refusal> {
    let folds = view.all_constant().is_some();
    for c in view.inputs.iter().flatten().filter_map(Value::as_constant) {
        imp.budget.spend(c.stored())?;
        if c.is_splat() && !folds {
            imp.budget.spend_repeated(c.len())?;
        }
    }
    Ok(())
}

/// Lowers a node, minding what its operands are beyond what their nodes compute.
fn lower(imp: &mut Importer, view: &NodeView, spec: &OpSpec) -> Result<Vec<Value>, Refusal> {
    let marks = view.inputs.iter().flatten().filter_map(|v| match v {
        Value::Runtime(x) => imp.marks.get(&x.node).cloned(),
        Value::Constant(_) => None,
    });
    let mark = match marks.into_iter().next() {
        None => return (spec.lower)(imp, view),
        Some(Mark::Function(_)) if !matches!(spec.name, "Shape" | "Size") => return function::combine(imp, view),
        Some(mark) => mark,
    };
    if !INDIFFERENT.contains(&spec.name) {
        return Err(match mark {
            Mark::Quantized => "it calculates with quantised integers; a DequantizeLinear is expected before it".into(),
            _ => Refusal::with_way_out("it calculates with integers", "cast the network's input to float first"),
        });
    }
    let results = (spec.lower)(imp, view)?;
    if !matches!(spec.name, "Cast" | "CastLike" | "DequantizeLinear") {
        for value in &results {
            if let Value::Runtime(x) = value {
                imp.marks.insert(x.node, mark.clone());
            }
        }
    }
    Ok(results)
}

/// What stands in the way of an output that the graph does not have as it is.
pub fn unfinished(imp: &Importer, ordered: &OrderedGraph, opset: i64, output: &str, value: Option<&Value>) -> Option<Obstacle> {
    let Some(Value::Runtime(x)) = value else { return None };
    let refusal = match imp.marks.get(&x.node)? {
        Mark::Integer => return None,
        Mark::Quantized => Refusal::with_way_out("the output is left quantised", "end the model with DequantizeLinear"),
        Mark::Function(_) => "the output is a scalar function that is none of the known activations".into(),
    };
    let (node, name) = ordered.nodes.iter().find(|(n, _)| n.output.iter().any(|o| o == output))?;
    Some(Obstacle { node: name.clone(), op: node.op_type.clone(), opset, shapes: vec![x.shape.clone()], refusal })
}
