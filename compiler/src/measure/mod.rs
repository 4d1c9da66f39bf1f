//! Numbers about networks: what they answer, how exactly, and what that costs. [`crate::report`] prints them.

pub mod answers;
pub mod certificate;
pub mod energy;
pub mod evaluation;
pub mod fidelity;
pub mod parallel;
pub mod task;
pub mod time;
pub mod window;

pub use evaluation::{Evaluation, EvaluationError, EvaluationRequest, evaluate};
pub use window::EarlyExit;

use snn_runtime::Statistics;

/// Counts summed over runs of one network.
fn total<'a>(runs: impl Iterator<Item = &'a Statistics>) -> Statistics {
    let mut total = Statistics::default();
    runs.for_each(|run| add(&mut total, run));
    total
}

/// Adds the counts of `run`, if there are any, to `total`, which may have none yet.
fn add(total: &mut Statistics, run: &Statistics) {
    if total.layers.is_empty() {
        total.clone_from(run);
        return;
    }
    for (sum, layer) in total.layers.iter_mut().zip(&run.layers) {
        sum.spikes += layer.spikes;
        sum.synops += layer.synops;
    }
}
