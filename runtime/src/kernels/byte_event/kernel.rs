//! Adding up rows, into currents or right into neurons.

use super::super::{SynapseShape, Tap};
use super::list::list_chunk;
use super::{LANES, MOST_ROWS, UNROLL};
use std::arch::x86_64::*;

/// Blocks of 16 outputs in a vector of weights.
const BLOCKS: usize = LANES / 16;

/// Adds the weights of spikes to currents.
///
/// # Safety
/// As [`crate::kernels::Synaptic`]; weights are as [`super::pack`] packs every slice, the first tap's slice comes before the others',
/// the list is as long as [`super::scratch`] says, and the CPU has AVX-512 with VBMI2.
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
        let lists = list_chunk(taps, steps, shape, list.cast());
        for at in (0..lanes).step_by(LANES) {
            for (t, list) in lists.iter().enumerate().take(steps) {
                let row = currents.add(t * lanes + at);
                let mut sums = load(row);
                add_rows(list, first.weights.add(at), lanes, &mut sums);
                store(row, sums);
            }
        }
    }
}

/// The neurons of one pixel whose currents are a base and the weights of spikes; the rest is as for [`crate::kernels::Fire`].
pub type EventNeurons = unsafe extern "C" fn(
    taps: *const Tap,
    count: usize,
    base: *const i32,
    steps: usize,
    shape: *const SynapseShape,
    list: *mut u64,
    threshold: *const i32,
    before: *const i32,
    membrane: *mut i32,
    spikes: *mut u8,
    mask: usize,
    residual: *const u8,
    weights: *const i32,
);

/// Integrate and fire; `HARD` resets to zero.
///
/// # Safety
/// As [`byte_event`] and [`crate::kernels::Fire`]; `mask` bytes are a mask.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub unsafe extern "C" fn byte_event_neurons<const HARD: bool>(
    taps: *const Tap,
    count: usize,
    base: *const i32,
    steps: usize,
    shape: *const SynapseShape,
    list: *mut u64,
    threshold: *const i32,
    before: *const i32,
    membrane: *mut i32,
    spikes: *mut u8,
    mask: usize,
    residual: *const u8,
    weights: *const i32,
) {
    // SAFETY: the compiled layer keeps the contract of `EventNeurons`.
    unsafe {
        let (shape, taps) = (&*shape, std::slice::from_raw_parts(taps, count));
        let lanes = shape.lanes as usize;
        let lists = list_chunk(taps, steps, shape, list.cast());
        // Without taps there are no events, and no weights are read.
        let first = taps.first().map_or(std::ptr::null(), |tap| tap.weights);
        // Neurons that fire do so in many steps: their weights of few outputs stay in the first cache.
        for at in (0..lanes).step_by(LANES) {
            let neurons = Neurons {
                weights: first.wrapping_add(at),
                lanes,
                base: base.add(at),
                threshold: threshold.add(at),
                before: before.add(at),
                membrane: membrane.add(at),
                spikes: spikes.add(at / 8),
                mask,
                residual: residual.wrapping_add(at / 8),
                residual_weights: weights.wrapping_add(at),
            };
            if residual.is_null() {
                neurons.run::<HARD, false>(&lists[..steps]);
            } else {
                neurons.run::<HARD, true>(&lists[..steps]);
            }
        }
    }
}

/// Where [`LANES`] neighbouring neurons of a pixel have what they need.
struct Neurons {
    weights: *const u8,
    /// Outputs of a row.
    lanes: usize,
    base: *const i32,
    threshold: *const i32,
    before: *const i32,
    membrane: *mut i32,
    spikes: *mut u8,
    mask: usize,
    residual: *const u8,
    residual_weights: *const i32,
}

impl Neurons {
    /// Integrates the rows of `lists`, step by step.
    ///
    /// # Safety
    /// As [`byte_event_neurons`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
    #[inline]
    unsafe fn run<const HARD: bool, const RESIDUAL: bool>(&self, lists: &[&[u16]]) {
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
            // SAFETY: every row has a vector from `weights` on. The read is volatile because the compiler would compute addresses in
            // vectors, whose ports are what is scarce.
            let x = unsafe { _mm512_loadu_si512(weights.add(lanes * std::ptr::from_ref(row).read_volatile() as usize).cast()) };
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
