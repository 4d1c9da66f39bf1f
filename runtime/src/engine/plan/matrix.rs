//! How a convolution becomes matrix products: where the slabs of a window lie in the plane, and the
//! weights in their order.

use super::synapse::Weights;
use crate::kernels::matrix::{MatrixShape, PlaneShape, SLAB, TILE};
use crate::layout::SlidingWindow;

/// The layout of one synapse's products.
#[derive(Clone, Debug)]
pub struct MatrixPlan {
    /// The plane its operand is expanded to.
    pub plane: PlaneShape,
    /// The product's constants.
    pub shape: MatrixShape,
    /// Offset of every slab from the window's first byte.
    pub offsets: Vec<u32>,
    /// For every byte of every slab: weight slice and channel, or nothing.
    bytes: Vec<Option<(usize, usize)>>,
    /// Bytes of a slab.
    width: usize,
    /// Bytes from one window to the next, down and across.
    pub stride: [usize; 2],
}

/// Two numbers in 32 bits, if they fit.
pub fn narrow(pair: [usize; 2]) -> Option<[u32; 2]> {
    Some([u32::try_from(pair[0]).ok()?, u32::try_from(pair[1]).ok()?])
}

/// Contiguous taps of a window: a row of it, unless it is dilated.
fn run(window: &SlidingWindow) -> usize {
    if window.dilation[1] == 1 { window.kernel[1] } else { 1 }
}

/// Bytes of a pixel in a plane.
pub fn pixel_bytes(channels: usize) -> usize {
    channels.next_multiple_of(4)
}

/// The narrowest slabs that are as few as the widest: loads of narrow slabs cross fewer cache
/// lines.
pub fn slab_width(window: &SlidingWindow, channels: usize) -> usize {
    let bytes = run(window) * pixel_bytes(channels);
    bytes.div_ceil(bytes.div_ceil(SLAB)).next_multiple_of(4)
}

impl MatrixPlan {
    /// The products of a window over a value of `channels` channels whose masks have `mask` bytes.
    /// `add` says whether currents are added to, `base` how far what they start from is from pixel
    /// to pixel. `width` is the slabs'. None where the plane would be mostly padding, or a number
    /// of the plan would leave 32 bits.
    pub fn new(
        window: &SlidingWindow,
        channels: usize,
        mask: usize,
        lanes: usize,
        chunk: usize,
        (add, base): (bool, usize),
        width: usize,
    ) -> Option<Self> {
        if !window.is_mostly_input() {
            return None;
        }
        let plane = PlaneShape {
            input: narrow(window.input)?,
            size: narrow([window.reach(0), window.reach(1)])?,
            pad: narrow(window.pad)?,
            mask: u32::try_from(mask).ok()?,
            chunk: u32::try_from(chunk).ok()?,
            pixel: u32::try_from(pixel_bytes(channels)).ok()?,
        };
        Self::over(plane, window, channels, lanes, (add, base), width)
    }

    /// The products of a window over a plane that may reach further than the window does; otherwise
    /// as [`MatrixPlan::new`].
    pub fn over(
        plane: PlaneShape,
        window: &SlidingWindow,
        channels: usize,
        lanes: usize,
        (add, base): (bool, usize),
        width: usize,
    ) -> Option<Self> {
        // No distance within the plane is longer than the plane, whose bytes are counted without
        // wrapping.
        plane.bytes().within(u32::MAX as usize)?;
        let (pixel, chunk) = (plane.pixel as usize, plane.chunk as usize);
        let (mut offsets, mut bytes) = (Vec::new(), Vec::new());
        let run = run(window);
        for ky in 0..window.kernel[0] {
            for kx in (0..window.kernel[1]).step_by(run) {
                let start = ky * window.dilation[0] * plane.row_pitch() + kx * window.dilation[1] * pixel;
                for slab in (0..run * pixel).step_by(width) {
                    offsets.push(u32::try_from(start + slab).ok()?);
                    bytes.extend((slab..slab + width).map(|b| {
                        let (tap, channel) = (b / pixel, b % pixel);
                        (tap < run && channel < channels).then_some((ky * window.kernel[1] + kx + tap, channel))
                    }));
                }
            }
        }
        let narrow = |n: usize| u32::try_from(n).ok();
        let shape = MatrixShape {
            step_pitch: narrow(plane.step_pitch())?,
            pixel_pitch: narrow(window.stride[1] * pixel)?,
            lanes: narrow(lanes)?,
            cell: narrow(chunk * lanes)?,
            slabs: narrow(offsets.len())?,
            add: u32::from(add),
            base: narrow(base)?,
            quads: narrow(width)? / 4,
        };
        let stride = [window.stride[0] * plane.row_pitch(), window.stride[1] * pixel];
        Some(MatrixPlan { plane, shape, offsets, bytes, width, stride })
    }

    /// Weights as `[slab][block of 16 outputs][quad][output][4]`.
    pub fn pack(&self, weights: &Weights, channels: usize) -> Vec<u8> {
        let Weights::Full { outputs, data, .. } = weights else { unreachable!("products mix channels") };
        debug_assert!(data.iter().all(|&w| i8::try_from(w).is_ok()), "the plan multiplies with 8 bits");
        let blocks = self.shape.lanes as usize / 16;
        let mut packed = vec![0; self.offsets.len() * blocks * TILE];
        for (at, &(slice, channel)) in self.bytes.iter().enumerate().filter_map(|(at, b)| b.as_ref().map(|b| (at, b))) {
            let (slab, byte) = (at / self.width, at % self.width);
            let row = &data[(slice * channels + channel) * outputs..][..*outputs];
            for (o, &w) in row.iter().enumerate() {
                packed[(slab * blocks + o / 16) * TILE + byte / 4 * 64 + o % 16 * 4 + byte % 4] = w as i8 as u8;
            }
        }
        packed
    }
}
