//! Kernels for AVX-512.

use super::bits::for_each_channel;
use super::cumulative::{Lanes, Word};
use super::{SynapseShape, Tap};
use std::arch::x86_64::*;

/// Spikes through rows of 16-bit weights, as [`super::avx2::event`], 128 output channels at a time.
///
/// # Safety
/// As [`super::Synaptic`]; weights are `i16` rows of `shape.lanes`, and the CPU has AVX-512 BW and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,bmi2,popcnt")]
pub unsafe extern "C" fn event(
    taps: *const Tap,
    count: usize,
    currents: *mut i32,
    steps: usize,
    shape: *const SynapseShape,
    list: *mut u64,
) {
    // SAFETY: the compiled layer keeps the contract of `Synaptic`.
    unsafe {
        let shape = &*shape;
        let lanes = shape.lanes as usize;
        for t in 0..steps {
            let mut n = 0;
            for tap in std::slice::from_raw_parts(taps, count) {
                for_each_channel(tap.data.add(t * shape.step_bytes as usize), shape.step_bytes as usize, |channel| {
                    list.add(n).write(tap.weights.add(channel * 2 * lanes) as u64);
                    n += 1;
                });
            }
            if n == 0 {
                continue;
            }
            let rows = std::slice::from_raw_parts(list, n);
            let row = currents.add(t * lanes);
            let mut at = 0;
            while at < lanes {
                match (lanes - at) / 32 {
                    0 => add_half_rows(rows, at, row.add(at)),
                    1 => add_rows::<1>(rows, at, row.add(at)),
                    2 => add_rows::<2>(rows, at, row.add(at)),
                    3 => add_rows::<3>(rows, at, row.add(at)),
                    _ => add_rows::<4>(rows, at, row.add(at)),
                }
                at += 32 * ((lanes - at) / 32).clamp(1, 4);
            }
        }
    }
}

/// Adds `32 N` lanes, from lane `at`, of all rows to `sums`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
#[inline]
unsafe fn add_rows<const N: usize>(rows: &[u64], at: usize, sums: *mut i32) {
    // SAFETY: every row has at least `at + 32 N` lanes, and so has `sums` behind it.
    unsafe {
        let mut total = [_mm512_setzero_si512(); N];
        for &row in rows {
            let row = (row as *const i16).add(at);
            for (j, sum) in total.iter_mut().enumerate() {
                *sum = _mm512_add_epi16(*sum, _mm512_loadu_si512(row.add(32 * j).cast()));
            }
        }
        for (j, &sum) in total.iter().enumerate() {
            for (half, part) in [_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)].into_iter().enumerate() {
                add_to(sums.add(32 * j + 16 * half), part);
            }
        }
    }
}

/// Adds the 16 lanes from lane `at` of all rows to `sums`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
#[inline]
unsafe fn add_half_rows(rows: &[u64], at: usize, sums: *mut i32) {
    // SAFETY: every row has at least `at + 16` lanes, and so has `sums` behind it.
    unsafe {
        let mut total = _mm256_setzero_si256();
        for &row in rows {
            total = _mm256_add_epi16(total, _mm256_loadu_si256((row as *const i16).add(at).cast()));
        }
        add_to(sums, total);
    }
}

/// Adds 16 16-bit numbers to 16 32-bit ones.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn add_to(sums: *mut i32, part: __m256i) {
    // SAFETY: the caller has 16 sums there.
    unsafe {
        let before = _mm512_loadu_si512(sums.cast());
        _mm512_storeu_si512(sums.cast(), _mm512_add_epi32(before, _mm512_cvtepi16_epi32(part)));
    }
}

/// Spikes through one weight per channel: a masked addition.
///
/// # Safety
/// As [`super::Synaptic`]; weights are one `i32` per lane, and the CPU has AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe extern "C" fn masked(
    taps: *const Tap,
    count: usize,
    currents: *mut i32,
    steps: usize,
    shape: *const SynapseShape,
    _list: *mut u64,
) {
    // SAFETY: the compiled layer keeps the contract of `Synaptic`; a mask has a bit for each of the (at most) 16 lanes of
    // a block, since blocks are 16 lanes and masks whole 16-bit words.
    unsafe {
        let shape = &*shape;
        let (lanes, bytes) = (shape.lanes as usize, shape.step_bytes as usize);
        for block in 0..lanes / 16 {
            for t in 0..steps {
                let to = currents.add(t * lanes + 16 * block);
                let mut sum = _mm512_loadu_si512(to.cast());
                for tap in std::slice::from_raw_parts(taps, count) {
                    let mask = tap.data.add(t * bytes + 2 * block).cast::<u16>().read_unaligned();
                    let weights = _mm512_loadu_si512(tap.weights.cast::<i32>().add(16 * block).cast());
                    sum = _mm512_mask_add_epi32(sum, mask, sum, weights);
                }
                _mm512_storeu_si512(to.cast(), sum);
            }
        }
    }
}

/// Adds every bit of the words at every `stride`th byte of `masks` to its counter.
///
/// # Safety
/// The CPU has AVX-512 BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn tally(masks: &[u8], stride: usize, counters: &mut [u8; 64]) {
    // SAFETY: `counters` is 64 bytes.
    unsafe {
        let to = counters.as_mut_ptr().cast();
        let one = _mm512_set1_epi8(1);
        let mut sum = _mm512_loadu_si512(to);
        for at in (0..masks.len()).step_by(stride) {
            sum = _mm512_mask_add_epi8(sum, super::count::word(masks, at), sum, one);
        }
        _mm512_storeu_si512(to, sum);
    }
}

/// As [`super::cumulative`]'s: the counts of the usual numbers of taps stay in registers.
///
/// # Safety
/// The CPU has AVX-512 BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn pool(masks: &[&[u8]], behind: &mut [Lanes], out: &mut [u8], word: Word) -> Lanes {
    // SAFETY: the caller's.
    unsafe {
        match behind.len() {
            2 => pool_few::<2>(masks, behind, out, word),
            4 => pool_few::<4>(masks, behind, out, word),
            6 => pool_few::<6>(masks, behind, out, word),
            9 => pool_few::<9>(masks, behind, out, word),
            _ => pool_any(masks, behind, out, word),
        }
    }
}

/// [`pool`] of exactly `N` taps.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn pool_few<const N: usize>(masks: &[&[u8]], behind: &[Lanes], out: &mut [u8], word: Word) -> Lanes {
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
unsafe fn pool_any(masks: &[&[u8]], behind: &mut [Lanes], out: &mut [u8], word: Word) -> Lanes {
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
fn stored(vector: __m512i) -> Lanes {
    let mut lanes = Lanes([0; 64]);
    // SAFETY: lanes are 64 bytes.
    unsafe { _mm512_storeu_si512(lanes.0.as_mut_ptr().cast(), vector) };
    lanes
}
