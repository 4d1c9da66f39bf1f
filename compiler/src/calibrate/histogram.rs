//! Histograms of what a rectifier lets through, and the thresholds they suggest.

/// Number of bins between zero and the largest value seen.
pub const BINS: usize = 1024;

/// Distribution of one channel's (or layer's) activations above zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper end of the last bin.
    pub max: f32,
    /// Weight of the values in `(i, i+1]·max/BINS`.
    pub bins: Vec<f64>,
    /// Weight of everything, zeros included.
    pub total: f64,
}

impl Histogram {
    /// An empty histogram that reaches to `max`.
    pub fn new(max: f32) -> Self {
        Histogram { max, bins: vec![0.0; BINS], total: 0.0 }
    }

    /// Counts `value`, which is at most `max`.
    pub fn add(&mut self, value: f32) {
        self.total += 1.0;
        if value > 0.0 && self.max > 0.0 {
            let bin = (f64::from(value) / f64::from(self.max) * BINS as f64) as usize;
            self.bins[bin.min(BINS - 1)] += 1.0;
        }
    }

    /// Adds another histogram of the same reach. Counts are whole numbers below 2⁵³, so the order does not matter.
    pub fn merge(&mut self, other: &Histogram) {
        self.total += other.total;
        self.bins.iter_mut().zip(&other.bins).for_each(|(a, b)| *a += b);
    }

    /// Whether anything was above zero.
    pub fn is_silent(&self) -> bool {
        self.max <= 0.0 || self.bins.iter().all(|&b| b == 0.0)
    }

    fn center(&self, bin: usize) -> f64 {
        (bin as f64 + 0.5) / BINS as f64 * f64::from(self.max)
    }

    /// The same weights over a longer reach, so that channels can be pooled into a layer.
    pub fn stretched(&self, max: f32) -> Histogram {
        let mut out = Histogram::new(max);
        out.total = self.total;
        for (i, &weight) in self.bins.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            let bin = (self.center(i) / f64::from(max) * BINS as f64) as usize;
            out.bins[bin.min(BINS - 1)] += weight;
        }
        out
    }

    /// The value below which `percent` of everything lies, zeros included (robust normalisation, Rueckauer et al. 2017).
    pub fn percentile(&self, percent: f64) -> f32 {
        let mut above = self.total * (1.0 - percent / 100.0);
        for (i, &weight) in self.bins.iter().enumerate().rev() {
            if weight > above {
                return ((i + 1) as f64 / BINS as f64 * f64::from(self.max)) as f32;
            }
            above -= weight;
        }
        0.0
    }

    /// Mean squared error of an activation that is clipped at `threshold` and rounded to `timesteps` levels above zero:
    /// `Q(x) = θ/T · clip(floor(xT/θ + 1/2), 0, T)`.
    pub fn quantization_error(&self, threshold: f64, timesteps: f64) -> f64 {
        let step = threshold / timesteps;
        let mut sum = 0.0;
        for (i, &weight) in self.bins.iter().enumerate() {
            if weight > 0.0 {
                let x = self.center(i);
                let error = ((x / step + 0.5).floor().min(timesteps)) * step - x;
                sum += weight * error * error;
            }
        }
        sum
    }

    /// Local threshold balancing (Bu et al. 2025): `steps` steps of `θ += 2·rate·E[(x − θ)·1[x > θ]]` from zero.
    pub fn balanced_threshold(&self, steps: u32, rate: f64) -> f32 {
        let mut theta = 0.0;
        for _ in 0..steps {
            let first = (theta / f64::from(self.max) * BINS as f64) as usize;
            let above: f64 = (first.min(BINS)..BINS).map(|i| self.bins[i] * (self.center(i) - theta).max(0.0)).sum();
            theta += 2.0 * rate * above / self.total.max(1.0);
        }
        (theta as f32).min(self.max)
    }

    /// The threshold with the smallest [`Histogram::quantization_error`] among fractions of the largest value
    /// (Li et al. 2021, MMSE). `None` for a silent channel.
    pub fn mmse_threshold(&self, timesteps: u32) -> Option<f32> {
        if self.is_silent() {
            return None;
        }
        const GRID: usize = 128;
        let candidate = |i: usize| f64::from(self.max) * i as f64 / GRID as f64;
        let best = (1..=GRID)
            .map(|i| (self.quantization_error(candidate(i), f64::from(timesteps)), candidate(i)))
            .min_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(best.1 as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_levels_clip_outliers_that_many_levels_keep() {
        let mut h = Histogram::new(10.0);
        (0..1000).for_each(|i| h.add(i as f32 / 1000.0));
        h.add(10.0);
        let (few, many) = (h.mmse_threshold(4).unwrap(), h.mmse_threshold(1024).unwrap());
        assert!(few < 2.0, "T = 4 should clip the outlier, got θ = {few}");
        assert!(many > 9.0, "T = 1024 should keep it, got θ = {many}");
        assert!((h.percentile(99.0) - 1.0).abs() < 0.05);
    }

    #[test]
    fn a_balanced_threshold_nears_the_largest_value_with_the_number_of_steps() {
        let mut h = Histogram::new(1.0);
        (0..1000).for_each(|i| h.add(i as f32 / 1000.0));
        // Of a uniform distribution E[(x − θ)·1[x > θ]] = (1 − θ)²/2, so θ = 1 − 1/(k + 1) or a little below.
        let [few, many] = [9, 99].map(|steps| h.balanced_threshold(steps, 0.5));
        assert!((few - 0.86).abs() < 0.03 && (many - 0.98).abs() < 0.01, "{few} {many}");
    }

    #[test]
    fn mmse_thresholds_of_a_rectified_gaussian_match_the_published_fixed_points() {
        // H-MT (Zhang 2026), threshold iteration for mu = 0, as checked in the field: N = 8 gives 2.55, N = 32 gives 3.29.
        let mut h = Histogram::new(4.5);
        (0..BINS).for_each(|i| h.bins[i] = (-0.5 * h.center(i) * h.center(i)).exp());
        h.total = 2.0 * h.bins.iter().sum::<f64>();
        assert!((h.mmse_threshold(8).unwrap() - 2.55).abs() < 0.1);
        assert!((h.mmse_threshold(32).unwrap() - 3.29).abs() < 0.15);
    }

    #[test]
    fn a_silent_channel_has_no_threshold() {
        let mut h = Histogram::new(0.0);
        h.add(0.0);
        assert_eq!(h.mmse_threshold(8), None);
    }
}
