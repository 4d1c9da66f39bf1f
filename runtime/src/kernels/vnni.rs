//! Matrix kernels for AVX-512 VNNI: the same products as [`super::amx`], a vector at a time.

use super::matrix::{MatrixShape, TILE};
use std::arch::x86_64::*;

/// Steps whose sums stay in registers.
const STEPS: usize = 8;

/// The product; see [`super::matrix::Product`].
///
/// # Safety
/// As [`super::matrix::Product`], and the CPU has AVX-512 VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
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
                let weights = weights.add(block * TILE);
                let base = (shape.add == 0).then(|| base.add(p * shape.base as usize + 16 * block));
                for first in (0..steps).step_by(STEPS) {
                    let (window, out) = (window.add(first * pitch), currents.add(first * lanes + 16 * block));
                    let job = Job { offsets, weights, next: lanes / 16 * TILE, pitch, lanes, base, quads: shape.quads as usize };
                    match (steps - first).min(STEPS) {
                        8 => job.run::<8>(window, out),
                        n => {
                            let mut at = 0;
                            for (bit, run) in [(4, 4), (2, 2), (1, 1)] {
                                if n & bit != 0 {
                                    let (window, out) = (window.add(at * pitch), out.add(at * lanes));
                                    match run {
                                        4 => job.run::<4>(window, out),
                                        2 => job.run::<2>(window, out),
                                        _ => job.run::<1>(window, out),
                                    }
                                    at += run;
                                }
                            }
                        }
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
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn run<const N: usize>(&self, window: *const u8, out: *mut i32) {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); N];
            match self.base {
                Some(base) => sums.fill(_mm512_loadu_si512(base.cast())),
                None => (0..N).for_each(|t| sums[t] = _mm512_loadu_si512(out.add(t * self.lanes).cast())),
            }
            let mut weights = self.weights;
            for &offset in self.offsets {
                let window = window.add(offset as usize);
                for quad in 0..self.quads {
                    let w = _mm512_loadu_si512(weights.add(64 * quad).cast());
                    for (t, sum) in sums.iter_mut().enumerate() {
                        let spikes = _mm512_set1_epi32(window.add(t * self.pitch + 4 * quad).cast::<i32>().read_unaligned());
                        *sum = _mm512_dpbusd_epi32(*sum, spikes, w);
                    }
                }
                weights = weights.add(self.next);
            }
            (0..N).for_each(|t| _mm512_storeu_si512(out.add(t * self.lanes).cast(), sums[t]));
        }
    }
}
