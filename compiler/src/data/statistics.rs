//! What the values of an input look like over samples, to tell data that cannot be meant.

use std::fmt;

/// Values over all samples and elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// The smallest.
    pub min: f32,
    /// The largest.
    pub max: f32,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
    /// Share of zeros, 0 to 1.
    pub zeros: f64,
    /// Whether all are whole numbers.
    pub whole: bool,
}

impl Statistics {
    /// Of `values`, of which there must be one; in their order.
    pub fn new<'a>(values: impl Iterator<Item = &'a f32>) -> Self {
        let (mut count, mut mean, mut squares, mut zeros) = (0.0, 0.0, 0.0, 0.0);
        let (mut min, mut max, mut whole) = (f32::INFINITY, f32::NEG_INFINITY, true);
        for &value in values {
            // Welford (1962): large means cost no digits.
            count += 1.0;
            let distance = f64::from(value) - mean;
            mean += distance / count;
            squares += distance * (f64::from(value) - mean);
            zeros += f64::from(u8::from(value == 0.0));
            (min, max) = (min.min(value), max.max(value));
            whole &= value.fract() == 0.0;
        }
        Statistics { min, max, mean, std: (squares / f64::max(count, 1.0)).sqrt(), zeros: zeros / f64::max(count, 1.0), whole }
    }

    /// Whether all values are the same.
    pub fn is_constant(&self) -> bool {
        self.min == self.max
    }

    /// The larger magnitude of the two ends.
    pub fn magnitude(&self) -> f32 {
        self.min.abs().max(self.max.abs())
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statistics { min, max, mean, std, zeros, .. } = self;
        write!(f, "from {min} to {max}, mean {mean:.4}, standard deviation {std:.4}, {:.1} % zeros", 100.0 * zeros)
    }
}
