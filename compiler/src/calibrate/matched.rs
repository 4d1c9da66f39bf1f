//! Synthetic inputs in place of calibration data, matched to what the network's batch-norms say.
//!
//! A batch-norm states mean and variance of every channel over the training data. Synthetic inputs make other ones, and the more so the
//! deeper the layer. So every node that a batch-norm speaks of gets a scale and a shift after it, per channel, under which the
//! synthetic inputs' mean and variance are the stated ones: `x' = (x − μ)·σ*/σ + μ*`, layer after layer, each with those before it. The
//! activations that come of it have the right size everywhere, after residual sums too, and shapes and correlations that the weights
//! make; thresholds are balanced on them. Scales and shifts are linear, so the spiking network can be calibrated with them as well, and
//! they are taken out again.

use super::CalibrationError;
use super::moments::Moments;
use super::synthetic::{self, Assumed};
use crate::data::Samples;
use rayon::prelude::*;
use snn_ir::op::Scale;
use snn_ir::{Graph, NodeId, Op, Signal, Tensor};
use snn_runtime::analog::AnalogNetwork;
use std::collections::HashMap;

/// Bytes that the values of one node may take over all samples; fewer samples are used where it would be more.
const NODE_BUDGET: usize = 256 << 20;
/// Samples that are used even if the budget says fewer.
const FEWEST_SAMPLES: usize = 8;
/// Bounds on `σ*/σ`: beyond them a channel is dead, and its statistics say nothing.
const RATIO: (f64, f64) = (0.02, 50.0);

/// Synthetic inputs, and the scale and shift after every node that a batch-norm speaks of.
#[derive(Clone, Debug)]
pub struct Matched {
    /// The inputs.
    pub samples: Samples,
    /// By node: factor and summand per channel.
    corrections: HashMap<NodeId, (Vec<f32>, Vec<f32>)>,
}

/// Mean and variance of each of `channels` along the first axis.
fn moments(values: &[Vec<f32>], channels: usize) -> Vec<(f64, f64)> {
    let sums = |sample: &Vec<f32>| -> Vec<(f64, f64)> {
        let inner = sample.len() / channels;
        let plane = |p: &[f32]| p.iter().fold((0.0, 0.0), |(s, q), &v| (s + f64::from(v), q + f64::from(v) * f64::from(v)));
        sample.chunks_exact(inner).map(plane).collect()
    };
    let sums: Vec<Vec<(f64, f64)>> = values.par_iter().map(sums).collect();
    let count = (values.iter().map(Vec::len).sum::<usize>() / channels).max(1) as f64;
    (0..channels)
        .map(|c| {
            let (sum, squares) = sums.iter().fold((0.0, 0.0), |(s, q), sample| (s + sample[c].0, q + sample[c].1));
            (sum / count, (squares / count - (sum / count) * (sum / count)).max(0.0))
        })
        .collect()
}

