//! How near outputs that are numbers come to what they should be.
//!
//! Every element of an output is compared with itself over samples: a constant part that all samples share explains
//! nothing. Sums are Welford's (1962), so that large means cost no digits.

use serde::Serialize;

/// How near outputs come to a reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fidelity {
    /// Pearson's correlation over samples, covariances and variances summed over the output's elements; absent where
    /// one of the two does not vary.
    pub correlation: Option<f64>,
    /// Share of the reference's variance over samples that is explained, at most 1; below 0 the reference's mean would
    /// be nearer. Absent where the reference does not vary.
    pub r2: Option<f64>,
    /// Root of the mean squared difference, in the output's unit.
    pub rms_error: f64,
    /// That, as a share of the root mean square of the reference; absent where that is zero.
    pub relative_error: Option<f64>,
}

/// One element over samples.
#[derive(Clone, Copy, Default)]
struct Moments {
    mean: f64,
    mean_reference: f64,
    squares: f64,
    squares_reference: f64,
    products: f64,
}

/// Outputs and references of samples, summed. The sums depend on the samples' order in their last digits.
#[derive(Clone, Default)]
pub struct Comparison {
    samples: usize,
    elements: Vec<Moments>,
    error: f64,
    reference: f64,
}

impl Comparison {
    /// Adds a sample.
    pub fn add(&mut self, output: &[f32], reference: &[f32]) {
        self.samples += 1;
        let n = self.samples as f64;
        self.elements.resize(output.len(), Moments::default());
        for ((m, &a), &b) in self.elements.iter_mut().zip(output).zip(reference) {
            let (a, b) = (f64::from(a), f64::from(b));
            let (da, db) = (a - m.mean, b - m.mean_reference);
            m.mean += da / n;
            m.mean_reference += db / n;
            m.squares += da * (a - m.mean);
            m.squares_reference += db * (b - m.mean_reference);
            m.products += da * (b - m.mean_reference);
            self.error += (a - b) * (a - b);
            self.reference += b * b;
        }
    }

    fn sum(&self, of: impl Fn(&Moments) -> f64) -> f64 {
        self.elements.iter().map(of).sum()
    }

    /// The reference's squared distances from its mean, summed; absent where it does not vary.
    pub fn reference_variance(&self) -> Option<f64> {
        Some(self.sum(|m| m.squares_reference)).filter(|&v| v > 0.0)
    }

    /// Share of the reference's variance that is left unexplained; absent where it does not vary.
    pub fn unexplained(&self) -> Option<f64> {
        self.reference_variance().map(|variance| self.error / variance)
    }

    /// What the sums say.
    pub fn fidelity(&self) -> Fidelity {
        let (own, reference) = (self.sum(|m| m.squares), self.sum(|m| m.squares_reference));
        let count = (self.samples * self.elements.len()).max(1) as f64;
        Fidelity {
            correlation: (own > 0.0 && reference > 0.0).then(|| (self.sum(|m| m.products) / (own * reference).sqrt()).clamp(-1.0, 1.0)),
            r2: self.unexplained().map(|u| 1.0 - u),
            rms_error: (self.error / count).sqrt(),
            relative_error: (self.reference > 0.0).then(|| (self.error / self.reference).sqrt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fidelity(pairs: &[(&[f32], &[f32])]) -> Fidelity {
        let mut comparison = Comparison::default();
        pairs.iter().for_each(|(a, b)| comparison.add(a, b));
        comparison.fidelity()
    }

    #[test]
    fn numbers_that_are_right_correlate_fully_and_numbers_that_run_against_do_not() {
        let same = fidelity(&[(&[1.0], &[1.0]), (&[3.0], &[3.0]), (&[2.0], &[2.0])]);
        assert_eq!((same.correlation, same.r2, same.rms_error, same.relative_error), (Some(1.0), Some(1.0), 0.0, Some(0.0)));
        let against = fidelity(&[(&[3.0], &[1.0]), (&[1.0], &[3.0])]);
        assert_eq!((against.correlation, against.r2, against.rms_error), (Some(-1.0), Some(-3.0), 2.0));
    }

    #[test]
    fn a_part_that_all_samples_share_explains_nothing() {
        // Both elements are near the reference, far from each other, and vary against it.
        let f = fidelity(&[(&[100.0, -100.0], &[101.0, -101.0]), (&[101.0, -101.0], &[100.0, -100.0])]);
        assert_eq!((f.correlation, f.r2), (Some(-1.0), Some(-3.0)));
        assert!(f.relative_error.unwrap() < 0.01);
    }

    #[test]
    fn what_does_not_vary_correlates_with_nothing() {
        let f = fidelity(&[(&[1.0], &[2.0]), (&[1.0], &[2.0])]);
        assert_eq!((f.correlation, f.r2, f.rms_error), (None, None, 1.0));
    }
}
