//! Where the taps of a synapse are: which input pixels an output pixel sees, and through which slice of the weights.
//!
//! A *pixel* is a position in the row-major product of all axes but the first; the first axis is the channel. A value
//! of rank 1 is one pixel of many channels, so a linear layer is a 1×1 convolution.

use snn_ir::Window;

/// A tap: input pixel and index of the weight slice it goes through.
pub type Tap = (usize, usize);

/// The taps of every output pixel.
#[derive(Clone, Debug)]
pub enum Geometry {
    /// A sliding window over one or two axes.
    Window(Plane),
    /// Anything else, listed.
    Table(Table),
}

/// A two-dimensional sliding window (one axis has a first axis of extent 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Input rows and columns.
    pub input: [usize; 2],
    /// Output rows and columns.
    pub output: [usize; 2],
    /// Taps per axis.
    pub kernel: [usize; 2],
    /// Distance between windows.
    pub stride: [usize; 2],
    /// Distance between taps.
    pub dilation: [usize; 2],
    /// Padding before the first row and column.
    pub pad: [usize; 2],
}

/// Taps listed per output pixel.
#[derive(Clone, Debug)]
pub struct Table {
    /// Where the taps of output pixel `p` start in `entries`; one more entry than pixels.
    pub first: Vec<u32>,
    /// `(input pixel, weight slice)`.
    pub entries: Vec<(u32, u32)>,
}

impl Geometry {
    /// Every output pixel sees the input pixel at its place, through slice 0.
    pub fn pointwise(pixels: usize) -> Self {
        let one = [1, 1];
        Geometry::Window(Plane { input: [1, pixels], output: [1, pixels], kernel: one, stride: one, dilation: one, pad: [0, 0] })
    }

    /// A sliding window over `space`, which it fits (the graph's types say so).
    pub fn window(window: &Window, space: &[usize], output: &[usize]) -> Self {
        let rank = window.rank();
        if rank > 2 {
            return Geometry::Table(Table::window(window, space, output));
        }
        let two = |v: &[usize], one: usize| if rank == 1 { [one, v[0]] } else { [v[0], v[1]] };
        Geometry::Window(Plane {
            input: two(space, 1),
            output: two(output, 1),
            kernel: two(&window.kernel, 1),
            stride: two(&window.stride, 1),
            dilation: two(&window.dilation, 1),
            pad: two(&window.pad_begin, 0),
        })
    }

    /// The most taps an output pixel has.
    pub fn max_taps(&self) -> usize {
        match self {
            Geometry::Window(p) => p.kernel[0] * p.kernel[1],
            Geometry::Table(t) => t.first.windows(2).map(|w| (w[1] - w[0]) as usize).max().unwrap_or(0),
        }
    }

    /// Calls `visit` for every tap of output pixel `pixel`.
    #[inline]
    pub fn for_each_tap(&self, pixel: usize, mut visit: impl FnMut(usize, usize)) {
        match self {
            Geometry::Window(p) => p.for_each_tap(pixel, visit),
            Geometry::Table(t) => {
                let entries = &t.entries[t.first[pixel] as usize..t.first[pixel + 1] as usize];
                entries.iter().for_each(|&(input, slice)| visit(input as usize, slice as usize));
            }
        }
    }
}

impl Plane {
    /// Whether every output pixel sees just the input pixel at its place.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.pad == [0, 0] && self.input == self.output
    }

    /// The input rows that the pixels of output row `y` see.
    pub fn input_rows(&self, y: usize) -> std::ops::Range<usize> {
        let first = y * self.stride[0];
        let end = first + (self.kernel[0] - 1) * self.dilation[0] + 1;
        first.saturating_sub(self.pad[0])..end.saturating_sub(self.pad[0]).min(self.input[0])
    }

    #[inline]
    fn for_each_tap(&self, pixel: usize, mut visit: impl FnMut(usize, usize)) {
        let (y, x) = (pixel / self.output[1], pixel % self.output[1]);
        for ky in 0..self.kernel[0] {
            let iy = (y * self.stride[0] + ky * self.dilation[0]).wrapping_sub(self.pad[0]);
            if iy >= self.input[0] {
                continue;
            }
            for kx in 0..self.kernel[1] {
                let ix = (x * self.stride[1] + kx * self.dilation[1]).wrapping_sub(self.pad[1]);
                if ix < self.input[1] {
                    visit(iy * self.input[1] + ix, ky * self.kernel[1] + kx);
                }
            }
        }
    }
}

