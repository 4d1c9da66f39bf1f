//! Rounds the weights before a population to the integers that `quantize` will make of them, while what that does to the
//! currents can still be made up for.
//!
//! Rounded to the nearest integer, every weight of a channel is off by up to half a step, and as spikes are never negative these errors
//! add up to a current that is there in every sample. Networks of depthwise layers, with nine weights a channel, lose more by it than by all
//! their spikes. So a row is rounded to the lattice point near it *in the currents that it makes* (Babai's nearest plane, as in GPTQ,
//! Frantar et al. 2023): one weight after the other, what is left of each error taken up by the weights still to come, and what the
//! errors amount to in the mean by the bias.

use super::least_squares::{Gram, cholesky};
use snn_ir::Op;

/// Damping of the covariance, relative to the mean of its diagonal.
const DAMPING: f64 = 1e-2;
/// From so many weights a row on errors average out, and the factor would cost seconds.
const MANY_COLUMNS: usize = 1200;

/// Largest integers that weights of neurons are rounded to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightRange {
    /// In most layers.
    pub weights: f64,
    /// In depthwise layers.
    pub depthwise: f64,
}

impl WeightRange {
    /// The same with weights of magnitude `most` at most.
    pub fn within(self, most: f64) -> Self {
        WeightRange { weights: self.weights.min(most), depthwise: self.depthwise.min(most) }
    }

    /// For the weights of one channel in `synapses`.
    pub fn of<'a>(self, mut synapses: impl Iterator<Item = &'a Op>) -> f64 {
        if synapses.all(|s| matches!(s, Op::Conv(c) if c.weight.shape()[1] == 1)) { self.depthwise } else { self.weights }
    }
}

/// The currents that weights of one group of channels make, as a metric to round in.
pub struct Lattice {
    /// Cholesky factor of the covariance of the spike rates; none where every weight is rounded on its own.
    factor: Option<Vec<f64>>,
    /// Mean spike rates.
    means: Vec<f64>,
    /// The amplitude of a spike of each column.
    amplitudes: Vec<f64>,
}

impl Lattice {
    /// For weights on the columns of `gram` but its last, the constant, where a spike has an amplitude of `amplitudes`.
    pub fn new(gram: &Gram, amplitudes: Vec<f64>) -> Lattice {
        let n = amplitudes.len();
        let (mut covariance, means) = gram.covariance(&amplitudes);
        let damping = DAMPING * (0..n).map(|i| covariance[i * n + i]).sum::<f64>() / n.max(1) as f64;
        (0..n).for_each(|i| covariance[i * n + i] += damping + f64::MIN_POSITIVE);
        let factor = (n <= MANY_COLUMNS && cholesky(&mut covariance, n)).then_some(covariance);
        Lattice { factor, means, amplitudes }
    }

    /// The largest current that one spike makes through `row`.
    pub fn largest(&self, row: &[f64]) -> f64 {
        row.iter().zip(&self.amplitudes).map(|(w, a)| (w * a).abs()).fold(0.0, f64::max)
    }

    /// What has to be added to `row` so that a spike through each of its weights makes a whole number of `unit`s, at most `most` of
    /// them; the bias's share last. The largest weight keeps its place, for it sets the unit.
    pub fn step(&self, row: &[f64], unit: f64, most: f64) -> Vec<f64> {
        let n = self.amplitudes.len();
        let wanted: Vec<f64> = row.iter().zip(&self.amplitudes).map(|(w, a)| w * a / unit).collect();
        let largest = (0..n).max_by(|&a, &b| wanted[a].abs().total_cmp(&wanted[b].abs()));
        let mut errors = vec![0.0; n];
        for i in (0..n).rev() {
            let left = match &self.factor {
                Some(factor) => (i + 1..n).map(|j| factor[j * n + i] * errors[j]).sum::<f64>() / factor[i * n + i],
                None => 0.0,
            };
            let target = if Some(i) == largest { wanted[i] } else { wanted[i] + left };
            errors[i] = wanted[i] - target.round().clamp(-most, most);
        }
        let bias = errors.iter().zip(&self.means).map(|(e, m)| e * m).sum::<f64>() * unit;
        errors.iter().zip(&self.amplitudes).map(|(e, a)| -e * unit / a).chain([bias]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::least_squares::Rows;

    #[test]
    fn rounded_weights_make_nearly_the_currents_that_the_others_made() {
        // Two columns that nearly always agree, whose weights are both rounded down, and one of its own.
        let mut values = Vec::new();
        for i in 0..4000u32 {
            let (a, b) = ((i * 37 % 101) as f32 / 101.0, (i * 53 % 89) as f32 / 89.0);
            values.extend([2.0 * a, 2.0 * a + 0.02 * b, b, 1.0]);
        }
        let rows = Rows::new(values, 4);
        let lattice = Lattice::new(&rows.gram(), vec![2.0, 2.0, 1.0]);
        let row = [0.175, 0.175, -1.0];
        let unit = lattice.largest(&row) / 4.0;
        let step = lattice.step(&row, unit, 4.0);
        let spread = |step: &[f64]| {
            let made = rows.values(&[step]).remove(0);
            (made.iter().sum::<f32>() / 4000.0, made.iter().map(|v| v * v).sum::<f32>() / 4000.0)
        };
        for (w, (s, amplitude)) in row.iter().zip(step.iter().zip([2.0, 2.0, 1.0])) {
            let steps = (w + s) * amplitude / unit;
            assert!((steps - steps.round()).abs() < 1e-9 && steps.abs() < 4.5, "{steps} is a whole number");
        }
        let nearest: Vec<f64> = row.iter().zip([2.0, 2.0, 1.0]).map(|(w, a)| (w * a / unit).round() * unit / a - w).chain([0.0]).collect();
        let (mean, square) = spread(&step);
        assert!(mean.abs() < 1e-3, "no current is left in the mean: {mean}");
        assert!(square < 0.5 * spread(&nearest).1, "{square} against {}", spread(&nearest).1);
    }
}
