//! What is reported about networks and runs: measured here, printed as tables for people and JSON for programs.

pub mod answers;
pub mod bench;
pub mod certificate;
pub mod compilation;
pub mod costs;
pub mod evaluation;
pub mod fidelity;
pub mod frontier;
pub mod network;
pub mod onnx;
mod parallel;
pub mod plan;
pub mod support;
mod table;
pub mod task;
pub(crate) mod window;

pub use bench::{Bench, BenchError, BenchRequest, bench};
pub use evaluation::{Evaluation, EvaluationError, EvaluationRequest, evaluate};
pub use parallel::for_each_sample;
pub use table::{Align, list, table};
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
