//! A compiled network with one node per operation again, its integers as floats.
//!
//! Every value keeps its unit: what the compiled network computes in integers comes out as the same whole numbers, as far as an
//! `f32` holds them.

use snn_ir::op::{Layer, Scale};
use snn_ir::{Graph, GraphError, NodeId, Op};
use std::collections::HashMap;

/// `graph` without fused layers and without integer parameters; populations keep their names.
///
/// # Errors
/// When the graph cannot be walked.
pub fn unfused(graph: &Graph) -> Result<Graph, GraphError> {
    let mut out = Graph::new(graph.name.clone());
    let mut copies: HashMap<NodeId, NodeId> = HashMap::new();
    for id in graph.topological()? {
        let operands: Vec<NodeId> = graph.operands(id).iter().map(|o| copies[o]).collect();
        let name = graph.node(id).name();
        let copy = match graph.op(id) {
            Op::Layer(layer) => add_layer(&mut out, name, layer, &operands)?,
            op => out.add(name, op.in_floats(), &operands)?,
        };
        copies.insert(id, copy);
    }
    out.set_outputs(graph.outputs().iter().map(|o| copies[o]).collect::<Vec<_>>());
    out.timesteps = graph.timesteps;
    Ok(out)
}

fn add_layer(out: &mut Graph, name: &str, layer: &Layer, operands: &[NodeId]) -> Result<NodeId, GraphError> {
    let mut terms = Vec::with_capacity(operands.len());
    for (synapse, &operand) in layer.synapses.iter().zip(operands) {
        let op = match synapse {
            Op::Identity => Op::Scale(Scale { weight: None, bias: None }),
            synapse => synapse.in_floats(),
        };
        let fresh = out.fresh_name(&format!("{name}.synapse"));
        terms.push(out.add(fresh, op, &[operand])?);
    }
    let mut current = match terms[..] {
        [one] => one,
        _ => {
            let fresh = out.fresh_name(&format!("{name}.sum"));
            out.add(fresh, Op::Add, &terms)?
        }
    };
    if let Some(bias) = &layer.bias {
        let fresh = out.fresh_name(&format!("{name}.bias"));
        current = out.add(fresh, Op::Scale(Scale { weight: None, bias: Some(bias.to_floats()) }), &[current])?;
    }
    match &layer.neuron {
        Some(neuron) => out.add(name, Op::If(neuron.clone()).in_floats(), &[current]),
        None => Ok(current),
    }
}
