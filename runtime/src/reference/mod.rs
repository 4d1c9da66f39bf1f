//! The interpreter: slow, obvious, the oracle.

use crate::error::CompileError;
use crate::statistics::Statistics;
use snn_ir::Graph;

/// A graph in execution order.
pub(crate) struct Program;

impl Program {
    pub(crate) fn compile(_graph: &Graph) -> Result<Program, CompileError> {
        Err(CompileError::NotBuilt("reference"))
    }
}

/// The state of a [`Program`] on one sample.
pub(crate) struct Machine<'n> {
    _program: &'n Program,
    statistics: Statistics,
}

impl<'n> Machine<'n> {
    pub(crate) fn new(program: &'n Program) -> Self {
        Machine { _program: program, statistics: Statistics::default() }
    }
    pub(crate) fn start(&mut self, _inputs: &[&[f32]]) {}
    pub(crate) fn advance(&mut self, _steps: u32) {}
    pub(crate) fn potentials(&self, _steps: u32) -> Vec<Vec<f32>> {
        Vec::new()
    }
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }
    pub(crate) fn spike_counts(&self, _layer: usize) -> Option<Vec<i64>> {
        None
    }
    pub(crate) fn membranes(&self, _layer: usize) -> Option<Vec<f64>> {
        None
    }
}
