//! Parts of a spiking graph without memory, as analog networks.

use super::CalibrationError;
use snn_ir::{Graph, NodeId, Op, Signal};
use snn_runtime::analog::AnalogNetwork;
use std::collections::{HashMap, HashSet};

/// A part of the graph without memory, from the populations it reads to one node, as an analog network.
pub struct Region {
    network: AnalogNetwork,
    /// What it reads: inputs, populations, cumulative maxima, encoders.
    pub sources: Vec<NodeId>,
    /// The nodes in it, sources left out.
    pub nodes: Vec<NodeId>,
}

/// Whether a node's value in one step depends on other steps or on no other node, or is rounded.
pub fn has_memory(op: &Op) -> bool {
    matches!(op, Op::Input(..) | Op::If(_) | Op::CumulativeMaxPool(_) | Op::CumulativeMax | Op::Encode { .. })
}

impl Region {
    /// The part before and with `root`.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn before(graph: &Graph, root: NodeId) -> Result<Region, CalibrationError> {
        // The nodes of the part alone, operands first: to sort the whole graph for every population takes quadratic time.
        let mut order = Vec::new();
        let mut seen: HashSet<NodeId> = HashSet::new();
        let mut open = vec![(root, false)];
        while let Some((id, has_operands)) = open.pop() {
            if has_operands {
                order.push(id);
            } else if seen.insert(id) {
                open.push((id, true));
                if !has_memory(graph.op(id)) {
                    open.extend(graph.operands(id).into_iter().rev().map(|o| (o, false)));
                }
            }
        }
        let mut part = Graph::new("region");
        let mut copies: HashMap<NodeId, NodeId> = HashMap::new();
        let (mut sources, mut nodes) = (Vec::new(), Vec::new());
        for id in order {
            let (op, operands) = match graph.op(id) {
                op if has_memory(op) => {
                    sources.push(id);
                    (Op::Input(Signal::Analog, graph.ty(id).shape.clone()), Vec::new())
                }
                op => {
                    nodes.push(id);
                    let op = if let Op::Constant(_, value) = op { Op::Constant(Signal::Analog, value.clone()) } else { op.clone() };
                    (op, graph.operands(id).iter().map(|o| copies[o]).collect())
                }
            };
            copies.insert(id, part.add(graph.node(id).name(), op, &operands)?);
        }
        part.set_outputs([copies[&root]]);
        let network = AnalogNetwork::new(&part)?;
        Ok(Region { network, sources, nodes })
    }

    /// Its value, given those of its sources.
    pub fn run(&self, inputs: &[&[f32]]) -> Vec<f32> {
        self.network.run(inputs, &mut |_, _| {}).swap_remove(0)
    }
}