impl Matched {
    /// Works out the corrections of an analog graph for what batch-norms have `stated` of nodes, and inputs as they are `assumed`.
    ///
    /// # Errors
    /// When the network cannot be executed.
    pub fn new(graph: &Graph, stated: &HashMap<NodeId, Moments>, assumed: &Assumed) -> Result<Matched, CalibrationError> {
        let order = graph.topological()?;
        let largest = order.iter().map(|&id| graph.ty(id).len()).max().unwrap_or(1);
        let affordable = (NODE_BUDGET / (size_of::<f32>() * largest)).max(FEWEST_SAMPLES);
        let samples = synthetic::samples(graph, assumed).first(affordable);
        let mut last: HashMap<NodeId, NodeId> = HashMap::new();
        for &id in &order {
            last.extend(graph.operands(id).into_iter().map(|o| (o, id)));
        }
        let inputs = graph.inputs();
        let mut values: HashMap<NodeId, Vec<Vec<f32>>> = HashMap::new();
        let mut corrections = HashMap::new();
        for &id in &order {
            let operands = graph.operands(id);
            let mut made: Vec<Vec<f32>> = match inputs.iter().position(|&i| i == id) {
                Some(index) => samples.values(index).map(<[f32]>::to_vec).collect(),
                None => {
                    let mut part = Graph::new("node");
                    let add = |(i, o): (usize, &NodeId)| {
                        part.add(format!("operand{i}"), Op::Input(Signal::Analog, graph.ty(*o).shape.clone()), &[])
                    };
                    let ids = operands.iter().enumerate().map(add).collect::<Result<Vec<_>, _>>()?;
                    let root = part.add("node", graph.op(id).clone(), &ids)?;
                    part.set_outputs([root]);
                    let network = AnalogNetwork::new(&part)?;
                    let run = |s: usize| {
                        let slices: Vec<&[f32]> = operands.iter().map(|o| values[o][s].as_slice()).collect();
                        network.run(&slices, &mut |_, _| {}).swap_remove(0)
                    };
                    (0..samples.len()).into_par_iter().map(run).collect()
                }
            };
            let channels = graph.ty(id).shape.first().copied().unwrap_or(0);
            if let Some(stated) = stated.get(&id).filter(|m| m.mean.len() == channels) {
                let correction: (Vec<f32>, Vec<f32>) = moments(&made, channels)
                    .into_iter()
                    .zip(stated.mean.iter().zip(&stated.variance))
                    .map(|((mean, variance), (&wanted, &spread))| {
                        let ratio = (f64::from(spread) / variance.max(f64::MIN_POSITIVE)).sqrt();
                        let factor = if (RATIO.0..RATIO.1).contains(&ratio) { ratio } else { 1.0 };
                        (factor as f32, (f64::from(wanted) - mean * factor) as f32)
                    })
                    .unzip();
                made.par_iter_mut().for_each(|sample| {
                    let inner = sample.len() / channels;
                    for (c, plane) in sample.chunks_exact_mut(inner).enumerate() {
                        plane.iter_mut().for_each(|v| *v = *v * correction.0[c] + correction.1[c]);
                    }
                });
                corrections.insert(id, correction);
            }
            values.insert(id, made);
            for operand in operands {
                if last[&operand] == id {
                    values.remove(&operand);
                }
            }
        }
        Ok(Matched { samples, corrections })
    }

    /// Number of nodes that statistics are known of.
    pub fn len(&self) -> usize {
        self.corrections.len()
    }

    /// Whether no statistics are known.
    pub fn is_empty(&self) -> bool {
        self.corrections.is_empty()
    }

    /// Puts the corrections into a graph, analog or spiking. Returns their nodes; [`Graph::bypass`] takes them out again.
    ///
    /// # Errors
    /// When a node has changed its shape meanwhile.
    pub fn insert(&self, graph: &mut Graph) -> Result<Vec<NodeId>, CalibrationError> {
        let mut inserted = Vec::new();
        for id in graph.topological()? {
            let Some((factor, summand)) = self.corrections.get(&id) else { continue };
            let rank = graph.ty(id).shape.len();
            let tensor = |values: &[f32]| Some(Tensor::per_channel(values.to_vec(), rank));
            let name = graph.fresh_name(&format!("{}.matched", graph.node(id).name()));
            let scale = graph.add(name, Op::Scale(Scale { weight: tensor(factor), bias: tensor(summand) }), &[id])?;
            graph.replace_uses(id, scale);
            inserted.push(scale);
        }
        Ok(inserted)
    }
}

/// Runs `run` with `samples`, else with synthetic ones in a network that is corrected for them meanwhile; `None` where there
/// are neither.
///
/// # Errors
/// As `run`.
pub fn with_samples<T, E: From<CalibrationError>>(
    graph: &mut Graph,
    samples: Option<&Samples>,
    matched: Option<&Matched>,
    run: impl FnOnce(&mut Graph, &Samples) -> Result<T, E>,
) -> Result<Option<T>, E> {
    if let Some(samples) = samples {
        return if samples.is_empty() { Ok(None) } else { run(graph, samples).map(Some) };
    }
    let Some(matched) = matched.filter(|m| !m.is_empty()) else { return Ok(None) };
    let inserted = matched.insert(graph)?;
    let made = run(graph, &matched.samples)?;
    inserted.into_iter().for_each(|id| graph.bypass(id));
    Ok(Some(made))
}
