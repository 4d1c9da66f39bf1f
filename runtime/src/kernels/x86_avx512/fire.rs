//! The neurons, for AVX-512.

use crate::kernels::abi::FireArguments;
use std::arch::x86_64::*;

/// Sixteen neurons of one pixel.
#[derive(Clone, Copy)]
struct Unit {
    currents: *const i32,
    threshold: *const i32,
    before: *const i32,
    membrane: *mut i32,
    spikes: *mut u8,
    residual: *const u8,
    weights: *const i32,
}

/// Integrate and fire; `HARD` resets to zero. Potentials depend on themselves from step to step, so
/// four units take turns.
///
/// # Safety
/// As [`crate::kernels::abi::Fire`], and the CPU has AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe extern "C" fn fire<const HARD: bool>(arguments: &FireArguments) {
    let &FireArguments { currents, threshold, before, stride, membrane, spikes, steps, shape, pixels, residual, weights } = arguments;
    // SAFETY: the compiled layer keeps the contract of `Fire`.
    unsafe {
        let shape = &*shape;
        let (lanes, mask) = (shape.lanes as usize, shape.mask as usize);
        let blocks = lanes / 16;
        let unit = |i: usize| {
            let (p, block) = (i / blocks, i % blocks);
            let at = 16 * block;
            Unit {
                currents: currents.add(p * shape.currents as usize + at),
                threshold: threshold.add(p * shape.threshold as usize + at),
                before: before.add(p * stride + at),
                membrane: membrane.add(p * lanes + at),
                spikes: spikes.add(p * shape.spikes as usize + 2 * block),
                residual: residual.wrapping_add(p * shape.spikes as usize + 2 * block),
                weights: weights.wrapping_add(at),
            }
        };
        let units = pixels * blocks;
        let mut i = 0;
        while i < units {
            if units - i >= 4 {
                let four = [unit(i), unit(i + 1), unit(i + 2), unit(i + 3)];
                if residual.is_null() {
                    run::<4, HARD, false>(&four, lanes, mask, steps);
                } else {
                    run::<4, HARD, true>(&four, lanes, mask, steps);
                }
                i += 4;
            } else {
                let one = [unit(i)];
                if residual.is_null() {
                    run::<1, HARD, false>(&one, lanes, mask, steps);
                } else {
                    run::<1, HARD, true>(&one, lanes, mask, steps);
                }
                i += 1;
            }
        }
        // Masks are whole words, lanes need not be.
        for p in 0..pixels {
            for block in blocks..mask / 2 {
                let out = spikes.add(p * shape.spikes as usize + 2 * block);
                (0..steps).for_each(|t| out.add(t * mask).cast::<u16>().write_unaligned(0));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn run<const N: usize, const HARD: bool, const RESIDUAL: bool>(units: &[Unit; N], lanes: usize, mask: usize, steps: usize) {
    // SAFETY: the caller's.
    unsafe {
        let zero = _mm512_setzero_si512();
        let (mut v, mut theta, mut weights) = ([zero; N], [zero; N], [zero; N]);
        for j in 0..N {
            v[j] = _mm512_loadu_si512(units[j].before.cast());
            theta[j] = _mm512_loadu_si512(units[j].threshold.cast());
            if RESIDUAL {
                weights[j] = _mm512_loadu_si512(units[j].weights.cast());
            }
        }
        for t in 0..steps {
            for j in 0..N {
                let mut current = _mm512_loadu_si512(units[j].currents.add(t * lanes).cast());
                if RESIDUAL {
                    let spikes = units[j].residual.add(t * mask).cast::<u16>().read_unaligned();
                    current = _mm512_mask_add_epi32(current, spikes, current, weights[j]);
                }
                v[j] = _mm512_add_epi32(v[j], current);
                let fired = _mm512_cmpge_epi32_mask(v[j], theta[j]);
                v[j] = _mm512_mask_sub_epi32(v[j], fired, v[j], if HARD { v[j] } else { theta[j] });
                units[j].spikes.add(t * mask).cast::<u16>().write_unaligned(fired);
            }
        }
        (0..N).for_each(|j| _mm512_storeu_si512(units[j].membrane.cast(), v[j]));
    }
}
