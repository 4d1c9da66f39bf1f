//! Spikes to byte planes.

use super::matrix::PlaneShape;
use std::arch::x86_64::*;

/// Walks the plane: zeroes its borders, and calls `pixel` with the masks of every pixel in it, where its bytes go, the distance
/// from step to step there, and the number of steps.
///
/// # Safety
/// `masks` and `plane` are as `shape` says, with 64 bytes of slack behind each.
#[inline(always)]
unsafe fn walk(masks: *const u8, plane: *mut u8, steps: usize, shape: &PlaneShape, mut pixel: impl FnMut(*const u8, *mut u8, usize)) {
    // SAFETY: the caller's.
    unsafe {
        let (row_pitch, step_pitch, bytes) = (shape.row_pitch(), shape.step_pitch(), shape.pixel as usize);
        let [width, columns, pad] = [shape.input[1] as usize, shape.size[1] as usize, shape.pad[1] as usize];
        // Windows may see nothing but padding, or end before the row does.
        let left = pad.min(columns);
        let inside = width.min(columns - left);
        debug_assert!(steps <= shape.chunk as usize && shape.bytes().within(u32::MAX as usize).is_some());
        for row in 0..shape.size[0] as usize {
            let to = plane.add(row * row_pitch);
            let y = row.wrapping_sub(shape.pad[0] as usize);
            if y >= shape.input[0] as usize {
                to.write_bytes(0, steps * step_pitch);
                continue;
            }
            let right = left + inside;
            if left > 0 || right < columns {
                for t in 0..steps {
                    to.add(t * step_pitch).write_bytes(0, left * bytes);
                    to.add(t * step_pitch + right * bytes).write_bytes(0, (columns - right) * bytes);
                }
            }
            for x in 0..inside {
                let masks = masks.add((y * width + x) * shape.chunk as usize * shape.mask as usize);
                pixel(masks, to.add((left + x) * bytes), step_pitch);
            }
        }
    }
}

/// Expands masks (`[pixel][step]`) to a plane.
///
/// # Safety
/// `masks` and `plane` are as `shape` says, with 64 bytes of slack behind each; the CPU has AVX-512 BW.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe extern "C" fn expand_avx512(masks: *const u8, plane: *mut u8, steps: usize, shape: *const PlaneShape) {
    // SAFETY: the caller's. Whole words of a mask are read, or of a mask shorter than a word its slack, whose bits lie beyond the pixel.
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

/// The same for AVX2.
///
/// # Safety
/// As [`expand_avx512`], but the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn expand_avx2(masks: *const u8, plane: *mut u8, steps: usize, shape: *const PlaneShape) {
    // SAFETY: the caller's, as above.
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
