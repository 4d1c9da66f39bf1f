//! Stateless nodes on sums over time. What is linear commutes with the sum, and so does the
//! difference of a running maximum, whose window sum is the maximum of its operands'. Everything is
//! pixel-major and in 64 bits, which no window of 32-bit currents fills.

use crate::engine::plan::geometry::Geometry;
use crate::engine::plan::node::{LayerWork, PerElement, PlanNode, pixel_major};
use crate::engine::plan::synapse::{Synapse, Weights};
use crate::engine::plan::{Mode, Work};
use crate::prefix::SteadyCurrent;

/// The currents that are the same in every step, pixel-major, by node; `given` are the prefix's.
pub(crate) fn constants(nodes: &[PlanNode], mut given: Vec<SteadyCurrent>) -> Vec<Vec<i32>> {
    let mut constants: Vec<Vec<i32>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate().filter(|(_, n)| n.mode == Mode::Constant) {
        constants[i] = match &node.work {
            Work::Given(Some(result)) => match std::mem::replace(&mut given[*result], SteadyCurrent::Integer(Vec::new())) {
                SteadyCurrent::Integer(x) => transposed(&x, node),
                SteadyCurrent::Real(_) => vec![0; node.len()],
            },
            Work::Given(None) => Vec::new(),
            _ => {
                let operands: Vec<Vec<i64>> = node.operands.iter().map(|&o| widened(&constants[o])).collect();
                linear(node, &operands, 1, nodes).into_iter().map(|x| x as i32).collect()
            }
        };
    }
    constants
}

/// Sums that output `node` accumulated over so many steps, as potentials, row-major.
pub(crate) fn potentials(node: &PlanNode, sums: &[i64], steps: u32) -> Vec<f32> {
    let Work::Readout { scale, .. } = &node.work else { return Vec::new() };
    let potential = |e: usize| {
        let mean = sums[pixel_major(e, node.channels, node.pixels)] as f64 / f64::from(steps);
        scale.as_ref().map_or(mean, |s| mean * f64::from(s[e])) as f32
    };
    (0..node.len()).map(potential).collect()
}

/// Steps at the start of the window that output `node` does not accumulate.
pub(crate) fn delay(node: &PlanNode) -> u32 {
    if let Work::Readout { delay, .. } = &node.work { *delay } else { 0 }
}

/// Row-major to pixel-major.
fn transposed(x: &[i32], node: &PlanNode) -> Vec<i32> {
    let mut out = vec![0; node.len()];
    for (c, plane) in x.chunks_exact(node.pixels).enumerate() {
        out[c..].iter_mut().step_by(node.channels).zip(plane).for_each(|(o, &x)| *o = x);
    }
    out
}

/// Pixel-major to row-major.
pub(crate) fn row_major(x: &[i64], node: &PlanNode) -> Vec<i64> {
    (0..node.len()).map(|e| x[pixel_major(e, node.channels, node.pixels)]).collect()
}

/// In 64 bits.
pub(crate) fn widened(x: &[i32]) -> Vec<i64> {
    x.iter().map(|&x| i64::from(x)).collect()
}

/// Bias and constant operands of a layer, one value per element: a current of one step, which fits
/// 32 bits.
pub(crate) fn constant_current(work: &LayerWork, node: &PlanNode, constants: &[Vec<i32>], nodes: &[PlanNode]) -> Vec<i32> {
    let mut out: Vec<i32> = match &work.bias {
        PerElement::Channel(row) => row.repeat(node.pixels),
        PerElement::Full(values) => values.clone(),
    };
    for (synapse, &o) in work.synapses.iter().zip(&node.operands).filter(|(_, o)| nodes[**o].mode == Mode::Constant) {
        match (&synapse.geometry, &synapse.weights) {
            (Geometry::Window(window), Weights::Channel(weights)) if window.is_pointwise() => {
                for (out, x) in out.chunks_exact_mut(node.channels).zip(constants[o].chunks_exact(node.channels)) {
                    out.iter_mut().zip(x).zip(weights).for_each(|((out, &x), &w)| *out = out.wrapping_add(x.wrapping_mul(w)));
                }
            }
            _ => {
                let mut sums = vec![0; node.len()];
                apply(synapse, &widened(&constants[o]), nodes[o].channels, &mut sums, node.channels);
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = out.wrapping_add(sum as i32));
            }
        }
    }
    out
}

fn biased(bias: &PerElement, node: &PlanNode, factor: i64) -> Vec<i64> {
    match bias {
        PerElement::Channel(row) => row.iter().cycle().take(node.len()).map(|&b| factor * i64::from(b)).collect(),
        PerElement::Full(values) => values.iter().map(|&b| factor * i64::from(b)).collect(),
    }
}

/// A node without state, on constant values (`steps` = 1) or on sums over `steps` steps; everything
/// pixel-major.
pub(crate) fn linear(node: &PlanNode, operands: &[Vec<i64>], steps: i64, nodes: &[PlanNode]) -> Vec<i64> {
    match &node.work {
        Work::Layer(work) => {
            let mut out = biased(&work.bias, node, steps);
            for ((synapse, x), &o) in work.synapses.iter().zip(operands).zip(&node.operands) {
                apply(synapse, x, nodes[o].channels, &mut out, node.channels);
            }
            out
        }
        Work::Structural(map) => {
            let joined = operands.concat();
            let moved = |&s: &u32| joined.get(s as usize).copied().unwrap_or(steps * i64::from(map.fill));
            map.source.iter().map(moved).collect()
        }
        Work::MaxPool(geometry) => {
            let mut out = Vec::with_capacity(node.len());
            for p in 0..node.pixels {
                for c in 0..node.channels {
                    let mut largest = None;
                    geometry.for_each_tap(p, |pixel, _| largest = largest.max(Some(operands[0][pixel * node.channels + c])));
                    out.push(largest.unwrap_or(0));
                }
            }
            out
        }
        Work::Requantize(r) => operands[0].iter().map(|&sum| r.of_sum(sum)).collect(),
        Work::Maximum => (0..node.len()).map(|e| operands.iter().map(|x| x[e]).max().unwrap_or(0)).collect(),
        Work::Readout { .. } | Work::Given(_) | Work::Prefix => operands[0].clone(),
    }
}

/// Adds to `out` what `synapse` makes of `x`.
fn apply(synapse: &Synapse, x: &[i64], channels: usize, out: &mut [i64], out_channels: usize) {
    for (p, out) in out.chunks_exact_mut(out_channels).enumerate() {
        synapse.geometry.for_each_tap(p, |pixel, slice| {
            let x = &x[pixel * channels..][..channels];
            match &synapse.weights {
                Weights::Channel(w) => {
                    let w = &w[slice * channels..][..channels];
                    out.iter_mut().zip(x).zip(w).for_each(|((o, &x), &w)| *o += x * i64::from(w));
                }
                Weights::Full { inputs, outputs, data, .. } => {
                    for (channel, &x) in x.iter().enumerate().filter(|(_, x)| **x != 0) {
                        let row = &data[(slice * channels + channel) * outputs..][..*outputs];
                        let group = &mut out[channel / inputs * outputs..][..*outputs];
                        group.iter_mut().zip(row).for_each(|(o, &w)| *o += x * i64::from(w));
                    }
                }
            }
        });
    }
}
