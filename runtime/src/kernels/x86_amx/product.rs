//! Matrix kernels for AMX (Sapphire Rapids and later): 16 steps by 16 outputs by 64 taps in one
//! instruction.
//!
//! The intrinsics are not stable yet, so tiles are named in `asm!`; the compiler never uses them by
//! itself. Tiles 0 to 3 accumulate, 4 and 5 hold spikes, 6 and 7 weights. A layer configures the
//! tiles for its number of steps and releases them.

use crate::kernels::abi::ProductArguments;
use crate::kernels::matrix::{MatrixShape, TILE};
use std::arch::asm;

#[repr(C, align(64))]
struct Configuration([u8; 64]);

/// Configures the tiles for `steps` steps: the first and second row of tiles hold 16 steps each,
/// or, of at most 16 steps, all rows of tiles hold all. Slabs have `quads` times four bytes.
pub unsafe extern "C" fn begin(steps: usize, quads: usize) {
    let mut c = Configuration([0; 64]);
    c.0[0] = 1;
    let low = steps.min(16) as u8;
    let high = if steps > 16 { (steps - 16) as u8 } else { low };
    let quads = quads as u8;
    for (tile, rows) in [low, low, high, high, low, high, quads, quads].into_iter().enumerate() {
        c.0[16 + 2 * tile] = if tile == 4 || tile == 5 { 4 * quads } else { 64 };
        c.0[48 + tile] = rows;
    }
    // SAFETY: a valid configuration of palette 1; the plan chose this kernel because the CPU has
    // AMX.
    unsafe { asm!("ldtilecfg [{}]", in(reg) c.0.as_ptr(), options(nostack, readonly, preserves_flags)) }
}

/// Gives the tiles back.
pub unsafe extern "C" fn end() {
    // SAFETY: as `begin`.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
}

macro_rules! load {
    ($tile:literal, $from:expr, $pitch:expr) => {
        asm!(concat!("tileloadd ", $tile, ", [{} + {}*1]"), in(reg) $from, in(reg) $pitch, options(nostack, readonly, preserves_flags))
    };
}

macro_rules! store {
    ($tile:literal, $to:expr, $pitch:expr) => {
        asm!(concat!("tilestored [{} + {}*1], ", $tile), in(reg) $to, in(reg) $pitch, options(nostack, preserves_flags))
    };
}

macro_rules! multiply {
    ($sum:literal, $spikes:literal, $weights:literal) => {
        asm!(concat!("tdpbusd ", $sum, ", ", $spikes, ", ", $weights), options(nostack, nomem, preserves_flags))
    };
}

/// The product; see [`crate::kernels::abi::Product`].
///
/// # Safety
/// As [`crate::kernels::abi::Product`], between [`begin`] with the same number of steps and
/// [`end`].
pub unsafe extern "C" fn product(arguments: &ProductArguments) {
    let &ProductArguments { window, weights, currents, steps, shape, pixels, base } = arguments;
    // SAFETY: the compiled layer keeps the contract; every address lies in the plane (or its
    // slack), the weights or the currents.
    unsafe {
        let offsets = MatrixShape::offsets(shape);
        let shape = &*shape;
        let pitch = shape.step_pitch as usize;
        let (pixel, cell) = (shape.pixel_pitch as usize, shape.cell as usize);
        let job = Job { offsets, weights, pitch, blocks: shape.lanes as usize / 16, row: shape.lanes as usize * 4, add: shape.add != 0 };
        let start = |p: usize| base.wrapping_add(p * shape.base as usize);
        if steps > 16 {
            for p in 0..pixels {
                let low = (window.add(p * pixel), currents.add(p * cell), start(p));
                let high = (low.0.add(16 * pitch), low.1.add(16 * job.row / 4), low.2);
                job.pair(low, high);
            }
        } else {
            for p in (0..pixels).step_by(2) {
                let first = (window.add(p * pixel), currents.add(p * cell), start(p));
                if p + 1 < pixels {
                    job.pair(first, (first.0.add(pixel), first.1.add(cell), start(p + 1)));
                } else {
                    job.single(first);
                }
            }
        }
    }
}

