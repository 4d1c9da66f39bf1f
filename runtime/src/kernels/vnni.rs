//! Matrix kernels for AVX-512 VNNI: the same products as [`super::amx`], a vector at a time.

use super::matrix::MatrixShape;
use super::rows::{self, Multiply};
use std::arch::x86_64::*;

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
    // SAFETY: the caller's.
    unsafe { rows::product::<Vnni>(window, weights, currents, steps, shape, pixels, base) }
}

struct Vnni;

impl Multiply for Vnni {
    const ROWS: usize = 8;
    type Sums = __m512i;
    type Weights = __m512i;

    #[inline(always)]
    unsafe fn start(from: *const i32) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn add(sums: __m512i, bytes: i32, weights: __m512i) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_dpbusd_epi32(sums, _mm512_set1_epi32(bytes), weights) }
    }

    #[inline(always)]
    unsafe fn finish(sums: __m512i, _: *const i32, out: *mut i32) {
        // SAFETY: the caller's.
        unsafe { _mm512_storeu_si512(out.cast(), sums) }
    }
}
