//! What is measured, as text for people and JSON for programs.

mod answers;
mod certificate;
pub mod compilation;
pub mod costs;
mod evaluation;
mod explanation;
mod fidelity;
pub mod frontier;
pub mod network;
pub mod onnx;
pub mod outcomes;
pub mod plan;
pub mod support;
mod table;
mod time;

pub use answers::{Answer, AnswerReport, ClassPotential, LayerActivity, OutputReport};
pub use table::{Align, list, table};
