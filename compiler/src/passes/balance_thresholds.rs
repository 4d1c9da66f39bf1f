//! `balance-thresholds`: chooses the threshold θ of every rectifier, so that its activations fit `[0, θ]`.
//!
//! Rules, each per layer or per channel:
//! * `max`: the largest activation over calibration data (Deng & Gu, ICLR 2021; Diehl et al. 2015);
//! * `percentile`: the given percentile, 99.9 by default (Rueckauer et al. 2017);
//! * `mmse`: the θ with the smallest squared error of clipping at θ and rounding to T levels (Li et al. 2021), to `(2ⁿ − 1)·T`
//!   levels for neurons with n `lanes`;
//! * `balanced`: local threshold balancing (Bu et al. 2025): from `θ = 0`, `θ += 2η·E[(x − θ)·1[x > θ]]`, `steps` times, which is gradient
//!   descent on the squared clipping error `E[(x − min(x, θ))²]` and nears the maximum from below. The published algorithm takes
//!   the expectation over a batch of the network that it clips; here it is over all calibration samples of the ANN itself.
//!
//! A cap of the ANN bounds θ: at θ = cap the neuron saturates exactly where the ANN does. Without calibration data
//! the statistics come from synthetic inputs, in a network that is matched to what its batch-norms say; a note says so, and what it costs.

use super::{Condition, Facts, Pass, PassError, Report, Request};
use crate::calibrate::activations::{channel_axis, relu_histograms};
use crate::calibrate::histogram::Histogram;
use crate::calibrate::matched::Matched;
use serde::Deserialize;
use snn_ir::neuron::{Firing, lanes};
use snn_ir::op::Relu;
use snn_ir::{Graph, NodeId, Op, Tensor};
use std::collections::HashMap;

/// Which statistic becomes the threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThresholdRule {
    /// Largest activation.
    Max,
    /// A percentile of the activations.
    Percentile,
    /// So many steps down the clipping error, from zero.
    Balanced,
    /// Least squared error of clipping and rounding to T levels.
    #[default]
    Mmse,
}

/// What shares a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Granularity {
    /// All neurons of a layer.
    Layer,
    /// All neurons of a channel.
    #[default]
    Channel,
}

/// What doing without calibration data costs: recipe mmse, the first 1,000 test images, 63.5, 81.0 and 87.5 % against 77.1, 85.3 and 90.9 %.
const DATA_FREE_COST: &str =
    " On ResNet-20 (CIFAR-10) that costs 14, 4 and 3 points of accuracy at T = 8, 16 and 32 against calibration on 1,000 images.";

/// The pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BalanceThresholds {
    /// The statistic.
    pub rule: ThresholdRule,
    /// Of the `percentile` rule, in percent.
    pub percentile: f64,
    /// Of the `balanced` rule: number of steps.
    pub steps: u32,
    /// Of the `balanced` rule: η.
    pub rate: f64,
    /// What shares a threshold.
    pub granularity: Granularity,
    /// Lanes of the neurons to come: the `mmse` rule counts on `2ⁿ − 1` levels a step.
    pub lanes: u8,
}

impl Default for BalanceThresholds {
    fn default() -> Self {
        BalanceThresholds {
            rule: ThresholdRule::Mmse,
            percentile: 99.9,
            steps: 1000,
            rate: 1.0,
            granularity: Granularity::Channel,
            lanes: 1,
        }
    }
}

impl Pass for BalanceThresholds {
    fn name(&self) -> &'static str {
        "balance-thresholds"
    }

    fn provides(&self) -> &'static [Condition] {
        &[Condition::Thresholds]
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn run(&self, graph: &mut Graph, request: &Request<'_>, facts: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        let histograms = statistics(graph, request, facts, report)?;
        for id in graph.topological()? {
            let (Op::Relu(relu), Some(channels)) = (graph.op(id).clone(), histograms.get(&id)) else { continue };
            let threshold = self.threshold(graph, id, &relu, channels, request.timesteps);
            report.changed(graph.node(id));
            graph.set_op(id, Op::Relu(Relu { threshold: Some(threshold), ..relu }))?;
        }
        Ok(())
    }
}

impl BalanceThresholds {
    fn threshold(&self, graph: &Graph, id: NodeId, relu: &Relu, channels: &[Histogram], timesteps: u32) -> Tensor {
        let largest = channels.iter().map(|h| h.max).fold(0.0, f32::max);
        let cap = relu.cap.unwrap_or(f32::INFINITY);
        // A layer that never fires on any sample may have any threshold; one keeps it silent for small inputs.
        let fallback = if largest > 0.0 { largest } else { 1.0 }.min(cap);
        let mut layer = Histogram::new(largest);
        if largest > 0.0 {
            channels.iter().filter(|h| h.max > 0.0).for_each(|h| layer.merge(&h.stretched(largest)));
            layer.total = channels.iter().map(|h| h.total).sum();
        }
        match self.granularity {
            Granularity::Layer => Tensor::scalar(self.choose(&layer, timesteps).unwrap_or(fallback).min(cap)),
            Granularity::Channel => {
                let of_layer = self.choose(&layer, timesteps).unwrap_or(fallback);
                let values: Vec<f32> = channels.iter().map(|h| self.choose(h, timesteps).unwrap_or(of_layer).min(cap)).collect();
                let mut shape = vec![1; graph.ty(id).shape.len()];
                if let Some(axis) = shape.get_mut(channel_axis(graph, id)) {
                    *axis = values.len();
                }
                Tensor::f32(shape, values)
            }
        }
    }

    fn choose(&self, histogram: &Histogram, timesteps: u32) -> Option<f32> {
        let threshold = match self.rule {
            _ if histogram.is_silent() => None,
            ThresholdRule::Max => Some(histogram.max),
            ThresholdRule::Percentile => Some(histogram.percentile(self.percentile)),
            ThresholdRule::Balanced => Some(histogram.balanced_threshold(self.steps, self.rate)),
            ThresholdRule::Mmse => {
                let quanta = lanes(self.lanes.clamp(1, Firing::MOST_LANES)).quanta_per_step();
                histogram.mmse_threshold(timesteps * quanta)
            }
        };
        threshold.filter(|&t| t > 0.0)
    }
}

/// Histograms per channel of every relu: from calibration data, else from batch-norms, else from synthetic inputs.
fn statistics(
    graph: &Graph,
    request: &Request<'_>,
    facts: &mut Facts,
    report: &mut Report,
) -> Result<HashMap<NodeId, Vec<Histogram>>, PassError> {
    if let Some(samples) = request.samples {
        return Ok(relu_histograms(graph, samples, request.progress)?);
    }
    let relus = graph.ids().filter(|&id| matches!(graph.op(id), Op::Relu(_))).count();
    if relus == 0 {
        return Ok(HashMap::new());
    }
    let matched = Matched::new(graph, &facts.moments, &request.assumed)?;
    let mut corrected = graph.clone();
    matched.insert(&mut corrected)?;
    let histograms = relu_histograms(&corrected, &matched.samples, request.progress)?;
    let (source, cost) = match matched.len() {
        0 => ("as there are no batch-norm statistics in the file, biases are not corrected.".to_string(), ""),
        n => (format!("matched to the batch-norm statistics of {n} layers."), DATA_FREE_COST),
    };
    report.notes.push(format!(
        "no calibration data: thresholds come from synthetic inputs {}; {source}{cost} --scale, --mean and --std say how pixels \
         become real inputs; a few hundred of these (--calib DATA) are better, most of all at few timesteps",
        request.assumed
    ));
    facts.matched = Some(matched);
    Ok(histograms)
}
