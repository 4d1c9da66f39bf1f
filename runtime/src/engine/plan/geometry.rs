//! Where the taps of a synapse are: which input pixels an output pixel sees, and through which
//! slice of the weights.
//!
//! A *pixel* is a position in the row-major product of all axes but the first; the first axis is
//! the channel. A value of rank 1 is one pixel of many channels, so a linear layer is a 1×1
//! convolution.

use super::synapse::Reason;
use crate::layout::SlidingWindow;
use snn_ir::Window;

/// A tap along one axis: its number and the input it sees.
type Tap = (usize, usize);

/// The taps of every output pixel.
#[derive(Clone, Debug)]
pub enum Geometry {
    /// A sliding window over one or two axes.
    Window(SlidingWindow),
    /// Anything else, listed.
    Listed(TapList),
}

/// Taps listed per output pixel.
#[derive(Clone, Debug)]
pub struct TapList {
    /// Where the taps of output pixel `p` start in `entries`; one more entry than pixels.
    pub first: Vec<u32>,
    /// `(input pixel, weight slice)`.
    pub entries: Vec<(u32, u32)>,
}

impl Geometry {
    /// Every output pixel sees the input pixel at its place, through slice 0.
    pub fn pointwise(pixels: usize) -> Self {
        let one = [1, 1];
        Geometry::Window(SlidingWindow { input: [1, pixels], output: [1, pixels], kernel: one, stride: one, dilation: one, pad: [0, 0] })
    }

    /// A sliding window over `space`, which it fits (the graph's types say so).
    ///
    /// # Errors
    /// When there are more taps to list than a table holds.
    pub fn window(window: &Window, space: &[usize], output: &[usize]) -> Result<Self, Reason> {
        let rank = window.rank();
        if rank > 2 {
            return Ok(Geometry::Listed(TapList::window(window, space, output)?));
        }
        let two = |v: &[usize], one: usize| if rank == 1 { [one, v[0]] } else { [v[0], v[1]] };
        // A stride of one window and a dilation of one tap may be any number, and mean nothing.
        let used = |steps: [usize; 2], of: [usize; 2]| [0, 1].map(|a| if of[a] == 1 { 1 } else { steps[a] });
        let (output, kernel) = (two(output, 1), two(&window.kernel, 1));
        Ok(Geometry::Window(SlidingWindow {
            input: two(space, 1),
            output,
            kernel,
            stride: used(two(&window.stride, 1), output),
            dilation: used(two(&window.dilation, 1), kernel),
            pad: two(&window.pad_begin, 0),
        }))
    }

    /// A window of a pool, whose taps are all alike: those that see nothing but padding, wherever
    /// the window is, are left out. Returns the number of taps, too.
    ///
    /// # Errors
    /// As [`Geometry::window`].
    pub fn pool(window: &Window, space: &[usize], output: &[usize]) -> Result<(Self, usize), Reason> {
        let mut trimmed = window.clone();
        for a in 0..window.rank() {
            let (pad, dilation) = (window.pad_begin[a], window.dilation[a]);
            let furthest = (output[a] - 1) * window.stride[a];
            let last = ((space[a] - 1 + pad) / dilation).min(window.kernel[a] - 1);
            let first = (pad.saturating_sub(furthest) / dilation).min(last);
            trimmed.kernel[a] = last - first + 1;
            trimmed.pad_begin[a] = pad - first * dilation;
        }
        Ok((Self::window(&trimmed, space, output)?, trimmed.taps()))
    }

    /// The most taps an output pixel has.
    pub fn max_taps(&self) -> usize {
        match self {
            Geometry::Window(p) => p.kernel[0].saturating_mul(p.kernel[1]),
            Geometry::Listed(t) => t.first.windows(2).map(|w| (w[1] - w[0]) as usize).max().unwrap_or(0),
        }
    }

    /// Calls `visit` for every tap of output pixel `pixel`.
    #[inline]
    pub fn for_each_tap(&self, pixel: usize, mut visit: impl FnMut(usize, usize)) {
        match self {
            Geometry::Window(p) => p.for_each_tap(pixel, visit),
            Geometry::Listed(t) => {
                let entries = &t.entries[t.first[pixel] as usize..t.first[pixel + 1] as usize];
                entries.iter().for_each(|&(input, slice)| visit(input as usize, slice as usize));
            }
        }
    }
}

/// Taps along one axis, by output position: tap and input.
type AxisTaps = Vec<Vec<Tap>>;

/// Most entries of a table, so that counts of them fit 32 bits: 1 GiB.
const MOST_ENTRIES: usize = 1 << 27;

impl TapList {
    /// From what `list` says of every output pixel: it hands input pixel and slice of every tap to
    /// its second argument.
    ///
    /// # Errors
    /// When there are more than [`MOST_ENTRIES`], or a number of them needs more than 32 bits.
    fn new(pixels: usize, mut list: impl FnMut(usize, &mut dyn FnMut(usize, usize))) -> Result<Self, Reason> {
        let (mut first, mut entries) = (vec![0], Vec::new());
        let mut fits = true;
        for pixel in 0..pixels {
            list(pixel, &mut |input, slice| match (u32::try_from(input), u32::try_from(slice)) {
                (Ok(input), Ok(slice)) if entries.len() < MOST_ENTRIES => entries.push((input, slice)),
                _ => fits = false,
            });
            if !fits {
                return Err("it has too many taps to list; use --engine reference".into());
            }
            first.push(entries.len() as u32);
        }
        Ok(TapList { first, entries })
    }

