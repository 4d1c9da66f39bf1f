//! The frame of matrix products by vectors, whatever they multiply with: a few rows (steps of a
//! pixel, or pixels) by 16 outputs at a time, whose sums stay in registers.

use super::abi::ProductArguments;
use super::matrix::{MatrixShape, TILE};

/// How vectors multiply bytes by 8-bit weights and add up. Every function needs the CPU that the
/// type says.
pub trait Multiply {
    /// Rows whose sums stay in registers, a power of two of at most eight.
    const ROWS: usize;
    /// Sums of 16 outputs.
    type Sums: Copy;
    /// The weights of four bytes for 16 outputs.
    type Weights: Copy;

    /// Sums that may start from the 16 currents at `from`.
    ///
    /// # Safety
    /// There are as many, and the CPU is one.
    unsafe fn start(from: *const i32) -> Self::Sums;

    /// The weights at `from`, `[output][4]`.
    ///
    /// # Safety
    /// As [`Multiply::start`].
    unsafe fn weights(from: *const i8) -> Self::Weights;

    /// `sums` and the products of four bytes with their weights.
    ///
    /// # Safety
    /// The CPU is one.
    unsafe fn add(sums: Self::Sums, bytes: i32, weights: Self::Weights) -> Self::Sums;

    /// Writes the sums, and the currents at `from` unless they started there, to `out`.
    ///
    /// # Safety
    /// As [`Multiply::start`].
    unsafe fn finish(sums: Self::Sums, from: *const i32, out: *mut i32);
}

/// The product; see [`super::abi::Product`].
///
/// # Safety
/// As [`super::abi::Product`], and the CPU is `M`'s.
#[inline(always)]
pub unsafe fn product<M: Multiply>(arguments: &ProductArguments) {
    let &ProductArguments { window, weights, currents, steps: rows, shape, pixels, base } = arguments;
    // SAFETY: the caller's.
    unsafe {
        let offsets = MatrixShape::offsets(shape);
        let shape = &*shape;
        let (lanes, pitch) = (shape.lanes as usize, shape.step_pitch as usize);
        for p in 0..pixels {
            let (window, currents) = (window.add(p * shape.pixel_pitch as usize), currents.add(p * shape.cell as usize));
            for block in 0..lanes / 16 {
                let weights = weights.add(block * TILE);
                let base = (shape.add == 0).then(|| base.add(p * shape.base as usize + 16 * block));
                let job = Job { offsets, weights, next: lanes / 16 * TILE, pitch, lanes, quads: shape.quads as usize, base };
                let mut at = 0;
                while at < rows {
                    let (window, out) = (window.add(at * pitch), currents.add(at * lanes + 16 * block));
                    at += match (rows - at).min(M::ROWS) {
                        8.. => job.run::<M, 8>(window, out),
                        4.. => job.run::<M, 4>(window, out),
                        2.. => job.run::<M, 2>(window, out),
                        _ => job.run::<M, 1>(window, out),
                    };
                }
            }
        }
    }
}

/// What all rows of a product share.
struct Job<'a> {
    offsets: &'a [u32],
    weights: *const i8,
    /// Bytes from one slab's weights to the next.
    next: usize,
    pitch: usize,
    lanes: usize,
    quads: usize,
    /// What currents start from; without it they are added to.
    base: Option<*const i32>,
}

impl Job<'_> {
    /// `N` rows by 16 outputs; returns `N`.
    #[inline(always)]
    unsafe fn run<M: Multiply, const N: usize>(&self, window: *const u8, out: *mut i32) -> usize {
        // SAFETY: the caller's.
        unsafe {
            let from = |row: usize| self.base.unwrap_or(out.add(row * self.lanes));
            let mut sums: [M::Sums; N] = std::array::from_fn(|row| M::start(from(row)));
            let mut weights = self.weights;
            for &offset in self.offsets {
                let window = window.add(offset as usize);
                for quad in 0..self.quads {
                    let w = M::weights(weights.add(64 * quad));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let bytes = window.add(row * self.pitch + 4 * quad).cast::<i32>().read_unaligned();
                        *sums = M::add(*sums, bytes, w);
                    }
                }
                weights = weights.add(self.next);
            }
            (0..N).for_each(|row| M::finish(sums[row], from(row), out.add(row * self.lanes)));
        }
        N
    }
}
