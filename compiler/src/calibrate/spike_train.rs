//! What a population of neurons sends in a window, simulated in floats for calibration.

use snn_ir::op::{Firing, Neuron, Reset};

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
    /// Firing rule.
    pub firing: Firing,
    /// Reset rule.
    pub reset: Reset,
    /// Whether counts may go below zero.
    pub signed: bool,
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
    Quanta(Vec<i8>),
}

/// Whether a neuron's count depends on the sum of its current over the window alone. (A ternary network is read when it has
/// settled, and then its counts are these, too.)
pub fn counts_whole_windows(firing: Firing, signed: bool) -> bool {
    firing == Firing::TwoPhase || firing == Firing::Ternary && !signed
}

impl ExpandedNeuron {
    /// `neuron` over a population of `shape`.
    pub fn new(neuron: &Neuron, shape: &[usize]) -> Self {
        ExpandedNeuron {
            threshold: neuron.threshold.expanded(shape),
            initial: neuron.initial.expanded(shape),
            schedule: neuron.schedule_rows().iter().map(|row| row.expanded(shape)).collect(),
            firing: neuron.firing,
            reset: neuron.reset,
            signed: neuron.signed,
        }
    }

    /// The spikes for the given currents, as [`Firing`] defines them.
    pub fn simulate(&self, trace: &SampleTrace, timesteps: usize) -> SpikeTrain {
        if counts_whole_windows(self.firing, self.signed) {
            return SpikeTrain::Counts(self.counts(trace, timesteps));
        }
        let n = trace.analog.len();
        let mut v = self.initial.clone();
        if self.firing == Firing::Binary {
            let mut words = vec![0u32; n * timesteps.div_ceil(WORD)];
            for t in 0..timesteps {
                self.add_scheduled(t, &mut v);
                let word = &mut words[t / WORD * n..][..n];
                for ((word, v), (&current, &theta)) in word.iter_mut().zip(&mut v).zip(trace.step(t).iter().zip(&self.threshold)) {
                    let u = *v + current;
                    let fired = u >= theta;
                    *v = match (fired, self.reset) {
                        (false, _) => u,
                        (true, Reset::Subtract) => u - theta,
                        (true, Reset::Zero) => 0.0,
                    };
                    *word |= u32::from(fired) << (t % WORD);
                }
            }
            return SpikeTrain::Masks(words);
        }
        let mut out = vec![0i8; n * timesteps];
        for (t, out) in out.chunks_exact_mut(n).enumerate() {
            self.add_scheduled(t, &mut v);
            for (i, current) in trace.step(t).iter().enumerate() {
                v[i] += current;
                let theta = self.threshold[i];
                let count = match self.firing {
                    Firing::Lanes(lanes) => ((v[i] / theta).floor().max(0.0) as i32).min((1 << lanes.min(7)) - 1),
                    _ if v[i] < 0.0 => -1,
                    _ => i32::from(v[i] >= theta),
                };
                v[i] = if self.reset == Reset::Zero && count > 0 { 0.0 } else { v[i] - count as f32 * theta };
                out[i] = count as i8;
            }
        }
        SpikeTrain::Quanta(out)
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
        v.iter().zip(&self.threshold).map(|(v, theta)| (v / theta).floor().clamp(0.0, timesteps as f32) as i32).collect()
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

    /// What is sent in step `t`, where a quantum is worth `worth`.
    pub fn write_step(&self, t: usize, worth: &[f32], out: &mut [f32]) {
        let n = worth.len();
        let out = out.iter_mut().zip(worth);
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
        for (firing, expected) in
            [(Firing::Binary, [2.0, 2.0, 2.0, 0.0]), (Firing::Lanes(2), [2.0, 6.0, 0.0, 0.0]), (Firing::TwoPhase, [2.0, 2.0, 2.0, 0.0])]
        {
            let train = train(firing, &current);
            assert_eq!(steps(&train, 4), expected, "{firing:?}");
            assert_eq!(train.counts(1)[0] as f32 * 2.0, expected.iter().sum::<f32>(), "{firing:?}");
        }
    }

    #[test]
    fn windows_longer_than_a_word_are_kept() {
        let current = vec![0.25; 70];
        let train = train(Firing::Binary, &current);
        assert_eq!(train.counts(1), [18]);
        assert_eq!(steps(&train, 70).iter().filter(|&&s| s > 0.0).count(), 18);
    }
}
