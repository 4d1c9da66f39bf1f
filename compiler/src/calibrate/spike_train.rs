//! What a population of neurons sends in a window, simulated in floats for calibration.

use snn_ir::neuron::{Dynamics, Neuron};

/// Steps that one word of [`SpikeTrain::Masks`] holds.
const WORD: usize = u32::BITS as usize;

/// A neuron's parameters, one value per neuron of the population.
pub struct ExpandedNeuron {
    /// θ.
    pub threshold: Vec<f32>,
    /// v(0).
    pub initial: Vec<f32>,
    /// Extra current of every step, the last row in all further ones.
    pub schedule: Vec<Vec<f32>>,
    /// When it fires, and what that does to it.
    pub dynamics: Dynamics,
}

/// The currents of one sample beside the ANN's values.
#[derive(Clone, Debug)]
pub struct SampleTrace {
    /// The ANN's pre-activation, one per neuron.
    pub analog: Vec<f32>,
    /// The current of every step, step-major; a single step when it is the same in all, or when only its mean matters.
    pub current: Vec<f32>,
}

/// Spikes of one population for one sample.
#[derive(Clone, Debug)]
pub enum SpikeTrain {
    /// Counts that the whole window's current decides; the spikes are the first ones of the window.
    Counts(Vec<i32>),
    /// One bit a step: word `w · neurons + i` holds the steps from `32 w` on of neuron `i`.
    Masks(Vec<u32>),
    /// Quanta of θ, step-major.
    Quanta(Vec<i16>),
}

impl ExpandedNeuron {
    /// `neuron` over a population of `shape`.
    pub fn new(neuron: &Neuron, shape: &[usize]) -> Self {
        ExpandedNeuron {
            threshold: neuron.threshold.expanded(shape),
            initial: neuron.initial.expanded(shape),
            schedule: neuron.schedule_rows().iter().map(|row| row.expanded(shape)).collect(),
            dynamics: neuron.dynamics(),
        }
    }

    /// The spikes for the given currents.
    pub fn simulate(&self, trace: &SampleTrace, timesteps: usize) -> SpikeTrain {
        let dynamics = self.dynamics;
        if dynamics.counts_whole_windows() {
            return SpikeTrain::Counts(self.counts(trace, timesteps));
        }
        snn_ir::specialized!(dynamics => self.steps(dynamics, trace, timesteps))
    }

    #[inline(always)]
    fn steps(&self, dynamics: Dynamics, trace: &SampleTrace, timesteps: usize) -> SpikeTrain {
        let n = trace.analog.len();
        let mut v = self.initial.clone();
        let a_bit = dynamics.firing.step_interval() == (0, 1);
        let mut masks = vec![0u32; if a_bit { n * timesteps.div_ceil(WORD) } else { 0 }];
        let mut quanta = vec![0i16; if a_bit { 0 } else { n * timesteps }];
        for t in 0..timesteps {
            self.add_scheduled(t, &mut v);
            let neurons = v.iter_mut().zip(trace.step(t).iter().zip(&self.threshold));
            // What was sent before matters to unsigned neurons that retract, and those count whole windows.
            let step = |(v, (&current, &theta)): (&mut f32, (&f32, &f32))| {
                *v += current;
                dynamics.step(v, theta, 0.0, f32::INFINITY)
            };
            if a_bit {
                let words = &mut masks[t / WORD * n..][..n];
                words.iter_mut().zip(neurons.map(step)).for_each(|(word, sent)| *word |= u32::from(sent != 0.0) << (t % WORD));
            } else {
                let out = &mut quanta[t * n..][..n];
                out.iter_mut().zip(neurons.map(step)).for_each(|(out, sent)| *out = sent as i16);
            }
        }
        if a_bit { SpikeTrain::Masks(masks) } else { SpikeTrain::Quanta(quanta) }
    }

    fn add_scheduled(&self, t: usize, v: &mut [f32]) {
        if let Some(row) = self.schedule.get(t).or(self.schedule.last()) {
            v.iter_mut().zip(row).for_each(|(v, i)| *v += i);
        }
    }

