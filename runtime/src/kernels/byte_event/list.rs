//! Listing the rows of weights that spikes select.

use super::super::{SynapseShape, Tap};
use super::{UNROLL, room};
use crate::plan::MAX_CHUNK;
use std::arch::x86_64::*;

/// Lists of rows, one for each step of a chunk, each with its own room.
#[repr(C)]
pub(super) struct Lists {
    list: *mut u16,
    room: usize,
    counts: [usize; MAX_CHUNK],
    steps: usize,
}

impl Lists {
    /// Empty lists of `steps` steps, of at most `rows` rows each, in the memory at `list`, which has room for them.
    pub fn new(list: *mut u16, rows: usize, steps: usize) -> Self {
        Lists { list, room: room(rows), counts: [0; MAX_CHUNK], steps }
    }

    /// Takes all rows away.
    pub fn clear(&mut self) {
        self.counts = [0; MAX_CHUNK];
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
        // SAFETY: as long as a vector; masks have `bytes` a step; the lists have room for all inputs, and more.
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
                // Two taps fill a word, where a byte holds the rows from one's slice to the other's.
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

    /// Adds the rows of `other`, each `base` further.
    ///
    /// # Safety
    /// Every list has room for them and 32 more, and the CPU has AVX-512 BW.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn append(&mut self, other: &Lists, base: usize) {
        let base = _mm512_set1_epi16(base as i16);
        let (mut to, mut from) = (self.list, other.list);
        for (count, &more) in self.counts.iter_mut().zip(&other.counts).take(self.steps) {
            // Mostly one vector is all of it, so the first is copied before anybody asks.
            let mut done = 0;
            loop {
                // SAFETY: the caller's; `other` has as much room behind its last row.
                unsafe {
                    let rows = _mm512_loadu_si512(from.add(done).cast());
                    _mm512_storeu_si512(to.add(*count + done).cast(), _mm512_add_epi16(rows, base));
                }
                done += 32;
                if done >= more {
                    break;
                }
            }
            *count += more;
            (to, from) = (to.wrapping_add(self.room), from.wrapping_add(other.room));
        }
    }

    /// Fills every list up to a multiple of [`UNROLL`] with the row `zeros`; they stay as long as they are.
    ///
    /// # Safety
    /// Every list has room for [`UNROLL`] more.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn fill_up(&mut self, zeros: usize) {
        for (t, &count) in self.counts.iter().enumerate().take(self.steps) {
            // SAFETY: the caller's.
            unsafe { _mm_storeu_si128(self.list.add(t * self.room + count).cast(), _mm_set1_epi16(zeros as i16)) };
        }
    }

    /// The rows of each step, filled up.
    ///
    /// # Safety
    /// They were filled up since the last row was added, and their memory lives as long as `self`.
    pub unsafe fn rows(&self) -> impl Iterator<Item = &[u16]> {
        // SAFETY: the caller's.
        (0..self.steps)
            .map(|t| unsafe { std::slice::from_raw_parts(self.list.add(t * self.room), self.counts[t].next_multiple_of(UNROLL)) })
    }
}

/// Most rows between the slices of two taps whose masks are listed as one word: bytes hold them and 31 more.
const FURTHEST: usize = u8::MAX as usize - 31;
