//! Compiles a trained network in ONNX to a spiking network of integrate-and-fire neurons.

pub mod calibrate;
pub mod cli;
pub mod data;
pub mod driver;
pub mod explain;
pub mod files;
pub mod frontend;
pub mod measure;
pub mod outputs;
pub mod passes;
pub mod progress;
pub mod recipe;
pub mod report;
mod suggest;
pub mod yaml;

pub use data::Samples;
pub use driver::{Compiled, Compiler, CompilerError};
pub use recipe::{Recipe, Weights};
