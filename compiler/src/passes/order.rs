//! The order of passes: what each requires of the network and brings about, checked before the first one runs.

use super::Pass;
use snn_ir::neuron::{Amplitude, Neuron};
use snn_ir::op::Relu;
use snn_ir::{Graph, Op, Tensor};
use std::fmt;
use thiserror::Error;

/// What may hold of a network, once the pass that brings it about has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Every rectifier has a threshold.
    Thresholds,
    /// Neurons stand for rectifiers, and the ANN is kept to compare with.
    Neurons,
    /// Every threshold and every spike amplitude is 1.
    UnitThresholds,
    /// Linear operations and the neurons after them are fused to layers.
    Layers,
    /// Weights, thresholds and potentials are integers.
    Integers,
    /// Neurons know how often they spike.
    Rates,
}

impl Condition {
    /// All of them.
    pub const ALL: [Condition; 6] =
        [Condition::Thresholds, Condition::Neurons, Condition::UnitThresholds, Condition::Layers, Condition::Integers, Condition::Rates];

    /// The pass that brings it about.
    pub fn provider(self) -> &'static str {
        match self {
            Condition::Thresholds => "balance-thresholds",
            Condition::Neurons => "replace-relu",
            Condition::UnitThresholds => "normalize",
            Condition::Layers => "fuse-layers",
            Condition::Integers => "quantize",
            Condition::Rates => "measure-rates",
        }
    }

    /// Whether it holds of `graph` as far as the graph tells, whatever has run before.
    fn holds(self, graph: &Graph) -> bool {
        let neurons = || graph.ids().filter_map(|id| graph.op(id).neuron());
        match self {
            Condition::Thresholds => graph.ids().any(|id| matches!(graph.op(id), Op::Relu(Relu { threshold: Some(_), .. }))),
            Condition::Neurons => graph.is_spiking(),
            Condition::UnitThresholds => {
                let is_unit = |n: &Neuron| n.amplitude == Amplitude::One && n.threshold == Tensor::scalar(1.0);
                graph.is_spiking() && (graph.is_quantized() || neurons().all(is_unit))
            }
            Condition::Layers => graph.is_spiking() && !graph.ids().any(|id| is_fused(graph.op(id))),
            Condition::Integers => graph.is_quantized(),
            Condition::Rates => neurons().any(|n| n.rate.is_some()),
        }
    }
}

/// Whether `fuse-layers` makes it a part of a layer.
fn is_fused(op: &Op) -> bool {
    let is_sum = matches!(op, Op::AvgPool(_) | Op::Reduce(_) | Op::Scale(_) | Op::Add);
    is_sum || matches!(op, Op::If(_) | Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear(_))
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Condition::Thresholds => "rectifiers with thresholds",
            Condition::Neurons => "neurons, and the ANN that they came from",
            Condition::UnitThresholds => "thresholds of one",
            Condition::Layers => "fused layers",
            Condition::Integers => "integers",
            Condition::Rates => "rates",
        })
    }
}

/// Why passes cannot run in an order.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum OrderError {
    /// What a pass requires does not hold yet.
    #[error("`{pass}` needs {needs}: it must come after `{}`", needs.provider())]
    TooEarly {
        /// The pass.
        pass: &'static str,
        /// What it requires.
        needs: Condition,
    },
    /// What a pass must come before has happened.
    #[error("`{pass}` must come before `{}`", ended_by.provider())]
    TooLate {
        /// The pass.
        pass: &'static str,
        /// What must not hold yet.
        ended_by: Condition,
    },
}

/// Checks that `passes` can run in their order on a graph of which `holding` holds.
///
/// # Errors
/// The first pass that cannot, by its place in the list.
pub fn check<'p>(passes: impl IntoIterator<Item = &'p dyn Pass>, holding: &[Condition]) -> Result<(), (usize, OrderError)> {
    let mut holding = holding.to_vec();
    for (place, pass) in passes.into_iter().enumerate() {
        if let Some(&ended_by) = pass.precedes().iter().find(|c| holding.contains(c)) {
            return Err((place, OrderError::TooLate { pass: pass.name(), ended_by }));
        }
        if let Some(&needs) = pass.requires().iter().find(|c| !holding.contains(c)) {
            return Err((place, OrderError::TooEarly { pass: pass.name(), needs }));
        }
        holding.extend(pass.provides());
    }
    Ok(())
}

/// What holds of `graph`, as far as it tells.
pub fn holding(graph: &Graph) -> Vec<Condition> {
    Condition::ALL.into_iter().filter(|c| c.holds(graph)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{parse_list, registry};
    use super::*;

    fn error(list: &str) -> Option<String> {
        let passes = parse_list(list).unwrap();
        check(passes.iter().map(|p| p.as_pass()), &[]).err().map(|(place, error)| format!("{place}: {error}"))
    }

    #[test]
    fn a_pass_that_comes_too_early_or_too_late_is_named_with_the_one_that_it_depends_on() {
        assert_eq!(error("canonicalize, balance-thresholds, replace-relu, normalize, fuse-layers, quantize"), None);
        let early = "1: `replace-relu` needs rectifiers with thresholds: it must come after `balance-thresholds`";
        assert_eq!(error("canonicalize, replace-relu").unwrap(), early);
        let late = error("balance-thresholds, replace-relu, fold-batch-norm").unwrap();
        assert_eq!(late, "2: `fold-batch-norm` must come before `replace-relu`");
        assert!(error("balance-thresholds, replace-relu, normalize, correct-bias").unwrap().contains("before `normalize`"));
    }

    #[test]
    fn every_condition_is_brought_about_by_the_pass_that_messages_name() {
        for condition in Condition::ALL {
            let providers: Vec<&str> =
                registry().iter().filter(|spec| spec.default().as_pass().provides().contains(&condition)).map(|spec| spec.name).collect();
            assert_eq!(providers, [condition.provider()]);
        }
    }
}
