//! What can be wrong with a model: one error that lists every obstacle.

use snn_ir::GraphError;
use snn_ir::signal::Dims;
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;

/// Why a model was not imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file, or one that it names, cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no ONNX model.
    #[error("{} is not an ONNX model: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is an ONNX model, but its graph makes no sense.
    #[error("{}: broken model: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An input's shape has to come from the user.
    #[error("input `{input}` has shape [{shape}]: {reason}")]
    InputShape {
        /// Name of the input.
        input: String,
        /// Its shape as the file has it.
        shape: String,
        /// What is missing or wrong, and what to do.
        reason: String,
    },
    /// The model holds nodes that cannot be converted; all of them.
    #[error("{} of {} cannot be converted:{}", count(.obstacles.len()), path.display(), .obstacles.iter().map(|o| format!("\n  {o}")).collect::<String>())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Every obstacle, in graph order.
        obstacles: Vec<Obstacle>,
    },
}

fn count(n: usize) -> String {
    if n == 1 { "1 node".to_string() } else { format!("{n} nodes") }
}

/// A node that stands in the way of conversion.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    /// The node's name, or its first output's when it has none.
    pub node: String,
    /// Operator type, with its domain in front unless that is ONNX's own.
    pub op: String,
    /// Version of the operator's domain that the model asks for.
    pub opset: i64,
    /// ONNX shapes of its inputs at batch 1, as far as they are known.
    pub shapes: Vec<Vec<usize>>,
    /// Why it cannot be converted, and the way out when there is one.
    pub refusal: Refusal,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node `{}` ({}, opset {}", self.node, self.op, self.opset)?;
        if !self.shapes.is_empty() {
            let shapes: Vec<String> = self.shapes.iter().map(|s| format!("[{}]", Dims(s))).collect();
            write!(f, ", inputs {}", shapes.join(" "))?;
        }
        write!(f, "): {}", self.refusal.reason)?;
        match &self.refusal.way_out {
            Some(way_out) => write!(f, "\n      way out: {way_out}"),
            None => Ok(()),
        }
    }
}

/// Why one node is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The reason.
    pub reason: String,
    /// What the user can do about it.
    pub way_out: Option<String>,
}

impl Refusal {
    /// A refusal with something the user can do about it.
    pub fn with_way_out(reason: impl Into<String>, way_out: impl Into<String>) -> Self {
        Refusal { reason: reason.into(), way_out: Some(way_out.into()) }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Refusal { reason, way_out: None }
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        reason.to_string().into()
    }
}

impl From<GraphError> for Refusal {
    fn from(e: GraphError) -> Self {
        match e {
            GraphError::Type { op, source, .. } => format!("as `{op}`: {source}").into(),
            other => other.to_string().into(),
        }
    }
}
