//! From one ONNX node to nodes of the graph, or to an obstacle.

use super::constant::broadcast_shapes;
use super::error::{ImportError, Obstacle, Refusal};
use super::faults::{self, Disputed};
use super::importer::{Importer, LARGEST_RANK, Mark, Runtime, Value};
use super::model::{Model, OrderedGraph};
use super::node::NodeView;
use super::registry::{self, OpSpec};
use super::support::{NodeSupport, Support};
use super::{TensorFact, fact, function, tabular};
use crate::outputs::is_final;
use snn_ir::{NodeId, Op, Signal};
use std::collections::HashMap;
use std::rc::Rc;
use tract_onnx::pb::{NodeProto, TensorProto};

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
        let refusal = match plain_operator(node) {
            Some(op) if registry::find(op).is_some() => return None,
            _ => registry::refusal(node),
        };
        let opset = model.opset(&node.domain).unwrap_or(0);
        Some(Obstacle { node: name.clone(), op: qualified(node), opset, shapes: Vec::new(), refusal })
    };
    let obstacles: Vec<Obstacle> = ordered.nodes.iter().filter_map(unknown).collect();
    (!obstacles.is_empty()).then(|| ImportError::Unsupported { path: model.path.clone(), obstacles, heads: Vec::new() })
}

/// Operator type, where it is one of ONNX's own domain or of the few known ones of another.
fn plain_operator(node: &NodeProto) -> Option<&str> {
    let tabular = || tabular::OPS.iter().any(|s| s.name == node.op_type);
    let known = match node.domain.as_str() {
        "" | "ai.onnx" => !tabular(),
        "ai.onnx.ml" => tabular(),
        _ => false,
    };
    known.then_some(node.op_type.as_str())
}

/// Operator type, with its domain in front unless that is ONNX's own.
pub fn qualified(node: &NodeProto) -> String {
    if matches!(node.domain.as_str(), "" | "ai.onnx") { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) }
}

/// Conversion of a graph, node by node.
pub struct Walk<'m> {
    /// The graph under construction.
    pub imp: Importer,
    /// The file.
    pub model: &'m Model,
    /// Its graph.
    pub ordered: &'m OrderedGraph<'m>,
    /// ONNX tensors known so far.
    pub values: HashMap<&'m str, Value>,
    /// Computed tensors of the main graph, in order.
    pub tensors: Vec<TensorFact>,
    /// Nodes where tract is known to be wrong.
    pub disputed: Vec<Disputed>,
    /// What became of each node.
    pub support: Vec<NodeSupport>,
    /// Initializers in view.
    initializers: HashMap<&'m str, &'m TensorProto>,
    depth: usize,
}

