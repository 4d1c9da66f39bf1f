//! `shift-membrane`: every neuron starts at a fraction of its threshold.
//!
//! Equation: `v(0) = f·θ`, f = 1/2. The count of a neuron is the floor of its input over θ; half a threshold to begin
//! with makes it the nearest integer, so that the expected error of an input that is uniform within a step vanishes.
//! The same total as adding θ/(2T) to the bias for T steps. Source: Deng & Gu, ICLR 2021, section 4.2; Bu et al. 2022.
//! It applies to *every* neuron, those after a residual add too, which the authors' code leaves out.

use super::{Condition, Facts, Pass, PassError, Report, Request};
use serde::Deserialize;
use snn_ir::neuron::Neuron;
use snn_ir::{Graph, Op};

/// The pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShiftMembrane {
    /// Fraction of θ.
    pub fraction: f32,
}

impl Default for ShiftMembrane {
    fn default() -> Self {
        ShiftMembrane { fraction: 0.5 }
    }
}

impl Pass for ShiftMembrane {
    fn name(&self) -> &'static str {
        "shift-membrane"
    }

    fn requires(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Layers]
    }

    fn run(&self, graph: &mut Graph, _: &Request<'_>, _: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        graph.rewrite_all(|_, node| {
            let Op::If(n) = node.op() else { return None };
            let initial = n.threshold.map(|t| t * self.fraction);
            if n.initial == initial {
                report.not_applicable(node, "its neurons start there already");
                return None;
            }
            report.changed(node);
            Some(Op::If(Neuron { initial, ..n.clone() }))
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, reasons};
    use super::*;

    #[test]
    fn neurons_start_at_the_fraction_of_their_own_threshold() {
        let at = |initial: &str, values: &str| {
            format!(
                "%x = input : current[2]
                %n = if %x, threshold=@theta, init={initial}, reset=subtract, amplitude=threshold : spikes[2]
                %y = readout %n : potential[2]
                output %y
                ---
                @theta = f32[2] [2, 4]\n{values}"
            )
        };
        let shifted = at("@init", "@init = f32[2] [1, 2]");
        check(&ShiftMembrane::default(), &at("0", ""), &shifted);
        assert_eq!(reasons(&check(&ShiftMembrane::default(), &shifted, &shifted)), ["its neurons start there already"]);
    }
}
