//! Integrate-and-fire neurons, as the IR defines them.

use crate::dense::{Broadcast, Number};
use snn_ir::neuron::{Amplitude, Dynamics, Neuron, Number as _, Timing};

/// A population of neurons with one threshold and initial potential each.
pub(super) struct Population<N> {
    threshold: Broadcast<N>,
    initial: Broadcast<N>,
    /// Extra current of every step, the last row in all further ones.
    schedule: Vec<Broadcast<N>>,
    amplitude: Amplitude,
    dynamics: Dynamics,
}

/// The state of a population.
pub(super) struct Membranes<N: Number> {
    pub potential: Vec<N::Sum>,
    /// Net quanta of θ sent.
    pub count: Vec<i64>,
    /// Steps so far.
    step: usize,
}

impl<N: Number> Population<N> {
    /// `None` when threshold and initial potential are of the other kind of number.
    pub fn new(neuron: &Neuron, shape: &[usize]) -> Option<Self> {
        Some(Population {
            threshold: Broadcast::new(&neuron.threshold, shape)?,
            initial: Broadcast::new(&neuron.initial, shape)?,
            schedule: neuron.schedule_steps().map(|row| Broadcast::new(&row, shape)).collect::<Option<_>>()?,
            amplitude: neuron.amplitude,
            dynamics: neuron.dynamics(),
        })
    }

    /// Whether nothing can be sent before the window's last input.
    pub fn waits_for_the_window(&self) -> bool {
        self.dynamics.firing.timing() == Timing::WholeWindow
    }

    /// The state at the start of a window.
    pub fn membranes(&self) -> Membranes<N> {
        let potential: Vec<N::Sum> = self.initial.elements().iter().map(|v| v.widen()).collect();
        Membranes { count: vec![0; potential.len()], potential, step: 0 }
    }

    /// Runs the steps of `current`, one slice each, and writes the spikes. `spiked(i, n)` is told
    /// that neuron `i` sent `n` spikes. The count of a neuron that retracts and is not signed does
    /// not go beyond `most`: the steps of input, once the network settles.
    pub fn run(&self, state: &mut Membranes<N>, current: &[&[N]], most: i64, out: &mut [N], mut spiked: impl FnMut(usize, u64)) {
        let neurons = state.count.len();
        if self.waits_for_the_window() {
            return self.run_window(state, current, out, spiked);
        }
        for (current, out) in current.iter().zip(out.chunks_exact_mut(neurons)) {
            let scheduled = self.schedule.get(state.step.min(self.schedule.len().saturating_sub(1)));
            state.step += 1;
            for i in 0..neurons {
                let mut v = N::add(state.potential[i], current[i].widen());
                if let Some(row) = scheduled {
                    v = N::add(v, row.elements()[i].widen());
                }
                let (mut v, sent) = (N::total(v), N::Total::whole(state.count[i]));
                let quanta = self.dynamics.step(&mut v, self.threshold(i), sent, N::Total::whole(most)).count();
                state.potential[i] = N::part(v);
                state.count[i] += quanta;
                out[i] = self.spikes(i, quanta);
                if quanta != 0 {
                    spiked(i, self.dynamics.firing.spikes_of(quanta));
                }
            }
        }
    }

    /// Neurons with a window barrier: the count is known at the end of the window and sent as its
    /// first spikes.
    fn run_window(&self, state: &mut Membranes<N>, current: &[&[N]], out: &mut [N], mut spiked: impl FnMut(usize, u64)) {
        let neurons = state.count.len();
        for i in 0..neurons {
            let sum = current.iter().fold(N::total(state.potential[i]), |sum, c| N::accumulate(sum, c[i].widen()));
            let count = self.dynamics.window_count(sum, self.threshold(i), u32::try_from(current.len()).unwrap_or(u32::MAX));
            state.potential[i] = N::part(self.dynamics.reset(sum, self.threshold(i), count));
            state.count[i] = count.count();
            for t in 0..current.len() {
                out[t * neurons + i] = self.spikes(i, i64::from((t as i64) < state.count[i]));
            }
            if state.count[i] > 0 {
                spiked(i, state.count[i] as u64);
            }
        }
    }

    fn threshold(&self, i: usize) -> N::Total {
        N::total(self.threshold.elements()[i].widen())
    }

    fn spikes(&self, i: usize, quanta: i64) -> N {
        let amplitude = match self.amplitude {
            Amplitude::Threshold => self.threshold.elements()[i],
            Amplitude::One => N::one(),
        };
        N::spikes(amplitude, quanta)
    }
}