/// Operators whose result has the shape of their first operand, and which may be refused.
const SHAPE_KEEPING: [&str; 14] =
    ["Softmax", "LogSoftmax", "Clip", "PRelu", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Neg", "Tanh", "Sigmoid", "Softplus", "Relu"];

/// Branches inside branches at most.
const DEPTH: usize = 16;

/// Why a node has no results: an obstacle of its own, or `None` when an operand has none.
type Hindrance = Option<Box<Obstacle>>;

impl<'m> Walk<'m> {
    /// A walk that has not begun.
    pub fn new(imp: Importer, model: &'m Model, ordered: &'m OrderedGraph<'m>) -> Self {
        Walk {
            imp,
            model,
            ordered,
            values: HashMap::new(),
            tensors: Vec::new(),
            disputed: Vec::new(),
            support: Vec::new(),
            initializers: ordered.initializers.clone(),
            depth: 0,
        }
    }

    /// Converts one node and records what became of it.
    pub fn node(&mut self, node: &'m NodeProto, name: &str) {
        let opset = self.model.opset(&node.domain).unwrap_or(0);
        self.imp.emitted.clear();
        let result = match plain_operator(node) {
            Some("If") => self.choice(node, name, opset),
            _ => self.plain(node, name, opset),
        };
        let values = node.output.iter().filter_map(|o| self.values.get(o.as_str()));
        let support = match result {
            Ok(()) => Support::of(&self.imp, plain_operator(node).and_then(registry::find), values),
            Err(hindrance) => {
                self.stand_in(node, name);
                hindrance.map_or(Support::Unknown, |obstacle| Support::Refused(*obstacle))
            }
        };
        let shape = node.output.iter().find_map(|o| self.values.get(o.as_str())).map(|v| v.shape().to_vec());
        let nodes = std::mem::take(&mut self.imp.emitted);
        self.support.push(NodeSupport { node: name.to_string(), op: qualified(node), opset, shape, support, nodes });
    }

    /// Refuses, at the end of the walk, what only the whole graph shows to be in the way: outputs that the graph does not
    /// have as they are, and softmaxes that something follows.
    pub fn unfinished(&mut self) {
        for &output in &self.ordered.outputs {
            let Some(Value::Runtime(x)) = self.values.get(output) else { continue };
            let refusal = match self.imp.marks.get(&x.node) {
                Some(Mark::Quantized) => Refusal::with_way_out("the output is left quantised", "end the model with DequantizeLinear"),
                Some(Mark::Function(f)) => {
                    let origin = f.origin.clone();
                    self.blame(&origin, None);
                    continue;
                }
                Some(Mark::Integer) | None => continue,
            };
            let made_here = |n: &(&NodeProto, String)| n.0.output.iter().any(|o| o == output);
            if let Some((_, name)) = self.ordered.nodes.iter().find(|n| made_here(n)) {
                refuse(&mut self.support, |n| n.node == *name, &refusal);
            }
        }
        let graph = &self.imp.graph;
        let inside = |id: &NodeId| graph.contains(*id) && matches!(graph.op(*id), Op::Softmax { .. }) && !is_final(graph, *id);
        let refusal = Refusal::with_way_out(
            "a softmax inside the network has no spiking form",
            "replace it, or end the model at the tensor before it",
        );
        refuse(&mut self.support, |n| n.nodes.iter().any(inside), &refusal);
    }

    /// Refuses the node that a scalar function began with, of which `reader` (name and operator), or an output, makes
    /// something that is no activation. The reader is not to blame.
    fn blame(&mut self, origin: &function::Origin, reader: Option<(&str, &str)>) {
        let Some(entry) = self.support.iter_mut().rev().find(|n| n.node == origin.node) else { return };
        if matches!(entry.support, Support::Refused(_)) {
            return;
        }
        let (shapes, refusal) = (entry.shape.iter().cloned().collect(), origin.refusal(reader));
        let obstacle = Obstacle { node: entry.node.clone(), op: entry.op.clone(), opset: entry.opset, shapes, refusal };
        entry.support = Support::Refused(obstacle);
    }

    /// The node that began a scalar function which one of the values is, if one is.
    fn began(&self, values: &[Option<Value>]) -> Option<Rc<function::Origin>> {
        values.iter().flatten().find_map(|v| match v {
            Value::Runtime(x) => match self.imp.marks.get(&x.node) {
                Some(Mark::Function(f)) => Some(f.origin.clone()),
                _ => None,
            },
            Value::Constant(_) => None,
        })
    }

    /// Puts values where a refused node's results belong, if their shape is certain, so that what comes after it is looked
    /// at as well.
    fn stand_in(&mut self, node: &'m NodeProto, name: &str) {
        let inputs: Vec<&Value> = node.input.iter().filter_map(|i| self.values.get(i.as_str())).collect();
        let shape = match node.op_type.as_str() {
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Where" | "Max" | "Min" | "Sum" if inputs.len() == node.input.len() => {
                inputs.iter().try_fold(Vec::new(), |shape, v| broadcast_shapes(&shape, v.shape()).ok())
            }
            op if op.ends_with("Normalization") || registry::find(op).is_some_and(|s| SHAPE_KEEPING.contains(&s.name)) => {
                inputs.first().map(|v| v.shape().to_vec())
            }
            "MatMul" => match inputs[..] {
                [a, b] if a.shape().len() == b.shape().len() && a.shape().len() > 1 => {
                    let rank = a.shape().len();
                    Some([&a.shape()[..rank - 1], &b.shape()[rank - 1..]].concat())
                }
                _ => None,
            },
            _ => None,
        };
        let (Some(shape), Some(output)) = (shape, node.output.first()) else { return };
        let batch = (shape.len() > 1 && shape[0] == 1).then_some(0);
        let op = Op::Input(Signal::Analog, shape[usize::from(batch.is_some())..].to_vec());
        let fresh = self.imp.graph.fresh_name(name);
        if let Ok(node) = self.imp.graph.add(fresh, op, &[]) {
            self.values.insert(output, Runtime { node, shape, batch }.into());
        }
    }

    fn inputs(
        &mut self,
        node: &'m NodeProto,
        obstacle: impl Fn(Vec<Vec<usize>>, Refusal) -> Hindrance,
    ) -> Result<Vec<Option<Value>>, Hindrance> {
        let mut inputs = Vec::new();
        for input in &node.input {
            inputs.push(match input.as_str() {
                "" => None,
                input => match (self.values.get(input), self.initializers.get(input).copied()) {
                    (Some(v), _) => Some(v.clone()),
                    (None, Some(t)) => {
                        let constant = self.imp.read(t).map_err(|r| obstacle(Vec::new(), r))?;
                        self.values.insert(&t.name, constant.clone().into());
                        Some(constant.into())
                    }
                    (None, None) => return Err(None),
                },
            });
        }
        Ok(inputs)
    }

    fn plain(&mut self, node: &'m NodeProto, name: &str, opset: i64) -> Result<(), Hindrance> {
        let obstacle = |shapes: Vec<Vec<usize>>, refusal| {
            Some(Box::new(Obstacle { node: name.to_string(), op: qualified(node), opset, shapes, refusal }))
        };
        let Some(spec) = plain_operator(node).and_then(registry::find) else {
            let shapes = node.input.iter().filter_map(|i| self.values.get(i.as_str())).map(|v| v.shape().to_vec()).collect();
            return Err(obstacle(shapes, registry::refusal(node)));
        };
        let inputs = self.inputs(node, obstacle)?;
        let view = NodeView { proto: node, opset, inputs };
        let shapes = || view.inputs.iter().flatten().map(|v| v.shape().to_vec()).collect();
        let given = view.inputs.len();
        let imp = &mut self.imp;
        let checked = if opset < spec.since {
            Err(format!("supported from opset {}", spec.since).into())
        } else if given < spec.inputs.0 || given > spec.inputs.1 {
            Err(format!("it has {given} inputs").into())
        } else {
            imp.name = name.to_string();
            pay(imp, &view).and_then(|()| lower(imp, &view, spec))
        };
        let results = match checked {
            Ok(results) => results,
            Err(refusal) => {
                return Err(match self.began(&view.inputs) {
                    Some(origin) => {
                        self.blame(&origin, Some((name, &node.op_type)));
                        None
                    }
                    None => obstacle(shapes(), refusal),
                });
            }
        };
        if let (Some(fault), Some(output)) = (faults::find(&view), node.output.first()) {
            self.disputed.push(fault.at(name, &node.op_type, output));
        }
        let imp = &mut self.imp;
        for (i, output) in node.output.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
            let Some(value) = results.get(i) else {
                if self.ordered.is_read(output) {
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
                if self.depth == 0 {
                    self.tensors.push(fact(imp, output, x));
                }
            }
            self.values.insert(output, value.clone());
        }
        Ok(())
    }

    /// [If](https://onnx.ai/onnx/operators/onnx__If.html): the branch that a constant condition chooses takes its place.
    fn choice(&mut self, node: &'m NodeProto, name: &str, opset: i64) -> Result<(), Hindrance> {
        let obstacle =
            |refusal: Refusal| Some(Box::new(Obstacle { node: name.to_string(), op: qualified(node), opset, shapes: Vec::new(), refusal }));
        let inputs = self.inputs(node, |_, refusal| obstacle(refusal))?;
        let condition = match inputs.first() {
            Some(Some(Value::Constant(c))) => c.scalar().ok_or_else(|| obstacle("its condition is not one truth value".into()))?,
            Some(Some(Value::Runtime(_))) => return self.plain(node, name, opset),
            _ => return Err(obstacle("its condition is missing".into())),
        };
        let wanted = if condition != 0.0 { "then_branch" } else { "else_branch" };
        let branch = node.attribute.iter().find(|a| a.name == wanted).and_then(|a| a.g.as_ref());
        let branch = branch.ok_or_else(|| obstacle(format!("its {wanted} is missing").into()))?;
        if self.depth == DEPTH {
            return Err(obstacle("branches are nested too deeply".into()));
        }
        // Names of a branch hide those outside for as long as it is looked at.
        let made = branch.node.iter().flat_map(|n| &n.output).filter(|o| !o.is_empty()).map(String::as_str);
        let inner: Vec<&'m str> = branch.initializer.iter().map(|t| t.name.as_str()).chain(made).collect();
        let hidden: Vec<(&'m str, Option<Value>)> = inner.iter().map(|&n| (n, self.values.remove(n))).collect();
        let hidden_initializers: Vec<(&'m str, Option<&'m TensorProto>)> =
            branch.initializer.iter().map(|t| (t.name.as_str(), self.initializers.insert(&t.name, t))).collect();
        self.depth += 1;
        let before = self.support.len();
        for inner in &branch.node {
            let own = inner.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default();
            self.node(inner, if inner.name.is_empty() { &own } else { &inner.name });
        }
        self.depth -= 1;
        let mut results = Vec::new();
        for info in &branch.output {
            results.push(match (self.values.get(info.name.as_str()), self.initializers.get(info.name.as_str())) {
                (Some(v), _) => Some(v.clone()),
                (None, Some(t)) => Some(self.imp.read(t).map_err(obstacle)?.into()),
                (None, None) => None,
            });
        }
        for (name, tensor) in hidden_initializers.into_iter().rev() {
            self.initializers.remove(name);
            self.initializers.extend(tensor.map(|t| (name, t)));
        }
        for (name, value) in hidden {
            self.values.remove(name);
            self.values.extend(value.map(|v| (name, v)));
        }
        for (i, output) in node.output.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
            let Some(Some(value)) = results.get(i) else {
                let refused = self.support[before..].iter().any(|n| matches!(n.support, Support::Refused(_)));
                return Err(if refused { None } else { obstacle(format!("its {wanted} does not define output {i}").into()) });
            };
            if let (Value::Runtime(x), 0) = (value, self.depth) {
                self.tensors.push(fact(&self.imp, output, x));
            }
            self.values.insert(output, value.clone());
        }
        Ok(())
    }
}

/// Refuses the nodes that `test` picks.
fn refuse(support: &mut [NodeSupport], test: impl Fn(&NodeSupport) -> bool, refusal: &Refusal) {
    for n in support.iter_mut().filter(|n| test(n)) {
        let shapes = n.shape.iter().cloned().collect();
        let obstacle = Obstacle { node: n.node.clone(), op: n.op.clone(), opset: n.opset, shapes, refusal: refusal.clone() };
        n.support = Support::Refused(obstacle);
    }
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
        None if view.all_constant().is_some() && !registry::folds(spec) => return super::evaluate::evaluate(imp, view, spec),
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
