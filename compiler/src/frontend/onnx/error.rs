//! What can be wrong with a model: one error that lists every obstacle.

use snn_ir::GraphError;
use snn_ir::signal::Dims;
use std::collections::HashMap;
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
    #[error("{} of {} cannot be converted:{}{}", count(.obstacles.len()), path.display(), grouped(.obstacles), end_at(.heads))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Every obstacle, in graph order.
        obstacles: Vec<Obstacle>,
        /// Where all that is refused only decodes the network's answers: the tensors to end the model at.
        heads: Vec<String>,
    },
}

/// The way out of a model whose refused part only decodes what the network answers, as lines of text; nothing without
/// tensors to end it at.
pub fn end_at(heads: &[String]) -> String {
    if heads.is_empty() {
        return String::new();
    }
    let names = heads.iter().map(|h| format!("`{h}`")).collect::<Vec<_>>().join(", ");
    format!(
        "\n  way out: what is refused comes after the last weights and only decodes the answers; end the model at the raw heads, \
         {names} (onnx.utils.extract_model), and decode what the spiking network answers there"
    )
}

/// Names of nodes that a group of obstacles lists.
pub const LISTED: usize = 4;

/// Shapes of inputs that an obstacle lists.
const LISTED_SHAPES: usize = 8;

/// A reason without its numbers, its names (between backticks) and what is in parentheses, which do not tell reasons apart.
pub fn reason_kind(reason: &str) -> String {
    let without_names = reason.split('`').step_by(2).collect::<String>();
    let outside = without_names.split('(').enumerate().map(|(i, part)| match part.split_once(')') {
        Some((_, rest)) if i > 0 => rest,
        _ => part,
    });
    outside.collect::<String>().split(|c: char| c.is_ascii_digit()).collect()
}

/// The obstacles as lines of text, those of one operator and one kind of reason as one of them.
pub fn grouped(obstacles: &[Obstacle]) -> String {
    let kind = |o: &Obstacle| (o.op.clone(), reason_kind(&o.refusal.reason));
    let mut groups: Vec<Vec<&Obstacle>> = Vec::new();
    let mut places = HashMap::new();
    for obstacle in obstacles {
        let place = *places.entry(kind(obstacle)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(obstacle),
            None => groups.push(vec![obstacle]),
        }
    }
    let line = |group: &Vec<&Obstacle>| match group[..] {
        [only] => format!("\n  {only}"),
        _ => {
            let names: Vec<String> = group.iter().take(LISTED).map(|o| format!("`{}`", o.node)).collect();
            let more = if group.len() > LISTED { ", .." } else { "" };
            let first = group[0];
            let way_out = first.refusal.way_out.as_ref().map_or(String::new(), |w| format!("\n      way out: {w}"));
            format!(
                "\n  {} nodes {}{more} ({}, opset {}): {}{way_out}",
                group.len(),
                names.join(", "),
                first.op,
                first.opset,
                first.refusal.reason
            )
        }
    };
    groups.iter().map(line).collect()
}

fn count(n: usize) -> String {
    if n == 1 { "1 node".to_string() } else { format!("{n} nodes") }
}

/// A node that cannot be converted.
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
            let shapes: Vec<String> = self.shapes.iter().take(LISTED_SHAPES).map(|s| format!("[{}]", Dims(s))).collect();
            write!(f, ", inputs {}{}", shapes.join(" "), if self.shapes.len() > LISTED_SHAPES { " .." } else { "" })?;
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        self.way_out.iter().try_for_each(|w| write!(f, "; {w}"))
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
