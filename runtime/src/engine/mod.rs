//! What an engine is: a network made ready to run, and its state on one sample.
//!
//! [`plan`] decides what runs when, with which kernel, in which memory. There are three engines
//! that follow it: [`bits`] (neurons that send a bit a step, as machine code), [`windows`] (neurons
//! that wait for their window, on counts) and [`steps`] (neurons that send several quanta a step,
//! as bytes). The last two share [`bytes`], and all of them [`sums`].

pub(crate) mod bits;
pub(crate) mod bytes;
pub(crate) mod plan;
mod steps;
pub(crate) mod sums;
mod windows;

use crate::engine::plan::PlanSummary;
use crate::error::RunError;
use crate::spikes::statistics::Statistics;
use snn_ir::Graph;

/// A network made ready to run, shared by its sessions.
pub(crate) trait Engine: Send + Sync {
    /// The state of a new session.
    fn machine(&self) -> Box<dyn Machine + '_>;

    /// What is done with each node and why; `None` where that is what the graph says.
    fn plan(&self) -> Option<PlanSummary>;

    /// Longest window whose integers are proven to fit.
    fn max_steps(&self) -> u32;

    /// Bytes that a window of so many steps needs beside what the network needs.
    fn window_memory(&self, _steps: u32) -> u64 {
        0
    }
}

/// The state of a network on one sample. [`crate::Session`] checks what it asks for.
pub(crate) trait Machine: Send + Sync {
    /// Starts a new window with these inputs, one slice for each, as long as its type says.
    fn start(&mut self, inputs: &[&[f32]]);

    /// Runs `steps` more steps of the window, at least one, and all of them where neurons wait for
    /// the window.
    fn advance(&mut self, steps: u32);

    /// Runs steps without input after a window of `window` steps, until nothing is sent any more,
    /// `most` at most. Returns those in which something was sent.
    ///
    /// # Errors
    /// When the network is not at rest before potentials might leave 32 bits.
    fn settle(&mut self, window: u32, most: u32) -> Result<u32, RunError>;

    /// Per output: what was accumulated in a window of `steps` steps so far, at least one, as
    /// potentials.
    fn potentials(&self, steps: u32) -> Vec<Vec<f32>>;

    /// Spikes and synaptic operations so far.
    fn statistics(&self) -> &Statistics;

    /// Net counts of population `layer`, row-major; `None` where there is none, or they are not
    /// kept.
    fn spike_counts(&self, layer: usize) -> Option<Vec<i64>>;

    /// Potentials of population `layer`, row-major; `None` where there is none, or they are not
    /// kept.
    fn membranes(&self, layer: usize) -> Option<Vec<f64>>;
}

/// Whether all neurons retract, so that the network comes to rest at counts that depend on the sum
/// of its input alone.
pub(crate) fn settles(graph: &Graph) -> bool {
    graph.ids().filter_map(|id| graph.op(id).neuron()).all(|n| n.firing.may_retract())
}
