//! Kernels for x86-64 with AMX tiles of 8-bit integers.

mod available;
mod product;

pub(super) use available::is_available;

use super::set::SpikeProduct;
use super::{Cpu, KernelSet, x86_avx512};

/// What tiles add to [`x86_avx512`].
pub const KERNELS: KernelSet = KernelSet {
    cpu: Cpu::AMX,
    product: match x86_avx512::KERNELS.product {
        Some(vectors) => Some(SpikeProduct { multiply: product::product, around: Some((product::begin, product::end)), ..vectors }),
        None => None,
    },
    count_product: Some(product::count_product),
    // Products are faster.
    table: None,
    ..x86_avx512::KERNELS
};
