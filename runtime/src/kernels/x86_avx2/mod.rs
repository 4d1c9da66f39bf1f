//! Kernels for x86-64 with AVX2, BMI2 and POPCNT.

mod count_product;
mod expand;
mod product;
mod spikes;
mod synapse;

use super::one_source::SafeKernels;
use super::set::SpikeProduct;
use super::{ByReset, Cpu, KernelSet, portable};

safe_kernels!(compile "avx2,bmi2,popcnt");

/// What AVX2 adds to [`portable`].
pub const KERNELS: KernelSet = KernelSet {
    cpu: Cpu::AVX2,
    event: Some(synapse::event),
    wide_event: synapse::wide_event,
    masked: synapse::masked,
    dense: synapse::dense,
    dense_channel: synapse::dense_channel,
    fire: Some(ByReset { subtract: spikes::fire::<false>, zero: spikes::fire::<true> }),
    product: Some(SpikeProduct { expand: expand::expand, multiply: product::product, narrow_sums: true, around: None }),
    count_product: Some(count_product::product),
    safe: SafeKernels { add_bits: spikes::add_bits, ..COMPILED },
    ..portable::KERNELS
};