impl<N: Number> Membranes<N> {
    /// Potentials as real numbers.
    pub fn to_f64(&self) -> Vec<f64> {
        self.potential.iter().map(|&v| N::to_f64(N::total(v))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use snn_ir::Tensor;
    use snn_ir::neuron::{BINARY, Firing, Reset, TERNARY, TWO_PHASE, lanes};

    fn neuron(firing: Firing, signed: bool, threshold: i32, initial: i32) -> Population<i32> {
        let (threshold, initial) = (Tensor::scalar_i32(threshold), Tensor::scalar_i32(initial));
        let neuron =
            Neuron { threshold, initial, schedule: None, reset: Reset::Subtract, amplitude: Amplitude::One, firing, signed, rate: None };
        Population::new(&neuron, &[1]).unwrap()
    }

    /// What one neuron sends for the given currents, how many spikes that is, and its state after.
    fn drive(population: &Population<i32>, current: &[i32]) -> (Vec<i32>, u64, Membranes<i32>) {
        let rows: Vec<&[i32]> = current.chunks(1).collect();
        let (mut state, mut out, mut spikes) = (population.membranes(), vec![0; current.len()], 0);
        population.run(&mut state, &rows, i64::MAX, &mut out, |_, n| spikes += n);
        (out, spikes, state)
    }

    #[test]
    fn a_binary_neuron_sends_at_most_one_spike_a_step_and_keeps_the_rest() {
        let (out, spikes, state) = drive(&neuron(BINARY, false, 10, 5), &[5, 25, -1, 0, -30, 10]);
        assert_eq!(out, [1, 1, 1, 0, 0, 0]);
        assert_eq!((spikes, state.potential[0], state.count[0]), (3, -16, 3));
    }

    #[test]
    fn a_hard_reset_forgets_the_rest() {
        let mut population = neuron(BINARY, false, 10, 0);
        population.dynamics.reset = Reset::Zero;
        let (out, _, state) = drive(&population, &[25, 9, 1]);
        assert_eq!((out, state.potential[0]), (vec![1, 0, 1], 0));
    }

    #[test]
    fn a_ternary_neuron_takes_back_only_what_it_sent() {
        let (out, spikes, state) = drive(&neuron(TERNARY, false, 10, 0), &[12, -15, -15, 0]);
        assert_eq!(out, [1, -1, 0, 0]);
        assert_eq!((spikes, state.potential[0], state.count[0]), (2, -18, 0));
    }

    #[test]
    fn lanes_send_several_quanta_a_step_and_count_one_spike_a_lane() {
        let (out, spikes, state) = drive(&neuron(lanes(2), false, 10, 0), &[35, 20, -40, 20]);
        assert_eq!(out, [3, 2, 0, 0]);
        assert_eq!((spikes, state.potential[0], state.count[0]), (3, -15, 5));
    }

    #[test]
    fn a_schedule_adds_its_own_current_in_every_step_and_its_last_one_for_ever() {
        let mut population = neuron(BINARY, false, 10, 0);
        population.schedule = [10, -5, 4].map(|v| Broadcast::new(&Tensor::scalar_i32(v), &[1]).unwrap()).into();
        let (out, _, state) = drive(&population, &[0, 0, 0, 0, 0, 0]);
        assert_eq!((out, state.potential[0]), (vec![1, 0, 0, 0, 0, 1], 1));
    }

    #[test]
    fn spikes_are_worth_the_threshold_where_the_neuron_says_so() {
        let mut population = neuron(BINARY, false, 10, 0);
        population.amplitude = Amplitude::Threshold;
        assert_eq!(drive(&population, &[10, 0]).0, [10, 0]);
    }

    proptest! {
        #[test]
        fn a_ternary_neuron_settles_at_the_floor_of_its_input(
            current in prop::collection::vec(-60i32..60, 1..40), threshold in 1i32..50, initial in -20i32..50,
        ) {
            let sum = initial + current.iter().sum::<i32>();
            let settled = [current, vec![0; 2500]].concat();
            let floor = i64::from(sum.div_euclid(threshold));
            for (signed, expected) in [(false, floor.max(0)), (true, floor)] {
                let (out, _, state) = drive(&neuron(TERNARY, signed, threshold, initial), &settled);
                prop_assert_eq!(state.count[0], expected);
                prop_assert_eq!(out.iter().map(|&s| i64::from(s)).sum::<i64>(), expected);
            }
        }

        #[test]
        fn a_two_phase_neuron_sends_the_clipped_floor_as_its_first_spikes(
            current in prop::collection::vec(-60i32..60, 1..40), threshold in 1i32..50, initial in -20i32..50,
        ) {
            let sum = initial + current.iter().sum::<i32>();
            let count = sum.div_euclid(threshold).clamp(0, current.len() as i32) as usize;
            let (out, spikes, state) = drive(&neuron(TWO_PHASE, false, threshold, initial), &current);
            prop_assert_eq!(out, [vec![1; count], vec![0; current.len() - count]].concat());
            prop_assert_eq!(spikes, count as u64);
            prop_assert_eq!(state.potential[0], i64::from(sum - threshold * count as i32));
        }
    }
}
