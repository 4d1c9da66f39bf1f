//! Frontends: what reads a trained network into the analog graph.

pub mod onnx;
