//! Where to end a model whose refused part only decodes what the network answers.
//!
//! Detectors come with their decoder: boxes by exponentials and sigmoids, the best of them by non-maximum suppression. None
//! of that has weights, and all of it comes last. Then the model can end at the raw heads, the results of the last weights,
//! and what is left of it runs on what the spiking network answers.

use super::convert::Walk;
use super::importer::Value;
use super::registry::is_decision;
use super::support::{NodeSupport, Support};
use std::collections::{BTreeSet, HashMap, HashSet};
use tract_onnx::pb::NodeProto;

/// Most elements of a constant that is no weight: the 16 bins that a distribution over distances is summed with (DFL).
const FEW: usize = 64;

/// What decoders do with what a network answers, besides decisions.
const DECODING: [&str; 18] = [
    "Exp",
    "Log",
    "Pow",
    "Sqrt",
    "Mul",
    "Div",
    "Softmax",
    "Where",
    "NonZero",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "GatherND",
    "GatherElements",
    "ScatterND",
    "ScatterElements",
    "Mod",
];

/// The tensors to end the model at, in graph order; none where weights come after what is refused, or it is no decoding.
pub fn raw_heads(walk: &Walk<'_>) -> Vec<String> {
    let is_decoding = |op: &str| is_decision(op) || DECODING.contains(&op);
    let op = |n: &NodeSupport| n.op.rsplit('.').next().is_some_and(is_decoding);
    match walk.support.iter().any(|n| matches!(n.support, Support::Refused(_)) && op(n)) {
        true => find(walk).unwrap_or_default(),
        false => Vec::new(),
    }
}

fn find(walk: &Walk<'_>) -> Option<Vec<String>> {
    let nodes = &walk.ordered.nodes;
    let refused: HashSet<&str> =
        walk.support.iter().filter(|n| matches!(n.support, Support::Refused(_) | Support::Unknown)).map(|n| n.node.as_str()).collect();
    let mut tail: HashSet<&str> = HashSet::new();
    let mut edge: Vec<&str> = Vec::new();
    let mut producers: HashMap<&str, usize> = HashMap::new();
    for (at, (node, name)) in nodes.iter().enumerate() {
        producers.extend(node.output.iter().map(|o| (o.as_str(), at)));
        if !refused.contains(name.as_str()) && !node.input.iter().any(|i| tail.contains(i.as_str())) {
            continue;
        }
        if has_weights(walk, node) {
            return None;
        }
        edge.extend(node.input.iter().map(String::as_str).filter(|i| is_computed(walk, i) && !tail.contains(i)));
        tail.extend(node.output.iter().map(String::as_str).filter(|o| !o.is_empty()));
    }
    edge.extend(walk.ordered.outputs.iter().filter(|o| !tail.contains(*o)));
    let mut heads: BTreeSet<(usize, &str)> = BTreeSet::new();
    let mut seen: HashSet<&str> = HashSet::new();
    while let Some(tensor) = edge.pop() {
        // What reads the network's input itself, such as the size of the image, is outside of the network.
        let (Some(&at), true) = (producers.get(tensor), seen.insert(tensor)) else { continue };
        let node = nodes[at].0;
        let computed: Vec<&str> = node.input.iter().map(String::as_str).filter(|i| is_computed(walk, i)).collect();
        let adds_bias = matches!(node.op_type.as_str(), "Add" | "Mul")
            && computed.iter().any(|i| producers.get(i).is_some_and(|&p| has_weights(walk, nodes[p].0)));
        if decodes(node, computed.len()) && !adds_bias {
            edge.extend(computed);
        } else {
            heads.insert((at, tensor));
        }
    }
    Some(heads.into_iter().map(|(_, tensor)| tensor.to_string()).collect())
}

fn is_computed(walk: &Walk<'_>, tensor: &str) -> bool {
    matches!(walk.values.get(tensor), Some(Value::Runtime(_)))
}

/// Whether a node has weights of its own, or is of a kind that has.
fn has_weights(walk: &Walk<'_>, node: &NodeProto) -> bool {
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return !is_decision(&node.op_type);
    }
    let elements = |name: &String| walk.ordered.initializers.get(name.as_str()).map(|t| t.dims.iter().product::<i64>());
    let largest = node.input.iter().filter_map(elements).max().unwrap_or(0);
    match node.op_type.as_str() {
        "MatMul" | "Attention" | "MultiHeadAttention" | "LSTM" | "GRU" | "RNN" | "Loop" | "Scan" => true,
        "Conv" | "ConvTranspose" | "Gemm" | "Einsum" | "DeformConv" => largest > FEW as i64,
        op => op.starts_with("QLinear") || op.ends_with("Integer") || op.ends_with("Normalization"),
    }
}

/// Whether a node with so many computed operands may be a part of a decoder.
fn decodes(node: &NodeProto, computed: usize) -> bool {
    match node.op_type.as_str() {
        "Reshape" | "Transpose" | "Flatten" | "Squeeze" | "Unsqueeze" | "Slice" | "Split" | "Gather" | "Concat" | "Identity" | "Cast"
        | "Sigmoid" | "Softmax" | "Expand" | "Tile" => true,
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Clip" | "Exp" | "Max" | "Min" | "Neg" => computed == 1,
        _ => false,
    }
}
