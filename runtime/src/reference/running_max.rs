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
            // A window on nothing but padding has no maximum and sends nothing.
            let new = if new == N::LOWEST { *old } else { new };
            *out = N::difference(new, *old);
            *old = new;
        }
    }
}
