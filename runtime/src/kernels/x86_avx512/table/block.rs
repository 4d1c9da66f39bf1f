//! A block: look-ups, neurons, and the masks of its spikes.

use super::STEPS;
use super::expand::transpose;
use super::look_up::{Source, look_up, look_up_extras};
use crate::kernels::table::{BLOCK, Operand, TableLayer};
use snn_ir::neuron::Reset;
use std::arch::x86_64::*;

/// A block of pixels and its first step.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub y: usize,
    pub x: usize,
    pub block: usize,
    pub t: usize,
}

/// `N` steps of 16 output channels, `M` of them at a time; `PAIRS` says whether blocks have two
/// rows. Sets the group's bits of `bits` (`[step][group]`).
///
/// # Safety
/// As [`super::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
pub(super) unsafe fn block<const N: usize, const M: usize, const PAIRS: bool>(
    layer: &TableLayer,
    arena: *mut u8,
    at: At,
    group: usize,
    first: bool,
    sums: &mut [[__m512i; STEPS]; BLOCK],
    bits: &mut [__m512i],
) {
    let all = at.block * layer.channels;
    let outputs = (layer.channels - BLOCK * group).min(BLOCK);
    let zero = _mm512_setzero_si512();
    let mut base = [zero; BLOCK];
    // SAFETY: the caller's; every address lies in a plane or an array of all blocks.
    unsafe {
        let source = |o: &Operand| Source {
            first: arena.add(o.plane + at.y * o.row_stride + 4 * at.x + at.t * o.shape.step_pitch()),
            pitch: o.shape.step_pitch(),
            row: o.row_stride,
        };
        for (k, base) in base.iter_mut().enumerate().take(outputs) {
            let o = BLOCK * group + k;
            *base = _mm512_set1_epi32(layer.bias[o]);
            if let Some(at) = layer.steady {
                *base = _mm512_add_epi32(*base, _mm512_loadu_si512(arena.add(at + 64 * (all + o)).cast()));
            }
        }
        for (i, (operand, tables)) in layer.products.iter().enumerate() {
            let (source, quads) = (source(operand), tables.offsets.len());
            for four in 0..outputs.div_ceil(4) {
                let table = tables.tables.as_ptr().add((BLOCK / 4 * group + four) * quads * 256);
                let base = (i == 0).then(|| base.as_ptr().add(4 * four));
                for n in (0..N).step_by(M) {
                    look_up::<M, PAIRS>(source.step(n), &tables.offsets, table, base, sums[4 * four].as_mut_ptr().add(n));
                }
            }
            for (sums, extras) in sums.iter_mut().zip(&tables.extras[BLOCK * group..]).filter(|e| !e.1.is_empty()) {
                if let Some(sums) = sums.first_chunk_mut::<N>() {
                    look_up_extras::<N, PAIRS>(source, extras, &tables.extra_tables, sums);
                }
            }
        }
        for (operand, weights) in &layer.residuals {
            let (source, offset) = (source(operand), operand.shape.column(group, 0));
            let mut indices = [zero; N];
            indices.iter_mut().enumerate().for_each(|(n, index)| *index = source.step(n).load::<PAIRS>(offset));
            for (k, sums) in sums.iter_mut().enumerate().take(outputs) {
                let bit = _mm512_set1_epi32(1 << (8 * (k / 4) + k % 4));
                let weight = _mm512_set1_epi32(weights[BLOCK * group + k]);
                for (sum, &index) in sums.iter_mut().zip(&indices) {
                    *sum = _mm512_mask_add_epi32(*sum, _mm512_test_epi32_mask(index, bit), *sum, weight);
                }
            }
        }
        let mut fired = [zero; N];
        for (four, sums) in sums.as_chunks::<4>().0.iter().enumerate().take(outputs.div_ceil(4)) {
            let membrane = arena.add(layer.membrane + 64 * (all + BLOCK * group + 4 * four)).cast::<__m512i>();
            let mut neurons = Four::silent();
            let present = (outputs - 4 * four).min(4);
            for k in 0..present {
                let o = BLOCK * group + 4 * four + k;
                let v = if first { _mm512_set1_epi32(layer.initial[o]) } else { _mm512_loadu_si512(membrane.add(k)) };
                neurons.set(k, v, layer.threshold[o], 1 << (4 * four + k));
            }
            match layer.reset {
                Reset::Subtract => neurons.fire::<N, false>(sums, &mut fired),
                Reset::Zero => neurons.fire::<N, true>(sums, &mut fired),
            }
            (0..present).for_each(|k| _mm512_storeu_si512(membrane.add(k), neurons.potential(k)));
        }
        for (n, fired) in fired.into_iter().enumerate() {
            bits[n * layer.mask / 2] = fired;
        }
    }
}

