//! Runs passes one after the other, verifies the graph after each, and tells listeners what happened.

use super::{Context, Pass, PassError};
use snn_ir::verify::{VerifyError, verify};
use snn_ir::{Graph, GraphError};
use std::time::{Duration, Instant};
use thiserror::Error;

/// What one pass did.
#[derive(Clone, Debug)]
pub struct PassRecord {
    /// Its name.
    pub name: &'static str,
    /// Number of places it changed.
    pub changes: usize,
    /// Wall time.
    pub time: Duration,
}

/// Why a pipeline stopped.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// A pass could not do its work.
    #[error("pass {pass}: {source}")]
    Pass {
        /// Its name.
        pass: &'static str,
        /// Why not.
        source: PassError,
    },
    /// Numbers of the network left what floats hold.
    #[error(
        "pass {pass}: node `{node}` ({op}): its {parameter} is not finite: weights, or activations on the samples, are too large or \
         too small for 32-bit floats; scale the network's weights, or look at the samples"
    )]
    NotFinite {
        /// The pass that found it.
        pass: &'static str,
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// The parameter.
        parameter: String,
    },
    /// A pass left a graph that breaks the rules: it ran where it should not, or is wrong.
    #[error(
        "after pass {pass} the network breaks a rule: {source}. A recipe of your own may run passes in another order than `snnc passes` \
         lists them; with a built-in recipe please report this"
    )]
    Broken {
        /// Its name.
        pass: &'static str,
        /// The rule that is broken.
        source: VerifyError,
    },
    /// A pass changed an output that it promised not to change.
    #[error("pass {pass} changed an output it should not change: {detail}")]
    Changed {
        /// Its name.
        pass: &'static str,
        /// Which, and by how much.
        detail: String,
    },
    /// The graph cannot be walked.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Runs `passes` over `graph`. After each, the graph is verified and `after` sees it.
///
/// # Errors
/// The first pass that fails, or after which the graph does not verify.
pub fn run(
    graph: &mut Graph,
    passes: &[Box<dyn Pass>],
    context: &mut Context<'_>,
    mut after: impl FnMut(&Graph, &PassRecord) -> Result<(), PipelineError>,
) -> Result<Vec<PassRecord>, PipelineError> {
    let mut records = Vec::with_capacity(passes.len());
    context.weight_range = passes.iter().find_map(|p| p.weight_range()).or(context.weight_range);
    for pass in passes {
        let started = Instant::now();
        let name = pass.name();
        let changes = pass.run(graph, context).map_err(|source| PipelineError::Pass { pass: name, source })?;
        let record = PassRecord { name, changes, time: started.elapsed() };
        verify(graph).map_err(|source| match source {
            VerifyError::NotFinite { name: node, op, parameter } => PipelineError::NotFinite { pass: name, node, op, parameter },
            source => PipelineError::Broken { pass: name, source },
        })?;
        after(graph, &record)?;
        records.push(record);
    }
    Ok(records)
}
