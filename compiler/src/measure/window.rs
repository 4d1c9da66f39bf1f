//! One window of one sample, to its end, and how many windows an answer takes.

use super::task::top1;
use snn_ir::Graph;
use snn_ir::neuron::Timing;
use snn_runtime::{Network, RunError, Session};
use std::collections::HashMap;

/// Steps between two looks at the potentials: fewer make layers run in shorter chunks, which costs more than it saves.
const EXIT_EVERY: u32 = 4;

/// When a sample's window ends early.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyExit {
    /// Lead of the best class over the next that is enough, as potential (mean current per step, the unit of the ANN's logits).
    pub margin: f32,
    /// The output with the classes.
    pub output: usize,
}

/// Runs a started session up to step `timesteps` of its window, and lets a network of ternary neurons settle. Returns the
/// steps in which it settled, after those of the window. With an early exit the window ends, at every fourth step, as
/// soon as the best class leads the next one by its margin.
///
/// # Errors
/// As [`Session::advance`].
pub fn run_window(network: &Network, session: &mut Session<'_>, timesteps: u32, early_exit: Option<EarlyExit>) -> Result<u32, RunError> {
    if let Some(EarlyExit { margin, output }) = early_exit {
        while session.steps() < timesteps && (session.steps() == 0 || lead(&session.potentials()[output]) < margin) {
            session.advance(EXIT_EVERY.min(timesteps - session.steps()))?;
        }
    } else {
        session.advance(timesteps - session.steps())?;
    }
    if !network.settles() {
        return Ok(0);
    }
    // Once the layers before it are silent, a layer is after T steps.
    let layers = u32::try_from(session.statistics().layers.len()).unwrap_or(u32::MAX);
    session.settle(timesteps.saturating_mul(layers).saturating_add(1))
}

/// How far the best class is before the next one; nothing is before a single class.
fn lead(potentials: &[f32]) -> f32 {
    let best = top1(potentials);
    let others = potentials.iter().enumerate().filter(|(i, _)| *i != best).map(|(_, &p)| p);
    potentials[best] - others.fold(f32::NEG_INFINITY, f32::max)
}

/// Most window barriers on a way through the network: each delays the answer by a whole window.
pub fn barriers(graph: &Graph) -> u32 {
    let mut depth: HashMap<_, u32> = HashMap::new();
    for id in graph.topological().unwrap_or_default() {
        let waits = graph.op(id).neuron().is_some_and(|n| n.firing.timing() == Timing::WholeWindow);
        let before = graph.operands(id).iter().filter_map(|o| depth.get(o)).max().copied().unwrap_or(0);
        depth.insert(id, before + u32::from(waits));
    }
    graph.outputs().iter().filter_map(|o| depth.get(o)).max().copied().unwrap_or(0)
}
