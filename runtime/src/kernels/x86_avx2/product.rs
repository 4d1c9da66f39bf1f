//! Products of spikes for AVX2: the same as those for AVX-512, in 16-bit sums, which the plan
//! proved to suffice.

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
    unsafe { rows::product::<Maddubs>(arguments) }
}

struct Maddubs;

impl Multiply for Maddubs {
    const ROWS: usize = 4;
    type Sums = [__m256i; 2];
    type Weights = [__m256i; 2];

    #[inline(always)]
    unsafe fn start(_: *const i32) -> [__m256i; 2] {
        // SAFETY: the caller's.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> [__m256i; 2] {
        // SAFETY: the caller's.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
    }

    #[inline(always)]
    unsafe fn add([a, b]: [__m256i; 2], bytes: i32, [low, high]: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: the caller's.
        unsafe {
            let bytes = _mm256_set1_epi32(bytes);
            [_mm256_add_epi16(a, _mm256_maddubs_epi16(bytes, low)), _mm256_add_epi16(b, _mm256_maddubs_epi16(bytes, high))]
        }
    }

    #[inline(always)]
    unsafe fn finish(sums: [__m256i; 2], from: *const i32, out: *mut i32) {
        // SAFETY: the caller's.
        unsafe {
            let one = _mm256_set1_epi16(1);
            for (half, sum) in sums.into_iter().enumerate() {
                let before = _mm256_loadu_si256(from.add(8 * half).cast());
                _mm256_storeu_si256(out.add(8 * half).cast(), _mm256_add_epi32(before, _mm256_madd_epi16(sum, one)));
            }
        }
    }
}
