//! Passes: what turns one graph into another, one file each, named as on the command line.
//!
//! A pass is a type with options (what its YAML says) and a [`Pass::run`] that rewrites the graph in place. The
//! [`pipeline`] runs a list of them, verifies the graph after each, times it, and prints it where asked. What a pass
//! needs besides the graph (the window length, calibration samples) is in its [`Context`].

mod registry;

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
pub mod pipeline;
pub mod quantize;
pub mod replace_relu;
pub mod shift_membrane;
pub mod split_joined_inputs;

pub use registry::{OptionError, PassSpec, find, from_yaml, parse_list, registry};

use self::quantize::WeightRange;
use crate::calibrate::{Calibration, matched::Matched, moments::Moments, synthetic::Assumed};
use serde::Serialize;
use snn_ir::{Graph, GraphError};
use std::collections::HashMap;
use thiserror::Error;

/// What passes may consult besides the graph.
pub struct Context<'a> {
    /// Window length T the network is converted for.
    pub timesteps: u32,
    /// Sample inputs of the ANN; without them passes fall back on what the network itself tells.
    pub calibration: Option<&'a Calibration>,
    /// What is assumed of inputs without calibration data.
    pub assumed: Assumed,
    /// Per-channel mean and variance of pre-activations as the network's batch-norms state them, by the name of the
    /// node that carries them after `fold-batch-norm`.
    pub batch_norm_moments: HashMap<String, Moments>,
    /// What approximations lose.
    pub approximations: Vec<Approximation>,
    /// Without calibration data: synthetic inputs matched to batch-norm statistics, once `balance-thresholds` made them.
    pub matched: Option<Matched>,
    /// What rounding to integers did to every layer, in order; empty before `quantize`.
    pub rounding: Vec<quantize::Rounding>,
    /// Messages for the user: what was approximated, what calibration would improve.
    pub notes: Vec<String>,
    /// Told how far long work has come: what, done, total.
    pub progress: &'a (dyn Fn(&str, usize, usize) + Sync),
    /// What `quantize` will round weights in front of neurons to; none where they stay floats.
    pub weight_range: Option<WeightRange>,
    /// The analog network as `balance-thresholds` saw it, which later passes compare the spiking one with.
    pub analog: Option<Graph>,
}

impl Context<'_> {
    /// A context without calibration data or listeners.
    pub fn new(timesteps: u32) -> Context<'static> {
        Context {
            timesteps,
            calibration: None,
            assumed: Assumed::default(),
            batch_norm_moments: HashMap::new(),
            matched: None,
            approximations: Vec::new(),
            rounding: Vec::new(),
            notes: Vec::new(),
            progress: &|_, _, _| {},
            weight_range: None,
            analog: None,
        }
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

/// A rewrite of the graph.
pub trait Pass {
    /// Stable kebab-case name, used on the command line, in recipes and in dumps.
    fn name(&self) -> &'static str;

    /// Rewrites `graph` and says how many places changed; zero must leave it untouched.
    ///
    /// # Errors
    /// When the graph cannot be brought into the form the pass promises.
    fn run(&self, graph: &mut Graph, context: &mut Context<'_>) -> Result<usize, PassError>;

    /// Whether the network computes the same, up to rounding, after the pass as before it; `--check` holds it to that.
    fn keeps_outputs(&self) -> bool {
        false
    }

    /// How far the pass may move the outputs, if it keeps them nearly: root mean square of the difference over
    /// that of the outputs. `--check` holds it to that, too.
    fn may_move_outputs(&self) -> Option<f64> {
        None
    }

    /// The integers that the pass rounds weights in front of neurons to, if it does.
    fn weight_range(&self) -> Option<WeightRange> {
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
    /// Running the network on samples failed.
    #[error("running the network on samples failed: {0}")]
    Run(String),
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
