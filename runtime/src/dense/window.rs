//! A sliding window as runs of elements: what convolutions, poolings and fan-outs share, for any
//! number of axes.

use snn_ir::Window;

/// For one tap of the window, consecutive output elements along the last axis and the input
/// elements the tap reads for them. Taps that only ever see padding have none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Row-major index of the tap in the kernel.
    pub tap: usize,
    /// First output element of the plane.
    pub output: usize,
    /// The input element of the plane it reads; the next one is [`WindowRuns::stride`] further.
    pub input: usize,
    /// Number of elements.
    pub len: usize,
}

/// A window over planes of fixed extents.
#[derive(Clone, Debug)]
pub(crate) struct WindowRuns {
    /// Elements of an input plane.
    pub inputs: usize,
    /// Elements of an output plane.
    pub outputs: usize,
    /// Distance of two neighbouring elements of a run in the input.
    pub stride: usize,
    /// All runs, by tap and then by output element.
    pub runs: Vec<Run>,
}

/// One tap on one axis: the outputs it serves and the input of the first of them.
struct AxisTap {
    tap: usize,
    first: usize,
    len: usize,
    input: usize,
}

fn axis_taps(window: &Window, axis: usize, input: usize, output: usize) -> Vec<AxisTap> {
    let [kernel, stride, dilation, pad] =
        [window.kernel[axis], window.stride[axis], window.dilation[axis], window.pad_begin[axis]].map(|x| x as i128);
    let (input, output) = (input as i128, output as i128);
    // Only taps that can reach an element: `0 <= o·stride + tap·dilation − pad < input` for some
    // `o`.
    let first_tap = (pad - (output - 1) * stride).max(0).div_euclid(dilation);
    let last_tap = ((input - 1 + pad) / dilation).min(kernel - 1);
    (first_tap..=last_tap)
        .filter_map(|tap| {
            let offset = tap * dilation - pad;
            let first = if offset < 0 { (-offset + stride - 1) / stride } else { 0 };
            let last = ((input - 1 - offset).div_euclid(stride)).min(output - 1);
            (first <= last).then(|| AxisTap {
                tap: tap as usize,
                first: first as usize,
                len: (last - first + 1) as usize,
                input: (first * stride + offset) as usize,
            })
        })
        .collect()
}

impl WindowRuns {
    /// The window over planes of extents `input`, giving planes of extents `output`.
    pub fn new(window: &Window, input: &[usize], output: &[usize]) -> WindowRuns {
        let last = window.rank() - 1;
        let mut runs = vec![Run { tap: 0, output: 0, input: 0, len: 1 }];
        for axis in 0..=last {
            let taps = axis_taps(window, axis, input[axis], output[axis]);
            let mut finer = Vec::new();
            for run in &runs {
                for t in &taps {
                    let tap = run.tap * window.kernel[axis] + t.tap;
                    let at = |i: usize| Run {
                        tap,
                        output: run.output * output[axis] + t.first + i,
                        input: run.input * input[axis] + t.input + i * window.stride[axis],
                        len: 1,
                    };
                    if axis == last {
                        finer.push(Run { len: t.len, ..at(0) });
                    } else {
                        finer.extend((0..t.len).map(at));
                    }
                }
            }
            runs = finer;
        }
        runs.sort_by_key(|r| (r.tap, r.output));
        WindowRuns { inputs: input.iter().product(), outputs: output.iter().product(), stride: window.stride[last], runs }
    }

    /// For every output element, the number of taps on real elements.
    pub fn valid_taps(&self) -> Vec<usize> {
        let mut taps = vec![0; self.outputs];
        self.runs.iter().for_each(|r| taps[r.output..r.output + r.len].iter_mut().for_each(|n| *n += 1));
        taps
    }
}

/// For every output element, the number of taps inside the padded plane: all but the overhang of
/// `ceil`.
pub(crate) fn padded_taps(window: &Window, input: &[usize], output: &[usize]) -> Vec<usize> {
    let mut counts = vec![1];
    for (axis, extent) in input.iter().enumerate() {
        let end = extent + window.pad_begin[axis] + window.pad_end[axis];
        let along = |o: usize| {
            let room = end.saturating_sub(o * window.stride[axis]);
            room.div_ceil(window.dilation[axis]).min(window.kernel[axis])
        };
        counts = counts.iter().flat_map(|&n| (0..output[axis]).map(move |o| n * along(o))).collect();
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_exactly_the_taps_on_real_elements() {
        let window =
            Window { stride: vec![2, 3], dilation: vec![2, 1], pad_begin: vec![3, 0], pad_end: vec![0, 4], ..Window::unit([2, 4]) };
        let (input, output) = ([5usize, 7], window.output(&[5, 7]).unwrap());
        let geometry = WindowRuns::new(&window, &input, &output);
        let mut found: Vec<(usize, usize, usize)> =
            geometry.runs.iter().flat_map(|r| (0..r.len).map(|i| (r.tap, r.output + i, r.input + i * geometry.stride))).collect();
        let mut expected = Vec::new();
        for (oy, ox, ky, kx) in (0..output[0]).flat_map(|a| (0..output[1]).flat_map(move |b| (0..8).map(move |k| (a, b, k / 4, k % 4)))) {
            let (y, x) = ((oy * 2 + ky * 2) as isize - 3, (ox * 3 + kx) as isize);
            if (0..5).contains(&y) && (0..7).contains(&x) {
                expected.push((ky * 4 + kx, oy * output[1] + ox, (y * 7 + x) as usize));
            }
        }
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_huge_kernel_over_a_small_plane_costs_no_more_than_the_plane() {
        let window = Window { pad_begin: vec![1 << 29], pad_end: vec![1 << 29], ..Window::unit([(1 << 30) - 2]) };
        let output = window.output(&[2]).unwrap();
        assert_eq!(WindowRuns::new(&window, &[2], &output).runs.len(), 6);
    }
}
