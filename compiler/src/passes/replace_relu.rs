//! `replace-relu`: the analog network becomes a spiking one.
//!
//! Inputs and constants become currents, every relu a population of integrate-and-fire neurons with the threshold that
//! `balance-thresholds` chose and spikes of that amplitude, every output gets a readout. A cap on the relu needs
//! nothing more: a neuron whose θ is at most the cap saturates there. A neuron with n lanes sends up to `2ⁿ − 1` quanta a step,
//! so its quantum is `θ/(2ⁿ − 1)`. Source: Deng & Gu, ICLR 2021, section 3.
//!
//! A `multi-spike` neuron sends `floor(v/θ)` spikes in a step. It catches up with what came late,
//! and does not saturate, so it cannot stand for a relu with a cap.
//!
//! A hard reset (`reset: zero`) throws away what is above the threshold: a steady current I makes a
//! neuron send 1, 1/2, 1/3, .. spikes a step, each time `⌈θ/I⌉` steps apart. So neurons get 4/3 of
//! their current, or θ is 3/4 of the amplitude of a spike: currents halfway between the rates 1
//! and 1/2 decide between them. (For currents spread evenly up to the amplitude the least squared
//! error is at 0.76.) Most is lost where currents are large beside θ: `balance-thresholds` with
//! `rule: max` suits it, and `calibrate-layers` tunes θ to the spikes that such neurons really send.
//!
//! Precondition: no other analog-only operation is left.

use super::{Condition, Facts, Pass, PassError, Report, Request};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use snn_ir::neuron::{BINARY, Firing, Neuron, Reset};
use snn_ir::op::{Relu, Scale};
use snn_ir::{Graph, Op, Signal, Tensor};
use std::collections::BTreeMap;

/// Current of neurons with a hard reset, over what it is with a soft one.
const HARD_RESET_GAIN: f32 = 4.0 / 3.0;

/// The pass.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplaceRelu {
    /// Firing mode of the neurons: `binary`, `ternary`, `two-phase`, `multi-spike` or `{lanes: n}`.
    #[serde(deserialize_with = "firing")]
    pub firing: Firing,
    /// Reset rule of the neurons: `subtract`, or `zero` for binary ones.
    #[serde(deserialize_with = "reset")]
    pub reset: Reset,
}

fn reset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reset, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// A firing mode as recipes write it: a word, or a word with a number.
fn firing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Firing, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a firing mode such as `two-phase` or `{lanes: 4}`")]
    enum Written {
        Word(String),
        Number(BTreeMap<String, u8>),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Word(word) => word,
        Written::Number(words) => words.iter().map(|(word, number)| format!("{word}({number})")).collect(),
    };
    text.parse().map_err(D::Error::custom)
}

impl Pass for ReplaceRelu {
    fn name(&self) -> &'static str {
        "replace-relu"
    }

    fn requires(&self) -> &'static [Condition] {
        &[Condition::Thresholds]
    }

    fn provides(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn run(&self, graph: &mut Graph, request: &Request<'_>, facts: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        if let Some(n) = self.firing.written_lanes()
            && let most = request.target.most_lanes().unwrap_or(Firing::MOST_LANES)
            && !(1..=most).contains(&n)
        {
            return Err(PassError::Missing(format!("neurons have 1 to {most} lanes, not {n}")));
        }
        let is_hard = self.reset == Reset::Zero;
        if is_hard && self.firing != BINARY {
            return Err(PassError::Missing(format!("no threshold is known that balances `reset: zero` for {} neurons", self.firing)));
        }
        for id in graph.topological()? {
            let reason = match graph.op(id) {
                Op::Relu(Relu { threshold: None, .. }) => "this relu has no threshold: run balance-thresholds first",
                Op::Relu(Relu { cap: Some(_), .. }) if self.firing.sends_all() => {
                    "this relu has a cap, and multi-spike neurons do not saturate: choose another firing mode"
                }
                Op::Activation(_) => "only rectifiers can become neurons: run approximate-activations first",
                Op::MaxPool(_) | Op::Maximum => "maxima have to be lowered first: run lower-max-pool",
                Op::Softmax { .. } => "softmax inside a network has no spiking form; remove it, or end the network before it",
                Op::Lrn(_) | Op::RmsNorm(_) => {
                    "normalisation by the input's own energy has no spiking form: run approximate-normalisation first"
                }
                Op::BatchNorm(_) => "run fold-batch-norm first",
                _ => continue,
            };
            return Err(PassError::node(graph, id, reason));
        }
        facts.ann = Some(graph.clone());
        // A neuron takes a current. Where a relu reads spikes (a cap after a pool), a scale by one makes them one.
        for id in graph.topological()? {
            if matches!(graph.op(id), Op::Relu(_)) && (is_hard || !makes_current(graph.op(graph.operands(id)[0]))) {
                let operand = graph.operands(id)[0];
                let name = graph.fresh_name(&format!("{}.current", graph.node(id).name()));
                let weight = is_hard.then(|| Tensor::scalar(HARD_RESET_GAIN));
                let current = graph.add(name, Op::Scale(Scale { weight, bias: None }), &[operand])?;
                let relu = graph.op(id).clone();
                graph.rewrite(id, relu, &[current])?;
            }
        }
        let (firing, reset) = (self.firing, self.reset);
        let quanta = firing.quanta_of_threshold() as f32;
        graph.rewrite_all(|_, node| {
            let spiking = match node.op() {
                Op::Input(_, shape) => Op::Input(Signal::Current, shape.clone()),
                Op::Constant(_, value) => Op::Constant(Signal::Current, value.clone()),
                Op::Relu(Relu { threshold: Some(threshold), .. }) => {
                    Op::If(Neuron { firing, reset, ..Neuron::new(threshold.map(|t| t / quanta)) })
                }
                _ => return None,
            };
            report.changed(node);
            Some(spiking)
        })?;
        let mut outputs = Vec::new();
        for output in graph.outputs().to_vec() {
            let name = graph.fresh_name(&format!("{}.readout", graph.node(output).name()));
            outputs.push(graph.add(name, Op::Readout { scale: None, delay: 0 }, &[output])?);
        }
        graph.set_outputs(outputs);
        graph.timesteps = Some(request.timesteps);
        Ok(())
    }
}

fn makes_current(op: &Op) -> bool {
    matches!(
        op,
        Op::Input(..) | Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear(_) | Op::AvgPool(_) | Op::Reduce(_) | Op::Scale(_) | Op::Add
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn a_relu_becomes_neurons_of_its_threshold_and_the_output_gets_a_readout() {
        let before = "%x = input : analog[2]
            %sum = linear %x, weight=@w : analog[1]
            %y = relu %sum, threshold=3 : analog[1]
            output %y
            ---
            @w = f32[1x2] [1, 2]";
        let after = "%x = input : current[2]
            %sum = linear %x, weight=@w : current[1]
            %y = if %sum, threshold=3, init=0, reset=subtract, amplitude=threshold : spikes[1]
            %y.readout = readout %y : potential[1]
            output %y.readout
            ---
            @w = f32[1x2] [1, 2]";
        check(&ReplaceRelu::default(), before, after);
    }
}
