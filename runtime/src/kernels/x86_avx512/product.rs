//! Matrix products for AVX-512 VNNI: the same as those of tiles, a vector at a time.

use crate::kernels::abi::ProductArguments;
use crate::kernels::rows::{self, Multiply};
use std::arch::x86_64::*;

/// The product; see [`crate::kernels::abi::Product`].
///
/// # Safety
/// As [`crate::kernels::abi::Product`], and the CPU has AVX-512 VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe extern "C" fn product(arguments: &ProductArguments) {
    // SAFETY: the caller's.
    unsafe { rows::product::<Vnni>(arguments) }
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
