//! `.snnir`: the graph as text, all parameters in full, for people and for tests.

use super::{Backend, BackendError};
use snn_ir::Obstacle;
use snn_ir::file::Program;
use snn_ir::text::{Parameters, print};
use std::io::Write;

/// The backend.
pub(super) struct Snnir;

impl Backend for Snnir {
    fn name(&self) -> &'static str {
        "snnir"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["snnir"]
    }

    fn description(&self) -> &'static str {
        "the graph as text, which snnc opt reads; without preprocessing"
    }

    fn obstacles(&self, _program: &Program) -> Vec<Obstacle> {
        Vec::new()
    }

    fn write(&self, program: &Program, sink: &mut dyn Write) -> Result<(), BackendError> {
        Ok(sink.write_all(print(&program.graph, Parameters::Full).as_bytes())?)
    }
}
