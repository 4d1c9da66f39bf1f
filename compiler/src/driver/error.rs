//! Why no network could be compiled.

use super::search::Search;
use crate::data::SamplesError;
use crate::passes::pipeline::PipelineError;
use crate::recipe::RecipeError;
use snn_ir::Obstacle;
use snn_runtime::RunError;
use thiserror::Error;

/// Why no network could be compiled.
#[derive(Debug, Error)]
pub enum CompilerError {
    /// A recipe is wrong.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A pass failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// Samples do not fit the network.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// The ANN cannot be run.
    #[error("the ANN cannot be run: {0}")]
    Ann(#[source] snn_runtime::CompileError),
    /// The spiking network cannot be run.
    #[error(transparent)]
    Network(#[from] snn_runtime::CompileError),
    /// A sample cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The network has what its target cannot hold.
    #[error("the network does not fit {target}: {} obstacles", obstacles.len())]
    Target {
        /// The target.
        target: String,
        /// Everything that does not fit.
        obstacles: Vec<Obstacle>,
    },
    /// There are no samples to judge by.
    #[error("choosing needs at least {} calibration samples, better some hundreds", super::search::HELD_BACK)]
    TooFewSamples,
    /// Nothing that was tried keeps the loss that may be had.
    #[error("no recipe that was tried keeps the loss at {} % or less", .0.target)]
    NothingHolds(Box<Search>),
}
