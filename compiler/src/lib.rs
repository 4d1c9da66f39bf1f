//! The snnc compiler.

pub mod frontend;
