//! What becomes of each node of a model: the answer to "will it convert?", node by node.

use super::error::{ImportError, Obstacle};
use super::importer::{Importer, Value};
use super::registry::{Fidelity, OpSpec};
use super::{ImportOptions, Imported, Model, walk};
use snn_ir::{Activation, NodeId, Op};

/// What becomes of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Support {
    /// The spiking network carries it exactly in the limit of long windows.
    Exact,
    /// Neurons approximate it; how.
    Approximated(&'static str),
    /// Evaluated at import, or dropped.
    Folded,
    /// It cannot be converted.
    Refused(Obstacle),
    /// Not known: a value that it reads is not there.
    Unknown,
}

/// A node of the model and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSupport {
    /// Its name, or its first output's when it has none.
    pub node: String,
    /// Operator type, with its domain in front unless that is ONNX's own.
    pub op: String,
    /// Version of the operator's domain.
    pub opset: i64,
    /// Shape of its first result at batch 1, where it is known.
    pub shape: Option<Vec<usize>>,
    /// What becomes of it.
    pub support: Support,
    /// The nodes of the graph that it became.
    pub nodes: Vec<NodeId>,
}

/// What becomes of every node of a model.
pub struct Survey {
    /// The nodes, operands first; empty when the inputs' shapes are not known.
    pub nodes: Vec<NodeSupport>,
    /// The imported model, or all that cannot be converted.
    pub outcome: Result<Imported, ImportError>,
}

/// Imports a model and says what became of each node.
pub fn survey(model: &Model, options: &ImportOptions) -> Survey {
    let mut nodes = Vec::new();
    let outcome = walk(model, options, &mut nodes);
    Survey { nodes, outcome }
}

/// How an operation of the analog graph is approximated, if it is.
fn approximation(op: &Op) -> Option<&'static str> {
    match op {
        Op::Lrn(_) | Op::RmsNorm(_) => Some("its division by the input's own energy becomes a constant gain, calibrated"),
        Op::Activation(Activation::ThresholdedRelu { .. }) => Some("its jump becomes a steep ramp"),
        Op::Activation(a) if !a.is_piecewise_linear() => {
            Some("a sum of rectifiers fitted to calibrated inputs; --activation-error bounds it")
        }
        _ => None,
    }
}

impl Support {
    /// What became of a node that was converted to the graph's nodes `imp.emitted` and has the given results.
    pub fn of<'v>(imp: &Importer, spec: Option<&OpSpec>, mut results: impl Iterator<Item = &'v Value>) -> Self {
        if results.all(|v| v.as_constant().is_some()) {
            return Support::Folded;
        }
        let of_graph = imp.emitted.iter().filter(|&&id| imp.graph.contains(id)).find_map(|&id| approximation(imp.graph.op(id)));
        match of_graph {
            Some(how) => Support::Approximated(how),
            None if spec.is_some_and(|s| s.name == "QuantizeLinear") => Support::Approximated("its rounding is dropped"),
            None if spec.is_some_and(|s| s.fidelity == Fidelity::Approximated) && !imp.emitted.is_empty() => {
                Support::Approximated("a step of an activation, which a sum of rectifiers approximates")
            }
            None => Support::Exact,
        }
    }
}
