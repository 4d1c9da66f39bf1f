//! How values before activation functions are distributed.

use super::CalibrationError;
use super::activations::fold_activations;
use super::moments::{self, Moments};
use super::synthetic::{self, Assumed};
use crate::data::Samples;
use crate::progress::Progress;
use snn_ir::{Graph, NodeId};
use std::collections::HashMap;

/// Number of bins between the smallest and the largest value.
pub const BINS: usize = 2048;

/// A histogram over all elements of a value and all samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Lower end of the first bin.
    pub low: f64,
    /// Upper end of the last bin, above `low`.
    pub high: f64,
    /// Weight of each bin.
    pub bins: Vec<f64>,
}

impl Distribution {
    /// An empty histogram of the values between `low` and `high`, which is widened where it is a point.
    pub fn new(low: f64, high: f64) -> Self {
        let room = if high - low > 1e-6 * low.abs().max(high.abs()).max(1e-6) { 0.0 } else { 0.01 * low.abs().max(1.0) };
        Distribution { low: low - room, high: high + room, bins: vec![0.0; BINS] }
    }

    /// Whether its bounds are numbers.
    pub fn is_finite(&self) -> bool {
        self.low.is_finite() && self.high.is_finite()
    }

    /// Counts `value`.
    pub fn add(&mut self, value: f32) {
        let place = (f64::from(value) - self.low) / (self.high - self.low) * BINS as f64;
        self.bins[(place.max(0.0) as usize).min(BINS - 1)] += 1.0;
    }

    /// Adds a histogram over the same range. Counts are whole numbers below 2⁵³, so the order does not matter.
    pub fn merge(&mut self, other: &Distribution) {
        self.bins.iter_mut().zip(&other.bins).for_each(|(a, b)| *a += b);
    }

    /// Middle of a bin.
    pub fn center(&self, bin: usize) -> f64 {
        self.low + (bin as f64 + 0.5) / BINS as f64 * (self.high - self.low)
    }

    /// Middles and weights of the bins that are not empty.
    pub fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.bins.iter().enumerate().filter(|(_, w)| **w > 0.0).map(|(i, &w)| (self.center(i), w))
    }
}

/// Distributions of the values of `nodes` of an analog graph: from `samples`, else from what batch-norms have `stated` of
/// them, else from synthetic inputs as they are `assumed`.
///
/// # Errors
/// When the network cannot be executed.
pub fn distributions(
    graph: &Graph,
    nodes: &[NodeId],
    samples: Option<&Samples>,
    stated: &HashMap<NodeId, Moments>,
    assumed: &Assumed,
    progress: Progress<'_>,
) -> Result<HashMap<NodeId, Distribution>, CalibrationError> {
    if let Some(samples) = samples {
        return observed(graph, nodes, samples, progress);
    }
    let known = moments::propagate(graph, stated, &graph.topological()?);
    let (followed, unknown): (Vec<NodeId>, Vec<NodeId>) =
        nodes.iter().copied().partition(|n| known.get(n).is_some_and(|m| m.distribution().is_finite()));
    let mut found: HashMap<NodeId, Distribution> = followed.iter().map(|n| (*n, known[n].distribution())).collect();
    if !unknown.is_empty() {
        found.extend(observed(graph, &unknown, &synthetic::samples(graph, assumed), progress)?);
    }
    Ok(found)
}

fn observed(
    graph: &Graph,
    nodes: &[NodeId],
    samples: &Samples,
    progress: Progress<'_>,
) -> Result<HashMap<NodeId, Distribution>, CalibrationError> {
    let slots: HashMap<NodeId, usize> = nodes.iter().enumerate().map(|(i, &id)| (id, i)).collect();
    let ranges = fold_activations(
        graph,
        samples,
        progress,
        "pre-activation ranges",
        || vec![(f32::INFINITY, f32::NEG_INFINITY); nodes.len()],
        |ranges, id, value| {
            if let Some(&slot) = slots.get(&id) {
                let finite = value.iter().filter(|v| v.is_finite());
                ranges[slot] = finite.fold(ranges[slot], |(low, high), &v| (low.min(v), high.max(v)));
            }
        },
        |a, b| a.iter().zip(&b).map(|(x, y)| (x.0.min(y.0), x.1.max(y.1))).collect(),
    )?;
    let empty = |&(low, high): &(f32, f32)| match low <= high {
        true => Distribution::new(low.into(), high.into()),
        false => Distribution::new(0.0, 0.0),
    };
    let histograms = fold_activations(
        graph,
        samples,
        progress,
        "pre-activation histograms",
        || ranges.iter().map(empty).collect::<Vec<_>>(),
        |histograms, id, value| {
            if let Some(&slot) = slots.get(&id) {
                value.iter().filter(|v| v.is_finite()).for_each(|&v| histograms[slot].add(v));
            }
        },
        |mut a, b| {
            a.iter_mut().zip(&b).for_each(|(x, y)| x.merge(y));
            a
        },
    )?;
    Ok(nodes.iter().copied().zip(histograms).collect())
}
