//! Kernels in portable Rust. Every CPU has them, and other sets start from these.

pub(super) mod synapse;

use super::one_source::SafeKernels;
use super::{Cpu, KernelSet};

/// What every CPU has.
pub const KERNELS: KernelSet = KernelSet {
    cpu: Cpu::PORTABLE,
    start: synapse::start,
    list_taps: synapse::list_taps,
    event: None,
    byte_event: None,
    byte_event_row: None,
    wide_event: synapse::wide_event,
    masked: synapse::masked,
    dense: synapse::dense,
    dense_channel: synapse::dense_channel,
    fire: None,
    product: None,
    count_product: None,
    multiply: None,
    table: None,
    safe: SafeKernels::PORTABLE,
};
