//! Spikes through rows of 8-bit weights, for AVX-512: 64 outputs a load.
//!
//! A 16-bit lane of a row holds two outputs: the weight of output `32 + i` as its high byte, and that of output `i`, plus 128 so that it is
//! not negative, as its low one. Of `n` rows `x`, with `high = Σ (x >> 8)` and `all = Σ x` modulo 2¹⁶, the sums of the high outputs are
//! `high`, those of the low ones `all − (high << 8) − 128 n`: two additions and a shift for 64 synapses, in half the memory of 16-bit weights.

#[cfg(target_arch = "x86_64")]
pub use kernel::byte_event;

/// Outputs of a vector of weights.
pub const LANES: usize = 64;

/// Rows that are added between two looks at the end of the list; lists are filled up with a row of zeros.
const UNROLL: usize = 4;

/// The most rows whose sums are within 16 bits, whatever their weights.
const MOST_ROWS: usize = 255 / UNROLL * UNROLL;

/// Bytes of scratch for the events of `rows` inputs in each of `steps` steps.
pub fn scratch(rows: usize, steps: usize) -> usize {
    2 * steps * rows.next_multiple_of(UNROLL) + 128
}

/// The most vectors of weights, counted from a window's first, that a list's 16-bit entries tell apart.
pub const MOST_VECTORS: usize = 1 << 16;

/// The rows of one slice, `[input][output]`, in the kernel's layout: a multiple of [`LANES`] outputs, and a row of zeros behind the last.
pub fn pack(rows: impl Iterator<Item = Vec<i8>>, lanes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows.chain(std::iter::once(vec![0; lanes])) {
        for vector in row.chunks_exact(LANES) {
            let (low, high) = vector.split_at(LANES / 2);
            bytes.extend(low.iter().zip(high).flat_map(|(&low, &high)| [low.wrapping_add(-128) as u8, high as u8]));
        }
    }
    bytes
}

#[cfg(target_arch = "x86_64")]
mod kernel {
    use super::super::{SynapseShape, Tap, avx512::add_to};
    use super::{LANES, MOST_ROWS, UNROLL};
    use crate::plan::MAX_CHUNK;
    use std::arch::x86_64::*;

    /// Adds the weights of spikes to currents.
    ///
    /// # Safety
    /// As [`crate::kernels::Synaptic`]; weights are as [`super::pack`] packs every slice, the first tap's slice comes before the others', the list is as
    /// long as [`super::scratch`] says, and the CPU has AVX-512 with VBMI2.
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
            let shape = &*shape;
            let (lanes, mut end) = (shape.lanes as usize, list.cast::<u16>());
            let taps = std::slice::from_raw_parts(taps, count);
            let Some(first) = taps.first() else { return };
            let zeros = (shape.channels as usize * lanes / LANES) as u16;
            let mut lists: [&[u16]; MAX_CHUNK] = [&[]; MAX_CHUNK];
            for (t, list) in lists.iter_mut().enumerate().take(steps) {
                let events = list_events(taps, t, shape, end);
                _mm_storeu_si64(end.add(events).cast(), _mm_set1_epi16(zeros as i16));
                *list = std::slice::from_raw_parts(end, events.next_multiple_of(UNROLL));
                end = end.add(list.len());
            }
            // Neurons that fire do so in many steps: through few outputs at a time, their weights stay in the first cache.
            let mut at = 0;
            while at < lanes {
                let vectors = ((lanes - at) / LANES).min(2);
                for (t, list) in lists.iter().enumerate().take(steps) {
                    let (weights, to) = (first.weights.add(at), currents.add(t * lanes + at));
                    // So few that sums fit 16 bits.
                    for rows in list.chunks(MOST_ROWS) {
                        if vectors == 1 {
                            add_rows::<1>(rows, weights, to);
                        } else {
                            add_rows::<2>(rows, weights, to);
                        }
                    }
                }
                at += LANES * vectors;
            }
        }
    }

    /// Lists the rows of step `t`'s spikes, in vectors from the first tap's slice, and returns their number.
    ///
    /// # Safety
    /// As [`byte_event`].
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

    /// Adds `64 N` outputs of all rows to `sums`.
    ///
    /// # Safety
    /// As [`byte_event`]; the number of rows is a multiple of [`UNROLL`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    unsafe fn add_rows<const N: usize>(rows: &[u16], weights: *const u8, sums: *mut i32) {
        // SAFETY: every row has `64 N` outputs from `weights` on, and so has `sums`.
        unsafe {
            let (mut all, mut high) = ([_mm512_setzero_si512(); N], [_mm512_setzero_si512(); N]);
            for rows in rows.as_chunks::<UNROLL>().0 {
                for row in rows {
                    // Volatile, because the compiler would compute addresses in vectors, whose ports are what is scarce.
                    let row = weights.add(LANES * std::ptr::from_ref(row).read_volatile() as usize);
                    for j in 0..N {
                        let x = _mm512_loadu_si512(row.add(LANES * j).cast());
                        all[j] = _mm512_add_epi16(all[j], x);
                        high[j] = _mm512_add_epi16(high[j], _mm512_srai_epi16::<8>(x));
                    }
                }
            }
            let excess = _mm512_set1_epi16((128 * rows.len()) as i16);
            for j in 0..N {
                let low = _mm512_sub_epi16(_mm512_sub_epi16(all[j], _mm512_slli_epi16::<8>(high[j])), excess);
                for (k, part) in [low, high[j]].into_iter().enumerate() {
                    let halves = [_mm512_castsi512_si256(part), _mm512_extracti64x4_epi64::<1>(part)];
                    for (l, half) in halves.into_iter().enumerate() {
                        add_to(sums.add(LANES * j + 32 * k + 16 * l), half);
                    }
                }
            }
        }
    }
}
