//! How often the elements of a value spike: what the cost of event lists depends on.

use super::PlanNode;
use snn_ir::Op;
use std::fmt;

/// The rate that is assumed where none was calibrated; trained networks at T = 32 fire at 5 to 15
/// %.
const ASSUMED: f64 = 0.1;

/// Mean number of spikes per element and step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As the compiler measured it on calibration samples.
    Calibrated(f64),
    /// Nobody measured it.
    Assumed,
}

impl Rate {
    /// The rate of what `op` computes from `operands`, `len` elements.
    pub(super) fn of(op: &Op, operands: &[&PlanNode], len: usize) -> Rate {
        if let Some(neuron) = op.neuron() {
            // Whatever a file says: costs are of a bit for every neuron and step.
            return neuron.rate.map_or(Rate::Assumed, |rate| Rate::Calibrated(f64::from(rate).clamp(0.0, 1.0)));
        }
        let spikes = |o: &&PlanNode| if let Rate::Calibrated(rate) = o.rate { Some(rate * o.len() as f64) } else { None };
        let Some(total) = operands.iter().map(spikes).sum::<Option<f64>>() else { return Rate::Assumed };
        match op {
            // A maximum spikes at least as often as the mean of what it is taken of.
            Op::CumulativeMaxPool(_) | Op::CumulativeMax => {
                Rate::Calibrated(total / operands.iter().map(|o| o.len()).sum::<usize>().max(1) as f64)
            }
            // What only moves; padding has no spikes.
            _ => Rate::Calibrated((total / len.max(1) as f64).min(1.0)),
        }
    }

    /// The number.
    pub fn value(self) -> f64 {
        match self {
            Rate::Calibrated(rate) => rate,
            Rate::Assumed => ASSUMED,
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if let Rate::Calibrated(_) = self { "calibrated" } else { "assumed" };
        write!(f, "{word} rate {:.1} %", 100.0 * self.value())
    }
}
