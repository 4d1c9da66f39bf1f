//! Calibration: what sample inputs (or, without them, the network itself) tell about activations.
//!
//! No labels, no gradients. Statistics are merged in ways that do not depend on order (maxima, counts), so results are
//! the same whatever the thread count.

pub mod activations;
pub mod distribution;
pub mod histogram;
pub mod layerwise;
pub mod least_squares;
pub mod matched;
pub mod moments;
pub mod normalisation;
pub mod piecewise;
pub mod places;
pub mod refit;
pub mod region;
pub mod rounding;
pub mod search;
pub mod spike_train;
pub mod synthetic;
mod terms;

/// Sample inputs of the ANN, already preprocessed.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    /// Per sample, per network input: the flat values.
    pub samples: Vec<Vec<Vec<f32>>>,
    /// Where they came from, for the record in the `.snn`.
    pub description: String,
}
