//! What neurons send decides how a network runs.

use crate::kernels::stepped::MOST_LANES;
use snn_ir::op::Firing;

/// What the neurons of a network send, as an engine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A bit a step.
    Bits,
    /// A count at the end of the window.
    Windows,
    /// Quanta, step by step: a byte a step.
    Steps,
}

impl Domain {
    /// The domain of a graph with neurons of these kinds.
    pub fn of(firings: &[Firing]) -> Domain {
        let all = |firing: Firing| firings.iter().all(|&f| f == firing);
        match firings {
            _ if all(Firing::Binary) => Domain::Bits,
            _ if all(Firing::TwoPhase) => Domain::Windows,
            _ => Domain::Steps,
        }
    }

    /// Whether an engine of this domain runs such neurons.
    pub fn holds(self, firing: Firing) -> bool {
        match (self, firing) {
            (Domain::Bits, Firing::Binary) | (Domain::Windows, Firing::TwoPhase) | (Domain::Steps, Firing::Binary | Firing::Ternary) => {
                true
            }
            (Domain::Steps, Firing::Lanes(n)) => n <= MOST_LANES,
            _ => false,
        }
    }
}
