//! Layers by table look-up: see [`crate::kernels::table`].

mod block;
mod expand;
mod look_up;

use crate::kernels::table::{BLOCK, TableLayer};
use expand::expand;
use std::arch::x86_64::_mm512_setzero_si512;

/// Steps that are computed together, at most.
const STEPS: usize = 8;

/// Runs `steps` steps of a layer, the first of a window if `first`.
///
/// # Safety
/// `arena` is the plan's, and the CPU has AVX-512 with VBMI and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
pub unsafe fn run(layer: &TableLayer, arena: *mut u8, steps: usize, first: bool) {
    let operands = layer.products.iter().map(|p| &p.0).chain(layer.residuals.iter().map(|r| &r.0));
    for o in operands {
        // SAFETY: the plan gave masks and planes their places in the arena, which do not overlap.
        unsafe { expand(&o.shape, arena.add(o.masks), steps, arena.add(o.plane).cast()) };
    }
    let zero = _mm512_setzero_si512();
    let (mut bits, mut sums) = (vec![zero; STEPS * layer.mask / 2], Box::new([[zero; STEPS]; BLOCK]));
    for y in 0..layer.blocks.rows {
        for x in 0..layer.blocks.columns {
            let mut t = 0;
            while t < steps {
                let at = block::At { y: if layer.blocks.pairs { 2 * y } else { y }, x: BLOCK * x, block: y * layer.blocks.columns + x, t };
                let (n, first) = (1 << (steps - t).min(STEPS).ilog2(), first && t == 0);
                for group in 0..layer.channels.div_ceil(BLOCK) {
                    let bits = &mut bits[group..];
                    // SAFETY: the caller's.
                    unsafe {
                        match (n, layer.blocks.pairs) {
                            (8, false) => block::block::<8, 4, false>(layer, arena, at, group, first, &mut sums, bits),
                            (4, false) => block::block::<4, 4, false>(layer, arena, at, group, first, &mut sums, bits),
                            (2, false) => block::block::<2, 2, false>(layer, arena, at, group, first, &mut sums, bits),
                            (_, false) => block::block::<1, 1, false>(layer, arena, at, group, first, &mut sums, bits),
                            (8, true) => block::block::<8, 4, true>(layer, arena, at, group, first, &mut sums, bits),
                            (4, true) => block::block::<4, 4, true>(layer, arena, at, group, first, &mut sums, bits),
                            (2, true) => block::block::<2, 2, true>(layer, arena, at, group, first, &mut sums, bits),
                            (_, true) => block::block::<1, 1, true>(layer, arena, at, group, first, &mut sums, bits),
                        }
                    }
                }
                // SAFETY: the masks are the arena's.
                unsafe { block::store(layer, arena, at, &bits[..n * layer.mask / 2]) };
                t += n;
            }
        }
    }
}
