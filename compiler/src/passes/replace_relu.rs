//! `replace-relu`: the analog network becomes a spiking one.
//!
//! Inputs and constants become currents, every relu a population of integrate-and-fire neurons with the threshold that
//! `balance-thresholds` chose and spikes worth that threshold, every output gets a readout. A cap on the relu needs
//! nothing more: a neuron whose θ is at most the cap saturates there. A neuron with n lanes sends up to `2ⁿ − 1` quanta a step,
//! so its quantum is `θ/(2ⁿ − 1)`. Source: Deng & Gu, ICLR 2021, section 3.
//!
//! Precondition: no other analog-only operation is left.

use super::{Condition, Facts, Pass, PassError, Report, Request};
use serde::Deserialize;
use snn_ir::op::{Firing, Neuron, Relu, Scale};
use snn_ir::{Graph, Op, Signal};

/// Lanes that a neuron can have: 127 quanta a step, finer than weights of 8 bits.
pub const MOST_LANES: u8 = 7;

/// The pass.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplaceRelu {
    /// Firing rule of the neurons: `binary`, `ternary`, `two-phase` or `{lanes: n}`.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub firing: FiringRule,
}

/// The firing rules a recipe can ask for; see [`Firing`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FiringRule {
    /// One spike a step, soft reset.
    #[default]
    Binary,
    /// Signed spikes with a memory of what was sent.
    Ternary,
    /// Binary spikes behind a window barrier.
    TwoPhase,
    /// `n` binary lanes a step.
    Lanes(u8),
}

impl From<FiringRule> for Firing {
    fn from(rule: FiringRule) -> Firing {
        match rule {
            FiringRule::Binary => Firing::Binary,
            FiringRule::Ternary => Firing::Ternary,
            FiringRule::TwoPhase => Firing::TwoPhase,
            FiringRule::Lanes(n) => Firing::Lanes(n),
        }
    }
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
        if let FiringRule::Lanes(n) = self.firing
            && !(1..=MOST_LANES).contains(&n)
        {
            return Err(PassError::Missing(format!("neurons have 1 to {MOST_LANES} lanes, not {n}")));
        }
        for id in graph.topological()? {
            let reason = match graph.op(id) {
                Op::Relu(Relu { threshold: None, .. }) => "this relu has no threshold: run balance-thresholds first",
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
        // A neuron takes a current. Where a relu stands behind spikes (a cap behind a pool), a scale by one makes it one.
        for id in graph.topological()? {
            if matches!(graph.op(id), Op::Relu(_)) && !makes_current(graph.op(graph.operands(id)[0])) {
                let operand = graph.operands(id)[0];
                let name = graph.fresh_name(&format!("{}.current", graph.node(id).name()));
                let current = graph.add(name, Op::Scale(Scale { weight: None, bias: None }), &[operand])?;
                let relu = graph.op(id).clone();
                graph.rewrite(id, relu, &[current])?;
            }
        }
        let firing = Firing::from(self.firing);
        let quanta = firing.quanta() as f32;
        graph.rewrite_all(|_, node| {
            let spiking = match node.op() {
                Op::Input(_, shape) => Op::Input(Signal::Current, shape.clone()),
                Op::Constant(_, value) => Op::Constant(Signal::Current, value.clone()),
                Op::Relu(Relu { threshold: Some(threshold), .. }) => {
                    Op::If(Neuron { firing, ..Neuron::new(threshold.map(|t| t / quanta)) })
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