    /// From the taps along every axis of an operand of extents `space`, for a window of extents
    /// `kernel`.
    fn of_axes(axes: &[AxisTaps], space: &[usize], kernel: &[usize]) -> Result<Self, Reason> {
        let pixels = axes.iter().map(Vec::len).product();
        let mut at = vec![0; axes.len()];
        TapList::new(pixels, |_, visit| {
            let taps: Vec<&[Tap]> = axes.iter().zip(&at).map(|(axis, &at)| axis[at].as_slice()).collect();
            visit_products(&taps, (space, kernel), (0, 0), visit);
            for axis in (0..at.len()).rev() {
                at[axis] += 1;
                if at[axis] < axes[axis].len() {
                    break;
                }
                at[axis] = 0;
            }
        })
    }

    /// A sliding window of any rank.
    fn window(window: &Window, space: &[usize], output: &[usize]) -> Result<Self, Reason> {
        let axis = |a: usize| -> AxisTaps {
            let (stride, dilation, pad) = (window.stride[a], window.dilation[a], window.pad_begin[a]);
            let taps = |o: usize| {
                // Only one output position needs no stride, which may be any number then.
                let start = if o == 0 { 0 } else { o * stride };
                let first = pad.saturating_sub(start).div_ceil(dilation);
                let end = (space[a] + pad).saturating_sub(start).div_ceil(dilation).min(window.kernel[a]);
                (first..end).map(|k| (k, start + k * dilation - pad)).collect()
            };
            (0..output[a]).map(taps).collect()
        };
        TapList::of_axes(&(0..window.rank()).map(axis).collect::<Vec<_>>(), space, &window.kernel)
    }

    /// A transposed window (ONNX ConvTranspose): input pixel `i` reaches output `i·stride +
    /// k·dilation − pad`.
    ///
    /// # Errors
    /// As [`Geometry::window`].
    pub fn transposed(window: &Window, space: &[usize], output: &[usize]) -> Result<Self, Reason> {
        let axis = |a: usize| -> AxisTaps {
            let (stride, dilation, pad) = (window.stride[a], window.dilation[a], window.pad_begin[a]);
            let input = |o: usize, k: usize| {
                let from = (o + pad).checked_sub(k.checked_mul(dilation)?)?;
                from.is_multiple_of(stride).then(|| from / stride).filter(|&i| i < space[a])
            };
            let taps = |o: usize| (0..window.kernel[a]).filter_map(|k| Some((k, input(o, k)?))).collect();
            (0..output[a]).map(taps).collect()
        };
        TapList::of_axes(&(0..window.rank()).map(axis).collect::<Vec<_>>(), space, &window.kernel)
    }

    /// The sum over some of the axes of `shape` (`keep[a]` false), which stay with extent 1.
    ///
    /// # Errors
    /// As [`Geometry::window`].
    pub fn reduction(shape: &[usize], keep: &[bool]) -> Result<Self, Reason> {
        let axis = |(&extent, &keep): (&usize, &bool)| -> AxisTaps {
            if keep { (0..extent).map(|o| vec![(0, o)]).collect() } else { vec![(0..extent).map(|i| (0, i)).collect()] }
        };
        // There is one slice, whatever is summed up.
        let axes: Vec<AxisTaps> = shape.iter().zip(keep).map(axis).collect();
        TapList::of_axes(&axes, shape, &vec![1; shape.len()])
    }

    /// A matrix product along the last axis of `outer` rows of pixels: slice `o·inputs + i` joins
    /// input `i` to output `o`.
    ///
    /// # Errors
    /// As [`Geometry::window`].
    pub fn linear(outer: usize, inputs: usize, outputs: usize) -> Result<Self, Reason> {
        TapList::new(outer * outputs, |pixel, visit| {
            let (row, o) = (pixel / outputs, pixel % outputs);
            (0..inputs).for_each(|i| visit(row * inputs + i, o * inputs + i));
        })
    }

    /// Every output pixel sees the input pixel at its place, through a slice of its own.
    ///
    /// # Errors
    /// As [`Geometry::window`].
    pub fn elementwise(pixels: usize) -> Result<Self, Reason> {
        TapList::new(pixels, |pixel, visit| visit(pixel, pixel))
    }
}

/// Calls `visit` with input pixel and slice of every combination of one tap an axis; `so_far` are
/// those of the axes before.
fn visit_products(taps: &[&[Tap]], (space, kernel): (&[usize], &[usize]), so_far: (usize, usize), visit: &mut dyn FnMut(usize, usize)) {
    let Some((axis, further)) = taps.split_first() else { return visit(so_far.0, so_far.1) };
    for &(tap, input) in *axis {
        let so_far = (so_far.0 * space[0] + input, so_far.1 * kernel[0] + tap);
        visit_products(further, (&space[1..], &kernel[1..]), so_far, visit);
    }
}
