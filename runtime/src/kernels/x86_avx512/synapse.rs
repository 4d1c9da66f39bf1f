//! Synapses for AVX-512.

use crate::kernels::abi::{SynapseShape, Tap};
use crate::kernels::bits::for_each_channel;
use std::arch::x86_64::*;

/// Spikes through rows of 16-bit weights, as for AVX2, but 128 output channels at a time.
///
/// # Safety
/// As [`crate::kernels::abi::Synaptic`]; weights are `i16` rows of `shape.lanes`, and the CPU has
/// AVX-512 BW and VL.
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
    // SAFETY: every row has at least `at + 32 N` lanes, and so has `sums` after it.
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
    // SAFETY: every row has at least `at + 16` lanes, and so has `sums` after it.
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
/// As [`crate::kernels::abi::Synaptic`]; weights are one `i32` per lane, and the CPU has AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe extern "C" fn masked(
    taps: *const Tap,
    count: usize,
    currents: *mut i32,
    steps: usize,
    shape: *const SynapseShape,
    _list: *mut u64,
) {
    // SAFETY: the compiled layer keeps the contract of `Synaptic`; a mask has a bit for each of the
    // (at most) 16 lanes of a block, since blocks are 16 lanes and masks whole 16-bit words.
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
