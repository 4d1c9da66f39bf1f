//! Sums, means and maxima: over sliding windows (ONNX AveragePool, MaxPool) and over whole axes
//! (ONNX ReduceMean).

use super::number::Number;
use super::window::{WindowRuns, padded_taps};
use snn_ir::Window;
use snn_ir::op::{AvgPool, Divisor, Reduce};

/// A sum or mean over a sliding window.
#[derive(Clone, Debug)]
pub(crate) struct WindowSum {
    geometry: WindowRuns,
    /// Per element of an output plane; `None` leaves sums.
    divisors: Option<Vec<usize>>,
}

impl WindowSum {
    pub fn new(pool: &AvgPool, operand: &[usize], result: &[usize]) -> Self {
        let geometry = WindowRuns::new(&pool.window, &operand[1..], &result[1..]);
        let divisors = match pool.divisor {
            Divisor::One => None,
            Divisor::Valid => Some(geometry.valid_taps()),
            Divisor::Padded => Some(padded_taps(&pool.window, &operand[1..], &result[1..])),
        };
        WindowSum { geometry, divisors }
    }

    /// Whether results are means, which integers do not have.
    pub fn divides(&self) -> bool {
        self.divisors.is_some()
    }

    pub fn run<N: Number>(&self, x: &[N], out: &mut [N]) {
        let g = &self.geometry;
        let mut sums = vec![N::Sum::default(); g.outputs];
        for (x, out) in x.chunks_exact(g.inputs).zip(out.chunks_exact_mut(g.outputs)) {
            sums.fill(N::Sum::default());
            for r in &g.runs {
                let x = x[r.input..].iter().step_by(g.stride);
                sums[r.output..r.output + r.len].iter_mut().zip(x).for_each(|(s, x)| *s = N::add(*s, x.widen()));
            }
            for (o, (out, &sum)) in out.iter_mut().zip(&sums).enumerate() {
                // A window on nothing but padding has no valid taps and sums to zero.
                let divisor = self.divisors.as_ref().map_or(1, |d| d[o].max(1));
                *out = N::narrow(if divisor == 1 { sum } else { N::divide(sum, divisor).unwrap_or(sum) });
            }
        }
    }
}

/// The maximum over a sliding window; padding never wins.
#[derive(Clone, Debug)]
pub(crate) struct WindowMax {
    geometry: WindowRuns,
}

impl WindowMax {
    pub fn new(window: &Window, operand: &[usize], result: &[usize]) -> Self {
        WindowMax { geometry: WindowRuns::new(window, &operand[1..], &result[1..]) }
    }

    /// Elements of an operand whose result has so many.
    pub fn operand_len(&self, result: usize) -> usize {
        result / self.geometry.outputs * self.geometry.inputs
    }

    /// `out` is the maximum of `lowest` and the window's elements.
    pub fn run<V: Copy + PartialOrd>(&self, lowest: V, x: &[V], out: &mut [V]) {
        let g = &self.geometry;
        out.fill(lowest);
        for (x, out) in x.chunks_exact(g.inputs).zip(out.chunks_exact_mut(g.outputs)) {
            for r in &g.runs {
                let x = x[r.input..].iter().step_by(g.stride);
                out[r.output..r.output + r.len].iter_mut().zip(x).for_each(|(o, &x)| {
                    if x > *o {
                        *o = x;
                    }
                });
            }
        }
    }
}

/// A sum or mean over whole axes.
#[derive(Clone, Debug)]
pub(crate) struct AxisSum {
    /// Output element of every input element.
    output: Vec<u32>,
    divisor: Option<usize>,
}

impl AxisSum {
    pub fn new(reduce: &Reduce, operand: &[usize]) -> Self {
        let mut output = vec![0u32];
        let mut divisor = 1;
        for (axis, &extent) in operand.iter().enumerate() {
            let reduced = reduce.axes.contains(&axis);
            divisor *= if reduced { extent } else { 1 };
            output =
                output.iter().flat_map(|&o| (0..extent as u32).map(move |i| if reduced { o } else { o * extent as u32 + i })).collect();
        }
        AxisSum { output, divisor: reduce.mean.then_some(divisor) }
    }

    /// Whether results are means, which integers do not have.
    pub fn divides(&self) -> bool {
        self.divisor.is_some()
    }

    pub fn run<N: Number>(&self, x: &[N], out: &mut [N]) {
        let mut sums = vec![N::Sum::default(); out.len()];
        for (x, &o) in x.iter().zip(&self.output) {
            sums[o as usize] = N::add(sums[o as usize], x.widen());
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = N::narrow(self.divisor.and_then(|d| N::divide(sum, d)).unwrap_or(sum));
        }
    }
}
