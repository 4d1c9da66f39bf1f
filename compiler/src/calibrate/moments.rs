//! Means and variances that batch-norm statistics imply, carried through the network without any data.

use super::distribution::{self, Distribution};
use snn_ir::op::Divisor;
use snn_ir::{Graph, NodeId, Op};
use std::collections::HashMap;

/// Mean and variance of each channel, taken as Gaussian before a rectifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Per channel.
    pub mean: Vec<f32>,
    /// Per channel.
    pub variance: Vec<f32>,
}

/// Standard normal distribution function, by Abramowitz & Stegun 26.2.17 (error below 7.5e-8).
fn normal_cdf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let polynomial = t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = normal_pdf(x) * polynomial;
    if x >= 0.0 { 1.0 - tail } else { tail }
}

fn normal_pdf(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// How many standard deviations above the mean the largest of a calibration set's values is taken to lie.
const REACH: f64 = 4.5;

impl Moments {
    /// The values of all channels together.
    pub fn distribution(&self) -> Distribution {
        let normals: Vec<(f64, f64)> =
            self.mean.iter().zip(&self.variance).map(|(&m, &v)| (f64::from(m), f64::from(v).max(1e-12).sqrt())).collect();
        let low = normals.iter().map(|(m, s)| m - REACH * s).fold(f64::INFINITY, f64::min);
        let high = normals.iter().map(|(m, s)| m + REACH * s).fold(f64::NEG_INFINITY, f64::max);
        let mut d = if low <= high { Distribution::new(low, high) } else { Distribution::new(0.0, 0.0) };
        let step = (d.high - d.low) / distribution::BINS as f64;
        for (mean, deviation) in normals {
            let mut below = 0.0;
            for (i, bin) in d.bins.iter_mut().enumerate() {
                let up_to = normal_cdf((d.low + (i + 1) as f64 * step - mean) / deviation);
                *bin += (up_to - below).max(0.0);
                below = up_to;
            }
        }
        d
    }

    /// Mean and variance after a rectifier (moments of the rectified Gaussian; a cap is ignored).
    fn rectified(&self) -> Moments {
        let (mean, variance) = (0..self.mean.len())
            .map(|c| {
                let (m, s) = (f64::from(self.mean[c]), f64::from(self.variance[c]).max(1e-12).sqrt());
                let (phi, density) = (normal_cdf(m / s), normal_pdf(m / s));
                let first = m * phi + s * density;
                let second = (m * m + s * s) * phi + m * s * density;
                (first as f32, (second - first * first).max(0.0) as f32)
            })
            .unzip();
        Moments { mean, variance }
    }
}

/// Moments of every node they can be known of: batch-normed nodes as stated, and what follows from them through
/// rectifiers, sums of independent branches, poolings and structural operations that keep channels.
pub fn propagate(graph: &Graph, stated: &HashMap<NodeId, Moments>, order: &[NodeId]) -> HashMap<NodeId, Moments> {
    let mut known: HashMap<NodeId, Moments> = HashMap::new();
    for &id in order {
        if let Some(moments) = stated.get(&id) {
            known.insert(id, moments.clone());
            continue;
        }
        let operands: Option<Vec<&Moments>> = graph.operands(id).iter().map(|o| known.get(o)).collect();
        let Some(operands) = operands.filter(|o| !o.is_empty()) else { continue };
        let moments = match graph.op(id) {
            Op::Relu(_) => operands[0].rectified(),
            Op::Add => Moments {
                mean: (0..operands[0].mean.len()).map(|c| operands.iter().map(|m| m.mean[c]).sum()).collect(),
                variance: (0..operands[0].mean.len()).map(|c| operands.iter().map(|m| m.variance[c]).sum()).collect(),
            },
            Op::AvgPool(p) if p.divisor != Divisor::One => operands[0].clone(),
            Op::Identity | Op::MaxPool(_) | Op::CumulativeMaxPool(_) => operands[0].clone(),
            Op::Concat { axis: 0 } => Moments {
                mean: operands.iter().flat_map(|m| m.mean.clone()).collect(),
                variance: operands.iter().flat_map(|m| m.variance.clone()).collect(),
            },
            _ => continue,
        };
        known.insert(id, moments);
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rectified_standard_normal_has_its_known_mean_and_variance() {
        let m = Moments { mean: vec![0.0], variance: vec![1.0] }.rectified();
        assert!((m.mean[0] - 0.398_942).abs() < 1e-4);
        assert!((m.variance[0] - (0.5 - 0.159_155)).abs() < 1e-4);
    }
}
