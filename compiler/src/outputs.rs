//! The outputs of a network: their names, and what the ANN closes them with.
//!
//! A spiking network's outputs are readouts. Each is called `NAME.readout`, with NAME the output's name in the ONNX file.
//! What is at the end of the ANN decides what an output means: `canonicalize` drops a closing softmax or sigmoid, so
//! that the spiking network answers with scores where the ANN answers with probabilities. The notes in a `.snn` file tell.

use snn_ir::activation::Activation;
use snn_ir::op::Relu;
use snn_ir::{Graph, NodeId, Op};

const SUFFIX: &str = ".readout";

/// Names the readouts of a spiking `graph` after the outputs of the ONNX file, which are as many and in the same order.
pub fn name_outputs<'a>(graph: &mut Graph, names: impl Iterator<Item = &'a str>) {
    let outputs = graph.outputs().to_vec();
    outputs.into_iter().zip(names).for_each(|(output, name)| graph.rename(output, &format!("{name}{SUFFIX}")));
}

/// The names of the outputs of a spiking network, in order.
pub fn output_names(graph: &Graph) -> Vec<String> {
    let name = |&output: &NodeId| {
        let name = graph.node(output).name();
        name.strip_suffix(SUFFIX).unwrap_or(name).to_string()
    };
    graph.outputs().iter().map(name).collect()
}

/// What an ANN closes an output with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Nothing that matters: both networks answer with the same numbers.
    None,
    /// A softmax, which the spiking network leaves out.
    Softmax,
    /// A sigmoid, which the spiking network leaves out: it answers with logits.
    Logit,
    /// A function to 0..1, which the spiking network computes.
    Probability,
}

impl Closing {
    /// Whether the spiking network leaves a function out.
    pub fn is_dropped(self) -> bool {
        matches!(self, Closing::Softmax | Closing::Logit)
    }

    /// The answer above which the spiking network says yes.
    pub fn threshold(self) -> f32 {
        if self == Closing::Probability { 0.5 } else { 0.0 }
    }

    /// The spiking network's answer in the unit of the ANN's output; of a softmax, its scores.
    pub fn apply(self, potential: f32) -> f32 {
        if self == Closing::Logit { 1.0 / (1.0 + (-potential).exp()) } else { potential }
    }

    /// The note that tells readers of a `.snn` file what output `name` means.
    pub fn note(self, name: &str) -> Option<String> {
        match self {
            Closing::None | Closing::Softmax => None,
            Closing::Logit => Some(format!("{}: above 0 where the ANN's is above 0.5", logit(name))),
            Closing::Probability => Some(format!("{}: 0.5 divides yes from no", probability(name))),
        }
    }

    /// What the notes of a `.snn` file say of output `name`.
    pub fn from_notes(name: &str, notes: &[String]) -> Closing {
        let says = |start: String| notes.iter().any(|n| n.starts_with(&start));
        match () {
            () if says(logit(name)) => Closing::Logit,
            () if says(probability(name)) => Closing::Probability,
            () => Closing::None,
        }
    }
}

fn logit(name: &str) -> String {
    format!("output `{name}` is the logit before the closing sigmoid")
}

fn probability(name: &str) -> String {
    format!("output `{name}` is a probability")
}

/// Whether nothing but outputs, and what only moves elements, comes after `id`.
pub fn is_final(graph: &Graph, id: NodeId) -> bool {
    let mut reached = graph.users(id);
    while let Some(user) = reached.pop() {
        if !matches!(graph.op(user), Op::Reshape { .. } | Op::Identity | Op::Transpose { .. } | Op::Softmax { .. }) {
            return false;
        }
        reached.extend(graph.users(user));
    }
    true
}

/// What closes the outputs of the imported `ann`, in order.
pub fn closings(ann: &Graph) -> Vec<Closing> {
    ann.outputs().iter().map(|&output| closing(ann, output)).collect()
}

fn closing(ann: &Graph, mut id: NodeId) -> Closing {
    while matches!(ann.op(id), Op::Reshape { .. } | Op::Identity | Op::Transpose { .. }) {
        let [before] = ann.operands(id)[..] else { break };
        id = before;
    }
    // As canonicalize drops them.
    let of_scores = ann.ty(id).shape.iter().filter(|&&d| d > 1).count() <= 1;
    match ann.op(id) {
        Op::Softmax { .. } if is_final(ann, id) => Closing::Softmax,
        Op::Activation(Activation::Sigmoid) if of_scores && is_final(ann, id) => Closing::Logit,
        Op::Activation(Activation::Sigmoid | Activation::HardSigmoid { .. }) | Op::Softmax { .. } => Closing::Probability,
        Op::Activation(Activation::Clip { min: 0.0, max: 1.0 }) => Closing::Probability,
        Op::Relu(Relu { cap: Some(1.0), .. }) => Closing::Probability,
        _ => Closing::None,
    }
}
