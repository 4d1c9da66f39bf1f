//! Layers by table look-up: 16 neighbouring pixels at a time, of which four channels are the index
//! of a table of the 16 sums their weights can have.
//!
//! An *index plane* holds a value's spikes as `[row][step][group of 16 channels][column]`, a double
//! word a pixel: its four bytes are the bits of four channels each, plus 16 times the byte's
//! number, so that one `vpermb` of AVX-512 VBMI looks up four tables for 16 pixels, and one
//! `vpdpbusd` with ones adds up what it finds: 256 synapses in two instructions, at any rate. Sums
//! in a table are bytes above their least one, which is added to the layer's base. Where weights
//! are too large for that, the rest is in a table of its own.
//!
//! Columns are stored by their remainder modulo the consumer's stride, so that neighbouring output
//! pixels always read neighbouring words.

mod blocks;
mod plane;
pub(super) mod tables;

pub use blocks::Blocks;
pub use plane::IndexPlane;
use snn_ir::neuron::Reset;
pub use tables::Tables;

/// Pixels of a block.
pub const BLOCK: usize = 16;

/// An operand of a layer: its masks in the arena, and where its index plane is made.
#[derive(Debug)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only kernels for x86-64 look up"))]
pub struct Operand {
    /// First byte of the masks.
    pub masks: usize,
    /// First byte of the plane.
    pub plane: usize,
    /// The plane.
    pub shape: IndexPlane,
    /// Bytes from one output row's windows to the next's.
    pub row_stride: usize,
}

/// A layer whose neurons are computed by table look-up.
#[derive(Debug)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only kernels for x86-64 look up"))]
pub struct TableLayer {
    /// Rows and columns.
    pub grid: [usize; 2],
    /// How pixels form blocks.
    pub blocks: Blocks,
    /// Channels.
    pub channels: usize,
    /// Synapses that mix channels.
    pub products: Vec<(Operand, Tables)>,
    /// Spikes of the pixel itself, times one weight a channel.
    pub residuals: Vec<(Operand, Vec<i32>)>,
    /// Per channel: current of every step, but for what `steady` holds.
    pub bias: Vec<i32>,
    /// Where a current of every step and pixel is, `[block][channel][pixel of the block]`.
    pub steady: Option<usize>,
    /// θ per channel.
    pub threshold: Vec<i32>,
    /// v(0) per channel.
    pub initial: Vec<i32>,
    /// What a spike does to the potential.
    pub reset: Reset,
    /// First byte of the potentials, in the order of `steady`.
    pub membrane: usize,
    /// First byte of the masks.
    pub out: usize,
    /// Steps from one pixel's masks to the next's.
    pub chunk: usize,
    /// Bytes of a mask.
    pub mask: usize,
}

impl TableLayer {
    /// Where the value of a pixel and channel is in an array of all blocks.
    pub fn element(&self, pixel: usize, channel: usize) -> usize {
        let (block, lane) = self.blocks.place(pixel / self.grid[1], pixel % self.grid[1]);
        (block * self.channels + channel) * BLOCK + lane
    }
}
