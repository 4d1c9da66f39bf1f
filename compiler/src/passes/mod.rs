//! Passes: what turns one graph into another, one file each, named as on the command line.
//!
//! A pass is a type with options (what its YAML says) and a [`Pass::run`] that rewrites the graph in place. What it is told
//! is in the [`Request`]; what passes find out for those after them is in the [`Facts`]; what a pass made of each node, and
//! why not more, it says in the [`Report`]. The [`pipeline`] runs a list of them and verifies the graph after each; the
//! [`order`] of the list is checked before.

mod registry;
mod report;
mod request;

pub mod approximate_activations;
pub mod approximate_normalisation;
pub mod balance_thresholds;
pub mod calibrate_layers;
pub mod canonicalize;
pub mod compose_linear;
pub mod correct_bias;
pub mod correct_bias_over_time;
pub mod correct_potential;
pub mod delay_readout;
pub mod fold_batch_norm;
pub mod fuse_layers;
pub mod lower_max_pool;
pub mod measure_rates;
pub mod normalize;
pub mod order;
pub mod pipeline;
mod populations;
pub mod quantize;
pub mod replace_relu;
pub mod shift_membrane;
pub mod split_joined_inputs;
#[cfg(test)]
mod testing;

pub use order::{Condition, OrderError};
pub use registry::{AnyPass, OptionError, PassSpec, find, from_yaml, parse_list, registry, weight_range};
pub use report::{Approximation, NodeOutcome, Outcome, Report};
pub use request::{Facts, Request};

use crate::calibrate::CalibrationError;
use snn_ir::{Graph, GraphError};
use snn_runtime::{CompileError, RunError};
use thiserror::Error;

/// A rewrite of the graph.
pub trait Pass {
    /// Stable kebab-case name, used on the command line, in recipes and in dumps.
    fn name(&self) -> &'static str;

    /// Rewrites `graph`, and reports what became of every node that it looked at; with no change reported it must leave the
    /// graph untouched.
    ///
    /// # Errors
    /// When the graph cannot be brought into the form the pass promises.
    fn run(&self, graph: &mut Graph, request: &Request<'_>, facts: &mut Facts, report: &mut Report) -> Result<(), PassError>;

    /// What must hold of the network before the pass.
    fn requires(&self) -> &'static [Condition] {
        &[]
    }

    /// What holds of the network after the pass.
    fn provides(&self) -> &'static [Condition] {
        &[]
    }

    /// What must not hold yet: the pass would find nothing to do, or undo it.
    fn precedes(&self) -> &'static [Condition] {
        &[]
    }

    /// Whether the network computes the same, up to rounding, after the pass as before it; `--check` holds it to that.
    fn keeps_outputs(&self) -> bool {
        false
    }

    /// How far the pass may move the outputs, if it keeps them nearly: root mean square of the difference over
    /// that of the outputs. `--check` holds it to that, too.
    fn may_move_outputs(&self) -> Option<f64> {
        None
    }
}

/// Why a pass could not do its work.
#[derive(Debug, Error)]
pub enum PassError {
    /// A rewrite would break the graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A node cannot be converted.
    #[error("node `{node}` ({op}): {reason}")]
    Node {
        /// Its name, as in the ONNX file.
        node: String,
        /// Its operation.
        op: &'static str,
        /// Why not, and what to do.
        reason: String,
    },
    /// Calibration failed.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// The network cannot be made ready to run on samples.
    #[error("running the network on samples failed: {0}")]
    Network(#[from] CompileError),
    /// A sample cannot be run.
    #[error("running the network on samples failed: {0}")]
    Run(#[from] RunError),
    /// The pass needs something that is not there.
    #[error("{0}")]
    Missing(String),
}

impl PassError {
    /// An error about node `id` of `graph`.
    pub fn node(graph: &Graph, id: snn_ir::NodeId, reason: impl Into<String>) -> Self {
        PassError::Node { node: graph.node(id).name().to_string(), op: graph.op(id).name(), reason: reason.into() }
    }
}
