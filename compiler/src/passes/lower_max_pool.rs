//! `lower-max-pool`: maxima become what a spiking network can compute.
//!
//! `exact` (default): `out(t) = max C(t) − max C(t−1)` over the running sums `C` of the inputs. Each sum of a spike train
//! moves by at most one spike a step, so their maximum does too: the output is a spike train again, and its total is the
//! maximum of the totals exactly, for any kernel, stride and overlap.
//! `average`: the mean of the window instead, which every chip has and no network was trained for.

use super::{Context, Pass, PassError};
use serde::Deserialize;
use snn_ir::op::{AvgPool, Divisor};
use snn_ir::{Graph, Op};

/// How a maximum is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaxPoolMode {
    /// Difference of cumulative maxima.
    #[default]
    Exact,
    /// Average over the window.
    Average,
}

/// The pass.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LowerMaxPool {
    /// How a maximum is computed.
    pub mode: MaxPoolMode,
}

impl Pass for LowerMaxPool {
    fn name(&self) -> &'static str {
        "lower-max-pool"
    }

    fn keeps_outputs(&self) -> bool {
        self.mode == MaxPoolMode::Exact
    }

    fn run(&self, graph: &mut Graph, context: &mut Context<'_>) -> Result<usize, PassError> {
        let mut averaged = Vec::new();
        let changes = graph.rewrite_all(|_, node| match (node.op(), self.mode) {
            (Op::MaxPool(window), MaxPoolMode::Exact) => Some(Op::CumulativeMaxPool(window.clone())),
            (Op::MaxPool(window), MaxPoolMode::Average) if window.dilation.iter().all(|&d| d == 1) => {
                averaged.push(node.name().to_string());
                Some(Op::AvgPool(AvgPool { window: window.clone(), divisor: Divisor::Valid }))
            }
            (Op::MaxPool(window), MaxPoolMode::Average) => Some(Op::CumulativeMaxPool(window.clone())),
            (Op::Maximum, _) => Some(Op::CumulativeMax),
            _ => None,
        })?;
        if !averaged.is_empty() {
            context.notes.push(format!("max-pools were replaced by averages, as asked: {}", averaged.join(", ")));
        }
        Ok(changes)
    }
}
