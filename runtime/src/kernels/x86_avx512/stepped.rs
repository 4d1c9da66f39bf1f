//! Neurons that send bytes, 16 at a time.

use crate::kernels::stepped::{Pixels, Rule};
use std::arch::x86_64::*;

/// Runs `fire` (θ, the potential, what was sent: the new potential, the quanta sent) on all
/// neurons, `row` being added to their potentials first. The arguments are as those of
/// [`crate::kernels::stepped::Stepped::fire`]; thresholds are `stride` apart from pixel to pixel.
///
/// # Safety
/// The CPU has AVX-512 BW and VL.
#[inline(always)]
unsafe fn each_block(
    (threshold, stride): (&[i32], usize),
    row: &[i32],
    zero: u8,
    pixels: &mut Pixels,
    fire: impl Fn(__m512i, __m512i, __m512i) -> (__m512i, __m512i),
) -> bool {
    // SAFETY: every slice is as long as a vector, or as the mask says, and the caller's.
    unsafe {
        let (pitch, lanes) = (pixels.pitch, row.len());
        let load = |x: &[i32]| _mm512_loadu_si512(x[..16].as_ptr().cast());
        let mut fired = _mm512_setzero_si512();
        for at in (0..pitch).step_by(16) {
            let width = (pitch - at).min(16);
            let keep = ((1u32 << width) - 1) as u16;
            let (row, zero) = (load(&row[at..]), _mm_set1_epi8(zero as i8));
            for (p, bytes) in pixels.bytes.chunks_exact_mut(pitch).enumerate() {
                let threshold = load(&threshold[p * stride + at..]);
                let (potentials, sent) = (&mut pixels.potentials[p * lanes + at..][..16], &mut pixels.sent[p * lanes + at..][..16]);
                let sent_before = load(sent);
                let (after, quanta) = fire(threshold, _mm512_add_epi32(load(potentials), row), sent_before);
                _mm512_storeu_si512(potentials.as_mut_ptr().cast(), after);
                _mm512_storeu_si512(sent.as_mut_ptr().cast(), _mm512_add_epi32(sent_before, quanta));
                fired = _mm512_or_si512(fired, quanta);
                let out = _mm_add_epi8(_mm512_cvtepi32_epi8(quanta), zero);
                _mm_mask_storeu_epi8(bytes[at..][..width].as_mut_ptr().cast(), keep, out);
            }
        }
        _mm512_test_epi32_mask(fired, fired) != 0
    }
}

/// Up to `2ᴺ − 1` quanta: the lanes from the most valuable one on. `v >> k >= θ` just when `v >=
/// θ·2ᵏ`, which then fits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn lanes<const N: u32>(threshold: (&[i32], usize), row: &[i32], rule: Rule, zero: u8, pixels: &mut Pixels) -> bool {
    // SAFETY: the caller's.
    unsafe {
        each_block(threshold, row, zero, pixels, |threshold, v, _| {
            let (mut left, mut quanta) = (v, _mm512_setzero_si512());
            for k in (0..N).rev() {
                let fires = _mm512_cmpge_epi32_mask(_mm512_srav_epi32(left, _mm512_set1_epi32(k as i32)), threshold);
                left = _mm512_mask_sub_epi32(left, fires, left, _mm512_sllv_epi32(threshold, _mm512_set1_epi32(k as i32)));
                quanta = _mm512_mask_or_epi32(quanta, fires, quanta, _mm512_set1_epi32(1 << k));
            }
            let reset = if rule.hard { _mm512_test_epi32_mask(quanta, quanta) } else { 0 };
            (_mm512_maskz_mov_epi32(!reset, left), quanta)
        })
    }
}

/// One step of multi-lane neurons.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub fn fire_lanes(threshold: (&[i32], usize), row: &[i32], rule: Rule, zero: u8, pixels: &mut Pixels) -> bool {
    match rule.lanes {
        Some(1) => lanes::<1>(threshold, row, rule, zero, pixels),
        Some(2) => lanes::<2>(threshold, row, rule, zero, pixels),
        Some(3) => lanes::<3>(threshold, row, rule, zero, pixels),
        Some(4) => lanes::<4>(threshold, row, rule, zero, pixels),
        Some(5) => lanes::<5>(threshold, row, rule, zero, pixels),
        Some(6) => lanes::<6>(threshold, row, rule, zero, pixels),
        _ => lanes::<7>(threshold, row, rule, zero, pixels),
    }
}

/// One step of ternary neurons: one quantum, or one less.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub fn fire_ternary(threshold: (&[i32], usize), row: &[i32], rule: Rule, most: i32, zero: u8, pixels: &mut Pixels) -> bool {
    let (nothing, one, most) = (_mm512_setzero_si512(), _mm512_set1_epi32(1), _mm512_set1_epi32(most));
    let signed = if rule.signed { u16::MAX } else { 0 };
    // SAFETY: the caller's.
    unsafe {
        each_block(threshold, row, zero, pixels, |threshold, v, sent| {
            let back = _mm512_cmplt_epi32_mask(v, nothing) & (_mm512_cmpgt_epi32_mask(sent, nothing) | signed);
            let forth = _mm512_cmpge_epi32_mask(v, threshold) & (_mm512_cmplt_epi32_mask(sent, most) | signed) & !back;
            let quanta = _mm512_mask_sub_epi32(_mm512_maskz_mov_epi32(forth, one), back, nothing, one);
            let left = _mm512_mask_sub_epi32(v, forth, v, threshold);
            let left = _mm512_mask_add_epi32(left, back, v, threshold);
            let reset = if rule.hard { forth | back } else { 0 };
            (_mm512_maskz_mov_epi32(!reset, left), quanta)
        })
    }
}
