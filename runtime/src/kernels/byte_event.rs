//! Spikes through rows of 8-bit weights: 64 outputs a load.
//!
//! A 16-bit lane of a row holds two outputs: the weight of output `32 + i` as its high byte, and
//! that of output `i`, plus 128 so that it is not negative, as its low one. Of `n` rows `x`, with
//! `high = Σ (x >> 8)` and `all = Σ x` modulo 2¹⁶, the sums of the high outputs are `high`, those
//! of the low ones `all − (high << 8) − 128 n`: two additions and a shift for 64 synapses, in half
//! the memory of 16-bit weights.

use super::abi::SynapseShape;
use crate::layout::{MAX_CHUNK, Size, SlidingWindow};

/// Constants of a layer whose rows of neurons are computed at once, in the module's read-only data.
/// Pairs are rows and columns, or along them; strides go from pixel to pixel.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RowShape {
    /// What rows of weights are added up from.
    pub synapse: SynapseShape,
    /// Input pixels.
    pub input: [u32; 2],
    /// Taps.
    pub kernel: [u32; 2],
    /// From window to window.
    pub stride: [u32; 2],
    /// Before the first input pixel.
    pub pad: [u32; 2],
    /// Output pixels of a row.
    pub columns: u32,
    /// Bytes of an input pixel.
    pub pixel_bytes: u32,
    /// Elements of the base: 0 where pixels share a row.
    pub base: u32,
    /// Elements of thresholds: 0 where pixels share a row.
    pub threshold: u32,
    /// Bytes of spikes, and of the residual's masks.
    pub spikes: u32,
    /// Bytes of a step's mask.
    pub mask: u32,
}

impl RowShape {
    /// The words, as the kernel reads them.
    pub fn words(&self) -> Vec<u32> {
        let window = [self.input, self.kernel, self.stride, self.pad];
        let rest = [self.columns, self.pixel_bytes, self.base, self.threshold, self.spikes, self.mask];
        self.synapse.words().iter().chain(window.as_flattened()).chain(&rest).copied().collect()
    }
}

/// Outputs of a vector of weights.
pub const LANES: usize = 64;

/// Rows that are added between two looks at the end of the list; lists are filled up with a row of
/// zeros.
#[cfg(target_arch = "x86_64")]
pub(super) const UNROLL: usize = 8;

/// The most rows whose sums are within 16 bits, whatever their weights.
#[cfg(target_arch = "x86_64")]
pub(super) const MOST_ROWS: usize = 255 / UNROLL * UNROLL;

/// Entries that a list of at most `rows` rows has room for; its last ones are written by whole
/// vectors. Lists of neighbouring steps are an odd number of cache lines apart: their beginnings,
/// which alone are much used, spread over all sets of the first cache.
pub(super) fn room(rows: usize) -> usize {
    const LINE: usize = 32;
    ((rows + 64).div_ceil(LINE) | 1) * LINE
}

/// Windows of a row that share their lists: so many that most columns are listed once, so few that
/// the lists are short and their entries 16 bits.
pub(super) fn windows(kernel: [usize; 2], stride: [usize; 2], channels: usize) -> usize {
    let columns = (MOST_LISTED / (channels + 1)).saturating_sub(kernel[0] * kernel[1] + kernel[1]);
    (columns / stride[1]).clamp(1, 16)
}

/// Columns of input pixels that so many windows see, and those between them.
pub(super) fn columns(windows: usize, kernel: [usize; 2], stride: [usize; 2]) -> usize {
    (windows - 1) * stride[1] + kernel[1]
}

/// Bytes of scratch for rows of neurons whose windows have `kernel` taps of `channels` inputs and
/// are `stride` apart: where columns begin, and lists for the events of each of `steps` steps.
pub fn row_scratch(kernel: [usize; 2], stride: [usize; 2], channels: usize, steps: usize) -> Size {
    let columns = columns(windows(kernel, stride, channels), kernel, stride);
    // Kernels that `fits` admits have few rows, and so many windows are at most as far apart as
    // rows are listed.
    Size::product([4, MAX_CHUNK, columns]) + Size::product([2, steps, room(columns * kernel[0] * channels)])
}

/// Rows, those of zeros included, that a list's 16-bit entries tell apart.
const MOST_LISTED: usize = 1 << 16;

/// Whether lists have entries for all rows of `channels` inputs through `plane`, and [`RowShape`]
/// for its numbers.
pub fn fits(plane: &SlidingWindow, channels: usize) -> bool {
    let rows = [plane.kernel[0] + 1, plane.kernel[1], channels + 1].into_iter().fold(1, usize::saturating_mul);
    let numbers = [plane.input, plane.output, plane.stride, plane.pad];
    plane.dilation == [1, 1] && rows <= MOST_LISTED && numbers.as_flattened().iter().all(|&n| u32::try_from(n).is_ok())
}

/// The rows of one slice, `[input][output]`, in the kernel's layout: a multiple of [`LANES`]
/// outputs, and a row of zeros after the last.
pub fn pack(rows: impl Iterator<Item = Vec<i8>>, lanes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows.chain(std::iter::once(vec![0; lanes])) {
        for vector in row.chunks_exact(LANES) {
            let (low, high) = vector.split_at(LANES / 2);
            bytes.extend(low.iter().zip(high).flat_map(|(&low, &high)| [low.wrapping_add(-128) as u8, high as u8]));
        }
    }
    bytes
}
