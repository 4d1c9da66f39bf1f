//! How a network runs on this CPU.

use super::table::{Align, table};
use serde::Serialize;
use snn_runtime::Network;

/// What the engine does with each node, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanReport {
    /// CPU level, and what holds for all nodes.
    pub overview: String,
    /// The nodes, in the order they run; none for the reference engine, which does what the graph says.
    pub nodes: Vec<NodePlan>,
}

/// What the engine does with one node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodePlan {
    /// Its name.
    pub name: String,
    /// Shape of its value.
    pub shape: String,
    /// Bytes of its value.
    pub bytes: usize,
    /// How it is computed: kernels with the reason for them.
    pub how: String,
}

impl PlanReport {
    /// The plan of `network`.
    pub fn new(network: &Network) -> Self {
        let Some(plan) = network.plan() else {
            return PlanReport { overview: "the reference engine does what the graph says, node by node".into(), nodes: Vec::new() };
        };
        let node = |n: snn_runtime::PlannedNode| NodePlan { name: n.name, shape: n.shape, bytes: n.bytes, how: n.how };
        PlanReport { overview: plan.overview, nodes: plan.nodes.into_iter().map(node).collect() }
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        if self.nodes.is_empty() {
            return format!("{}\n", self.overview);
        }
        let columns = [("node", Align::Left), ("shape", Align::Right), ("bytes", Align::Right), ("how", Align::Left)];
        let row = |n: &NodePlan| vec![n.name.clone(), n.shape.clone(), n.bytes.to_string(), n.how.clone()];
        format!("{}\n\n{}", self.overview, table(&columns, &self.nodes.iter().map(row).collect::<Vec<_>>()))
    }
}
