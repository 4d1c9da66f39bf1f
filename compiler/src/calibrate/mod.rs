//! Calibration: what sample inputs (or, without them, the network itself) tell about activations.
//!
//! No labels, no gradients. Statistics are merged in ways that do not depend on order (maxima, counts), so results are
//! the same whatever the thread count.

pub mod activations;
pub mod distribution;
mod error;
pub mod histogram;
pub mod layerwise;
pub mod least_squares;
pub mod matched;
pub mod moments;
pub mod normalisation;
mod past;
pub mod piecewise;
pub mod places;
pub mod refit;
pub mod region;
pub mod rounding;
pub mod search;
pub mod spike_train;
pub mod synthetic;
mod terms;

pub use error::CalibrationError;
