//! `.snn`: the form that `snnc` itself runs.

use super::{Backend, BackendError};
use snn_ir::Obstacle;
use snn_ir::file::{Program, encode};
use std::io::Write;

/// The backend.
pub(super) struct Snn;

impl Backend for Snn {
    fn name(&self) -> &'static str {
        "snn"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["snn"]
    }

    fn description(&self) -> &'static str {
        "what snnc runs: the network, its preprocessing, where it came from"
    }

    fn obstacles(&self, _program: &Program) -> Vec<Obstacle> {
        Vec::new()
    }

    fn write(&self, program: &Program, sink: &mut dyn Write) -> Result<(), BackendError> {
        Ok(sink.write_all(&encode(program)?)?)
    }
}
