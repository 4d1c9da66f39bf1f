//! Counting and pooling spikes, for AVX-512.

use crate::kernels::count::word;
use crate::kernels::cumulative::{PerChannel, Word};
use std::arch::x86_64::*;

/// Adds every bit of the words at every `stride`th byte of `masks` to its counter.
#[target_feature(enable = "avx512f,avx512bw")]
pub fn add_bits(masks: &[u8], stride: usize, counters: &mut [u8; 64]) {
    // SAFETY: `counters` is 64 bytes.
    unsafe {
        let to = counters.as_mut_ptr().cast();
        let one = _mm512_set1_epi8(1);
        let mut sum = _mm512_loadu_si512(to);
        for at in (0..masks.len()).step_by(stride) {
            sum = _mm512_mask_add_epi8(sum, word(masks, at), sum, one);
        }
        _mm512_storeu_si512(to, sum);
    }
}

/// As [`crate::kernels::cumulative::pool`]: the counts of the usual numbers of taps stay in
/// registers.
#[target_feature(enable = "avx512f,avx512bw")]
pub fn pool(masks: &[&[u8]], behind: &mut [PerChannel], out: &mut [u8], word: Word) -> PerChannel {
    match behind.len() {
        2 => pool_few::<2>(masks, behind, out, word),
        4 => pool_few::<4>(masks, behind, out, word),
        6 => pool_few::<6>(masks, behind, out, word),
        9 => pool_few::<9>(masks, behind, out, word),
        _ => pool_any(masks, behind, out, word),
    }
}

/// [`pool`] of exactly `N` taps.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn pool_few<const N: usize>(masks: &[&[u8]], behind: &[PerChannel], out: &mut [u8], word: Word) -> PerChannel {
    let (Some(masks), Some(lanes)) = (masks.first_chunk::<N>(), behind.first_chunk::<N>()) else { unreachable!("there are N taps") };
    // SAFETY: lanes are 64 bytes.
    let mut counts: [__m512i; N] = std::array::from_fn(|i| unsafe { _mm512_loadu_si512(lanes[i].0.as_ptr().cast()) });
    let mut risen = _mm512_setzero_si512();
    for from in (0..out.len()).step_by(word.pitch) {
        let before = risen;
        for (mask, count) in masks.iter().zip(&mut counts) {
            *count = _mm512_mask_add_epi8(*count, word.read(mask, from), *count, _mm512_set1_epi8(1));
            risen = _mm512_max_epi8(risen, *count);
        }
        word.write(out, from, _mm512_cmpgt_epi8_mask(risen, before));
    }
    stored(risen)
}

/// [`pool`] of any number of taps.
#[target_feature(enable = "avx512f,avx512bw")]
fn pool_any(masks: &[&[u8]], behind: &mut [PerChannel], out: &mut [u8], word: Word) -> PerChannel {
    let mut risen = _mm512_setzero_si512();
    for from in (0..out.len()).step_by(word.pitch) {
        let before = risen;
        for (mask, behind) in masks.iter().zip(behind.iter_mut()) {
            // SAFETY: lanes are 64 bytes.
            unsafe {
                let place = behind.0.as_mut_ptr().cast();
                let count = _mm512_loadu_si512(place);
                let count = _mm512_mask_add_epi8(count, word.read(mask, from), count, _mm512_set1_epi8(1));
                _mm512_storeu_si512(place, count);
                risen = _mm512_max_epi8(risen, count);
            }
        }
        word.write(out, from, _mm512_cmpgt_epi8_mask(risen, before));
    }
    stored(risen)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn stored(vector: __m512i) -> PerChannel {
    let mut lanes = PerChannel([0; 64]);
    // SAFETY: lanes are 64 bytes.
    unsafe { _mm512_storeu_si512(lanes.0.as_mut_ptr().cast(), vector) };
    lanes
}
