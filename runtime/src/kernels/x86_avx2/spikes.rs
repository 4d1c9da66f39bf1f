//! Spikes of neurons, and counting them, for AVX2.

use crate::kernels::abi::FireArguments;
use crate::kernels::count::word;
use std::arch::x86_64::*;

/// Integrate and fire, 16 neurons at a time; `HARD` resets to zero.
///
/// # Safety
/// As [`crate::kernels::abi::Fire`], and the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe extern "C" fn fire<const HARD: bool>(arguments: &FireArguments) {
    let &FireArguments { currents, threshold, before, stride, membrane, spikes, steps, shape, pixels, residual, weights } = arguments;
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
#[target_feature(enable = "avx2")]
pub fn add_bits(masks: &[u8], stride: usize, counters: &mut [u8; 64]) {
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
            let word = word(masks, at);
            low = _mm256_sub_epi8(low, expand(word as i32));
            high = _mm256_sub_epi8(high, expand((word >> 32) as i32));
        }
        _mm256_storeu_si256(to, low);
        _mm256_storeu_si256(to.add(1), high);
    }
}
