//! What neurons send decides how a network runs.

use super::synapse::Reason;
use crate::kernels::stepped;
use snn_ir::neuron::{Amplitude, BINARY, Neuron, Timing};

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
    /// The domain of a graph with these neurons.
    pub fn of(neurons: &[&Neuron]) -> Domain {
        let runs = |domain: &Domain| neurons.iter().all(|n| domain.supports(n).is_ok());
        [Domain::Bits, Domain::Windows].into_iter().find(runs).unwrap_or(Domain::Steps)
    }

    /// Whether an engine of this domain runs such neurons.
    ///
    /// # Errors
    /// Why it does not.
    pub fn supports(self, neuron: &Neuron) -> Result<(), Reason> {
        if neuron.amplitude != Amplitude::One {
            return Err("spikes have to be of amplitude one".into());
        }
        match self {
            Domain::Bits if neuron.firing != BINARY => Err("neurons have to be binary".into()),
            Domain::Windows if neuron.firing.timing() != Timing::WholeWindow => Err("neurons have to be two-phase".into()),
            Domain::Bits | Domain::Windows => Ok(()),
            Domain::Steps => stepped::supports(neuron.firing),
        }
    }
}
