//! Spikes to byte planes, for AVX-512.

use super::matrix::PlaneShape;
use std::arch::x86_64::*;

/// Expands masks (`[pixel][step]`) to a plane.
///
/// # Safety
/// `masks` and `plane` are as `shape` says, with 64 bytes of slack behind each; the CPU has AVX-512 BW.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe extern "C" fn expand(masks: *const u8, plane: *mut u8, steps: usize, shape: *const PlaneShape) {
    // SAFETY: the caller's.
    unsafe {
        let shape = &*shape;
        let (row_pitch, step_pitch, pixel) = (shape.row_pitch(), shape.step_pitch(), shape.pixel as usize);
        let [width, columns, left] = [shape.input[1] as usize, shape.size[1] as usize, shape.pad[1] as usize];
        let inside = width.min(columns - left);
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
                    to.add(t * step_pitch).write_bytes(0, left * pixel);
                    to.add(t * step_pitch + right * pixel).write_bytes(0, (columns - right) * pixel);
                }
            }
            for x in 0..inside {
                let masks = masks.add((y * width + x) * shape.chunk as usize * shape.mask as usize);
                let to = to.add((left + x) * pixel);
                match (pixel, shape.mask) {
                    (16, _) => (0..steps).for_each(|t| {
                        let mask = masks.cast::<u16>().add(t).read_unaligned();
                        _mm_storeu_si128(to.add(t * step_pitch).cast(), _mm_maskz_set1_epi8(mask, 1));
                    }),
                    (32, _) => (0..steps).for_each(|t| {
                        let mask = masks.cast::<u32>().add(t).read_unaligned();
                        _mm256_storeu_si256(to.add(t * step_pitch).cast(), _mm256_maskz_set1_epi8(mask, 1));
                    }),
                    (64, _) => (0..steps).for_each(|t| {
                        let mask = masks.cast::<u64>().add(t).read_unaligned();
                        _mm512_storeu_si512(to.add(t * step_pitch).cast(), _mm512_maskz_set1_epi8(mask, 1));
                    }),
                    _ => (0..steps).for_each(|t| expand_any(masks.add(t * shape.mask as usize), to.add(t * step_pitch), pixel)),
                }
            }
        }
    }
}

/// Expands the mask of one pixel of any number of channels.
///
/// # Safety
/// As [`expand`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn expand_any(mask: *const u8, to: *mut u8, pixel: usize) {
    // SAFETY: reads whole words of the mask or, of a mask shorter than a word, its slack, whose bytes lie beyond `pixel`.
    unsafe {
        for at in (0..pixel).step_by(64) {
            let bits = mask.add(at / 8).cast::<u64>().read_unaligned();
            let left = (pixel - at).min(64);
            let keep = if left == 64 { u64::MAX } else { (1 << left) - 1 };
            _mm512_mask_storeu_epi8(to.add(at).cast(), keep, _mm512_maskz_set1_epi8(bits, 1));
        }
    }
}
