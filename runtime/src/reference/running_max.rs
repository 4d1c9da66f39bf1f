//! Max-pool of spike trains as the step-to-step difference of the maximum of running sums.

use crate::dense::{Number, WindowMax};

/// The maximum whose differences are sent.
pub(super) enum RunningMax {
    /// Over a sliding window.
    Window(WindowMax),
    /// Over the operands.
    Operands,
}

/// Running sums of every operand, and their maximum.
pub(super) struct Sums<N: Number> {
    operands: Vec<Vec<N::Total>>,
    maximum: Vec<N::Total>,
    next: Vec<N::Total>,
}

impl RunningMax {
    /// The state at the start of a window, for so many operands and a result of so many elements.
    pub fn sums<N: Number>(&self, operands: usize, result: usize) -> Sums<N> {
        let zeros = |n: usize| vec![N::Total::default(); n];
        let operand = match self {
            RunningMax::Window(max) => max.operand_len(result),
            RunningMax::Operands => result,
        };
        Sums { operands: (0..operands).map(|_| zeros(operand)).collect(), maximum: zeros(result), next: zeros(result) }
    }

    /// One step.
    pub fn step<N: Number>(&self, state: &mut Sums<N>, operands: &[&[N]], out: &mut [N]) {
        for (sums, x) in state.operands.iter_mut().zip(operands) {
            sums.iter_mut().zip(*x).for_each(|(s, x)| *s = N::accumulate(*s, x.widen()));
        }
        match self {
            RunningMax::Window(max) => max.run(N::LOWEST, &state.operands[0], &mut state.next),
            RunningMax::Operands => {
                state.next.copy_from_slice(&state.operands[0]);
                for sums in &state.operands[1..] {
                    state.next.iter_mut().zip(sums).filter(|(n, s)| *s > *n).for_each(|(n, s)| *n = *s);
                }
            }
        }
        for ((out, old), &new) in out.iter_mut().zip(&mut state.maximum).zip(&state.next) {
            *out = N::difference(new, *old);
            *old = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use snn_ir::Window;

    proptest! {
        #[test]
        fn pooled_spike_trains_are_spike_trains_with_the_largest_count(
            trains in prop::collection::vec(prop::collection::vec(-1i32..2, 7), 1..30), binary: bool,
        ) {
            let window = Window { stride: vec![2], pad_begin: vec![1], pad_end: vec![1], ..Window::unit([3]) };
            let max = RunningMax::Window(WindowMax::new(&window, &[1, 7], &[1, 4]));
            let mut sums = max.sums::<i32>(1, 4);
            let (mut counts, mut pooled) = ([0; 7], [0; 4]);
            for train in &trains {
                let spikes: Vec<i32> = train.iter().map(|&s| if binary { s.abs() } else { s }).collect();
                let mut out = [0; 4];
                max.step(&mut sums, &[&spikes], &mut out);
                let lowest = if binary { 0 } else { -1 };
                prop_assert!(out.iter().all(|&s| lowest <= s && s <= 1));
                counts.iter_mut().zip(&spikes).for_each(|(c, s)| *c += s);
                pooled.iter_mut().zip(out).for_each(|(p, s)| *p += s);
            }
            let expected = [0..2, 1..4, 3..6, 5..7].map(|window| counts[window].iter().copied().max().unwrap());
            prop_assert_eq!(pooled, expected);
        }
    }
}
