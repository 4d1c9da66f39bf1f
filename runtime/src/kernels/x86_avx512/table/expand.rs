//! Spikes to index planes.

use crate::kernels::table::{BLOCK, IndexPlane};
use std::arch::x86_64::*;

/// No channel of any group.
const NOTHING: u32 = 0x3020_1000;

/// Writes `steps` steps of `masks` (`[pixel][step]`) to `plane`.
///
/// # Safety
/// `masks` and `plane` are as long as the shape says, with 64 bytes of slack after each, and the
/// CPU has AVX-512 with VBMI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub unsafe fn expand(shape: &IndexPlane, masks: *const u8, steps: usize, plane: *mut u32) {
    let (pixel, words) = (shape.chunk * shape.mask, shape.mask / 2);
    let (step, width) = (shape.step_pitch() / 4, shape.input[1]);
    // Bits 0, 4, 8 and 12 of each half of a quad word to its bytes.
    let shifts = _mm512_set1_epi64(0x2c28_2420_0c08_0400);
    let (nibbles, nothing) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi32(NOTHING as i32));
    for row in 0..shape.rows {
        // SAFETY: the caller's: a row of the plane.
        let plane = unsafe { plane.add(row * shape.row_pitch() / 4) };
        // SAFETY: as above.
        let words_of_row = unsafe { std::slice::from_raw_parts_mut(plane, steps * step) };
        let y = row.wrapping_sub(shape.pad[0]);
        if y >= shape.input[0] {
            words_of_row.fill(NOTHING);
            continue;
        }
        let (left, right) = (shape.pad[1].min(shape.phase), (shape.pad[1] + width).min(shape.phase));
        for line in words_of_row.chunks_exact_mut(shape.phase) {
            // Only neighbouring columns are written without gaps.
            let (left, right) = if shape.stride == 1 { (left, right) } else { (shape.phase, shape.phase) };
            line[..left].fill(NOTHING);
            line[right..].fill(NOTHING);
        }
        for x in (0..width).step_by(BLOCK) {
            let lanes = BLOCK.min(width - x);
            for i in (0..steps * words).step_by(8) {
                // SAFETY: masks of existing pixels; after the last step is the next pixel, or
                // slack.
                let eight = unsafe { load_words(masks.add((y * width + x) * pixel + 2 * i), pixel, lanes) };
                for (k, &bits) in eight.iter().enumerate() {
                    let (t, group) = ((i + k) / words, (i + k) % words);
                    if t >= steps || group >= shape.groups {
                        continue;
                    }
                    let spread = _mm512_and_si512(_mm512_multishift_epi64_epi8(shifts, bits), nibbles);
                    let index = _mm512_or_si512(spread, nothing);
                    let to = t * step + group * shape.stride * shape.phase;
                    if shape.stride == 1 {
                        let keep = shape.phase.saturating_sub(shape.pad[1] + x).min(lanes);
                        // SAFETY: words of that row and step that are within the group's.
                        unsafe { _mm512_mask_storeu_epi32(plane.add(to + shape.pad[1] + x).cast(), ((1u32 << keep) - 1) as u16, index) };
                    } else {
                        let mut all = [0u32; BLOCK];
                        // SAFETY: as long as a vector.
                        unsafe { _mm512_storeu_si512(all.as_mut_ptr().cast(), index) };
                        for (lane, &word) in all.iter().enumerate().take(lanes) {
                            let column = x + lane + shape.pad[1];
                            if column / shape.stride < shape.phase {
                                // SAFETY: as above.
                                unsafe { plane.add(to + column % shape.stride * shape.phase + column / shape.stride).write(word) };
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Eight 16-bit words of each of `lanes` pixels, `pitch` bytes apart, as vectors with a double word
/// a pixel.
///
/// # Safety
/// 16 bytes of every pixel can be read, and the CPU has AVX-512.
#[target_feature(enable = "avx512f")]
unsafe fn load_words(from: *const u8, pitch: usize, lanes: usize) -> [__m512i; 8] {
    // SAFETY: the caller's.
    let load = |lane: usize| unsafe { if lane < lanes { _mm_loadu_si128(from.add(lane * pitch).cast()) } else { _mm_setzero_si128() } };
    // Pixels 0, 4, 8, 12 and so on, so that the transposition below puts them in order.
    let row = |k: usize| {
        let v = _mm512_castsi128_si512(load(k));
        let v = _mm512_inserti32x4::<1>(v, load(k + 4));
        let v = _mm512_inserti32x4::<2>(v, load(k + 8));
        _mm512_inserti32x4::<3>(v, load(k + 12))
    };
    let pairs = transpose([row(0), row(1), row(2), row(3)]);
    let low = _mm512_set1_epi32(0xffff);
    let [a, b, c, d] = pairs;
    let high = |v| _mm512_srli_epi32::<16>(v);
    let low = |v| _mm512_and_si512(v, low);
    [low(a), high(a), low(b), high(b), low(c), high(c), low(d), high(d)]
}

/// Transposes the 4×4 double words in every quarter.
#[target_feature(enable = "avx512f")]
pub fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}
