//! How values lie in memory, as far as plans and kernels agree on it.
//!
//! A value is pixels of channels. Spikes are bit masks `[pixel][step][channel]` ([`mask_bytes`] per
//! pixel and step), currents are `i32` in the same order with channels padded to [`lanes`].

mod elements;
mod size;
mod window;

pub use elements::{ElementMap, Ends};
pub use size::Size;
pub use window::{SlidingWindow, is_mostly};

/// Most steps that run layer by layer before the next ones start.
pub const MAX_CHUNK: usize = 32;

/// The extents of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Extent of the first axis.
    pub channels: usize,
    /// Extent of all other axes together.
    pub pixels: usize,
}

impl Extent {
    /// Number of elements.
    pub fn len(self) -> usize {
        self.channels * self.pixels
    }
}

/// Bytes of the spike mask of one pixel in one step.
pub fn mask_bytes(channels: usize) -> usize {
    match channels {
        0..=16 => 2,
        17..=32 => 4,
        _ => channels.div_ceil(64) * 8,
    }
}

/// Channels of a current row, padded to whole 512-bit vectors.
pub fn lanes(channels: usize) -> usize {
    channels.next_multiple_of(16)
}
