//! Matrix products of byte planes and 8-bit weights, as far as they are the same for every set of
//! kernels.
//!
//! For one output pixel, the rows of the left matrix are its steps and the columns its taps'
//! channels, cut into *slabs* of up to 64 bytes; the right matrix is the weights, `[slab][block of
//! 16 outputs][quad][output][4]`.
//!
//! A *plane* holds spikes as one byte per channel, padded in space: `[row][step][column][channel]`,
//! so that the taps of one window row are contiguous and the steps of a pixel are at a fixed
//! distance. Borders hold zeros.

use crate::layout::Size;

/// Most bytes of a slab.
pub const SLAB: usize = 64;

/// Bytes of the weights of one slab and block.
pub const TILE: usize = 1024;

/// Constants of a plane, in the module's read-only data.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PlaneShape {
    /// Rows and columns of the value.
    pub input: [u32; 2],
    /// Rows and columns of the plane.
    pub size: [u32; 2],
    /// Where the value's first pixel is in the plane.
    pub pad: [u32; 2],
    /// Bytes of a mask.
    pub mask: u32,
    /// Steps from one pixel's masks to the next's.
    pub chunk: u32,
    /// Bytes of a pixel in the plane.
    pub pixel: u32,
}

impl PlaneShape {
    /// The words, as kernels read them.
    pub fn words(&self) -> [u32; 9] {
        let [input, size, pad] = [self.input, self.size, self.pad];
        [input[0], input[1], size[0], size[1], pad[0], pad[1], self.mask, self.chunk, self.pixel]
    }

    /// Bytes from one step to the next.
    pub fn step_pitch(&self) -> usize {
        self.size[1] as usize * self.pixel as usize
    }

    /// Bytes from one row to the next.
    pub fn row_pitch(&self) -> usize {
        self.chunk as usize * self.step_pitch()
    }

    /// Bytes of the plane. The distances above are right where these fit.
    pub fn bytes(&self) -> Size {
        Size::product([self.size[0], self.chunk, self.size[1], self.pixel].map(|n| n as usize))
    }
}

/// Constants of a product; the slabs' offsets from the window's first byte follow it in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MatrixShape {
    /// Bytes from one step to the next.
    pub step_pitch: u32,
    /// Bytes from one output pixel's window to the next one's.
    pub pixel_pitch: u32,
    /// Lanes of a row of currents.
    pub lanes: u32,
    /// Currents from one pixel to the next.
    pub cell: u32,
    /// Number of slabs.
    pub slabs: u32,
    /// Whether currents are added to; else they start from `base`.
    pub add: u32,
    /// Elements of `base` from pixel to pixel.
    pub base: u32,
    /// Bytes of a slab, divided by four.
    pub quads: u32,
}

impl MatrixShape {
    /// The words, as kernels read them.
    pub fn words(&self) -> [u32; 8] {
        [self.step_pitch, self.pixel_pitch, self.lanes, self.cell, self.slabs, self.add, self.base, self.quads]
    }

    /// The slabs' offsets.
    ///
    /// # Safety
    /// `shape` must be followed by as many offsets as it says.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub unsafe fn offsets<'a>(shape: *const MatrixShape) -> &'a [u32] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts(shape.add(1).cast(), (*shape).slabs as usize) }
    }
}
