//! Counts of neurons by multiplication, for AVX-512.

use std::arch::x86_64::*;

/// Counts of neurons; see [`crate::kernels::set::Multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub fn multiply(threshold: &[i32], inverse: &[f32], lanes: usize, currents: &[i32], most: u8, counts: &mut [u8], pitch: usize) {
    let stride = if threshold.len() > lanes { lanes } else { 0 };
    let (zero, one, most) = (_mm512_setzero_si512(), _mm512_set1_epi32(1), _mm512_set1_epi32(i32::from(most)));
    for at in (0..pitch).step_by(16) {
        let left = (pitch - at).min(16);
        let keep = ((1u32 << left) - 1) as u16;
        for (p, counts) in counts.chunks_exact_mut(pitch).enumerate() {
            let (v, row) = (&currents[p * lanes + at..][..16], p * stride + at);
            let (threshold, inverse) = (&threshold[row..][..16], &inverse[row..][..16]);
            // SAFETY: each slice is as long as a vector, or as the mask says.
            unsafe {
                let threshold = _mm512_loadu_si512(threshold.as_ptr().cast());
                let v = _mm512_max_epi32(_mm512_loadu_si512(v.as_ptr().cast()), zero);
                let v = _mm512_min_epi32(v, _mm512_mullo_epi32(threshold, most));
                let quotient = _mm512_mul_ps(_mm512_cvtepi32_ps(v), _mm512_loadu_ps(inverse.as_ptr()));
                let count = _mm512_cvttps_epi32(quotient);
                let rest = _mm512_sub_epi32(v, _mm512_mullo_epi32(count, threshold));
                let count = _mm512_mask_sub_epi32(count, _mm512_cmplt_epi32_mask(rest, zero), count, one);
                // Lanes that are no channel have θ = 0, and count nothing.
                let more = _mm512_mask_cmpge_epi32_mask(_mm512_cmpgt_epi32_mask(threshold, zero), rest, threshold);
                let bytes = _mm512_cvtepi32_epi8(_mm512_mask_add_epi32(count, more, count, one));
                _mm_mask_storeu_epi8(counts[at..][..left].as_mut_ptr().cast(), keep, bytes);
            }
        }
    }
}
