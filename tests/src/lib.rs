//! What the tests share.

pub mod shared;
pub mod window_sums;
