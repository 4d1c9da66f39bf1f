//! What passes say of their work.

use super::quantize::Rounding;
use serde::Serialize;
use snn_ir::Node;

/// What passes have to say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Messages for the user: what was approximated, what calibration would improve.
    pub notes: Vec<String>,
    /// What approximations lose.
    pub approximations: Vec<Approximation>,
    /// What rounding to integers did to every layer, in order; empty before `quantize`.
    pub rounding: Vec<Rounding>,
    /// What became of nodes, in the order in which the pass looked at them; a pipeline keeps them with each pass's record.
    pub outcomes: Vec<NodeOutcome>,
}

/// What a pass made of a node that it looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeOutcome {
    /// The node's name at that time; none where it is of the whole network.
    pub node: Option<String>,
    /// Its operation before the pass; empty where it is of the whole network.
    pub operation: &'static str,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "reason")]
pub enum Outcome {
    /// The pass changed it.
    Changed,
    /// There is nothing that the pass could do here, and why.
    NotApplicable(String),
    /// The pass could have changed it and left it as it was, and why.
    Declined(String),
}

impl NodeOutcome {
    /// Whether the node was changed.
    pub fn is_change(&self) -> bool {
        self.outcome == Outcome::Changed
    }
}

impl Report {
    /// `node` is about to be changed.
    pub fn changed(&mut self, node: &Node) {
        self.add(node, Outcome::Changed);
    }

    /// A node of this name, which may be gone, was changed.
    pub(super) fn changed_by_name(&mut self, name: String, operation: &'static str) {
        self.outcomes.push(NodeOutcome { node: Some(name), operation, outcome: Outcome::Changed });
    }

    /// There is nothing to do at `node`.
    pub fn not_applicable(&mut self, node: &Node, reason: impl Into<String>) {
        self.add(node, Outcome::NotApplicable(reason.into()));
    }

    /// `node` stays as it is.
    pub fn declined(&mut self, node: &Node, reason: impl Into<String>) {
        self.add(node, Outcome::Declined(reason.into()));
    }

    /// The pass has nothing to do in this network.
    pub fn network_not_applicable(&mut self, reason: impl Into<String>) {
        self.outcomes.push(NodeOutcome { node: None, operation: "", outcome: Outcome::NotApplicable(reason.into()) });
    }

    /// The pass leaves the whole network as it is.
    pub fn network_declined(&mut self, reason: impl Into<String>) {
        self.outcomes.push(NodeOutcome { node: None, operation: "", outcome: Outcome::Declined(reason.into()) });
    }

    /// What became of `node`.
    pub fn add(&mut self, node: &Node, outcome: Outcome) {
        self.outcomes.push(NodeOutcome { node: Some(node.name().to_string()), operation: node.op().name(), outcome });
    }

    /// Adds what the next pass says.
    pub(super) fn extend(&mut self, next: Report) {
        self.notes.extend(next.notes);
        self.approximations.extend(next.approximations);
        self.rounding.extend(next.rounding);
    }
}

/// What stands for a node that has no exact spiking form, and what that loses under the calibrated distribution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Approximation {
    /// The node's name, as in the ONNX file.
    pub node: String,
    /// Its operation.
    pub operation: &'static str,
    /// Arguments at which the sum of rectifiers bends; none for what is approximated otherwise.
    pub knots: Vec<f64>,
    /// Root mean square of the difference over that of the node's value.
    pub relative_error: f64,
    /// Largest difference at an argument that was seen, where it is known.
    pub largest_error: Option<f64>,
    /// The bound on the relative error that was asked for, if any.
    pub bound: Option<f64>,
}
