//! The plan as data, for `snnc inspect --plan`.

use super::layer::{Execution, SynapsePlan};
use super::{Mode, Plan, Work};
use snn_ir::signal::Dims;
use std::fmt;

/// What an engine does with each node of a network, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSummary {
    /// CPU level, and what holds for all nodes.
    pub overview: String,
    /// The nodes, in the order they run.
    pub nodes: Vec<PlannedNode>,
}

/// What an engine does with one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedNode {
    /// Its name.
    pub name: String,
    /// Shape of its value.
    pub shape: String,
    /// Bytes of its value.
    pub bytes: usize,
    /// How it is computed: kernels with the reason for them.
    pub how: String,
}

impl fmt::Display for PlanSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.overview)?;
        self.nodes.iter().try_for_each(|n| writeln!(f, "{:<28} {:>12} {:>9} bytes  {}", n.name, n.shape, n.bytes, n.how))
    }
}

impl Plan {
    /// The plan as data.
    pub fn summary(&self) -> PlanSummary {
        let overview = format!(
            "cpu {}, {} steps at a time, state {} bytes, buffers {} bytes",
            self.kernels.cpu,
            self.chunk,
            self.persistent,
            self.arena - self.persistent
        );
        let node = |i: usize| PlannedNode {
            name: self.nodes[i].name.clone(),
            shape: Dims(&self.nodes[i].ty.shape).to_string(),
            bytes: self.values[i].map_or(0, |v| v.bytes),
            how: self.how(i),
        };
        PlanSummary { overview, nodes: (0..self.nodes.len()).map(node).collect() }
    }

    fn how(&self, i: usize) -> String {
        match (&self.nodes[i].work, self.nodes[i].mode) {
            (Work::Prefix, _) => "f32, once a window".into(),
            (_, Mode::Constant) => "integers, once a window".into(),
            (_, Mode::Unused) => "part of the next move".into(),
            (_, Mode::Summed) => "on sums, once an advance".into(),
            (Work::Layer(_), _) => {
                let Some(layer) = &self.layers[i] else { return String::new() };
                let synapse = |s: &SynapsePlan| format!("{} ({})", s.family, s.why);
                let synapses = layer.synapses.iter().map(synapse).collect::<Vec<_>>().join(" + ");
                match &layer.execution {
                    _ if synapses.is_empty() => "neurons on a constant current".into(),
                    Execution::Rows(_) => format!("{synapses}, a row of neurons at a time"),
                    Execution::Pixels(_) | Execution::Table(_) => synapses,
                }
            }
            (Work::Structural(_), _) => "moves elements".into(),
            (Work::Requantize(_), _) => "takes bits off".into(),
            _ => "running maxima".into(),
        }
    }
}
