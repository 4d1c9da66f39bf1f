//! How often neurons fire within a window, in `f32` and without a network around them: what
//! calibration asks for thousands of times. Compiled twice, for any CPU and for AVX2; both round
//! alike.

use snn_ir::neuron::Dynamics;

/// Places that are simulated together, through all steps, so that their membrane potentials stay in
/// registers.
const BLOCK: usize = 32;

/// Parameters that neurons share, those of one channel for example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NeuronParameters {
    /// θ.
    pub threshold: f32,
    /// v(0).
    pub initial: f32,
    /// Added to the current in every step.
    pub bias: f32,
}

impl NeuronParameters {
    /// Writes to `counts`, one element a neuron, how often each fires in a window of `timesteps`.
    /// `current` is step-major, `timesteps × counts.len()`, or has a single step for all.
    ///
    /// # Panics
    /// When `current` is shorter than that.
    pub fn count(&self, dynamics: Dynamics, current: &[f32], timesteps: usize, counts: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2")]
            fn wide(neuron: &NeuronParameters, dynamics: Dynamics, current: &[f32], timesteps: usize, counts: &mut [f32]) {
                count(neuron, dynamics, current, timesteps, counts);
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: `wide` is safe code that only needs AVX2, and the CPU has it.
                return unsafe { wide(self, dynamics, current, timesteps, counts) };
            }
        }
        count(self, dynamics, current, timesteps, counts);
    }
}

#[inline(always)]
fn count(neuron: &NeuronParameters, dynamics: Dynamics, current: &[f32], timesteps: usize, counts: &mut [f32]) {
    snn_ir::specialized!(dynamics => count_all(neuron, dynamics, current, timesteps, counts));
}

#[inline(always)]
fn count_all(neuron: &NeuronParameters, dynamics: Dynamics, current: &[f32], timesteps: usize, counts: &mut [f32]) {
    let steady = current.len() == counts.len();
    let pitch = if steady { 0 } else { counts.len() };
    let (blocks, rest) = counts.as_chunks_mut::<BLOCK>();
    let first_of_rest = blocks.len() * BLOCK;
    for (b, counts) in blocks.iter_mut().enumerate() {
        count_block(neuron, dynamics, &current[b * BLOCK..], pitch, timesteps, counts);
    }
    for (i, count) in rest.iter_mut().enumerate() {
        let mut one = [0.0];
        count_block(neuron, dynamics, &current[first_of_rest + i..], pitch, timesteps, &mut one);
        [*count] = one;
    }
}

/// The first `N` neurons of `current`, whose steps are `pitch` apart.
#[inline(always)]
fn count_block<const N: usize>(
    neuron: &NeuronParameters,
    dynamics: Dynamics,
    current: &[f32],
    pitch: usize,
    timesteps: usize,
    counts: &mut [f32; N],
) {
    let NeuronParameters { threshold, initial, bias } = *neuron;
    let (mut v, mut n) = ([initial; N], [0.0; N]);
    let step = |t: usize| current[t * pitch..].first_chunk::<N>().expect("a current for every neuron");
    if dynamics.counts_whole_windows() {
        if pitch == 0 {
            let current = step(0);
            (0..N).for_each(|l| v[l] += (current[l] + bias) * timesteps as f32);
        } else {
            for t in 0..timesteps {
                let current = step(t);
                (0..N).for_each(|l| v[l] += current[l] + bias);
            }
        }
        (0..N).for_each(|l| n[l] = dynamics.window_count(v[l], threshold, timesteps as u32));
    } else {
        for t in 0..timesteps {
            let current = step(t);
            for l in 0..N {
                v[l] = v[l] + current[l] + bias;
                n[l] += dynamics.step(&mut v[l], threshold, n[l], f32::INFINITY);
            }
        }
    }
    *counts = n;
}

#[cfg(test)]
mod tests {
    use super::*;
    use snn_ir::neuron::{BINARY, Reset, TERNARY, TWO_PHASE, lanes};

    /// One neuron alone, in integers: sixteenths of what the floats are.
    fn alone(p: &NeuronParameters, dynamics: Dynamics, current: impl Iterator<Item = f32>, timesteps: usize) -> f32 {
        let sixteenths = |x: f32| (x * 16.0) as i64;
        let threshold = sixteenths(p.threshold);
        let (mut v, mut sent) = (sixteenths(p.initial), 0);
        for current in current.take(timesteps) {
            v += sixteenths(current + p.bias);
            if !dynamics.counts_whole_windows() {
                sent += dynamics.step(&mut v, threshold, sent, i64::MAX);
            }
        }
        (if dynamics.counts_whole_windows() { dynamics.window_count(v, threshold, timesteps as u32) } else { sent }) as f32
    }

    #[test]
    fn every_neuron_of_many_counts_as_it_does_alone() {
        let (places, timesteps) = (2 * BLOCK + 5, 6);
        // Sixteenths, so that sums are exact in any order.
        let current: Vec<f32> = (0..timesteps * places).map(|i| ((i * 37 % 64) as f32 - 20.0) / 16.0).collect();
        let neuron = NeuronParameters { threshold: 1.25, initial: 0.5, bias: -0.125 };
        for (firing, reset) in [BINARY, lanes(3), TWO_PHASE, TERNARY].into_iter().flat_map(|f| [(f, Reset::Subtract), (f, Reset::Zero)]) {
            let dynamics = Dynamics { firing, reset, signed: false };
            let (mut varying, mut steady) = (vec![9.0; places], vec![9.0; places]);
            neuron.count(dynamics, &current, timesteps, &mut varying);
            neuron.count(dynamics, &current[..places], timesteps, &mut steady);
            for place in 0..places {
                let steps = current[place..].iter().copied().step_by(places);
                assert_eq!(varying[place], alone(&neuron, dynamics, steps, timesteps), "{dynamics:?}, neuron {place}");
                let same = std::iter::repeat(current[place]);
                assert_eq!(steady[place], alone(&neuron, dynamics, same, timesteps), "{dynamics:?}, neuron {place}, steady");
            }
            assert!(varying.iter().any(|&n| n > 0.0) && varying.contains(&0.0));
        }
    }
}
