//! Matrix kernels for AVX2: the same products as [`super::vnni`], in 16-bit sums, which the plan proved to suffice.

use super::matrix::{MatrixShape, TILE};
use std::arch::x86_64::*;

/// Steps whose sums stay in registers.
const STEPS: usize = 4;

/// The product; see [`super::matrix::Product`].
///
/// # Safety
/// As [`super::matrix::Product`], and the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn product(
    window: *const u8,
    weights: *const i8,
    currents: *mut i32,
    steps: usize,
    shape: *const MatrixShape,
    pixels: usize,
    base: *const i32,
) {
    // SAFETY: the compiled layer keeps the contract.
    unsafe {
        let offsets = MatrixShape::offsets(shape);
        let shape = &*shape;
        let (lanes, pitch) = (shape.lanes as usize, shape.step_pitch as usize);
        for p in 0..pixels {
            let (window, currents) = (window.add(p * shape.pixel_pitch as usize), currents.add(p * shape.cell as usize));
            for block in 0..lanes / 16 {
                let base = (shape.add == 0).then(|| base.add(p * shape.base as usize + 16 * block));
                let weights = weights.add(block * TILE);
                let job = Job { offsets, weights, next: lanes / 16 * TILE, pitch, lanes, quads: shape.quads as usize, base };
                let mut t = 0;
                while t < steps {
                    let (window, out) = (window.add(t * pitch), currents.add(t * lanes + 16 * block));
                    if steps - t >= STEPS {
                        job.run::<STEPS>(window, out);
                        t += STEPS;
                    } else {
                        job.run::<1>(window, out);
                        t += 1;
                    }
                }
            }
        }
    }
}

/// What all steps of a product share.
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
    /// `N` steps by 16 outputs.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn run<const N: usize>(&self, window: *const u8, out: *mut i32) {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); 2]; N];
            let mut weights = self.weights;
            for &offset in self.offsets {
                let window = window.add(offset as usize);
                for quad in 0..self.quads {
                    let low = _mm256_loadu_si256(weights.add(64 * quad).cast());
                    let high = _mm256_loadu_si256(weights.add(64 * quad + 32).cast());
                    for (t, [a, b]) in sums.iter_mut().enumerate() {
                        let spikes = _mm256_set1_epi32(window.add(t * self.pitch + 4 * quad).cast::<i32>().read_unaligned());
                        *a = _mm256_add_epi16(*a, _mm256_maddubs_epi16(spikes, low));
                        *b = _mm256_add_epi16(*b, _mm256_maddubs_epi16(spikes, high));
                    }
                }
                weights = weights.add(self.next);
            }
            let one = _mm256_set1_epi16(1);
            for (t, halves) in sums.iter().enumerate() {
                let out = out.add(t * self.lanes);
                let from = self.base.unwrap_or(out);
                for (half, &sum) in halves.iter().enumerate() {
                    let before = _mm256_loadu_si256(from.add(8 * half).cast());
                    _mm256_storeu_si256(out.add(8 * half).cast(), _mm256_add_epi32(before, _mm256_madd_epi16(sum, one)));
                }
            }
        }
    }
}
