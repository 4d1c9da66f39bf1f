//! Synapses for AVX2.

use crate::kernels::abi::{SynapseShape, Tap};
use crate::kernels::bits::for_each_channel;
use crate::kernels::portable::synapse::synapses;
use std::arch::x86_64::*;

synapses!(#[target_feature(enable = "avx2,bmi2,popcnt")]);

/// Spikes through rows of 16-bit weights: lists the rows of a step, then adds them up in registers,
/// 64 output channels at a time. Sums fit 16 bits (the plan proved it).
///
/// # Safety
/// As [`crate::kernels::abi::Synaptic`]; weights are `i16` rows of `shape.lanes`, and the CPU has
/// AVX2.
#[target_feature(enable = "avx2,bmi2,popcnt")]
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
                match (lanes - at) / 16 {
                    1 => add_rows::<1>(rows, at, row.add(at)),
                    2 => add_rows::<2>(rows, at, row.add(at)),
                    3 => add_rows::<3>(rows, at, row.add(at)),
                    _ => add_rows::<4>(rows, at, row.add(at)),
                }
                at += 64;
            }
        }
    }
}

/// Adds `16 N` lanes, from lane `at`, of all rows to `sums`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn add_rows<const N: usize>(rows: &[u64], at: usize, sums: *mut i32) {
    // SAFETY: every row has at least `at + 16 N` lanes, and so has `sums` after it.
    unsafe {
        let mut total = [_mm256_setzero_si256(); N];
        for &row in rows {
            let row = (row as *const i16).add(at);
            for (j, sum) in total.iter_mut().enumerate() {
                *sum = _mm256_add_epi16(*sum, _mm256_loadu_si256(row.add(16 * j).cast()));
            }
        }
        for (j, &sum) in total.iter().enumerate() {
            for (half, part) in [_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum)].into_iter().enumerate() {
                let to = sums.add(16 * j + 8 * half).cast::<__m256i>();
                _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), _mm256_cvtepi16_epi32(part)));
            }
        }
    }
}
