//! Listing the rows of weights that spikes select.

use super::super::{SynapseShape, Tap};
use super::{UNROLL, room};
use crate::plan::MAX_CHUNK;
use std::arch::x86_64::*;

/// Lists of rows, counted from the first tap's slice, of every step of a chunk.
pub(super) type Lists<'a> = [&'a [u16]; MAX_CHUNK];

/// Lists the rows of `steps` steps' spikes in `list`, filled up with rows of zeros.
///
/// # Safety
/// As [`super::byte_event`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub(super) unsafe fn list_chunk<'a>(taps: &[Tap], steps: usize, shape: &SynapseShape, list: *mut u16) -> Lists<'a> {
    let (bytes, channels, lanes) = (shape.step_bytes as usize, shape.channels as usize, shape.lanes as usize);
    let mut lists = Growing { list, room: room(taps.len() * channels), counts: [0; MAX_CHUNK], steps };
    let place = |tap: &Tap| (tap.weights as usize - taps[0].weights as usize) / lanes;
    let order: [u8; 64] = std::array::from_fn(|c| c as u8);
    // SAFETY: as long as a vector; masks have `bytes` a step; the list has room for all inputs of all taps in every step, and more.
    unsafe {
        let order = _mm512_loadu_si512(order.as_ptr().cast());
        // Two taps with neighbouring slices fill a word, between whose halves are the rows of zeros.
        let halves = _mm512_mask_add_epi8(order, 0xffff_ffff << 32, order, _mm512_set1_epi8((channels + 1) as i8 - 32));
        let mut taps = taps;
        while let [tap, rest @ ..] = taps {
            taps = rest;
            if bytes >= 8 {
                for word in 0..bytes / 8 {
                    lists.add(order, place(tap) + 64 * word, |t| tap.data.add(t * bytes + 8 * word).cast::<u64>().read_unaligned());
                }
                continue;
            }
            let mask = |tap: &Tap, t: usize| match bytes {
                2 => u64::from(tap.data.add(t * bytes).cast::<u16>().read_unaligned()),
                _ => u64::from(tap.data.add(t * bytes).cast::<u32>().read_unaligned()),
            };
            match rest {
                [next, rest @ ..] if place(next) - place(tap) == channels + 1 => {
                    lists.add(halves, place(tap), |t| mask(tap, t) | mask(next, t) << 32);
                    taps = rest;
                }
                _ => lists.add(order, place(tap), |t| mask(tap, t)),
            }
        }
        lists.finish(channels)
    }
}

/// The lists of a chunk while they grow, each with its own room.
struct Growing {
    list: *mut u16,
    room: usize,
    counts: [usize; MAX_CHUNK],
    steps: usize,
}

impl Growing {
    /// Adds the rows of `bits`, by step: `base` and what `order` has for the bit.
    ///
    /// # Safety
    /// Every list has room for 64 more, and the CPU has AVX-512 with VBMI2.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
    #[inline]
    unsafe fn add(&mut self, order: __m512i, base: usize, bits: impl Fn(usize) -> u64) {
        let base = _mm512_set1_epi16(base as i16);
        let mut list = self.list;
        for (t, count) in self.counts.iter_mut().enumerate().take(self.steps) {
            let bits = bits(t);
            let (set, events) = (_mm512_maskz_compress_epi8(bits, order), bits.count_ones() as usize);
            // SAFETY: the caller's.
            unsafe {
                let to = list.add(*count);
                if events <= 16 {
                    let rows = _mm256_cvtepu8_epi16(_mm512_castsi512_si128(set));
                    _mm256_storeu_si256(to.cast(), _mm256_add_epi16(_mm512_castsi512_si256(base), rows));
                } else {
                    let rows = |set| _mm512_add_epi16(base, _mm512_cvtepu8_epi16(set));
                    _mm512_storeu_si512(to.cast(), rows(_mm512_castsi512_si256(set)));
                    _mm512_storeu_si512(to.add(32).cast(), rows(_mm512_extracti64x4_epi64::<1>(set)));
                }
                list = list.add(self.room);
            }
            *count += events;
        }
    }

    /// The lists, filled up with `zeros`.
    ///
    /// # Safety
    /// Every list has room for [`UNROLL`] more.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    unsafe fn finish<'a>(self, zeros: usize) -> Lists<'a> {
        let mut lists: Lists = [&[]; MAX_CHUNK];
        for (t, list) in lists.iter_mut().enumerate().take(self.steps) {
            // SAFETY: the caller's.
            unsafe {
                let first = self.list.add(t * self.room);
                _mm_storeu_si64(first.add(self.counts[t]).cast(), _mm_set1_epi16(zeros as i16));
                *list = std::slice::from_raw_parts(first, self.counts[t].next_multiple_of(UNROLL));
            }
        }
        lists
    }
}
