//! Whether samples are what a network was trained on: its first batch-norm remembers the statistics of its input.
//!
//! Samples that were not preprocessed as in training show there: the batch-norm's input has another mean or variance than
//! its running ones. Compared is the median over channels, as single channels vary with the choice of samples.

use crate::data::Samples;
use snn_ir::{Graph, NodeId, Op, Signal};
use snn_runtime::analog::AnalogNetwork;
use std::collections::HashMap;
use std::fmt;

/// Samples that are looked at.
const SAMPLES: usize = 32;
/// Ratio of the standard deviations, either way, beyond which samples are others than in training. Pixels that were not
/// divided by a usual deviation (0.2 to 0.3) are beyond.
const DEVIATION: f64 = 2.0;
/// Distance of the means, in running standard deviations, beyond which they are, too.
const MEAN: f64 = 1.0;

/// A batch-norm whose input is not what it was in training. Medians over channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// The batch-norm.
    pub name: String,
    /// The input's standard deviation over the running one.
    pub deviation: f64,
    /// The means' distance in running standard deviations.
    pub mean: f64,
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the first batch-norm `{}` saw other values in training: its input now has {:.2} of the standard deviation, and a mean \
             {:.2} standard deviations away",
            self.name, self.deviation, self.mean
        )
    }
}

/// How far the input of the first batch-norm of `ann` is from its running statistics; `None` where it is near, or where
/// neurons are before it or nothing is known.
pub fn shift(ann: &Graph, samples: &Samples) -> Option<Shift> {
    let id = first_batch_norm(ann)?;
    let Op::BatchNorm(norm) = ann.op(id) else { return None };
    let before = ann.operands(id)[0];
    let channels = norm.mean.len();
    let part = part_before(ann, before)?;
    let network = AnalogNetwork::new(&part).ok()?;
    let mut sums = vec![(0.0f64, 0.0f64); channels];
    let mut count = 0.0;
    for inputs in samples.iter().take(SAMPLES) {
        let values = network.run(&inputs, &mut |_, _| {}).swap_remove(0);
        let each = values.len() / channels;
        if each == 0 || each * channels != values.len() {
            return None;
        }
        count += each as f64;
        for (sum, channel) in sums.iter_mut().zip(values.chunks(each)) {
            channel.iter().for_each(|&v| *sum = (sum.0 + f64::from(v), sum.1 + f64::from(v) * f64::from(v)));
        }
    }
    let (means, variances) = (norm.mean.as_f32(), norm.variance.as_f32());
    let mut deviations = Vec::new();
    let mut distances = Vec::new();
    for (channel, &(sum, squares)) in sums.iter().enumerate() {
        let running = f64::from(variances[channel] + norm.epsilon).sqrt();
        let mean = sum / count;
        let own = (squares / count - mean * mean).max(0.0) + f64::from(norm.epsilon);
        deviations.push(own.sqrt() / running);
        distances.push((mean - f64::from(means[channel])).abs() / running);
    }
    let shift = Shift { name: ann.node(id).name().to_string(), deviation: median(deviations), mean: median(distances) };
    let near = (1.0 / DEVIATION..=DEVIATION).contains(&shift.deviation) && shift.mean <= MEAN;
    (!near).then_some(shift)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The first batch-norm in topological order, if nothing but linear operations is before it.
fn first_batch_norm(ann: &Graph) -> Option<NodeId> {
    let linear = |op: &Op| {
        matches!(op, Op::Input(..) | Op::Constant(..) | Op::Identity | Op::Reshape { .. } | Op::Transpose { .. } | Op::Pad(_))
            || matches!(op, Op::Conv(_) | Op::Linear(_) | Op::Scale(_) | Op::Slice(_) | Op::Add)
    };
    for id in ann.topological().ok()? {
        match ann.op(id) {
            Op::BatchNorm(_) => return Some(id),
            op if linear(op) => {}
            _ => return None,
        }
    }
    None
}

/// The graph up to `root`, with all inputs.
fn part_before(ann: &Graph, root: NodeId) -> Option<Graph> {
    let mut part = Graph::new("before");
    let mut at: HashMap<NodeId, NodeId> = HashMap::new();
    for id in ann.inputs() {
        let input = Op::Input(Signal::Analog, ann.ty(id).shape.clone());
        at.insert(id, part.add(ann.node(id).name(), input, &[]).ok()?);
    }
    for id in ann.topological().ok()? {
        if at.contains_key(&id) {
            continue;
        }
        let operands: Option<Vec<NodeId>> = ann.operands(id).iter().map(|o| at.get(o).copied()).collect();
        let node = part.add(ann.node(id).name(), ann.op(id).clone(), &operands?).ok()?;
        at.insert(id, node);
        if id == root {
            break;
        }
    }
    part.set_outputs([*at.get(&root)?]);
    part.remove_dead();
    Some(part)
}
