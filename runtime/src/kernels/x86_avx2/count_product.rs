//! Products of counts for AVX2. Its products of bytes saturate 16 bits, so counts and weights are
//! widened to 16 bits first.

use crate::kernels::abi::ProductArguments;
use crate::kernels::rows::{self, Multiply};
use std::arch::x86_64::*;

/// The product; see [`crate::kernels::abi::Product`].
///
/// # Safety
/// As [`crate::kernels::abi::Product`], and the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn product(arguments: &ProductArguments) {
    // SAFETY: the caller's.
    unsafe { rows::product::<Widened>(arguments) }
}

struct Widened;

impl Multiply for Widened {
    const ROWS: usize = 2;
    /// Per output two halves of its sum.
    type Sums = [__m256i; 4];
    type Weights = [__m256i; 4];

    #[inline(always)]
    unsafe fn start(_: *const i32) -> [__m256i; 4] {
        // SAFETY: the caller's.
        unsafe { [_mm256_setzero_si256(); 4] }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> [__m256i; 4] {
        // SAFETY: the caller's.
        unsafe { [0, 16, 32, 48].map(|at| _mm256_cvtepi8_epi16(_mm_loadu_si128(from.add(at).cast()))) }
    }

    #[inline(always)]
    unsafe fn add(mut sums: [__m256i; 4], bytes: i32, weights: [__m256i; 4]) -> [__m256i; 4] {
        // SAFETY: the caller's.
        unsafe {
            let bytes = _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(bytes)));
            for (sum, w) in sums.iter_mut().zip(weights) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(bytes, w));
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn finish(sums: [__m256i; 4], from: *const i32, out: *mut i32) {
        // SAFETY: the caller's.
        unsafe {
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
