//! One recipe at one T: from an analog graph to a spiking one.

use super::check::Checker;
use crate::calibrate::synthetic::Assumed;
use crate::data::Samples;
use crate::passes::pipeline::{self, PassRecord, PipelineError};
use crate::passes::{AnyPass, Report, Request, weight_range};
use crate::progress::Progress;
use crate::recipe::Recipe;
use snn_ir::{Graph, Target};

/// How to convert.
pub struct Conversion<'a> {
    /// The passes.
    pub recipe: &'a Recipe,
    /// Window length T.
    pub timesteps: u32,
    /// Sample inputs.
    pub samples: Option<&'a Samples>,
    /// What is assumed of inputs without them.
    pub assumed: &'a Assumed,
    /// What the network is for.
    pub target: &'a Target,
    /// Told how far long work has come.
    pub progress: Progress<'a>,
    /// Inputs that are replayed through the graph before and after every pass that promises to keep outputs, or nearly.
    pub check: Option<&'a Samples>,
}

/// A network as one recipe makes it.
pub struct Converted {
    /// The spiking graph.
    pub graph: Graph,
    /// What each pass did.
    pub passes: Vec<PassRecord>,
    /// What they had to say.
    pub report: Report,
}

/// Converts `graph`; `after` sees it after every pass.
///
/// # Errors
/// [`PipelineError`]: the first pass that failed, broke the graph, or changed an output it promised to keep.
pub fn convert(
    mut graph: Graph,
    conversion: &Conversion<'_>,
    mut after: impl FnMut(&Graph, &PassRecord),
) -> Result<Converted, PipelineError> {
    let Conversion { recipe, timesteps, samples, assumed, target, progress, check } = conversion;
    let (timesteps, samples, progress) = (*timesteps, *samples, *progress);
    let weight_range = weight_range(&recipe.passes);
    let request = Request { timesteps, samples, assumed: (*assumed).clone(), target: (*target).clone(), weight_range, progress };
    let mut checker = check.map(|samples| Checker::new(&graph, samples, timesteps)).transpose()?;
    let passes = recipe.passes.iter().map(AnyPass::as_pass);
    let (report, passes) = pipeline::run(&mut graph, passes, &request, |graph, pass, record| {
        if let Some(checker) = &mut checker {
            checker.compare(graph, pass)?;
        }
        after(graph, record);
        Ok(())
    })?;
    Ok(Converted { graph, passes, report })
}
