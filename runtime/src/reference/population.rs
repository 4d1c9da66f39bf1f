//! Integrate-and-fire neurons, as the IR defines them.

use crate::dense::{Broadcast, Number};
use snn_ir::op::{Amplitude, Firing, Neuron, Reset};

/// A population of neurons with one threshold and initial potential each.
pub(super) struct Population<N> {
    threshold: Broadcast<N>,
    initial: Broadcast<N>,
    reset: Reset,
    amplitude: Amplitude,
    firing: Firing,
    signed: bool,
}

/// The state of a population.
pub(super) struct Membranes<N: Number> {
    pub potential: Vec<N::Sum>,
    /// Net spikes sent.
    pub count: Vec<i64>,
}

impl<N: Number> Population<N> {
    /// `None` when threshold and initial potential are of the other kind of number.
    pub fn new(neuron: &Neuron, shape: &[usize]) -> Option<Self> {
        Some(Population {
            threshold: Broadcast::new(&neuron.threshold, shape)?,
            initial: Broadcast::new(&neuron.initial, shape)?,
            reset: neuron.reset,
            amplitude: neuron.amplitude,
            firing: neuron.firing,
            signed: neuron.signed,
        })
    }

    /// Whether nothing can be sent before the window's last input.
    pub fn waits_for_the_window(&self) -> bool {
        self.firing == Firing::TwoPhase
    }

    /// The state at the start of a window.
    pub fn membranes(&self) -> Membranes<N> {
        let potential: Vec<N::Sum> = self.initial.elements().iter().map(|v| v.widen()).collect();
        Membranes { count: vec![0; potential.len()], potential }
    }

    /// Runs the steps of `current`, one slice each, and writes the spikes. `spiked(i, n)` is told that neuron `i` sent
    /// `n` spikes.
    pub fn run(&self, state: &mut Membranes<N>, current: &[&[N]], out: &mut [N], mut spiked: impl FnMut(usize, u64)) {
        let neurons = state.count.len();
        if self.firing == Firing::TwoPhase {
            return self.run_window(state, current, out, spiked);
        }
        for (current, out) in current.iter().zip(out.chunks_exact_mut(neurons)) {
            for i in 0..neurons {
                let v = N::add(state.potential[i], current[i].widen());
                let quanta = self.fire(i, v, state.count[i]);
                state.potential[i] = self.reset(i, N::total(v), quanta);
                state.count[i] += quanta;
                out[i] = self.spikes(i, quanta);
                if quanta != 0 {
                    let lanes = if matches!(self.firing, Firing::Lanes(_)) { u64::from(quanta.count_ones()) } else { 1 };
                    spiked(i, lanes);
                }
            }
        }
    }

    /// What a neuron with potential `v` sends, in quanta of θ.
    fn fire(&self, i: usize, v: N::Sum, count: i64) -> i64 {
        let threshold = self.threshold.elements()[i];
        match self.firing {
            Firing::Ternary if v < N::Sum::default() && (self.signed || count > 0) => -1,
            Firing::Binary | Firing::Ternary | Firing::TwoPhase => i64::from(v >= threshold.widen()),
            Firing::Lanes(n) => N::quanta(N::total(v), threshold).clamp(0, (1 << n) - 1),
        }
    }

    fn reset(&self, i: usize, v: N::Total, quanta: i64) -> N::Sum {
        match self.reset {
            Reset::Zero if quanta != 0 => N::Sum::default(),
            _ => N::without_quanta(v, self.threshold.elements()[i], quanta),
        }
    }

    fn spikes(&self, i: usize, quanta: i64) -> N {
        let amplitude = match self.amplitude {
            Amplitude::Threshold => self.threshold.elements()[i],
            Amplitude::One => N::one(),
        };
        N::spikes(amplitude, quanta)
    }

    /// Two-phase firing: the count is known at the end of the window and sent as its first spikes.
    fn run_window(&self, state: &mut Membranes<N>, current: &[&[N]], out: &mut [N], mut spiked: impl FnMut(usize, u64)) {
        let neurons = state.count.len();
        for i in 0..neurons {
            let sum = current.iter().fold(N::total(state.potential[i]), |sum, c| N::accumulate(sum, c[i].widen()));
            let count = N::quanta(sum, self.threshold.elements()[i]).clamp(0, current.len() as i64);
            state.potential[i] = self.reset(i, sum, count);
            state.count[i] = count;
            for t in 0..current.len() {
                out[t * neurons + i] = self.spikes(i, i64::from((t as i64) < count));
            }
            if count > 0 {
                spiked(i, count as u64);
            }
        }
    }
}

impl<N: Number> Membranes<N> {
    /// Potentials as real numbers.
    pub fn to_f64(&self) -> Vec<f64> {
        self.potential.iter().map(|&v| N::to_f64(N::total(v))).collect()
    }
}
