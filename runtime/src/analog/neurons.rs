//! How often neurons fire within a window, in `f32` and without a network around them: what calibration asks for thousands
//! of times. Compiled twice, for any CPU and for AVX2; both round alike.

use snn_ir::op::Firing;

/// Places that are simulated together, through all steps, so that their membrane potentials stay in registers.
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
    /// Writes to `counts`, one element a neuron, how often each fires in a window of `timesteps`. `current` is step-major,
    /// `timesteps × counts.len()`, or has a single step that stands for all.
    ///
    /// # Panics
    /// When `current` is shorter than that.
    pub fn count(&self, firing: Firing, current: &[f32], timesteps: usize, counts: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2")]
            fn wide(neuron: &NeuronParameters, firing: Firing, current: &[f32], timesteps: usize, counts: &mut [f32]) {
                count(neuron, firing, current, timesteps, counts);
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: `wide` is safe code that only needs AVX2, and the CPU has it.
                return unsafe { wide(self, firing, current, timesteps, counts) };
            }
        }
        count(self, firing, current, timesteps, counts);
    }
}

#[inline(always)]
fn count(neuron: &NeuronParameters, firing: Firing, current: &[f32], timesteps: usize, counts: &mut [f32]) {
    let steady = current.len() == counts.len();
    let pitch = if steady { 0 } else { counts.len() };
    let (blocks, rest) = counts.as_chunks_mut::<BLOCK>();
    let behind = blocks.len() * BLOCK;
    for (b, counts) in blocks.iter_mut().enumerate() {
        count_block(neuron, firing, &current[b * BLOCK..], pitch, timesteps, counts);
    }
    for (i, count) in rest.iter_mut().enumerate() {
        let mut one = [0.0];
        count_block(neuron, firing, &current[behind + i..], pitch, timesteps, &mut one);
        [*count] = one;
    }
}

/// The first `N` neurons of `current`, whose steps are `pitch` apart.
#[inline(always)]
fn count_block<const N: usize>(
    neuron: &NeuronParameters,
    firing: Firing,
    current: &[f32],
    pitch: usize,
    timesteps: usize,
    counts: &mut [f32; N],
) {
    let NeuronParameters { threshold, initial, bias } = *neuron;
    let (mut v, mut n) = ([initial; N], [0.0; N]);
    let step = |t: usize| current[t * pitch..].first_chunk::<N>().expect("a current for every neuron");
    match firing {
        Firing::Binary => {
            for t in 0..timesteps {
                let current = step(t);
                for l in 0..N {
                    let u = v[l] + current[l] + bias;
                    let fires = u >= threshold;
                    v[l] = u - if fires { threshold } else { 0.0 };
                    n[l] += if fires { 1.0 } else { 0.0 };
                }
            }
        }
        Firing::Lanes(_) => {
            let most = firing.quanta() as f32;
            for t in 0..timesteps {
                let current = step(t);
                for l in 0..N {
                    let u = v[l] + current[l] + bias;
                    let quanta = whole(u / threshold, most);
                    v[l] = u - quanta * threshold;
                    n[l] += quanta;
                }
            }
        }
        // Both end at the count that the whole window's current asks for, in whatever order it came.
        Firing::TwoPhase | Firing::Ternary => {
            let most = timesteps as f32;
            if pitch == 0 {
                let current = step(0);
                (0..N).for_each(|l| v[l] += (current[l] + bias) * most);
            } else {
                for t in 0..timesteps {
                    let current = step(t);
                    (0..N).for_each(|l| v[l] += current[l] + bias);
                }
            }
            (0..N).for_each(|l| n[l] = whole(v[l] / threshold, most));
        }
    }
    *counts = n;
}

/// `x` rounded down to a whole number from 0 to `most`. A conversion to integers would do as well, but saturates, number by number.
#[inline(always)]
fn whole(x: f32, most: f32) -> f32 {
    x.clamp(0.0, most).floor()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One neuron by the definition of its firing rule.
    fn by_definition(p: &NeuronParameters, firing: Firing, current: impl Iterator<Item = f32>, timesteps: usize) -> f32 {
        let (mut v, mut fired) = (p.initial, 0.0);
        for i in current.take(timesteps) {
            let u = v + i + p.bias;
            let now = match firing {
                Firing::Binary => f32::from(u8::from(u >= p.threshold)),
                Firing::Lanes(lanes) => (u / p.threshold).floor().clamp(0.0, (f32::powi(2.0, lanes.into())) - 1.0),
                Firing::TwoPhase | Firing::Ternary => 0.0,
            };
            v = u - now * p.threshold;
            fired += now;
        }
        if matches!(firing, Firing::TwoPhase | Firing::Ternary) { (v / p.threshold).floor().clamp(0.0, timesteps as f32) } else { fired }
    }

    #[test]
    fn every_neuron_of_many_counts_as_it_does_alone() {
        let (places, timesteps) = (2 * BLOCK + 5, 6);
        // Sixteenths, so that sums are exact in any order.
        let current: Vec<f32> = (0..timesteps * places).map(|i| ((i * 37 % 64) as f32 - 20.0) / 16.0).collect();
        let neuron = NeuronParameters { threshold: 1.25, initial: 0.5, bias: -0.125 };
        for firing in [Firing::Binary, Firing::Lanes(3), Firing::TwoPhase, Firing::Ternary] {
            let (mut varying, mut steady) = (vec![9.0; places], vec![9.0; places]);
            neuron.count(firing, &current, timesteps, &mut varying);
            neuron.count(firing, &current[..places], timesteps, &mut steady);
            for place in 0..places {
                let steps = current[place..].iter().copied().step_by(places);
                assert_eq!(varying[place], by_definition(&neuron, firing, steps, timesteps), "{firing:?}, neuron {place}");
                let same = std::iter::repeat(current[place]);
                assert_eq!(steady[place], by_definition(&neuron, firing, same, timesteps), "{firing:?}, neuron {place}, steady");
            }
            assert!(varying.iter().any(|&n| n > 0.0) && varying.contains(&0.0));
        }
    }
}
