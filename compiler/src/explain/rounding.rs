//! How far integer weights are from the real ones that they stand for, told from the integers alone.
//!
//! A weight rounded to a whole number is off by something evenly distributed over one, with variance 1/12.
//! Over a layer of `n` weights `w` that is `n / (12 Σ w²)` of its squared current, where inputs are alike.
//! Weights that use a byte lose a part in ten thousand; weights of -1, 0 and 1 lose a tenth or more.

use snn_ir::op::Layer;
use snn_ir::{Graph, GraphError, NodeId, Op, Tensor};
use std::collections::HashMap;

/// Variance of what rounding to a whole number takes off.
const VARIANCE: f64 = 1.0 / 12.0;

/// Per population, by name: the squared error of its current from rounding, relative to the squared
/// current, with that of the layers without neurons before it.
///
/// # Errors
/// When the graph cannot be walked.
pub fn of_populations(network: &Graph) -> Result<HashMap<String, f64>, GraphError> {
    let mut before: HashMap<NodeId, f64> = HashMap::new();
    let mut found = HashMap::new();
    for id in network.topological()? {
        let inherited = network.operands(id).iter().map(|o| before[o]).fold(0.0, f64::max);
        let passed_on = match network.op(id) {
            Op::Layer(layer) => {
                let own = inherited + of_layer(layer);
                if layer.neuron.is_some() {
                    found.insert(network.node(id).name().to_string(), own);
                    0.0
                } else {
                    own
                }
            }
            _ => inherited,
        };
        before.insert(id, passed_on);
    }
    Ok(found)
}

fn of_layer(layer: &Layer) -> f64 {
    let weights: Vec<&Tensor> = layer.synapses.iter().filter_map(matrix).filter(|w| w.is_integer()).collect();
    let squares: f64 = weights.iter().flat_map(|w| w.values()).map(|v| v * v).sum();
    let count: usize = weights.iter().map(|w| w.len()).sum();
    match count {
        0 => 0.0,
        // Nothing is left of weights that are all zero.
        _ => (VARIANCE * count as f64 / squares.max(f64::MIN_POSITIVE)).min(1.0),
    }
}

fn matrix(synapse: &Op) -> Option<&Tensor> {
    match synapse {
        Op::Conv(c) => Some(&c.weight),
        Op::ConvTranspose(c) => Some(&c.weight),
        Op::Linear(l) => Some(&l.weight),
        _ => None,
    }
}
