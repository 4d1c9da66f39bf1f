//! Compiles a trained network in ONNX to a spiking network of integrate-and-fire neurons.

pub mod calibrate;
pub mod choose;
pub mod cli;
pub mod compile;
pub mod data;
pub mod explain;
pub mod files;
pub mod frontend;
pub mod measure;
pub mod outputs;
pub mod passes;
pub mod recipe;
pub mod report;
mod suggest;
pub mod yaml;
