//! What passes are told, and what they tell each other.

use crate::calibrate::matched::Matched;
use crate::calibrate::moments::Moments;
use crate::calibrate::rounding::WeightRange;
use crate::calibrate::synthetic::Assumed;
use crate::data::Samples;
use crate::progress::{Progress, SILENT};
use crate::targets;
use snn_ir::{Graph, NodeId, Target};
use std::collections::HashMap;

/// What a network is converted for. No pass changes it.
#[derive(Clone)]
pub struct Request<'a> {
    /// Window length T.
    pub timesteps: u32,
    /// Sample inputs of the ANN; without them passes fall back on what the network itself tells.
    pub samples: Option<&'a Samples>,
    /// What is assumed of inputs without samples.
    pub assumed: Assumed,
    /// What the network is for, and what that allows.
    pub target: Target,
    /// What `quantize` will round weights before neurons to; none where they stay floats.
    pub weight_range: Option<WeightRange>,
    /// Told how far long work has come.
    pub progress: Progress<'a>,
}

impl Request<'_> {
    /// For windows of `timesteps` steps on this computer, without samples or listeners; weights stay floats.
    pub fn new(timesteps: u32) -> Request<'static> {
        let target = targets::default_target();
        Request { timesteps, samples: None, assumed: Assumed::default(), target, weight_range: None, progress: SILENT }
    }
}

/// What passes have found out, for those after them. Node ids are never used twice, so what is known of a node that is gone
/// is known of no other.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Per-channel mean and variance of pre-activations as the network's batch-norms state them, by the node that
    /// carries them after `fold-batch-norm`.
    pub moments: HashMap<NodeId, Moments>,
    /// Without samples: synthetic inputs matched to batch-norm statistics, as `balance-thresholds` made them.
    pub matched: Option<Matched>,
    /// The ANN as `replace-relu` found it. Its rectifiers are the nodes that are neurons now.
    pub ann: Option<Graph>,
}
