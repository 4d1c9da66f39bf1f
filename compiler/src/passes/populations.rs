//! The populations of a spiking network, one after the other, for the passes that calibrate them.

use super::{Facts, Outcome, PassError, Report, Request};
use crate::calibrate::layerwise::{Goal, SampleBudget, Site, visit};
use crate::calibrate::matched::with_samples;
use crate::data::Samples;
use snn_ir::Graph;

/// Why a readout stays as it is.
pub(super) const NO_NEURONS: &str = "a readout has no neurons";

/// Calls `adjust` for every population and every readout, on the user's samples, else on synthetic inputs matched to
/// batch-norm statistics; where there are neither the network stays as it is.
pub(super) fn adjust_populations(
    graph: &mut Graph,
    request: &Request<'_>,
    facts: &Facts,
    report: &mut Report,
    budget: SampleBudget,
    adjust: impl FnMut(&mut Site<'_>) -> Result<Outcome, PassError>,
) -> Result<(), PassError> {
    let matched = facts.matched.as_ref();
    let adjusted = with_samples(graph, request.samples, matched, |graph, samples| {
        adjust_with(graph, samples, request, facts, report, budget, adjust)
    })?;
    if adjusted.is_none() {
        report.network_declined("there are no calibration data, and no batch-norm statistics that synthetic inputs could be matched to");
    }
    Ok(())
}

/// [`adjust_populations`] on these samples.
pub(super) fn adjust_with(
    graph: &mut Graph,
    samples: &Samples,
    request: &Request<'_>,
    facts: &Facts,
    report: &mut Report,
    budget: SampleBudget,
    mut adjust: impl FnMut(&mut Site<'_>) -> Result<Outcome, PassError>,
) -> Result<(), PassError> {
    let ann = ann(facts)?;
    let Request { timesteps, weight_range, progress, .. } = *request;
    visit(graph, samples, budget, Goal { ann, timesteps, weight_range, progress }, |site| {
        let outcome = adjust(site)?;
        report.add(site.graph.node(site.id), outcome);
        Ok(())
    })
}

/// The ANN that the network came from.
pub(super) fn ann(facts: &Facts) -> Result<&Graph, PassError> {
    let missing = || PassError::Missing("this pass compares with the ANN: run it after replace-relu, in the same recipe".into());
    facts.ann.as_ref().ok_or_else(missing)
}
