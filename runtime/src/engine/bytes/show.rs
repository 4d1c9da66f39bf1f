//! The plan as data, for `snnc inspect --plan`.

use super::{Fast, NARROW, Program};
use crate::engine::plan::{Domain, Mode, PlanSummary, PlannedNode, Work};
use snn_ir::signal::Dims;

impl Program {
    /// What is done with each node.
    pub(crate) fn summary(&self) -> PlanSummary {
        let node = |i: usize| {
            let node = &self.nodes[i];
            let how = match (&node.work, node.mode) {
                (Work::Prefix, _) => "f32, once a window",
                (_, Mode::Constant) => "integers, once a window",
                (_, Mode::Unused) => "part of the next move",
                (_, Mode::Summed) if self.domain == Domain::Steps => "on sums, when asked for",
                _ => match &self.fast[i] {
                    Some(Fast::Layer(layer)) => layer.how(),
                    Some(Fast::Maxima(_)) => "maxima of counts, as bytes",
                    Some(Fast::Copies(_)) => "moves bytes",
                    None => "in 64 bits (no kernel on bytes)",
                },
            };
            let bytes = self.layouts[i].as_ref().map_or(0, |l| l.bytes());
            PlannedNode { name: node.name.clone(), shape: Dims(&node.ty.shape).to_string(), bytes, how: how.into() }
        };
        let bytes: usize = self.layouts.iter().flatten().map(|l| l.bytes()).sum();
        let overview = match self.domain {
            Domain::Windows => format!(
                "cpu {}, all neurons are two-phase: the whole window at once, on counts (of a byte, {bytes} in all, up to T = {})",
                self.kernels.cpu,
                NARROW.min(self.max_steps)
            ),
            _ => format!("cpu {}, neurons send bytes ({bytes} a step in all), step by step", self.kernels.cpu),
        };
        PlanSummary { overview, nodes: (0..self.nodes.len()).map(node).collect() }
    }
}