/// All index vectors below `extents`, row-major.
fn positions(extents: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    let count: usize = extents.iter().product();
    (0..count).map(move |mut i| {
        let mut at = vec![0; extents.len()];
        for axis in (0..extents.len()).rev() {
            at[axis] = i % extents[axis];
            i /= extents[axis];
        }
        at
    })
}

/// The row-major index of `at`.
fn flat(at: &[usize], extents: &[usize]) -> usize {
    at.iter().zip(extents).fold(0, |i, (&a, &e)| i * e + a)
}

impl Table {
    /// From the taps of every output pixel.
    pub fn new(pixels: impl Iterator<Item = Vec<Tap>>) -> Self {
        let (mut first, mut entries) = (vec![0], Vec::new());
        for taps in pixels {
            entries.extend(taps.iter().map(|&(i, s)| (i as u32, s as u32)));
            first.push(entries.len() as u32);
        }
        Table { first, entries }
    }

    /// A sliding window of any rank.
    fn window(window: &Window, space: &[usize], output: &[usize]) -> Self {
        Table::new(positions(output).map(|at| {
            let tap = |(slice, k): (usize, Vec<usize>)| {
                let input: Option<Vec<usize>> = (0..at.len())
                    .map(|a| {
                        (at[a] * window.stride[a] + k[a] * window.dilation[a]).checked_sub(window.pad_begin[a]).filter(|&i| i < space[a])
                    })
                    .collect();
                Some((flat(&input?, space), slice))
            };
            positions(&window.kernel).enumerate().filter_map(tap).collect()
        }))
    }

    /// A transposed window (ONNX ConvTranspose): input pixel `i` reaches output `i·stride + k·dilation − pad`.
    pub fn transposed(window: &Window, space: &[usize], output: &[usize]) -> Self {
        Table::new(positions(output).map(|at| {
            let tap = |(slice, k): (usize, Vec<usize>)| {
                let input: Option<Vec<usize>> = (0..at.len())
                    .map(|a| {
                        let from = (at[a] + window.pad_begin[a]).checked_sub(k[a] * window.dilation[a])?;
                        (from.is_multiple_of(window.stride[a])).then(|| from / window.stride[a]).filter(|&i| i < space[a])
                    })
                    .collect();
                Some((flat(&input?, space), slice))
            };
            positions(&window.kernel).enumerate().filter_map(tap).collect()
        }))
    }

    /// The sum over some of the axes of `shape` (`keep[a]` false), which stay with extent 1.
    pub fn reduction(shape: &[usize], keep: &[bool]) -> Self {
        let output: Vec<usize> = shape.iter().zip(keep).map(|(&d, &k)| if k { d } else { 1 }).collect();
        let inner: Vec<usize> = shape.iter().zip(keep).map(|(&d, &k)| if k { 1 } else { d }).collect();
        Table::new(positions(&output).map(|at| {
            let sum = |i: &Vec<usize>| at.iter().zip(i).map(|(a, b)| a + b).collect::<Vec<_>>();
            positions(&inner).map(|i| (flat(&sum(&i), shape), 0)).collect()
        }))
    }

    /// A matrix product along the last axis of `outer` rows of pixels: slice `o·inputs + i` joins input `i` to output `o`.
    pub fn linear(outer: usize, inputs: usize, outputs: usize) -> Self {
        let rows = (0..outer).flat_map(|a| (0..outputs).map(move |o| (a, o)));
        Table::new(rows.map(|(a, o)| (0..inputs).map(|i| (a * inputs + i, o * inputs + i)).collect()))
    }

    /// Every output pixel sees the input pixel at its place, through a slice of its own.
    pub fn elementwise(pixels: usize) -> Self {
        Table::new((0..pixels).map(|p| vec![(p, p)]))
    }
}
