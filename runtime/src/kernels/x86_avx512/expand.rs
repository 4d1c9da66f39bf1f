//! Spikes to byte planes, for AVX-512.

use crate::kernels::matrix::PlaneShape;
use crate::kernels::plane::walk;
use std::arch::x86_64::*;

/// Expands masks (`[pixel][step]`) to a plane.
///
/// # Safety
/// `masks` and `plane` are as `shape` says, with 64 bytes of slack after each; the CPU has AVX-512
/// BW.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe extern "C" fn expand(masks: *const u8, plane: *mut u8, steps: usize, shape: *const PlaneShape) {
    // SAFETY: the caller's. Whole words of a mask are read, or of a mask shorter than a word its
    // slack, whose bits lie beyond the pixel.
    unsafe {
        let shape = &*shape;
        let (bytes, mask) = (shape.pixel as usize, shape.mask as usize);
        walk(masks, plane, steps, shape, |masks, to, pitch| match bytes {
            16 if mask == 2 => (0..steps).for_each(|t| {
                let bits = masks.cast::<u16>().add(t).read_unaligned();
                _mm_storeu_si128(to.add(t * pitch).cast(), _mm_maskz_set1_epi8(bits, 1));
            }),
            32 if mask == 4 => (0..steps).for_each(|t| {
                let bits = masks.cast::<u32>().add(t).read_unaligned();
                _mm256_storeu_si256(to.add(t * pitch).cast(), _mm256_maskz_set1_epi8(bits, 1));
            }),
            _ => (0..steps).for_each(|t| {
                for at in (0..bytes).step_by(64) {
                    let bits = masks.add(t * mask + at / 8).cast::<u64>().read_unaligned();
                    let keep = u64::MAX >> (64 - (bytes - at).min(64));
                    _mm512_mask_storeu_epi8(to.add(t * pitch + at).cast(), keep, _mm512_maskz_set1_epi8(bits, 1));
                }
            }),
        });
    }
}
