//! Adding up rows of weights, into currents or right into neurons.

use super::list::Lists;
use crate::kernels::abi::{SynapseShape, Tap};
use crate::kernels::byte_event::{LANES, MOST_ROWS, UNROLL};
use crate::layout::MAX_CHUNK;
use std::arch::x86_64::*;

/// Blocks of 16 outputs in a vector of weights.
const BLOCKS: usize = LANES / 16;

/// Adds the weights of spikes to currents.
///
/// # Safety
/// As [`crate::kernels::abi::Synaptic`]; weights are as [`crate::kernels::byte_event::pack`] packs
/// every slice, the first tap's slice comes before the others', the list is as long as
/// [`crate::kernels::byte_event::row_scratch`] says, and the CPU has AVX-512 with VBMI2.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub unsafe extern "C" fn byte_event(
    taps: *const Tap,
    count: usize,
    currents: *mut i32,
    steps: usize,
    shape: *const SynapseShape,
    list: *mut u64,
) {
    // SAFETY: the compiled layer keeps the contract of `Synaptic`.
    unsafe {
        let (shape, taps) = (&*shape, std::slice::from_raw_parts(taps, count));
        let (lanes, Some(first)) = (shape.lanes as usize, taps.first()) else { return };
        let channels = shape.channels as usize;
        let mut lists = Lists::new(list.cast(), count * channels, steps);
        lists.add_taps(taps, first.weights, shape);
        let rows = lists.rows(&[0; MAX_CHUNK], channels);
        for at in (0..lanes).step_by(LANES) {
            for (t, list) in rows.iter().enumerate().take(steps) {
                let row = currents.add(t * lanes + at);
                let mut sums = load(row);
                add_rows(list, first.weights.add(at), lanes, &mut sums);
                store(row, sums);
            }
        }
    }
}

/// Where [`LANES`] neighbouring neurons of a pixel have what they need.
pub(super) struct Neurons {
    /// What rows are counted from; it may lie before the weights.
    pub weights: *const u8,
    /// Outputs of a row.
    pub lanes: usize,
    pub base: *const i32,
    pub threshold: *const i32,
    pub before: *const i32,
    pub membrane: *mut i32,
    pub spikes: *mut u8,
    /// Bytes of spikes from step to step.
    pub mask: usize,
    pub residual: *const u8,
    pub residual_weights: *const i32,
}

impl Neurons {
    /// Integrates the rows of `lists`, step by step; `HARD` resets to zero.
    ///
    /// # Safety
    /// As [`super::byte_event_row`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
    #[inline]
    pub unsafe fn run<const HARD: bool, const RESIDUAL: bool>(&self, lists: &[&[u16]]) {
        // SAFETY: the caller's.
        unsafe {
            let mut v = load(self.before);
            for (t, list) in lists.iter().enumerate() {
                let mut sums = load(self.base);
                add_rows(list, self.weights, self.lanes, &mut sums);
                for (i, (v, &sum)) in v.iter_mut().zip(&sums).enumerate() {
                    let (threshold, at) = (_mm512_loadu_si512(self.threshold.add(16 * i).cast()), t * self.mask + 2 * i);
                    *v = _mm512_add_epi32(*v, sum);
                    if RESIDUAL {
                        let spikes = self.residual.add(at).cast::<u16>().read_unaligned();
                        let weights = _mm512_loadu_si512(self.residual_weights.add(16 * i).cast());
                        *v = _mm512_mask_add_epi32(*v, spikes, *v, weights);
                    }
                    let fired = _mm512_cmpge_epi32_mask(*v, threshold);
                    *v = _mm512_mask_sub_epi32(*v, fired, *v, if HARD { *v } else { threshold });
                    self.spikes.add(at).cast::<u16>().write_unaligned(fired);
                }
            }
            store(self.membrane, v);
        }
    }
}

/// The currents or potentials of as many outputs as a vector of weights has.
///
/// # Safety
/// They exist, and the CPU has AVX-512.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn load(from: *const i32) -> [__m512i; BLOCKS] {
    // SAFETY: the caller's.
    std::array::from_fn(|block| unsafe { _mm512_loadu_si512(from.add(16 * block).cast()) })
}

/// Writes what [`load`] reads.
///
/// # Safety
/// As [`load`].
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store(to: *mut i32, values: [__m512i; BLOCKS]) {
    // SAFETY: the caller's.
    values.into_iter().enumerate().for_each(|(block, v)| unsafe { _mm512_storeu_si512(to.add(16 * block).cast(), v) });
}

/// Adds the weights of all rows, each of `lanes` outputs, to `sums`.
///
/// # Safety
/// As [`byte_event`]; the number of rows is a multiple of [`UNROLL`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn add_rows(rows: &[u16], weights: *const u8, lanes: usize, sums: &mut [__m512i; BLOCKS]) {
    // So few that sums fit 16 bits.
    for rows in rows.chunks(MOST_ROWS) {
        let (mut all, mut high) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        for row in rows.as_chunks::<UNROLL>().0.as_flattened() {
            // SAFETY: every row has a vector from `weights` on. The read is volatile because the
            // compiler would compute addresses in vectors, whose ports are what is scarce.
            let x = unsafe { _mm512_loadu_si512(weights.wrapping_add(lanes * std::ptr::from_ref(row).read_volatile() as usize).cast()) };
            all = _mm512_add_epi16(all, x);
            high = _mm512_add_epi16(high, _mm512_srai_epi16::<8>(x));
        }
        let excess = _mm512_set1_epi16((128 * rows.len()) as i16);
        let low = _mm512_sub_epi16(_mm512_sub_epi16(all, _mm512_slli_epi16::<8>(high)), excess);
        let halves = |part| [_mm512_castsi512_si256(part), _mm512_extracti64x4_epi64::<1>(part)];
        for (sum, part) in sums.iter_mut().zip([halves(low), halves(high)].as_flattened()) {
            *sum = _mm512_add_epi32(*sum, _mm512_cvtepi16_epi32(*part));
        }
    }
}
