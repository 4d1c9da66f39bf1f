//! Finds the neuron that reproduces the ANN best from the currents it really gets.
//!
//! Per channel, θ, v(0) and a bias current are searched coordinate by coordinate; what a spike is worth is not searched: for
//! given counts `N` the best value `a` of `a·N/T ≈ x` is a ratio of sums, so a candidate is judged by the error that is left
//! with its best `a`. All of it uses spike counts of the simulated neuron, so clipping, quantisation and unevenness
//! errors are weighed as they occur.

use snn_ir::op::Firing;

/// Currents and targets of one channel at chosen places of the samples.
pub struct Entries<'a> {
    /// Step-major: `steps × places`; a single step when it is the same in all.
    pub current: &'a [f32],
    /// The ANN's activation at each place.
    pub target: &'a [f32],
    /// Window length.
    pub timesteps: usize,
    /// Firing rule.
    pub firing: Firing,
}

/// Parameters of the neurons of one channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// θ.
    pub threshold: f32,
    /// v(0).
    pub initial: f32,
    /// Added to the current in every step.
    pub bias: f32,
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
    pub fn counts(&self, p: &Parameters, v: &mut Vec<f32>, counts: &mut Vec<f32>) {
        let places = self.target.len();
        v.clear();
        v.resize(places, p.initial);
        counts.clear();
        counts.resize(places, 0.0);
        let steady = self.current.len() == places;
        let step = |t: usize| if steady { self.current } else { &self.current[t * places..(t + 1) * places] };
        let (theta, bias) = (p.threshold, p.bias);
        match self.firing {
            Firing::Binary => {
                for t in 0..self.timesteps {
                    for ((v, n), i) in v.iter_mut().zip(counts.iter_mut()).zip(step(t)) {
                        let u = *v + i + bias;
                        let fired = if u >= theta { 1.0 } else { 0.0 };
                        *v = u - fired * theta;
                        *n += fired;
                    }
                }
            }
            Firing::Lanes(lanes) => {
                let most = ((1u32 << lanes) - 1) as f32;
                for t in 0..self.timesteps {
                    for ((v, n), i) in v.iter_mut().zip(counts.iter_mut()).zip(step(t)) {
                        let u = *v + i + bias;
                        let fired = (u / theta).clamp(0.0, most) as i32 as f32;
                        *v = u - fired * theta;
                        *n += fired;
                    }
                }
            }
            // Both end at the count that the whole window's current asks for, in whatever order it came.
            Firing::TwoPhase | Firing::Ternary => {
                let most = self.timesteps as f32;
                if steady {
                    v.iter_mut().zip(self.current).for_each(|(v, i)| *v += (i + bias) * most);
                } else {
                    (0..self.timesteps).for_each(|t| v.iter_mut().zip(step(t)).for_each(|(v, i)| *v += i + bias));
                }
                // Truncation is the floor of what is not negative, and vectorises.
                counts.iter_mut().zip(v.iter()).for_each(|(n, v)| *n = (v / theta).clamp(0.0, most) as i32 as f32);
            }
        }
    }

    /// How well `p` does.
    pub fn score(&self, p: &Parameters, v: &mut Vec<f32>, counts: &mut Vec<f32>) -> Score {
        self.counts(p, v, counts);
        let (mut squares, mut products) = (0f64, 0f64);
        for (n, x) in counts.chunks(1024).zip(self.target.chunks(1024)) {
            squares += f64::from(n.iter().map(|n| n * n).sum::<f32>());
            products += f64::from(n.iter().zip(x).map(|(n, x)| n * x).sum::<f32>());
        }
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
    pub fn search(&self, start: Parameters, rounds: &[f32]) -> (Parameters, Score) {
        let (mut v, mut counts) = (Vec::new(), Vec::new());
        let mut best = start;
        let mut score = self.score(&best, &mut v, &mut counts);
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
                        0 => Parameters { threshold: from.threshold * (1.0 + step), initial: from.initial * (1.0 + step), ..from },
                        1 => Parameters { initial: from.initial + from.threshold * step, ..from },
                        _ => Parameters { bias: from.bias + from.threshold * step / self.timesteps as f32, ..from },
                    };
                    let result = self.score(&candidate, &mut v, &mut counts);
                    if result.error < score.error {
                        (best, score) = (candidate, result);
                    }
                }
            }
        }
        (best, score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_a_threshold_that_a_bad_start_missed() {
        let target: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        let entries = Entries { current: &target, target: &target, timesteps: 8, firing: Firing::Binary };
        let start = Parameters { threshold: 0.4, initial: 0.0, bias: 0.0 };
        let squares: f64 = target.iter().map(|x| f64::from(x * x)).sum();
        let (mut v, mut n) = (Vec::new(), Vec::new());
        let before = squares + entries.score(&start, &mut v, &mut n).error;
        let (found, score) = entries.search(start, &[1.0, 1.0, 0.7, 0.5]);
        let after = squares + score.error;
        assert!(after < 0.1 * before, "{before} to {after} with {found:?}");
    }
}
