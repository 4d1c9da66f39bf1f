//! Kernels for AVX2.

use super::bits::for_each_channel;
use super::scalar::{dense_body, dense_channel_body, masked_body, wide_event_body};
use super::{FireShape, SynapseShape, Tap};
use std::arch::x86_64::*;

macro_rules! kernels {
    ($($(#[$doc:meta])* $name:ident = $body:ident;)*) => {$(
        $(#[$doc])*
        #[target_feature(enable = "avx2,bmi2,popcnt")]
        pub unsafe extern "C" fn $name(
            taps: *const Tap, count: usize, currents: *mut i32, steps: usize, shape: *const SynapseShape, _list: *mut u64,
        ) {
            // SAFETY: the compiled layer keeps the contract of `Synaptic`.
            unsafe { $body(taps, count, currents, steps, &*shape) }
        }
    )*};
}

kernels! {
    /// Spikes through rows of 32-bit weights, in groups.
    wide_event = wide_event_body;
    /// Spikes through one weight per channel.
    masked = masked_body;
    /// Currents through rows of 32-bit weights, in groups.
    dense = dense_body;
    /// Currents through one weight per channel.
    dense_channel = dense_channel_body;
}

/// Spikes through rows of 16-bit weights: lists the rows of a step, then adds them up in registers, 64 output channels
/// at a time. Sums fit 16 bits (the plan proved it).
///
/// # Safety
/// As [`super::Synaptic`]; weights are `i16` rows of `shape.lanes`, and the CPU has AVX2.
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
    // SAFETY: every row has at least `at + 16 N` lanes, and so has `sums` behind it.
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

/// Integrate and fire, 16 neurons at a time; `HARD` resets to zero.
///
/// # Safety
/// As [`super::Fire`], and the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn fire<const HARD: bool>(
    currents: *const i32,
    threshold: *const i32,
    before: *const i32,
    stride: usize,
    membrane: *mut i32,
    spikes: *mut u8,
    steps: usize,
    shape: *const FireShape,
    pixels: usize,
    residual: *const u8,
    weights: *const i32,
) {
    // SAFETY: the compiled layer keeps the contract of `Fire`.
    unsafe {
        let shape = &*shape;
        let (lanes, mask) = (shape.lanes as usize, shape.mask as usize);
        let load = |p: *const i32| _mm256_loadu_si256(p.cast());
        for p in 0..pixels {
            let currents = currents.add(p * shape.currents as usize);
            let (threshold, before) = (threshold.add(p * shape.threshold as usize), before.add(p * stride));
            let (membrane, spikes) = (membrane.add(p * lanes), spikes.add(p * shape.spikes as usize));
            for block in 0..mask / 2 {
                let at = 16 * block;
                let out = spikes.add(2 * block);
                if at >= lanes {
                    (0..steps).for_each(|t| out.add(t * mask).cast::<u16>().write_unaligned(0));
                    continue;
                }
                let (theta0, theta1) = (load(threshold.add(at)), load(threshold.add(at + 8)));
                let (mut v0, mut v1) = (load(before.add(at)), load(before.add(at + 8)));
                let zero = _mm256_setzero_si256();
                let (w0, w1) = if residual.is_null() { (zero, zero) } else { (load(weights.add(at)), load(weights.add(at + 8))) };
                let masks = residual.wrapping_add(p * shape.spikes as usize + 2 * block);
                for t in 0..steps {
                    let i = currents.add(t * lanes + at);
                    v0 = _mm256_add_epi32(v0, load(i));
                    v1 = _mm256_add_epi32(v1, load(i.add(8)));
                    if !residual.is_null() {
                        let bits = masks.add(t * mask).cast::<u16>().read_unaligned();
                        v0 = _mm256_add_epi32(v0, _mm256_and_si256(w0, lanes_of(i32::from(bits))));
                        v1 = _mm256_add_epi32(v1, _mm256_and_si256(w1, lanes_of(i32::from(bits >> 8))));
                    }
                    let (quiet0, quiet1) = (_mm256_cmpgt_epi32(theta0, v0), _mm256_cmpgt_epi32(theta1, v1));
                    if HARD {
                        (v0, v1) = (_mm256_and_si256(v0, quiet0), _mm256_and_si256(v1, quiet1));
                    } else {
                        v0 = _mm256_sub_epi32(v0, _mm256_andnot_si256(quiet0, theta0));
                        v1 = _mm256_sub_epi32(v1, _mm256_andnot_si256(quiet1, theta1));
                    }
                    let quiet = _mm256_movemask_ps(_mm256_castsi256_ps(quiet0)) | _mm256_movemask_ps(_mm256_castsi256_ps(quiet1)) << 8;
                    out.add(t * mask).cast::<u16>().write_unaligned(!quiet as u16);
                }
                _mm256_storeu_si256(membrane.add(at).cast(), v0);
                _mm256_storeu_si256(membrane.add(at + 8).cast(), v1);
            }
        }
    }
}

/// All ones in the lanes whose bit is among the low eight of `bits`.
#[target_feature(enable = "avx2")]
#[inline]
fn lanes_of(bits: i32) -> __m256i {
    let bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits), bit), bit)
}

/// Adds every bit of the words at every `stride`th byte of `masks` to its counter.
///
/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn tally(masks: &[u8], stride: usize, counters: &mut [u8; 64]) {
    // SAFETY: `counters` is 64 bytes.
    unsafe {
        let to = counters.as_mut_ptr().cast::<__m256i>();
        let (mut low, mut high) = (_mm256_loadu_si256(to), _mm256_loadu_si256(to.add(1)));
        // Byte i of a half takes byte i / 8 of its 32 bits, and of that bit i % 8.
        let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201u64 as i64);
        let expand = |half: i32| {
            let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(half), spread);
            _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit)
        };
        for at in (0..masks.len()).step_by(stride) {
            let word = super::count::word(masks, at);
            low = _mm256_sub_epi8(low, expand(word as i32));
            high = _mm256_sub_epi8(high, expand((word >> 32) as i32));
        }
        _mm256_storeu_si256(to, low);
        _mm256_storeu_si256(to.add(1), high);
    }
}
