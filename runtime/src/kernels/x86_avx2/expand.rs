//! Spikes to byte planes, for AVX2.

use crate::kernels::matrix::PlaneShape;
use crate::kernels::plane::walk;
use std::arch::x86_64::*;

/// Expands masks (`[pixel][step]`) to a plane.
///
/// # Safety
/// `masks` and `plane` are as `shape` says, with 64 bytes of slack after each; the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn expand(masks: *const u8, plane: *mut u8, steps: usize, shape: *const PlaneShape) {
    // SAFETY: the caller's. Words of a mask are read, or of a mask shorter than a word its slack,
    // whose bits lie beyond the pixel.
    unsafe {
        let shape = &*shape;
        let (bytes, mask) = (shape.pixel as usize, shape.mask as usize);
        let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201u64 as i64);
        walk(masks, plane, steps, shape, |masks, to, pitch| {
            for t in 0..steps {
                for at in (0..bytes).step_by(32) {
                    let bits = masks.add(t * mask + at / 8).cast::<i32>().read_unaligned();
                    let spreads = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread);
                    let ones = _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spreads, bit), bit), _mm256_set1_epi8(1));
                    let to = to.add(t * pitch + at);
                    match bytes - at {
                        32.. => _mm256_storeu_si256(to.cast(), ones),
                        16 => _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(ones)),
                        left => {
                            let mut whole = [0u8; 32];
                            _mm256_storeu_si256(whole.as_mut_ptr().cast(), ones);
                            to.copy_from_nonoverlapping(whole.as_ptr(), left);
                        }
                    }
                }
            }
        });
    }
}
