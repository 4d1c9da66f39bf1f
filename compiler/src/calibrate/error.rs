//! Why calibration stopped.

use snn_ir::{Graph, GraphError, NodeId};
use snn_runtime::CompileError;
use thiserror::Error;

/// Why calibration stopped.
#[derive(Clone, Debug, Error)]
pub enum CalibrationError {
    /// A change would break the graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A node cannot be calibrated.
    #[error("node `{node}` ({op}): {reason}")]
    Node {
        /// Its name, as in the ONNX file.
        node: String,
        /// Its operation.
        op: &'static str,
        /// Why not, and what to do.
        reason: String,
    },
    /// A part of the network cannot be run.
    #[error("running the network on samples failed: {0}")]
    Network(#[from] CompileError),
}

impl CalibrationError {
    /// An error about node `id` of `graph`.
    pub fn node(graph: &Graph, id: NodeId, reason: impl Into<String>) -> Self {
        CalibrationError::Node { node: graph.node(id).name().to_string(), op: graph.op(id).name(), reason: reason.into() }
    }
}
