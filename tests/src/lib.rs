//! What the tests share.

pub mod onnx;
pub mod shared;
pub mod window_sums;