/// A product of counts, for which tiles are configured anew: its rows are neighbouring pixels, and
/// their number changes.
///
/// # Safety
/// As [`crate::kernels::abi::Product`].
pub unsafe extern "C" fn count_product(arguments: &ProductArguments) {
    // SAFETY: the caller's.
    unsafe {
        begin(arguments.steps, (*arguments.shape).quads as usize);
        product(arguments);
        end();
    }
}

/// What all tiles of a product share.
struct Job<'a> {
    offsets: &'a [u32],
    weights: *const i8,
    pitch: usize,
    blocks: usize,
    row: usize,
    add: bool,
}

/// Spikes of a row of tiles, where its currents go, and what they start from.
type Rows = (*const u8, *mut i32, *const i32);

impl Job<'_> {
    /// Two rows of tiles by all outputs, 32 at a time.
    #[inline(always)]
    unsafe fn pair(&self, a: Rows, b: Rows) {
        // SAFETY: the caller's.
        unsafe {
            let (pitch, row) = (self.pitch, self.row);
            let mut block = 0;
            while block + 2 <= self.blocks {
                let (a_out, b_out) = (a.1.add(16 * block), b.1.add(16 * block));
                if self.add {
                    load!("tmm0", a_out, row);
                    load!("tmm1", a_out.add(16), row);
                    load!("tmm2", b_out, row);
                    load!("tmm3", b_out.add(16), row);
                } else {
                    // A pitch of zero repeats the row.
                    let (a_base, b_base) = (a.2.add(16 * block), b.2.add(16 * block));
                    load!("tmm0", a_base, 0usize);
                    load!("tmm1", a_base.add(16), 0usize);
                    load!("tmm2", b_base, 0usize);
                    load!("tmm3", b_base.add(16), 0usize);
                }
                let mut weights = self.weights.add(block * TILE);
                for &offset in self.offsets {
                    load!("tmm4", a.0.add(offset as usize), pitch);
                    load!("tmm6", weights, 64usize);
                    multiply!("tmm0", "tmm4", "tmm6");
                    load!("tmm7", weights.add(TILE), 64usize);
                    multiply!("tmm1", "tmm4", "tmm7");
                    load!("tmm5", b.0.add(offset as usize), pitch);
                    multiply!("tmm2", "tmm5", "tmm6");
                    multiply!("tmm3", "tmm5", "tmm7");
                    weights = weights.add(self.blocks * TILE);
                }
                store!("tmm0", a_out, row);
                store!("tmm1", a_out.add(16), row);
                store!("tmm2", b_out, row);
                store!("tmm3", b_out.add(16), row);
                block += 2;
            }
            if block < self.blocks {
                let (a_out, b_out) = (a.1.add(16 * block), b.1.add(16 * block));
                if self.add {
                    load!("tmm0", a_out, row);
                    load!("tmm2", b_out, row);
                } else {
                    load!("tmm0", a.2.add(16 * block), 0usize);
                    load!("tmm2", b.2.add(16 * block), 0usize);
                }
                let mut weights = self.weights.add(block * TILE);
                for &offset in self.offsets {
                    load!("tmm6", weights, 64usize);
                    load!("tmm4", a.0.add(offset as usize), pitch);
                    multiply!("tmm0", "tmm4", "tmm6");
                    load!("tmm5", b.0.add(offset as usize), pitch);
                    multiply!("tmm2", "tmm5", "tmm6");
                    weights = weights.add(self.blocks * TILE);
                }
                store!("tmm0", a_out, row);
                store!("tmm2", b_out, row);
            }
        }
    }

    /// One row of tiles by all outputs.
    #[inline(always)]
    unsafe fn single(&self, a: Rows) {
        // SAFETY: the caller's.
        unsafe {
            for block in 0..self.blocks {
                let out = a.1.add(16 * block);
                if self.add {
                    load!("tmm0", out, self.row);
                } else {
                    load!("tmm0", a.2.add(16 * block), 0usize);
                }
                for (slab, &offset) in self.offsets.iter().enumerate() {
                    load!("tmm6", self.weights.add((slab * self.blocks + block) * TILE), 64usize);
                    load!("tmm4", a.0.add(offset as usize), self.pitch);
                    multiply!("tmm0", "tmm4", "tmm6");
                }
                store!("tmm0", out, self.row);
            }
        }
    }
}
