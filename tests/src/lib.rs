//! What the tests share.

pub mod ann;
pub mod onnx;
pub mod shared;
pub mod window_sums;
