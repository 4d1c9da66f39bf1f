//! Compiles a trained network in ONNX to a spiking network of integrate-and-fire neurons.

pub mod data;
pub mod frontend;
