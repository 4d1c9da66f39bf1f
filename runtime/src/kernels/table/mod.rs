//! Layers by table look-up, for AVX-512 with VBMI: 16 neighbouring pixels at a time, of which four channels are the index of a table of
//! the 16 sums their weights can have.
//!
//! An *index plane* holds a value's spikes as `[row][step][group of 16 channels][column]`, a double word a pixel: its four bytes are the
//! bits of four channels each, plus 16 times the byte's number, so that one `vpermb` looks up four tables for 16 pixels, and one
//! `vpdpbusd` with ones adds up what it finds: 256 synapses in two instructions, at any rate. Sums in a table are bytes above their
//! least one, which is added to the layer's base. Where weights are too large for that, the rest is in a table of its own.
//!
//! Columns are stored by their remainder modulo the consumer's stride, so that neighbouring output pixels always read neighbouring words.

#[cfg(target_arch = "x86_64")]
mod block;
mod blocks;
#[cfg(target_arch = "x86_64")]
mod look_up;
mod plane;
mod tables;

use super::Cpu;
pub use blocks::Blocks;
pub use plane::IndexPlane;
use snn_ir::neuron::Reset;
pub use tables::Tables;

/// Pixels of a block.
pub const BLOCK: usize = 16;

/// An operand of a layer: its masks in the arena, and where its index plane is made.
#[derive(Debug)]
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

    /// Whether this CPU, at that level, has the instructions.
    pub fn is_available(cpu: Cpu) -> bool {
        // With AMX products are faster.
        cpu == Cpu::Avx512
    }

    /// Runs `steps` steps, the first of a window if `first`.
    ///
    /// # Safety
    /// `arena` is the plan's, the CPU has AVX-512 with VBMI and VNNI.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
    pub unsafe fn run(&self, arena: *mut u8, steps: usize, first: bool) {
        let operands = self.products.iter().map(|p| &p.0).chain(self.residuals.iter().map(|r| &r.0));
        for o in operands {
            // SAFETY: the plan gave masks and planes their places in the arena, which do not overlap.
            unsafe { o.shape.expand(arena.add(o.masks), steps, arena.add(o.plane).cast()) };
        }
        let zero = std::arch::x86_64::_mm512_setzero_si512();
        let (mut bits, mut sums) = (vec![zero; STEPS * self.mask / 2], Box::new([[zero; STEPS]; BLOCK]));
        for y in 0..self.blocks.rows {
            for x in 0..self.blocks.columns {
                let mut t = 0;
                while t < steps {
                    let at =
                        block::At { y: if self.blocks.pairs { 2 * y } else { y }, x: BLOCK * x, block: y * self.blocks.columns + x, t };
                    let (n, first) = (1 << (steps - t).min(STEPS).ilog2(), first && t == 0);
                    for group in 0..self.channels.div_ceil(BLOCK) {
                        let bits = &mut bits[group..];
                        // SAFETY: the caller's.
                        unsafe {
                            match (n, self.blocks.pairs) {
                                (8, false) => self.block::<8, 4, false>(arena, at, group, first, &mut sums, bits),
                                (4, false) => self.block::<4, 4, false>(arena, at, group, first, &mut sums, bits),
                                (2, false) => self.block::<2, 2, false>(arena, at, group, first, &mut sums, bits),
                                (_, false) => self.block::<1, 1, false>(arena, at, group, first, &mut sums, bits),
                                (8, true) => self.block::<8, 4, true>(arena, at, group, first, &mut sums, bits),
                                (4, true) => self.block::<4, 4, true>(arena, at, group, first, &mut sums, bits),
                                (2, true) => self.block::<2, 2, true>(arena, at, group, first, &mut sums, bits),
                                (_, true) => self.block::<1, 1, true>(arena, at, group, first, &mut sums, bits),
                            }
                        }
                    }
                    // SAFETY: the masks are the arena's.
                    unsafe { self.store(arena, at, &bits[..n * self.mask / 2]) };
                    t += n;
                }
            }
        }
    }
}

/// Steps that are computed together, at most.
const STEPS: usize = 8;
