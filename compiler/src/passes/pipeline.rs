//! Runs passes one after the other, verifies the graph after each, and tells listeners what happened.

use super::{Facts, NodeOutcome, Pass, PassError, Report, Request};
use snn_ir::verify::{VerifyError, verify};
use snn_ir::{Graph, GraphError};
use snn_runtime::{CompileError, RunError};
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
    /// What became of the nodes that it looked at.
    pub outcomes: Vec<NodeOutcome>,
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
        source: Box<PassError>,
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
    /// A pass left a graph that breaks the rules. The order of passes was checked before they ran, so the pass is wrong.
    #[error("pass {pass} left a network that breaks a rule: {source}. Please report this with the model and the recipe")]
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
    /// The graph cannot be made ready to replay samples.
    #[error("after {pass} samples cannot be replayed: {source}")]
    Replay {
        /// The pass before, or `import`.
        pass: &'static str,
        /// Why not.
        source: CompileError,
    },
    /// A sample cannot be replayed.
    #[error("after {pass} samples cannot be replayed: {source}")]
    ReplayRun {
        /// The pass before, or `import`.
        pass: &'static str,
        /// Why not.
        source: RunError,
    },
    /// The graph cannot be walked.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Runs `passes` over `graph`. After each, the graph is verified and `after` sees it, with the pass and its record.
///
/// # Errors
/// The first pass that fails, or after which the graph does not verify.
pub fn run<'p>(
    graph: &mut Graph,
    passes: impl IntoIterator<Item = &'p dyn Pass>,
    request: &Request<'_>,
    mut after: impl FnMut(&Graph, &dyn Pass, &PassRecord) -> Result<(), PipelineError>,
) -> Result<(Report, Vec<PassRecord>), PipelineError> {
    let (mut facts, mut report, mut records) = (Facts::default(), Report::default(), Vec::new());
    for pass in passes {
        let started = Instant::now();
        let name = pass.name();
        let mut said = Report::default();
        pass.run(graph, request, &mut facts, &mut said).map_err(|e| PipelineError::Pass { pass: name, source: Box::new(e) })?;
        if said.outcomes.is_empty() {
            said.network_not_applicable("the network has no node of the kind that it looks at");
        }
        let outcomes = std::mem::take(&mut said.outcomes);
        let changes = outcomes.iter().filter(|o| o.is_change()).count();
        let record = PassRecord { name, changes, time: started.elapsed(), outcomes };
        verify(graph).map_err(|source| match source {
            VerifyError::NotFinite { name: node, op, parameter } => PipelineError::NotFinite { pass: name, node, op, parameter },
            source => PipelineError::Broken { pass: name, source },
        })?;
        after(graph, pass, &record)?;
        report.extend(said);
        records.push(record);
    }
    Ok((report, records))
}
