//! Listing the rows of weights that spikes select.

use crate::kernels::abi::{SynapseShape, Tap};
use crate::kernels::byte_event::{UNROLL, room};
use crate::layout::MAX_CHUNK;
use std::arch::x86_64::*;

/// A place in each of the lists of a chunk.
pub(super) type Places = [u32; MAX_CHUNK];

/// Lists of rows, one for each step of a chunk, each with its own room.
pub(super) struct Lists {
    list: *mut u16,
    room: usize,
    counts: Places,
    steps: usize,
}

impl Lists {
    /// Empty lists of `steps` steps, of at most `rows` rows each, in the memory at `list`, which
    /// has room for them.
    pub fn new(list: *mut u16, rows: usize, steps: usize) -> Self {
        Lists { list, room: room(rows), counts: [0; MAX_CHUNK], steps }
    }

    /// Where the lists end.
    pub fn end(&self) -> &Places {
        &self.counts
    }

    /// Adds the rows that the spikes of `taps` select, counted from `origin`.
    ///
    /// # Safety
    /// As [`super::byte_event`]; the lists have room for all inputs of the taps.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
    pub unsafe fn add_taps(&mut self, taps: &[Tap], origin: *const u8, shape: &SynapseShape) {
        let (bytes, lanes) = (shape.step_bytes as usize, shape.lanes as usize);
        let place = |tap: &Tap| (tap.weights as usize - origin as usize) / lanes;
        let order: [u8; 64] = std::array::from_fn(|c| c as u8);
        // SAFETY: as long as a vector; masks have `bytes` a step; the lists have room for all
        // inputs, and more.
        unsafe {
            let order = _mm512_loadu_si512(order.as_ptr().cast());
            let mut taps = taps;
            while let [tap, rest @ ..] = taps {
                taps = rest;
                if bytes >= 8 {
                    for word in 0..bytes / 8 {
                        self.add(order, place(tap) + 64 * word, |t| tap.data.add(t * bytes + 8 * word).cast::<u64>().read_unaligned());
                    }
                    continue;
                }
                let mask = |tap: &Tap, t: usize| match bytes {
                    2 => u64::from(tap.data.add(t * bytes).cast::<u16>().read_unaligned()),
                    _ => u64::from(tap.data.add(t * bytes).cast::<u32>().read_unaligned()),
                };
                // Two taps fill a word, where a byte holds the rows from one's slice to the
                // other's.
                match rest {
                    [next, rest @ ..] if place(next) > place(tap) && place(next) - place(tap) <= FURTHEST => {
                        let distance = (place(next) - place(tap)) as i8;
                        let halves = _mm512_mask_add_epi8(order, 0xffff_ffff << 32, order, _mm512_set1_epi8(distance.wrapping_sub(32)));
                        self.add(halves, place(tap), |t| mask(tap, t) | mask(next, t) << 32);
                        taps = rest;
                    }
                    _ => self.add(order, place(tap), |t| mask(tap, t)),
                }
            }
        }
    }

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
            let (set, events) = (_mm512_maskz_compress_epi8(bits, order), bits.count_ones());
            debug_assert!(*count as usize + 64 <= self.room, "{count} events in room for {}", self.room);
            // SAFETY: the caller's.
            unsafe {
                let to = list.add(*count as usize);
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

    /// The rows of each step from `start` on, filled up to a multiple of [`UNROLL`] with the row
    /// `zeros`. The lists stay as long as they are.
    ///
    /// # Safety
    /// The CPU has AVX-512; the memory lives as long as `self`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn rows(&self, start: &Places, zeros: usize) -> Filled<'_> {
        let mut rows: Filled = [&[]; MAX_CHUNK];
        for (t, rows) in rows.iter_mut().enumerate().take(self.steps) {
            // SAFETY: the caller's; there is room for as many more.
            unsafe {
                let list = self.list.add(t * self.room);
                _mm_storeu_si128(list.add(self.counts[t] as usize).cast(), _mm_set1_epi16(zeros as i16));
                let len = (self.counts[t] - start[t]) as usize;
                *rows = std::slice::from_raw_parts(list.add(start[t] as usize), len.next_multiple_of(UNROLL));
            }
        }
        rows
    }
}

/// Rows by step, a multiple of [`UNROLL`] each.
pub(super) type Filled<'a> = [&'a [u16]; MAX_CHUNK];

/// Most rows between the slices of two taps whose masks are listed as one word: bytes hold them and
/// 31 more.
const FURTHEST: usize = u8::MAX as usize - 31;
