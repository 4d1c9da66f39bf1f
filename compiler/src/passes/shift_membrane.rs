//! `shift-membrane`: every neuron starts at a fraction of its threshold.
//!
//! Equation: `v(0) = f·θ`, f = 1/2. The count of a neuron is the floor of its input over θ; half a threshold to begin
//! with makes it the nearest integer, so that the expected error of an input that is uniform within a step vanishes.
//! The same total as adding θ/(2T) to the bias for T steps. Source: Deng & Gu, ICLR 2021, section 4.2; Bu et al. 2022.
//! It applies to *every* neuron, those behind a residual add too, which the authors' code leaves out.

use super::{Context, Pass, PassError};
use serde::Deserialize;
use snn_ir::neuron::Neuron;
use snn_ir::{Graph, Op};

/// The pass.
#[derive(Debug, Deserialize)]
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

    fn run(&self, graph: &mut Graph, _: &mut Context<'_>) -> Result<usize, PassError> {
        Ok(graph.rewrite_all(|_, node| match node.op() {
            Op::If(n) => {
                let initial = n.threshold.map(|t| t * self.fraction);
                (n.initial != initial).then(|| Op::If(Neuron { initial, ..n.clone() }))
            }
            _ => None,
        })?)
    }
}
