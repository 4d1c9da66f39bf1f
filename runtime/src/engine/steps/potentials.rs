//! What populations keep from step to step.

use crate::engine::bytes::{Fast, Program};
use crate::engine::plan::Work;
use crate::engine::plan::node::PlanNode;
use crate::engine::sums::constant_current;
use crate::layout::lanes;

/// The state of a population, in rows of lanes.
pub struct Potentials {
    pub potentials: Vec<i32>,
    /// Quanta sent in all.
    pub sent: Vec<i32>,
    /// The current that does not depend on spikes, where it differs from pixel to pixel.
    pub steady: Vec<i32>,
    /// By block: whether it is at rest while its input is silent.
    pub resting: Vec<bool>,
}

impl Potentials {
    /// The state at the start of a window of the neurons of `node`, which run as `fast` says.
    pub fn new(node: &PlanNode, fast: Option<&Fast>) -> Self {
        let elements = node.pixels * lanes(node.channels);
        let blocks = if let Some(Fast::Layer(layer)) = fast { layer.blocks().count() } else { 0 };
        let mut state =
            Potentials { potentials: vec![0; elements], sent: vec![0; elements], steady: Vec::new(), resting: vec![false; blocks] };
        state.start(node);
        state
    }

    /// Starts a new window.
    pub fn start(&mut self, node: &PlanNode) {
        self.sent.fill(0);
        self.resting.fill(false);
        let Some(neuron) = node.neuron() else { return };
        let rows = self.potentials.chunks_exact_mut(lanes(node.channels));
        rows.zip(neuron.initial.values().chunks_exact(node.channels).cycle()).for_each(|(to, v)| to[..node.channels].copy_from_slice(v));
    }
}

/// The current of layer `i` that does not depend on spikes, in rows of lanes.
pub fn constant_rows(program: &Program, i: usize, constants: &[Vec<i32>]) -> Vec<i32> {
    let (nodes, channels) = (&program.nodes, program.nodes[i].channels);
    let Work::Layer(work) = &nodes[i].work else { return Vec::new() };
    let padding = std::iter::repeat_n(0, lanes(channels) - channels);
    let current = constant_current(work, &nodes[i], constants, nodes);
    current.chunks_exact(channels).flat_map(|row| row.iter().copied().chain(padding.clone())).collect()
}

/// Rows of lanes as elements.
pub fn out_of_rows(rows: &[i32], channels: usize) -> Vec<i64> {
    rows.chunks_exact(lanes(channels)).flat_map(|row| &row[..channels]).map(|&x| i64::from(x)).collect()
}
