//! Sums of what a block looks up.

use super::STEPS;
use crate::kernels::table::tables::Extra;
use std::arch::x86_64::*;

/// Where a block's words are in an index plane.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub first: *const u8,
    /// Bytes from step to step.
    pub pitch: usize,
    /// Bytes from row to row.
    pub row: usize,
}

impl Source {
    /// The same `n` steps later.
    #[inline(always)]
    pub fn step(self, n: usize) -> Self {
        Source { first: self.first.wrapping_add(n * self.pitch), ..self }
    }

    /// The block's 16 words at `offset`.
    ///
    /// # Safety
    /// They exist, and the CPU has AVX-512.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub unsafe fn load<const PAIRS: bool>(self, offset: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            let from = self.first.add(offset);
            if PAIRS {
                let low = _mm256_loadu_si256(from.cast());
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), _mm256_loadu_si256(from.add(self.row).cast()))
            } else {
                _mm512_loadu_si512(from.cast())
            }
        }
    }
}

/// Sums of four outputs ([`STEPS`] each, `M` of which are computed) and what they look up in
/// `table`, the outputs' in turns. They start from `base`, one for each output, or from what they
/// are. A function of its own, so that the sums stay in registers.
///
/// # Safety
/// Every step has the block's words at every offset, `table` is as long, and the CPU has AVX-512
/// with VBMI and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
#[inline(never)]
#[expect(clippy::needless_range_loop, reason = "sums by output and step, whose loops run the other way round")]
pub(super) unsafe fn look_up<const M: usize, const PAIRS: bool>(
    source: Source,
    offsets: &[u32],
    mut table: *const u8,
    base: Option<*const __m512i>,
    sums: *mut __m512i,
) {
    let ones = _mm512_set1_epi8(1);
    let mut total = [[_mm512_setzero_si512(); M]; 4];
    // SAFETY: the caller's.
    unsafe {
        for (k, total) in total.iter_mut().enumerate() {
            for (n, total) in total.iter_mut().enumerate() {
                *total = if let Some(base) = base { *base.add(k) } else { *sums.add(k * STEPS + n) };
            }
        }
        for &offset in offsets {
            let mut tables = [_mm512_setzero_si512(); 4];
            tables.iter_mut().enumerate().for_each(|(k, t)| *t = _mm512_loadu_si512(table.add(64 * k).cast()));
            for n in 0..M {
                let index = source.step(n).load::<PAIRS>(offset as usize);
                for k in 0..4 {
                    total[k][n] = _mm512_dpbusd_epi32(total[k][n], _mm512_permutexvar_epi8(index, tables[k]), ones);
                }
            }
            table = table.add(256);
        }
        for (k, total) in total.iter().enumerate() {
            total.iter().enumerate().for_each(|(n, &sum)| *sums.add(k * STEPS + n) = sum);
        }
    }
}

/// Adds to the sums of one output what it looks up besides.
///
/// # Safety
/// As [`look_up`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
pub(super) unsafe fn look_up_extras<const N: usize, const PAIRS: bool>(
    source: Source,
    extras: &[Extra],
    tables: &[u8],
    sums: &mut [__m512i; N],
) {
    let mut total = *sums;
    for e in extras {
        // SAFETY: the caller's.
        unsafe {
            let table = _mm512_loadu_si512(tables[e.table..].as_ptr().cast());
            for (n, sum) in total.iter_mut().enumerate() {
                let index = source.step(n).load::<PAIRS>(e.offset as usize);
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_permutexvar_epi8(index, table), _mm512_set1_epi8(1));
            }
        }
    }
    *sums = total;
}
