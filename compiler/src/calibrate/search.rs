//! Finds the neuron that reproduces the ANN best from the currents it really gets.
//!
//! Per channel, θ, v(0) and a bias current are searched coordinate by coordinate; the amplitude of a spike is not searched: for
//! given counts `N` the best value `a` of `a·N/T ≈ x` is a ratio of sums, so a candidate is judged by the error that is left
//! with its best `a`. All of it uses spike counts of the simulated neuron, so clipping, quantisation and unevenness
//! errors are weighed as they occur.

use snn_ir::neuron::Dynamics;
use snn_runtime::analog::NeuronParameters;

/// Currents and targets of one channel at chosen places of the samples.
pub struct Entries<'a> {
    /// Step-major: `steps × places`; a single step when it is the same in all.
    pub current: &'a [f32],
    /// The ANN's activation at each place.
    pub target: &'a [f32],
    /// Window length.
    pub timesteps: usize,
    /// When the neurons fire, and what that does to them.
    pub dynamics: Dynamics,
}

/// How well parameters do.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    /// Squared error that is left with the best amplitude; the constant `Σx²` is left out.
    pub error: f64,
    /// The best amplitude.
    pub amplitude: f32,
}

const THRESHOLDS: [f32; 8] = [-0.3, -0.2, -0.1, -0.05, 0.05, 0.1, 0.2, 0.35];
const INITIALS: [f32; 7] = [-0.6, -0.4, -0.2, -0.1, 0.1, 0.2, 0.4];
const BIASES: [f32; 8] = [-1.0, -0.6, -0.3, -0.1, 0.1, 0.3, 0.6, 1.0];

impl Entries<'_> {
    /// Number of spikes at every place.
    pub fn counts(&self, p: &NeuronParameters) -> Vec<f32> {
        let mut counts = vec![0.0; self.target.len()];
        self.count(p, &mut counts);
        counts
    }

    fn count(&self, p: &NeuronParameters, counts: &mut [f32]) {
        p.count(self.dynamics, self.current, self.timesteps, counts);
    }

    /// How well `p` does.
    pub fn score(&self, p: &NeuronParameters) -> Score {
        self.score_into(p, &mut vec![0.0; self.target.len()])
    }

    fn score_into(&self, p: &NeuronParameters, counts: &mut [f32]) -> Score {
        self.count(p, counts);
        let (squares, products) = sums(counts, self.target);
        if squares == 0.0 || products <= 0.0 {
            return Score { error: 0.0, amplitude: p.threshold };
        }
        let best = (products / squares * self.timesteps as f64) as f32;
        // Far from θ the neuron would no longer be the one that the ANN's rectifier stands for.
        let amplitude = best.clamp(0.5 * p.threshold, 2.0 * p.threshold);
        let a = f64::from(amplitude) / self.timesteps as f64;
        Score { error: a * a * squares - 2.0 * a * products, amplitude }
    }

    /// Coordinate search from `start`, with steps scaled by each of `rounds` in turn.
    pub fn search(&self, start: NeuronParameters, rounds: &[f32]) -> (NeuronParameters, Score) {
        let mut counts = vec![0.0; self.target.len()];
        let mut best = start;
        let mut score = self.score_into(&best, &mut counts);
        for &round in rounds {
            for coordinate in 0..3 {
                let from = best;
                let candidates: &[f32] = match coordinate {
                    0 => &THRESHOLDS,
                    1 => &INITIALS,
                    _ => &BIASES,
                };
                for &step in candidates {
                    let step = round * step;
                    let candidate = match coordinate {
                        0 => NeuronParameters { threshold: from.threshold * (1.0 + step), initial: from.initial * (1.0 + step), ..from },
                        1 => NeuronParameters { initial: from.initial + from.threshold * step, ..from },
                        _ => NeuronParameters { bias: from.bias + from.threshold * step / self.timesteps as f32, ..from },
                    };
                    let result = self.score_into(&candidate, &mut counts);
                    if result.error < score.error {
                        (best, score) = (candidate, result);
                    }
                }
            }
        }
        (best, score)
    }
}

/// Entries whose sums are made in `f32`, before `f64` takes them.
const STRETCH: usize = 1024;
/// Stretches that are summed side by side, because an addition waits for the one before it.
const STRETCHES: usize = 4;

/// `Σn²` and `Σn·x`.
fn sums(n: &[f32], x: &[f32]) -> (f64, f64) {
    let (mut squares, mut products) = (0f64, 0f64);
    let mut add = |square: f32, product: f32| {
        squares += f64::from(square);
        products += f64::from(product);
    };
    for (n, x) in n.chunks(STRETCHES * STRETCH).zip(x.chunks(STRETCHES * STRETCH)) {
        if n.len() == STRETCHES * STRETCH {
            stretch_sums::<STRETCHES>(n, x).into_iter().for_each(|(s, p)| add(s, p));
        } else {
            let stretches = n.chunks(STRETCH).zip(x.chunks(STRETCH));
            stretches.for_each(|(n, x)| stretch_sums::<1>(n, x).into_iter().for_each(|(s, p)| add(s, p)));
        }
    }
    (squares, products)
}

/// `Σn²` and `Σn·x` of each of `N` stretches of one length, in the order of the entries.
fn stretch_sums<const N: usize>(n: &[f32], x: &[f32]) -> [(f32, f32); N] {
    let length = n.len() / N;
    let (n, x): ([&[f32]; N], [&[f32]; N]) =
        (std::array::from_fn(|c| &n[c * length..][..length]), std::array::from_fn(|c| &x[c * length..][..length]));
    let mut sums = [(0.0, 0.0); N];
    for k in 0..length {
        for c in 0..N {
            sums[c].0 += n[c][k] * n[c][k];
            sums[c].1 += n[c][k] * x[c][k];
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_a_threshold_that_a_bad_start_missed() {
        let target: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        let entries = Entries { current: &target, target: &target, timesteps: 8, dynamics: Dynamics::default() };
        let start = NeuronParameters { threshold: 0.4, initial: 0.0, bias: 0.0 };
        let squares: f64 = target.iter().map(|x| f64::from(x * x)).sum();
        let before = squares + entries.score(&start).error;
        let (found, score) = entries.search(start, &[1.0, 1.0, 0.7, 0.5]);
        let after = squares + score.error;
        assert!(after < 0.1 * before, "{before} to {after} with {found:?}");
    }
}