/// Writes the bits of a block, `[step][group]` with a double word a pixel, to the masks.
///
/// # Safety
/// As [`super::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn store(layer: &TableLayer, arena: *mut u8, at: At, bits: &[__m512i]) {
    let pixel = layer.chunk * layer.mask;
    let (row, lanes) = if layer.blocks.pairs { (layer.grid[1], BLOCK / 2) } else { (BLOCK, BLOCK) };
    let columns = (layer.grid[1] - at.x).min(lanes);
    let rows = if layer.blocks.pairs { (layer.grid[0] - at.y).min(2) } else { 1 };
    // SAFETY: pixels of the value.
    let out = unsafe { arena.add(layer.out + (at.y * layer.grid[1] + at.x) * pixel + at.t * layer.mask) };
    for (i, eight) in bits.chunks(8).enumerate() {
        let word = |k: usize| eight.get(k).copied().unwrap_or(_mm512_setzero_si512());
        let pair = |k: usize| _mm512_or_si512(word(2 * k), _mm512_slli_epi32::<16>(word(2 * k + 1)));
        let quarters = transpose([pair(0), pair(1), pair(2), pair(3)]);
        let mut pixels = [[0u8; 16]; BLOCK];
        for (k, v) in quarters.into_iter().enumerate() {
            // Quarter `q` of vector `k` is pixel `4q + k`.
            let quarter = [
                _mm512_extracti32x4_epi32::<0>(v),
                _mm512_extracti32x4_epi32::<1>(v),
                _mm512_extracti32x4_epi32::<2>(v),
                _mm512_extracti32x4_epi32::<3>(v),
            ];
            for (q, bytes) in quarter.into_iter().enumerate() {
                // SAFETY: as long as a vector.
                unsafe { _mm_storeu_si128(pixels[4 * q + k].as_mut_ptr().cast(), bytes) };
            }
        }
        for r in 0..rows {
            for x in 0..columns {
                // SAFETY: as above.
                unsafe {
                    let (to, from) = (out.add((r * row + x) * pixel + 16 * i), &pixels[r * lanes + x]);
                    match eight.len() {
                        8 => to.cast::<[u8; 16]>().write_unaligned(*from),
                        words => to.copy_from_nonoverlapping(from.as_ptr(), 2 * words),
                    }
                }
            }
        }
    }
}

/// The neurons of four outputs; potentials depend on themselves from step to step, so that they
/// take turns.
struct Four {
    /// Potentials, less the threshold: neurons fire when they are not negative, which is a shift
    /// and not a mask register's way.
    below: [__m512i; 4],
    threshold: [__m512i; 4],
    bit: [__m512i; 4],
}

impl Four {
    /// Outputs that set no bit.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn silent() -> Self {
        let zero = [_mm512_setzero_si512(); 4];
        Four { below: zero, threshold: zero, bit: zero }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn set(&mut self, k: usize, potential: __m512i, threshold: i32, bit: i32) {
        self.threshold[k] = _mm512_set1_epi32(threshold);
        self.below[k] = _mm512_sub_epi32(potential, self.threshold[k]);
        self.bit[k] = _mm512_set1_epi32(bit);
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn potential(&self, k: usize) -> __m512i {
        _mm512_add_epi32(self.below[k], self.threshold[k])
    }

    /// `N` steps of integrating `sums` and firing, with a reset to zero if `HARD`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    #[expect(clippy::needless_range_loop, reason = "the neurons of four outputs are in four arrays, and take turns")]
    fn fire<const N: usize, const HARD: bool>(&mut self, sums: &[[__m512i; STEPS]; 4], fired: &mut [__m512i; N]) {
        for (n, fired) in fired.iter_mut().enumerate() {
            for k in 0..4 {
                let (threshold, below) = (self.threshold[k], _mm512_add_epi32(self.below[k], sums[k][n]));
                let silent = _mm512_srai_epi32::<31>(below);
                self.below[k] = if HARD {
                    _mm512_sub_epi32(_mm512_and_si512(silent, _mm512_add_epi32(below, threshold)), threshold)
                } else {
                    _mm512_sub_epi32(below, _mm512_andnot_si512(silent, threshold))
                };
                // `fired | !silent & bit`
                *fired = _mm512_ternarylogic_epi32::<0xf2>(*fired, silent, self.bit[k]);
            }
        }
    }
}
