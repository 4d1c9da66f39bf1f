//! Products of counts for AVX2. Its products of bytes saturate 16 bits, so counts and weights are widened to 16 bits first.

use super::matrix::{MatrixShape, TILE};
use std::arch::x86_64::*;

/// Pixels whose sums stay in registers.
const PIXELS: usize = 2;

/// The product of [`super::counted::Product`], of `columns` pixels.
///
/// # Safety
/// As [`super::matrix::Product`] with one pixel of `columns` steps, and the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn product(
    window: *const u8,
    weights: *const i8,
    currents: *mut i32,
    columns: usize,
    shape: *const MatrixShape,
    base: *const i32,
) {
    // SAFETY: the caller's.
    unsafe {
        let offsets = MatrixShape::offsets(shape);
        let shape = &*shape;
        let (lanes, pitch) = (shape.lanes as usize, shape.step_pitch as usize);
        for block in 0..lanes / 16 {
            let base = (shape.add == 0).then(|| base.add(16 * block));
            let weights = weights.add(block * TILE);
            let job = Job { offsets, weights, next: lanes / 16 * TILE, pitch, lanes, quads: shape.quads as usize, base };
            let mut p = 0;
            while p < columns {
                let (window, out) = (window.add(p * pitch), currents.add(p * lanes + 16 * block));
                if columns - p >= PIXELS {
                    job.run::<PIXELS>(window, out);
                    p += PIXELS;
                } else {
                    job.run::<1>(window, out);
                    p += 1;
                }
            }
        }
    }
}

/// What all pixels of a product share.
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
    /// `N` pixels by 16 outputs.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn run<const N: usize>(&self, window: *const u8, out: *mut i32) {
        // SAFETY: the caller's.
        unsafe {
            // Per output two halves of its sum.
            let mut sums = [[_mm256_setzero_si256(); 4]; N];
            let mut weights = self.weights;
            for &offset in self.offsets {
                let window = window.add(offset as usize);
                for quad in 0..self.quads {
                    let w: [__m256i; 4] =
                        std::array::from_fn(|j| _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.add(64 * quad + 16 * j).cast())));
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let counts = window.add(p * self.pitch + 4 * quad).cast::<i32>().read_unaligned();
                        let counts = _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(counts)));
                        for (sum, &w) in sums.iter_mut().zip(&w) {
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(counts, w));
                        }
                    }
                }
                weights = weights.add(self.next);
            }
            for (p, sums) in sums.iter().enumerate() {
                let out = out.add(p * self.lanes);
                let from = self.base.unwrap_or(out);
                for half in 0..2 {
                    // Outputs 0, 1, 4, 5, 2, 3, 6, 7.
                    let pairs = _mm256_hadd_epi32(sums[2 * half], sums[2 * half + 1]);
                    let sum = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
                    let before = _mm256_loadu_si256(from.add(8 * half).cast());
                    _mm256_storeu_si256(out.add(8 * half).cast(), _mm256_add_epi32(before, sum));
                }
            }
        }
    }
}
