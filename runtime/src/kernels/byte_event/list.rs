//! Listing the rows of weights that spikes select.

use super::super::{SynapseShape, Tap};
use super::{LANES, UNROLL};
use crate::plan::MAX_CHUNK;
use std::arch::x86_64::*;

/// Lists of rows, of every step of a chunk.
pub(super) type Lists<'a> = [&'a [u16]; MAX_CHUNK];

/// Lists the rows of `steps` steps' spikes in `list`, in vectors from the first tap's slice, filled up with rows of zeros.
///
/// # Safety
/// As [`super::kernel::byte_event`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
#[inline]
pub(super) unsafe fn list_chunk<'a>(taps: &[Tap], steps: usize, shape: &SynapseShape, list: *mut u16) -> Lists<'a> {
    let zeros = _mm_set1_epi16((shape.channels as usize * shape.lanes as usize / LANES) as i16);
    let (mut lists, mut end): (Lists, _) = ([&[]; MAX_CHUNK], list);
    for (t, list) in lists.iter_mut().enumerate().take(steps) {
        // SAFETY: the caller's; the list has room for all inputs of all taps in every step, and more.
        unsafe {
            let events = list_events(taps, t, shape, end);
            _mm_storeu_si64(end.add(events).cast(), zeros);
            *list = std::slice::from_raw_parts(end, events.next_multiple_of(UNROLL));
            end = end.add(list.len());
        }
    }
    lists
}

/// Lists the rows of step `t`'s spikes, in vectors from the first tap's slice, and returns their number.
///
/// # Safety
/// As [`super::kernel::byte_event`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
#[inline]
unsafe fn list_events(taps: &[Tap], t: usize, shape: &SynapseShape, list: *mut u16) -> usize {
    // SAFETY: masks have `step_bytes` a step.
    unsafe {
        let (bytes, vectors) = (shape.step_bytes as usize, shape.lanes as usize / LANES);
        let (pitch, slice) = (_mm512_set1_epi16(vectors as i16), (shape.channels as usize + 1) * vectors);
        let place = |tap: &Tap| (tap.weights as usize - taps[0].weights as usize) / LANES;
        let channels: [u8; 64] = std::array::from_fn(|c| c as u8);
        let mut events = Events { channels: _mm512_loadu_si512(channels.as_ptr().cast()), pitch, list, count: 0 };
        if bytes >= 8 {
            for tap in taps {
                let mask = tap.data.add(t * bytes).cast::<u64>();
                for word in 0..bytes / 8 {
                    events.push(mask.add(word).read_unaligned(), place(tap) + 64 * word * vectors);
                }
            }
            return events.count;
        }
        // Two taps with neighbouring slices fill a word, between whose halves are the rows of zeros.
        let mask = |tap: &Tap| match bytes {
            2 => u64::from(tap.data.add(t * bytes).cast::<u16>().read_unaligned()),
            _ => u64::from(tap.data.add(t * bytes).cast::<u32>().read_unaligned()),
        };
        let second = _mm512_set1_epi8((shape.channels as usize + 1) as i8 - 32);
        events.channels = _mm512_mask_add_epi8(events.channels, 0xffff_ffff << 32, events.channels, second);
        let mut taps = taps;
        while let [first, rest @ ..] = taps {
            match rest {
                [next, rest @ ..] if place(next) - place(first) == slice => {
                    events.push(mask(first) | mask(next) << 32, place(first));
                    taps = rest;
                }
                _ => {
                    events.push(mask(first), place(first));
                    taps = rest;
                }
            }
        }
        events.count
    }
}

/// A list of rows that grows.
struct Events {
    /// The row of every bit, from a slice's first.
    channels: __m512i,
    /// Vectors of a row.
    pitch: __m512i,
    list: *mut u16,
    count: usize,
}

impl Events {
    /// Adds the rows of `bits`, `base` vectors from the first tap's slice.
    ///
    /// # Safety
    /// The list has room for 64 more, and the CPU has AVX-512 with VBMI2.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
    #[inline]
    unsafe fn push(&mut self, bits: u64, base: usize) {
        let set = _mm512_maskz_compress_epi8(bits, self.channels);
        let base = _mm512_set1_epi16(base as i16);
        let rows = |set| _mm512_add_epi16(base, _mm512_mullo_epi16(self.pitch, _mm512_cvtepu8_epi16(set)));
        let (to, events) = (self.list.wrapping_add(self.count), bits.count_ones() as usize);
        // SAFETY: the caller's.
        unsafe {
            if events <= 16 {
                let first = _mm256_cvtepu8_epi16(_mm512_castsi512_si128(set));
                let pitch = _mm512_castsi512_si256(self.pitch);
                let rows = _mm256_add_epi16(_mm512_castsi512_si256(base), _mm256_mullo_epi16(pitch, first));
                _mm256_storeu_si256(to.cast(), rows);
            } else {
                _mm512_storeu_si512(to.cast(), rows(_mm512_castsi512_si256(set)));
                _mm512_storeu_si512(to.add(32).cast(), rows(_mm512_extracti64x4_epi64::<1>(set)));
            }
        }
        self.count += events;
    }
}
