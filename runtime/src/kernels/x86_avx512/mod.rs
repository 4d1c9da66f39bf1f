//! Kernels for x86-64 with AVX-512 F, BW, VL, DQ, VBMI, VBMI2 and VNNI.

mod byte_event;
mod count_neurons;
mod expand;
mod fire;
mod product;
mod spikes;
mod stepped;
mod synapse;
mod table;

use super::one_source::SafeKernels;
use super::set::SpikeProduct;
use super::{ByReset, Cpu, KernelSet, x86_avx2};

safe_kernels!(compile "avx2,bmi2,popcnt,avx512f,avx512bw,avx512vl,avx512dq");

/// What AVX-512 adds to [`x86_avx2`].
pub const KERNELS: KernelSet = KernelSet {
    cpu: Cpu::AVX512,
    event: Some(synapse::event),
    byte_event: Some(byte_event::byte_event),
    byte_event_row: Some(ByReset { subtract: byte_event::byte_event_row::<false>, zero: byte_event::byte_event_row::<true> }),
    masked: synapse::masked,
    fire: Some(ByReset { subtract: fire::fire::<false>, zero: fire::fire::<true> }),
    product: Some(SpikeProduct { expand: expand::expand, multiply: product::product, narrow_sums: false, around: None }),
    count_product: Some(product::product),
    multiply: Some(count_neurons::multiply),
    table: Some(table::run),
    safe: SafeKernels {
        // Wider vectors take a quarter longer to convert what is clamped.
        encode: x86_avx2::KERNELS.safe.encode,
        add_bits: spikes::add_bits,
        pool: spikes::pool,
        fire_lanes: stepped::fire_lanes,
        fire_ternary: stepped::fire_ternary,
        ..COMPILED
    },
    ..x86_avx2::KERNELS
};