    fn counts(&self, trace: &SampleTrace, timesteps: usize) -> Vec<i32> {
        let n = trace.analog.len();
        let mut v = self.initial.clone();
        match trace.current.len() == n {
            true => v.iter_mut().zip(&trace.current).for_each(|(v, i)| *v += i * timesteps as f32),
            false => trace.current.chunks_exact(n).for_each(|step| v.iter_mut().zip(step).for_each(|(v, i)| *v += i)),
        }
        v.iter().zip(&self.threshold).map(|(&v, &theta)| self.dynamics.window_count(v, theta, timesteps as u32) as i32).collect()
    }
}

impl SampleTrace {
    /// The current in step `t`.
    pub fn step(&self, t: usize) -> &[f32] {
        let n = self.analog.len();
        let t = if self.current.len() == n { 0 } else { t };
        &self.current[t * n..(t + 1) * n]
    }
}

impl SpikeTrain {
    /// Net number of quanta that each of `neurons` sends.
    pub fn counts(&self, neurons: usize) -> Vec<i32> {
        let mut sums = vec![0i32; neurons];
        match self {
            SpikeTrain::Counts(counts) => sums.copy_from_slice(counts),
            SpikeTrain::Masks(words) => {
                words.chunks_exact(neurons).for_each(|w| sums.iter_mut().zip(w).for_each(|(s, w)| *s += w.count_ones() as i32));
            }
            SpikeTrain::Quanta(steps) => {
                steps.chunks_exact(neurons).for_each(|step| sums.iter_mut().zip(step).for_each(|(s, &q)| *s += i32::from(q)));
            }
        }
        sums
    }

    /// What is sent in step `t`, where a quantum of element i has the amplitude `amplitude[i]`.
    pub fn write_step(&self, t: usize, amplitude: &[f32], out: &mut [f32]) {
        let n = amplitude.len();
        let out = out.iter_mut().zip(amplitude);
        match self {
            SpikeTrain::Counts(counts) => out.zip(counts).for_each(|((o, w), &c)| *o = if (t as i32) < c { *w } else { 0.0 }),
            SpikeTrain::Masks(words) => {
                let words = &words[t / WORD * n..];
                out.zip(words).for_each(|((o, w), mask)| *o = (mask >> (t % WORD) & 1) as f32 * w);
            }
            SpikeTrain::Quanta(steps) => out.zip(&steps[t * n..]).for_each(|((o, w), &q)| *o = f32::from(q) * w),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snn_ir::Tensor;
    use snn_ir::neuron::{BINARY, Firing, TWO_PHASE, lanes};

    fn train(firing: Firing, current: &[f32]) -> SpikeTrain {
        let neuron = Neuron { firing, initial: Tensor::scalar(0.5), ..Neuron::new(Tensor::scalar(1.0)) };
        let trace = SampleTrace { analog: vec![0.0], current: current.to_vec() };
        ExpandedNeuron::new(&neuron, &[1]).simulate(&trace, current.len())
    }

    fn steps(train: &SpikeTrain, timesteps: usize) -> Vec<f32> {
        let mut out = [0.0];
        (0..timesteps)
            .map(|t| {
                train.write_step(t, &[2.0], &mut out);
                out[0]
            })
            .collect()
    }

    #[test]
    fn each_firing_rule_sends_what_it_says_when_it_says() {
        let current = [0.6, 3.0, -0.2, 0.0];
        for (firing, expected) in [(BINARY, [2.0, 2.0, 2.0, 0.0]), (lanes(2), [2.0, 6.0, 0.0, 0.0]), (TWO_PHASE, [2.0, 2.0, 2.0, 0.0])] {
            let train = train(firing, &current);
            assert_eq!(steps(&train, 4), expected, "{firing:?}");
            assert_eq!(train.counts(1)[0] as f32 * 2.0, expected.iter().sum::<f32>(), "{firing:?}");
        }
    }

    #[test]
    fn windows_longer_than_a_word_are_kept() {
        let current = vec![0.25; 70];
        let train = train(BINARY, &current);
        assert_eq!(train.counts(1), [18]);
        assert_eq!(steps(&train, 70).iter().filter(|&&s| s > 0.0).count(), 18);
    }
}
