//! What tests and debug builds look at while layers run: guards after every buffer, and masks
//! without channels that nobody has.

use super::Machine;
use crate::engine::plan::memory::GUARD;
use crate::layout::mask_bytes;

/// What guards hold while a layer runs.
const MARK: u8 = 0xa5;

impl Machine<'_> {
    /// Marks what layer `i` may not write.
    pub(super) fn set_guards(&mut self, i: usize) {
        let arena = self.arena.bytes_mut();
        self.program.plan.guards(i).into_iter().for_each(|at| arena[at..at + GUARD].fill(MARK));
    }

    /// Panics if layer `i` wrote what it may not.
    pub(super) fn check_guards(&self, i: usize) {
        let (plan, arena) = (&self.program.plan, self.arena.bytes());
        let whole = plan.guards(i).into_iter().all(|at| arena[at..at + GUARD].iter().all(|&b| b == MARK));
        assert!(whole, "layer {} ({:?}) wrote beyond a buffer", plan.nodes[i].name, plan.layers[i]);
    }

    /// Panics if node `i` sent spikes of channels that it does not have: kernels that list spikes
    /// have no room for them.
    pub(super) fn check_masks(&self, i: usize, steps: usize) {
        let plan = &self.program.plan;
        let (node, Some(buffer)) = (&plan.nodes[i], plan.values[i]) else { return };
        let mask = mask_bytes(node.channels);
        let spikes = if node.is_spikes() { &self.arena.bytes()[buffer.offset..][..buffer.bytes] } else { &[] };
        for pixel in spikes.chunks_exact(plan.chunk * mask) {
            for mask in pixel.chunks_exact(mask).take(steps) {
                let none = (node.channels..8 * mask.len()).all(|c| mask[c / 8] >> (c % 8) & 1 == 0);
                assert!(none, "{} has {} channels, but spikes beyond them", node.name, node.channels);
            }
        }
    }
}
