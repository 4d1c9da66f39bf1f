//! Histograms of every rectifier's output over calibration samples.

use super::CalibrationError;
use super::histogram::Histogram;
use crate::data::Samples;
use crate::progress::Progress;
use rayon::prelude::*;
use snn_ir::{Graph, NodeId, Op};
use snn_runtime::analog::AnalogNetwork;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The axis of a rectifier's value that holds its channels: the last one after a linear operation, else the first.
pub fn channel_axis(graph: &Graph, relu: NodeId) -> usize {
    match graph.operands(relu).first().map(|&o| graph.op(o)) {
        Some(Op::Linear(_)) => graph.ty(relu).shape.len().saturating_sub(1),
        _ => 0,
    }
}

/// Index of the channel of each element of a value of `shape` with channels along `axis`. A value
/// without axes is one channel.
pub fn channel_of(shape: &[usize], axis: usize, element: usize) -> usize {
    let inner: usize = shape.iter().skip(axis + 1).product();
    element / inner % shape.get(axis).copied().unwrap_or(1)
}

/// Why a network cannot be calibrated whose values leave the floats.
const OUT_OF_RANGE: &str = "its value is infinite or not a number on a calibration sample: weights or samples are too large for floats; \
     look for weights of 1e30 and more, and see that --scale, --mean and --std suit the network";

/// Calls `see` with every node's value for every sample, in parallel over samples; each thread folds into its own
/// accumulator, and accumulators are merged pairwise by an operation that must not depend on order.
///
/// # Errors
/// When the network cannot be executed, or a value is infinite or not a number.
pub fn fold_activations<A: Send>(
    graph: &Graph,
    samples: &Samples,
    progress: Progress<'_>,
    what: &str,
    fresh: impl Fn() -> A + Sync + Send,
    see: impl Fn(&mut A, NodeId, &[f32]) + Sync,
    merge: impl Fn(A, A) -> A + Sync + Send,
) -> Result<A, CalibrationError> {
    let network = AnalogNetwork::new(graph)?;
    let done = AtomicUsize::new(0);
    let total = samples.len();
    // One accumulator a thread: they are large.
    let share = total.div_ceil(rayon::current_num_threads()).max(1);
    (0..total.div_ceil(share))
        .into_par_iter()
        .map(|thread| {
            let mut accumulator = fresh();
            for sample in thread * share..((thread + 1) * share).min(total) {
                let mut broken = None;
                network.run(&samples.sample(sample), &mut |id, value| {
                    if broken.is_none() && !value.iter().all(|v| v.is_finite()) {
                        broken = Some(id);
                    }
                    see(&mut accumulator, id, value);
                });
                if let Some(id) = broken {
                    return Err(CalibrationError::node(graph, id, OUT_OF_RANGE));
                }
                progress(what, done.fetch_add(1, Ordering::Relaxed) + 1, total);
            }
            Ok(accumulator)
        })
        .try_reduce_with(|a, b| Ok(merge(a, b)))
        .unwrap_or_else(|| Ok(fresh()))
}

/// Most channels of a relu that have histograms of their own; VGG's widest layer has 4,096. A histogram takes 8 KiB.
const MOST_CHANNELS: usize = 1 << 13;
/// Most histograms of a network (1 GiB a thread). MobileNet v3, whose activations become eight relus each, has 100,000.
const MOST_HISTOGRAMS: usize = 1 << 17;

/// How many histograms each relu gets, given its channels: one for each, or one for all in the widest layers, so that memory
/// stays bounded.
fn histogram_counts(channels: &[usize]) -> Vec<usize> {
    let mut counts: Vec<usize> = channels.iter().map(|&c| if c > MOST_CHANNELS { 1 } else { c }).collect();
    let mut widest: Vec<usize> = (0..counts.len()).collect();
    widest.sort_by_key(|&i| std::cmp::Reverse(counts[i]));
    let mut total: usize = counts.iter().sum();
    for i in widest {
        if total <= MOST_HISTOGRAMS {
            break;
        }
        total -= std::mem::replace(&mut counts[i], 1) - 1;
    }
    counts
}

/// One histogram per channel of every relu of an analog graph, or one for all channels where there are very many.
///
/// # Errors
/// When the network cannot be executed.
pub fn relu_histograms(
    graph: &Graph,
    samples: &Samples,
    progress: Progress<'_>,
) -> Result<HashMap<NodeId, Vec<Histogram>>, CalibrationError> {
    let relus: Vec<NodeId> = graph.topological()?.into_iter().filter(|&id| matches!(graph.op(id), Op::Relu(_))).collect();
    let slots: HashMap<NodeId, usize> = relus.iter().enumerate().map(|(i, &id)| (id, i)).collect();
    let axes: Vec<usize> = relus.iter().map(|&id| channel_axis(graph, id)).collect();
    let channels: Vec<usize> = (0..relus.len()).map(|i| graph.ty(relus[i]).shape.get(axes[i]).copied().unwrap_or(1)).collect();
    let counts = histogram_counts(&channels);

    let maxima = fold_activations(
        graph,
        samples,
        progress,
        "activation ranges",
        || counts.iter().map(|&n| vec![0f32; n]).collect::<Vec<_>>(),
        |maxima, id, value| {
            if let Some(&slot) = slots.get(&id) {
                let inner = graph.ty(id).shape.iter().skip(axes[slot] + 1).product::<usize>();
                let count = maxima[slot].len();
                for (i, plane) in value.chunks_exact(inner).enumerate() {
                    let max = &mut maxima[slot][i % count];
                    *max = plane.iter().fold(*max, |m, &v| m.max(v));
                }
            }
        },
        |mut a, b| {
            a.iter_mut().flatten().zip(b.into_iter().flatten()).for_each(|(x, y)| *x = x.max(y));
            a
        },
    )?;
    let histograms = fold_activations(
        graph,
        samples,
        progress,
        "activation histograms",
        || maxima.iter().map(|m| m.iter().map(|&max| Histogram::new(max)).collect::<Vec<_>>()).collect::<Vec<_>>(),
        |histograms, id, value| {
            if let Some(&slot) = slots.get(&id) {
                let inner = graph.ty(id).shape.iter().skip(axes[slot] + 1).product::<usize>();
                let count = histograms[slot].len();
                for (i, plane) in value.chunks_exact(inner).enumerate() {
                    let histogram = &mut histograms[slot][i % count];
                    plane.iter().for_each(|&v| histogram.add(v));
                }
            }
        },
        |mut a, b| {
            a.iter_mut().flatten().zip(b.iter().flatten()).for_each(|(x, y)| x.merge(y));
            a
        },
    )?;
    Ok(relus.into_iter().zip(histograms).collect())
}
