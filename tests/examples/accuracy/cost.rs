//! Operations of the ANN, to set synaptic operations against.

use snn_ir::{Graph, NodeId, Op};
use snnc::frontend::onnx::{ImportOptions, import};
use std::collections::HashSet;
use std::path::Path;

/// Multiplications of one inference.
pub struct Macs {
    /// All.
    pub all: u64,
    /// Of them those before the first activation, which the spiking network computes once a window, too (and the max-pools among
    /// them).
    pub prefix: u64,
}

/// Counts the multiplications with weights of convolutions and matrix products in the network of `model`.
pub fn macs(model: &Path) -> Result<Macs, String> {
    let graph = import(model, &ImportOptions::default()).map_err(|e| e.to_string())?.graph;
    let mut after: HashSet<NodeId> = HashSet::new();
    let mut macs = Macs { all: 0, prefix: 0 };
    for id in graph.topological().map_err(|e| e.to_string())? {
        let nonlinear = matches!(graph.op(id), Op::Relu(_) | Op::Activation(_) | Op::Maximum);
        if nonlinear || graph.operands(id).iter().any(|o| after.contains(o)) {
            after.insert(id);
        }
        let own = of(&graph, id);
        macs.all += own;
        macs.prefix += if after.contains(&id) { 0 } else { own };
    }
    Ok(macs)
}

fn of(graph: &Graph, id: NodeId) -> u64 {
    let (len, input) = (|id| graph.ty(id).len() as u64, |id| graph.operands(id)[0]);
    let per_row = |weight: &snn_ir::Tensor| weight.shape()[1..].iter().product::<usize>() as u64;
    match graph.op(id) {
        Op::Conv(c) => len(id) * per_row(&c.weight),
        Op::ConvTranspose(c) => len(input(id)) * per_row(&c.weight),
        Op::Linear(l) => len(id) * per_row(&l.weight),
        _ => 0,
    }
}
